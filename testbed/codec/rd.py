"""Curves of quality over rate: what a codec reaches at given bytes, and BD-rate.

Between measured points a curve is the monotone piecewise cubic (PCHIP) over the logarithm of the
rate, as in the common test conditions of JVET (JVET-T2010) and in ITU-T HSTP-VID-WPOM.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: A rate this little outside what was measured is still answered, with the nearest point.
EDGE_SHARE: Final = 0.02
#: Closer than this, rates (as a share) and qualities are the same.
SAME_RATE: Final = 1e-4
SAME_QUALITY: Final = 1e-6

Point = tuple[float, float]
"""Rate in kbps (> 0) and quality."""


@dataclass(frozen=True, slots=True)
class BdRate:
    """Mean difference in rate at equal quality.

    Attributes:
        percent: negative: the tested codec needs that much less.
        overlap: share of the qualities of both curves that both reach, 0..1; the figure says
            nothing about the rest.
    """

    percent: float
    overlap: float


def at_rate(points: Iterable[Point], kbps: float) -> float | None:
    """Quality at `kbps`; None where the curve was not measured.

    Points that cost more and are no better than another one are left out, as for `bd_rate`: an
    encoder that misses a rate too low for it can do worse with more.
    """
    curve = _rising(_by_rate(points))
    if not curve:
        return None
    low, high = curve[0][0], curve[-1][0]
    if not low * (1 - EDGE_SHARE) <= kbps <= high * (1 + EDGE_SHARE):
        return None
    kbps = min(max(kbps, low), high)
    if len(curve) == 1:
        return curve[0][1]
    x = [math.log(rate) for rate, _ in curve]
    return float(_pchip(x, [quality for _, quality in curve])(math.log(kbps)))


def bd_rate(anchor: Iterable[Point], test: Iterable[Point]) -> BdRate | None:
    """BD-rate of `test` against `anchor` (Bjontegaard, VCEG-M33; PCHIP as in JVET-T2010).

    Points that cost more and are no better than one before them are left out: a curve that falls
    has no rate for a quality.

    Returns:
        None where either curve has fewer than two points, or they share no quality.
    """
    curves = [_rising(_by_rate(points)) for points in (anchor, test)]
    if any(len(curve) < 2 for curve in curves):
        return None
    lows, highs = [c[0][1] for c in curves], [c[-1][1] for c in curves]
    low, high = max(lows), min(highs)
    if high <= low:
        return None
    areas = []
    for curve in curves:
        log_rates = [math.log(rate) for rate, _ in curve]
        areas.append(float(_pchip([q for _, q in curve], log_rates).integrate(low, high)))
    difference = (areas[1] - areas[0]) / (high - low)
    overlap = (high - low) / (max(highs) - min(lows))
    return BdRate(100 * (math.exp(difference) - 1), overlap)


def _by_rate(points: Iterable[Point]) -> list[Point]:
    """In order of rate; of several at (almost) one rate, the best."""
    curve: list[Point] = []
    for rate, quality in sorted(points):
        if curve and rate < curve[-1][0] * (1 + SAME_RATE):
            curve[-1] = (curve[-1][0], max(quality, curve[-1][1]))
        else:
            curve.append((rate, quality))
    return curve


def _rising(curve: Sequence[Point]) -> list[Point]:
    rising: list[Point] = []
    for rate, quality in curve:
        if not rising or quality > rising[-1][1] + SAME_QUALITY:
            rising.append((rate, quality))
    return rising


def _pchip(x: Sequence[float], y: Sequence[float]) -> Any:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(x, y)
