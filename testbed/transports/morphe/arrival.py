"""When the rest of a GoP should have come.

The receiver learns from GoPs of which the last packet came how long after capture that was (mean
and deviation, as RFC 6298 does with round trips), and how far apart packets are. So it notices that
the end of a GoP, or all of it, is missing, long before the next GoP shows it.
"""

from __future__ import annotations

from typing import Final

#: Weights of a new sample in mean and deviation are 1/8 and 1/4, and four deviations are waited
#: for: RFC 6298 section 2.
MEAN_DIVISOR: Final = 8
DEVIATION_DIVISOR: Final = 4
DEVIATIONS: Final = 4
#: Packets are late by their own spacing before they are missed.
SPACINGS: Final = 2


class GopArrivals:
    """Expected ends of GoPs, in integer nanoseconds.

    Args:
        slack_ns: waited for at least, beyond what is expected.
    """

    def __init__(self, *, slack_ns: int) -> None:
        self._slack_ns = slack_ns
        self._offset_ns: int | None = None
        self._deviation_ns = 0
        self._spacing_ns = 0
        self._last: tuple[int, int, int] | None = None  # GoP, sequence, arrival

    @property
    def spacing_ns(self) -> int:
        """Between packets of a GoP, smoothed; 0 while unknown."""
        return self._spacing_ns

    def on_packet(self, gop: int, sequence: int, *, now_ns: int) -> None:
        """A packet came first-hand."""
        last = self._last
        if last is not None and last[0] == gop and sequence > last[1]:
            spacing = (now_ns - last[2]) // (sequence - last[1])
            if self._spacing_ns:
                self._spacing_ns += (spacing - self._spacing_ns) // MEAN_DIVISOR
            else:
                self._spacing_ns = spacing
        if last is None or sequence > last[1]:
            self._last = (gop, sequence, now_ns)

    def on_end(self, after_capture_ns: int) -> None:
        """A GoP's last packet came, so long after its last frame was captured."""
        offset = self._offset_ns
        if offset is None:
            self._offset_ns = after_capture_ns
            self._deviation_ns = abs(after_capture_ns) // 2
            return
        error = after_capture_ns - offset
        self._deviation_ns += (abs(error) - self._deviation_ns) // DEVIATION_DIVISOR
        self._offset_ns = offset + error // MEAN_DIVISOR

    def missed_ns(self, captured_ns: int, *, last_ns: int, left: int) -> int | None:
        """When the end of a GoP has to be taken for lost; None: nobody knows.

        Args:
            captured_ns: its last frame.
            last_ns: arrival of its latest packet, or -1.
            left: packets that are to follow that.
        """
        if self._offset_ns is None:
            return None
        usual_ns = captured_ns + self._offset_ns + DEVIATIONS * self._deviation_ns
        if last_ns >= 0:
            usual_ns = max(usual_ns, last_ns + SPACINGS * left * self._spacing_ns)
        return usual_ns + self._slack_ns
