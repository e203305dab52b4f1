"""CUBIC's congestion window (RFC 9438), in segments.

Slow start is RFC 5681's, without HyStart++: it ends at the first loss.
"""

from __future__ import annotations

from typing import Final

#: RFC 9438, section 5.
C: Final = 0.4
BETA: Final = 0.7
#: RFC 9438, section 4.3: growth that is fair to Reno while its window is below the earlier maximum.
ALPHA: Final = 3 * (1 - BETA) / (1 + BETA)
#: RFC 6928.
INITIAL_WINDOW: Final = 10.0
#: RFC 9438, section 4.2: a window grows by at most half in a round trip.
MOST_GROWTH: Final = 1.5
_S: Final = 1e9


class Cubic:
    """The window; fed with acknowledged segments and losses.

    Attributes:
        window: segments that may be under way, >= 1.
        threshold: slow start ends here, segments.
    """

    def __init__(self) -> None:
        self.window = INITIAL_WINDOW
        self.threshold = float("inf")
        self._most = 0.0  # W_max
        self._epoch_ns = -1
        self._wait_s = 0.0  # K
        self._reno = 0.0  # W_est

    @property
    def in_slow_start(self) -> bool:
        """Whether every acknowledged segment adds one."""
        return self.window < self.threshold

    def on_acknowledged(self, segments: int, *, rtt_ns: int, now_ns: int) -> None:
        """Segments arrived while the window was in use.

        Args:
            segments: newly acknowledged, >= 1.
            rtt_ns: smoothed round trip.
            now_ns: time.
        """
        if self.in_slow_start:
            self.window = min(self.window + segments, max(self.threshold, self.window))
            return
        if self._epoch_ns < 0:
            self._begin(now_ns)
        # What the window should be a round trip from now (section 4.2).
        ahead_s = (now_ns - self._epoch_ns + rtt_ns) / _S
        target = C * (ahead_s - self._wait_s) ** 3 + self._most
        target = min(max(target, self.window), MOST_GROWTH * self.window)
        grown = self.window + segments * (target - self.window) / self.window
        alpha = ALPHA if self._reno < self._most else 1.0
        self._reno += alpha * segments / self.window
        now_s = (now_ns - self._epoch_ns) / _S
        if C * (now_s - self._wait_s) ** 3 + self._most < self._reno:
            grown = self._reno
        self.window = grown

    def on_loss(self) -> None:
        """A loss, at most once a round trip (section 4.6)."""
        # Fast convergence (section 4.7): leave room to a newer flow.
        shrinking = self.window < self._most
        self._most = self.window * (1 + BETA) / 2 if shrinking else self.window
        self.threshold = self.window = max(2.0, self.window * BETA)
        self._epoch_ns = -1

    def on_timeout(self) -> None:
        """Nothing came back for a retransmission timeout (section 4.8, RFC 5681)."""
        self._most = self.window
        self.threshold = max(2.0, self.window * BETA)
        self.window = 1.0
        self._epoch_ns = -1

    def _begin(self, now_ns: int) -> None:
        """The start of congestion avoidance (sections 4.2 and 4.8)."""
        self._epoch_ns = now_ns
        self._reno = self.window
        self._most = max(self._most, self.window)
        self._wait_s = ((self._most - self.window) / C) ** (1 / 3)
