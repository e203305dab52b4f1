"""Queue disciplines of the bottleneck.

A discipline holds the packets that wait; the one in transit belongs to the link and is not counted
by any limit (mahimahi F15). A discipline that drops a packet stamps `drop = "queue"` into it.

`infinite`, `droptail` and `drophead` decide exactly as mm-link's. `codel` and `pie` live in aqm.py
with the reasons why they agree with mm-link only statistically.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from testbed.errors import InputError
from testbed.network.options import reject_unknown
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


class DropTail:
    """First in, first out; an arrival that would exceed a limit is dropped (F16).

    Args:
        packets: limit of waiting packets, or None.
        limit_bytes: limit of waiting bytes, or None.
    """

    __slots__ = ("_held", "bytes", "drops", "limit_bytes", "limit_packets", "packets")

    def __init__(self, packets: int | None = None, limit_bytes: int | None = None) -> None:
        self.limit_packets = packets
        self.limit_bytes = limit_bytes
        self.packets = 0
        self.bytes = 0
        self.drops = 0
        self._held: deque[Packet] = deque()

    def enqueue(self, packet: Packet, now_ns: int) -> None:  # noqa: ARG002
        """See `Discipline`."""
        size = packet.size_bytes
        if (self.limit_bytes is not None and self.bytes + size > self.limit_bytes) or (
            self.limit_packets is not None and self.packets + 1 > self.limit_packets
        ):
            packet.drop = "queue"
            self.drops += 1
            return
        self._held.append(packet)
        self.packets += 1
        self.bytes += size

    def dequeue(self, now_ns: int) -> Packet | None:  # noqa: ARG002
        """See `Discipline`."""
        if not self._held:
            return None
        packet = self._held.popleft()
        self.packets -= 1
        self.bytes -= packet.size_bytes
        return packet


class DropHead(DropTail):
    """First in, first out; an arrival always enters, and the oldest make room (F17).

    mm-link itself aborts with a byte limit as soon as one arrival drops more than one packet; this
    one does not.
    """

    __slots__ = ()

    def enqueue(self, packet: Packet, now_ns: int) -> None:
        """See `Discipline`."""
        self._held.append(packet)
        self.packets += 1
        self.bytes += packet.size_bytes
        while (self.limit_packets is not None and self.packets > self.limit_packets) or (
            self.limit_bytes is not None and self.bytes > self.limit_bytes
        ):
            oldest = self.dequeue(now_ns)
            assert oldest is not None  # a limit is >= 1, so something is there to drop
            oldest.drop = "queue"
            self.drops += 1


@QUEUES.register("infinite")
def _infinite(spec: QueueSpec, rng: np.random.Generator) -> Discipline:  # noqa: ARG001
    reject_unknown("queue infinite", spec.options, ())
    if spec.packets is not None or spec.bytes is not None:
        raise InputError("queue infinite: takes no limit; droptail takes packets and bytes")
    return DropTail()


@QUEUES.register("droptail")
def _droptail(spec: QueueSpec, rng: np.random.Generator) -> Discipline:  # noqa: ARG001
    reject_unknown("queue droptail", spec.options, ())
    require_limit(spec)
    return DropTail(spec.packets, spec.bytes)


@QUEUES.register("drophead")
def _drophead(spec: QueueSpec, rng: np.random.Generator) -> Discipline:  # noqa: ARG001
    reject_unknown("queue drophead", spec.options, ())
    require_limit(spec)
    return DropHead(spec.packets, spec.bytes)
