"""What a queue discipline is, and how a specification becomes one.

A discipline holds the packets that wait; the one in transit belongs to the link and is not counted
by any limit (mahimahi F15). A discipline that drops a packet stamps `drop = "queue"` into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from testbed.errors import InputError
from testbed.network.packet import Packet
from testbed.network.spec import QueueSpec
from testbed.registry import Registry


class Discipline(Protocol):
    """What a link asks of its queue.

    Attributes:
        packets: packets waiting.
        bytes: their sizes summed.
        drops: packets dropped so far.
    """

    packets: int
    bytes: int
    drops: int

    def enqueue(self, packet: Packet, now_ns: int) -> None:
        """Take a packet (its `link_in_ns` is `now_ns`), or drop it or others."""

    def dequeue(self, now_ns: int) -> Packet | None:
        """The packet that enters service at `now_ns`; None when nothing is left to send."""


#: A factory takes the specification and the generator named "queue" of its direction.
QueueFactory = Callable[[QueueSpec, np.random.Generator], Discipline]

#: Queue kinds by name; third parties use the entry-point group `testbed.queues`.
QUEUES: Registry[QueueFactory] = Registry("queue", group="testbed.queues")


def make_queue(spec: QueueSpec, rng: np.random.Generator) -> Discipline:
    """The discipline that `spec` describes.

    Raises:
        InputError: unknown kind, a limit below 1, or an option that the kind does not have.
    """
    for name, limit in (("packets", spec.packets), ("bytes", spec.bytes)):
        if limit is not None and limit < 1:
            raise InputError(f"queue {spec.kind}: {name} is {limit}; must be >= 1")
    return QUEUES.get(spec.kind)(spec, rng)


def parse_queue(text: str) -> QueueSpec:
    """A queue as a command line names it: `droptail:packets=10,bytes=9000`.

    Raises:
        InputError: not of the form kind[:name=number,...].
    """
    kind, _, rest = text.partition(":")
    values: dict[str, int] = {}
    for pair in rest.split(",") if rest else []:
        name, equals, digits = pair.partition("=")
        if not equals or not digits.isdecimal() or not digits.isascii() or name in values:
            raise InputError(f"queue {text!r}: must be kind[:name=number,...], not {pair!r}")
        values[name] = int(digits)
    return QueueSpec(kind, values.pop("packets", None), values.pop("bytes", None), values)


def describe_queue(spec: QueueSpec) -> str:
    """The inverse of `parse_queue`."""
    limits = {"packets": spec.packets, "bytes": spec.bytes, **spec.options}
    pairs = [f"{name}={value}" for name, value in limits.items() if value is not None]
    return f"{spec.kind}:{','.join(pairs)}" if pairs else spec.kind


def require_limit(spec: QueueSpec) -> None:
    """A dropping queue needs a limit (F18).

    Raises:
        InputError: neither packets nor bytes is given.
    """
    if spec.packets is None and spec.bytes is None:
        raise InputError(f"queue {spec.kind}: needs a limit, packets or bytes (or both)")
