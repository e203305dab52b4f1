"""Queues that only look at their limits; each decides exactly as mm-link's of the same name."""

from __future__ import annotations

from collections import deque

import numpy as np

from testbed.errors import InputError
from testbed.network.options import reject_unknown
from testbed.network.packet import Packet
from testbed.network.queues.base import QUEUES, Discipline, require_limit
from testbed.network.spec import QueueSpec


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
