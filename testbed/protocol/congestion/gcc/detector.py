"""Over-use detector with an adaptive threshold (draft-ietf-rmcat-gcc-02 section 5.4)."""

from __future__ import annotations

from enum import Enum

from testbed.protocol.congestion.gcc import constants as c


class Usage(Enum):
    """What the delay says of the path."""

    NORMAL = "normal"
    OVERUSE = "overuse"
    UNDERUSE = "underuse"


class OveruseDetector:
    """Compares the filter's offset with a threshold that follows it slowly.

    Args:
        gains: of the threshold.

    Attributes:
        threshold_ms: del_var_th.
        usage: the last verdict.
    """

    def __init__(self, gains: c.Gains) -> None:
        self._gains = gains
        self.threshold_ms = c.THRESHOLD_INITIAL_MS
        self.usage = Usage.NORMAL
        self._previous_ms = 0.0
        self._over_ms = 0.0
        self._over_count = 0
        self._last_ns: int | None = None

    def update(self, offset_ms: float, *, sent_ms: float, arrival_ns: int) -> Usage:
        """A verdict after another group.

        Args:
            offset_ms: of the filter.
            sent_ms: between the sendings of this group and the one before.
            arrival_ns: arrival of the group.
        """
        if offset_ms > self.threshold_ms:
            # Half of the first interval: over-use began somewhere within it.
            self._over_ms += sent_ms / 2 if self._over_count == 0 else sent_ms
            self._over_count += 1
            lasting = self._over_ms > c.OVERUSE_MS and self._over_count > 1
            if lasting and offset_ms >= self._previous_ms:
                self._over_ms = 0.0
                self._over_count = 0
                self.usage = Usage.OVERUSE
        else:
            self._over_ms = 0.0
            self._over_count = 0
            under = offset_ms < -self.threshold_ms
            self.usage = Usage.UNDERUSE if under else Usage.NORMAL
        self._previous_ms = offset_ms
        self._adapt(offset_ms, arrival_ns)
        return self.usage

    def _adapt(self, offset_ms: float, arrival_ns: int) -> None:
        last_ns, self._last_ns = self._last_ns, arrival_ns
        if last_ns is None:
            return
        distance_ms = abs(offset_ms) - self.threshold_ms
        if distance_ms > c.THRESHOLD_OUTLIER_MS:
            return
        gain = self._gains.down if distance_ms < 0 else self._gains.up
        step_ms = min(max((arrival_ns - last_ns) / 1e6, 0.0), c.THRESHOLD_MAX_STEP_MS)
        threshold = self.threshold_ms + step_ms * gain * distance_ms
        self.threshold_ms = min(max(threshold, c.THRESHOLD_LEAST_MS), c.THRESHOLD_MOST_MS)
