"""Groups of packets that left together, and how the gaps between them changed on the way.

draft-ietf-rmcat-gcc-02 section 5.2: packets sent within `BURST_NS` belong together; so does a
packet that arrived within that time after the previous one and closer to it than it was sent (it
waited for the network, not for the sender).
"""

from __future__ import annotations

from typing import NamedTuple

from testbed.protocol.congestion.gcc import constants as c

_MS = 1e6


class GroupDelta(NamedTuple):
    """A group against the one before it.

    Attributes:
        sent_ms: between their last sendings.
        arrived_ms: between their last arrivals.
        arrival_ns: last arrival of the newer one, receiver's clock.
    """

    sent_ms: float
    arrived_ms: float
    arrival_ns: int

    @property
    def variation_ms(self) -> float:
        """d(i), the inter-group delay variation."""
        return self.arrived_ms - self.sent_ms


class ArrivalGroups:
    """Turns packets in order of sending into deltas of groups."""

    __slots__ = ("_arrival_ns", "_first_send_ns", "_previous", "_send_ns", "_started")

    def __init__(self) -> None:
        self._started = False
        self._first_send_ns = 0
        self._send_ns = 0
        self._arrival_ns = 0
        self._previous: tuple[int, int] | None = None

    def add(self, *, send_ns: int, arrival_ns: int) -> GroupDelta | None:
        """A packet; the delta of the group that it ended, if there is one.

        A packet sent before the current group is reordered and ignored.
        """
        if not self._started:
            self._start(send_ns, arrival_ns)
            return None
        if send_ns < self._first_send_ns:
            return None
        if arrival_ns - self._arrival_ns > c.ARRIVAL_GAP_NS:
            self._previous = None
            self._start(send_ns, arrival_ns)
            return None
        if self._belongs(send_ns, arrival_ns):
            self._send_ns = max(self._send_ns, send_ns)
            self._arrival_ns = max(self._arrival_ns, arrival_ns)
            return None
        delta = self._finish()
        self._start(send_ns, arrival_ns)
        return delta

    def _belongs(self, send_ns: int, arrival_ns: int) -> bool:
        if send_ns - self._first_send_ns <= c.BURST_NS:
            return True
        between_ns = arrival_ns - self._arrival_ns
        return between_ns <= c.BURST_NS and between_ns < send_ns - self._send_ns

    def _start(self, send_ns: int, arrival_ns: int) -> None:
        self._started = True
        self._first_send_ns = self._send_ns = send_ns
        self._arrival_ns = arrival_ns

    def _finish(self) -> GroupDelta | None:
        previous, self._previous = self._previous, (self._send_ns, self._arrival_ns)
        if previous is None or self._arrival_ns < previous[1]:
            return None
        return GroupDelta(
            (self._send_ns - previous[0]) / _MS,
            (self._arrival_ns - previous[1]) / _MS,
            self._arrival_ns,
        )
