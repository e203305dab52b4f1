"""When the rest of a GoP should have come.

The receiver learns how far apart the packets of a GoP are, and how long after capture the first
ones come: means and deviations, as RFC 6298 has them of round trips. So it notices that the end of
a GoP, or all of it, is missing long before the next GoP shows it; on a path that holds packets up
now and then it waits longer.
"""

from __future__ import annotations

from typing import Final

#: Weights of a new sample in mean and deviation are 1/8 and 1/4, and four deviations are waited
#: for: RFC 6298 section 2.
MEAN_DIVISOR: Final = 8
DEVIATION_DIVISOR: Final = 4
DEVIATIONS: Final = 4
#: Gaps seen before they say anything: packets may leave in pairs.
LEAST_GAPS: Final = 4


class Estimate:
    """Mean and mean deviation of a time, in integer nanoseconds.

    Attributes:
        mean_ns: smoothed; 0 before the first sample.
        deviation_ns: smoothed; half of the first sample at first.
        samples: how many there were.
    """

    __slots__ = ("deviation_ns", "mean_ns", "samples")

    def __init__(self) -> None:
        self.mean_ns = 0
        self.deviation_ns = 0
        self.samples = 0

    def add(self, sample_ns: int) -> None:
        """One more sample."""
        self.samples += 1
        if self.samples == 1:
            self.mean_ns, self.deviation_ns = sample_ns, abs(sample_ns) // 2
            return
        error = sample_ns - self.mean_ns
        self.deviation_ns += (abs(error) - self.deviation_ns) // DEVIATION_DIVISOR
        self.mean_ns += error // MEAN_DIVISOR

    @property
    def late_ns(self) -> int:
        """Later than this is late."""
        return self.mean_ns + DEVIATIONS * self.deviation_ns


class GopArrivals:
    """Expected arrivals, in integer nanoseconds.

    Args:
        slack_ns: waited for at least, beyond what is expected.
    """

    def __init__(self, *, slack_ns: int) -> None:
        self._slack_ns = slack_ns
        self._spacing = Estimate()
        self._start = Estimate()
        self._last: tuple[int, int, int] | None = None  # GoP, sequence, arrival

    @property
    def spacing_ns(self) -> int:
        """Between packets of a GoP, smoothed; 0 while unknown."""
        return self._spacing.mean_ns

    def on_packet(self, gop: int, sequence: int, *, now_ns: int) -> None:
        """A packet came first-hand."""
        last = self._last
        if last is not None and sequence <= last[1]:
            return
        if last is not None and last[0] == gop:
            self._spacing.add((now_ns - last[2]) // (sequence - last[1]))
        self._last = (gop, sequence, now_ns)

    def on_start(self, after_capture_ns: int, *, position: int) -> None:
        """The first packet to come of a GoP; it is number `position` of it."""
        self._start.add(after_capture_ns - position * self._spacing.mean_ns)

    def end_missed_ns(self, *, last_ns: int, left: int) -> int | None:
        """When the rest of a GoP has to be taken for lost; None: nobody knows.

        Args:
            last_ns: arrival of its latest packet.
            left: packets that are to follow that.
        """
        spacing = self._spacing
        if spacing.samples < LEAST_GAPS:
            return None
        return last_ns + left * spacing.mean_ns + DEVIATIONS * spacing.deviation_ns + self._slack_ns

    def all_missed_ns(self, captured_ns: int, *, packets: int) -> int | None:
        """When a GoP of which nothing came has to be taken for lost; None: nobody knows.

        Args:
            captured_ns: its last frame.
            packets: that it should have.
        """
        if not self._start.samples:
            return None
        start_ns = captured_ns + self._start.late_ns
        return self.end_missed_ns(last_ns=start_ns, left=packets)
