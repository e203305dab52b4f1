"""Two ways to see a growing queue in noisy delay variations."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from testbed.protocol.congestion.gcc import constants as c
from testbed.protocol.congestion.gcc.groups import GroupDelta


class DelayFilter(Protocol):
    """Groups in, an offset in ms out that is compared with the threshold."""

    def update(self, delta: GroupDelta) -> float:
        """The offset after another group."""


class KalmanFilter:
    """m_hat of draft-ietf-rmcat-gcc-02 section 5.3, in ms, times the number of groups up to 60.

    The draft compares m_hat itself with the threshold. A queue that grows by a tenth of the
    capacity adds 3 ms a frame, so a threshold that starts at 12.5 ms would never be met; the Kalman
    forms of libwebrtc and pion scale the estimate, and so do we.
    """

    def __init__(self) -> None:
        self._deltas = 0
        self._offset = 0.0
        self._variance = c.KALMAN_E0
        self._noise = c.KALMAN_LEAST_NOISE
        self._gaps: deque[float] = deque(maxlen=c.KALMAN_GROUPS)

    def update(self, delta: GroupDelta) -> float:
        """One step of the filter."""
        self._gaps.append(max(delta.sent_ms, 0.1))
        z = delta.variation_ms - self._offset
        # f_max in groups a second; the gaps are in ms.
        f_max = 1000 / min(self._gaps)
        alpha = (1 - c.KALMAN_CHI) ** (30 / f_max)
        bound = c.KALMAN_OUTLIER * math.sqrt(self._noise)
        clipped = min(max(z, -bound), bound)
        noise = alpha * self._noise + (1 - alpha) * clipped * clipped
        self._noise = max(noise, c.KALMAN_LEAST_NOISE)
        predicted = self._variance + c.KALMAN_Q
        gain = predicted / (self._noise + predicted)
        self._offset += clipped * gain
        self._variance = (1 - gain) * predicted
        self._deltas = min(self._deltas + 1, c.MAX_DELTAS)
        return self._deltas * self._offset


class TrendLine:
    """Slope of the smoothed, accumulated delay over time, scaled (libwebrtc)."""

    def __init__(self) -> None:
        self._deltas = 0
        self._accumulated = 0.0
        self._smoothed = 0.0
        self._first_ns: int | None = None
        self._points: deque[tuple[float, float]] = deque(maxlen=c.TRENDLINE_GROUPS)
        self._slope = 0.0

    def update(self, delta: GroupDelta) -> float:
        """One more point."""
        self._deltas = min(self._deltas + 1, c.MAX_DELTAS)
        if self._first_ns is None:
            self._first_ns = delta.arrival_ns
        self._accumulated += delta.variation_ms
        weight = c.TRENDLINE_SMOOTHING
        self._smoothed = weight * self._smoothed + (1 - weight) * self._accumulated
        self._points.append(((delta.arrival_ns - self._first_ns) / 1e6, self._smoothed))
        if len(self._points) == c.TRENDLINE_GROUPS:
            self._slope = _slope(self._points, self._slope)
        return self._deltas * self._slope * c.TRENDLINE_GAIN


def _slope(points: deque[tuple[float, float]], otherwise: float) -> float:
    """Least-squares slope; `otherwise` when all points lie at one time."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    square = sum((x - mean_x) ** 2 for x, _ in points)
    if square <= 0:
        return otherwise
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / square
