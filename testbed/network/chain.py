"""What every stage inside a path can do besides the three calls of `Stage`."""

from __future__ import annotations

from testbed.network.packet import Packet


class ChainStage:
    """Base of the stages that `Path` chains.

    Attributes:
        min_delay_ns: no packet leaves earlier than this after it entered. The path adds it up to
            wake its driver only when something can come out at its end.
    """

    __slots__ = ()

    min_delay_ns = 0

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """See `Stage`."""
        raise NotImplementedError

    def next_time(self) -> int | None:
        """See `Stage`."""
        raise NotImplementedError

    def take(self, now_ns: int) -> list[tuple[int, Packet]]:
        """What has left by `now_ns`: (exact leaving time, packet) in order of leaving."""
        raise NotImplementedError

    def pop(self, *, now_ns: int) -> list[Packet]:
        """See `Stage`; `arrival_ns` is the leaving time of the last stage so far."""
        packets = []
        for at_ns, packet in self.take(now_ns):
            packet.arrival_ns = at_ns
            packets.append(packet)
        return packets
