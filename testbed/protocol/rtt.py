"""Round-trip time as both ends keep it."""

from __future__ import annotations

from collections import deque
from typing import Final

#: Weight of a new sample is 1/5: the 0.2 of ringmaster's retransmission (`encoder.cc`).
SMOOTHING_DIVISOR: Final = 5
#: Window of the minimum: MinRTTFilterLen of draft-ietf-ccwg-bbr-06.
MIN_WINDOW_NS: Final = 10_000_000_000


class RttEstimator:
    """Latest, smoothed (EWMA) and windowed-minimum round-trip time, in integer nanoseconds.

    The first sample replaces the initial value; the minimum is over the last 10 s.

    Args:
        initial_ns: value of all three before the first sample, > 0.
    """

    __slots__ = ("_minima", "latest_ns", "min_ns", "samples", "smoothed_ns")

    def __init__(self, *, initial_ns: int = 100_000_000) -> None:
        self.latest_ns = initial_ns
        self.smoothed_ns = initial_ns
        self.min_ns = initial_ns
        #: Samples taken so far.
        self.samples = 0
        # (time, sample), both ascending: the head is the minimum of the window.
        self._minima: deque[tuple[int, int]] = deque()

    def on_sample(self, rtt_ns: int, *, now_ns: int) -> None:
        """A round trip was measured; samples of zero or less are ignored."""
        if rtt_ns <= 0:
            return
        self.latest_ns = rtt_ns
        if self.samples == 0:
            self.smoothed_ns = rtt_ns
        else:
            self.smoothed_ns += (rtt_ns - self.smoothed_ns) // SMOOTHING_DIVISOR
        self.samples += 1
        minima = self._minima
        while minima and minima[-1][1] >= rtt_ns:
            minima.pop()
        minima.append((now_ns, rtt_ns))
        while minima[0][0] < now_ns - MIN_WINDOW_NS:
            minima.popleft()
        self.min_ns = minima[0][1]
