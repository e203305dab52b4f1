"""How far apart two monotonic clocks are, from exchanges of four times.

The arithmetic of NTP (RFC 5905 section 8). The initiator sends at T1 and hears the answer at T4, on
its own clock; the responder receives at T2 and answers at T3, on its own. Then

    round trip  = (T4 - T1) - (T3 - T2)
    offset      = ((T2 - T1) + (T3 - T4)) / 2     responder's clock less the initiator's

The error of the offset is half the difference of the two one-way delays. Neither delay is negative,
so it is at most half the round trip, however unequal they are; whoever delays messages on the way
makes the bound wider and cannot break it. It assumes clocks that run at the same rate: two
crystals drift apart by up to some 0.1 ms a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: Exchanges kept; the one of least round trip counts. RFC 5905 section 10 (clock filter) keeps
#: eight, for the same reason: the least delayed one has the least error.
KEPT_EXCHANGES: Final = 8
#: Times are signed 64-bit on the wire. Half of that, 146 years, leaves room for one addition.
MAX_TIME_NS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """What one exchange says.

    Attributes:
        offset_ns: responder's clock less the initiator's, rounded down.
        bound_ns: the offset is wrong by at most this: half the round trip, rounded up.
        rtt_ns: round trip without the responder's time.
    """

    offset_ns: int
    bound_ns: int
    rtt_ns: int


def estimate(t1_ns: int, t2_ns: int, t3_ns: int, t4_ns: int) -> ClockEstimate | None:
    """What an exchange says; None if no honest exchange has such times."""
    rtt_ns = (t4_ns - t1_ns) - (t3_ns - t2_ns)
    if t4_ns < t1_ns or t3_ns < t2_ns or rtt_ns < 0:
        return None
    offset_ns = (t2_ns - t1_ns + t3_ns - t4_ns) // 2
    if abs(offset_ns) >= MAX_TIME_NS:
        return None
    return ClockEstimate(offset_ns, -(-rtt_ns // 2), rtt_ns)


class ClockFilter:
    """The latest exchanges, and the best of them."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[ClockEstimate] = deque(maxlen=KEPT_EXCHANGES)

    def add(self, t1_ns: int, t2_ns: int, t3_ns: int, t4_ns: int) -> bool:
        """Take an exchange; False if its times are impossible."""
        found = estimate(t1_ns, t2_ns, t3_ns, t4_ns)
        if found is not None:
            self._kept.append(found)
        return found is not None

    @property
    def best(self) -> ClockEstimate | None:
        """The exchange of least round trip, the newest of equals; None before the first."""
        return min(reversed(self._kept), key=lambda kept: kept.rtt_ns, default=None)
