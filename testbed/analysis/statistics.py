"""Confidence intervals over seeds and paired differences.

Frames and packets within a run are correlated, so a run gives one value and intervals are over
runs: over seeds within a cell, or over cells (or traces) where several are pooled.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from testbed.errors import LocalProtocolError
from testbed.randomness import generator

#: From this many values on the interval is a bootstrap. BCa's skewness correction rests on the
#: empirical distribution, which below about twenty values is too coarse in the tails that a 95 %
#: interval needs (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 14).
BOOTSTRAP_FROM: Final = 20
RESAMPLES: Final = 9999
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % confidence interval.

    Attributes:
        mean: arithmetic mean of the values.
        low: lower end of the interval; equal to the mean when there is none.
        high: upper end, likewise.
        n: number of values.
        method: "t" (Student), "bca" (bootstrap, bias-corrected and accelerated) or "none" (a
            single value says nothing about its spread).
    """

    mean: float
    low: float
    high: float
    n: int
    method: Literal["t", "bca", "none"]

    @property
    def below(self) -> float:
        """Distance from the mean to the lower end."""
        return self.mean - self.low

    @property
    def above(self) -> float:
        """Distance from the mean to the upper end."""
        return self.high - self.mean


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """a − b over pairs that share their key (cell and seed).

    Attributes:
        interval: of the differences; with clusters, of the clusters' mean differences.
        pairs: keys present on both sides.
        only_a: keys of a without a partner, left out.
        only_b: keys of b without one.
    """

    interval: Interval | None
    pairs: int
    only_a: int
    only_b: int


def confidence_interval(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean: Student's t below `BOOTSTRAP_FROM` values, BCa from there on.

    NaN stands for "undefined in this run" and is left out; None when nothing is left.
    """
    kept = np.asarray([v for v in values if not math.isnan(v)], dtype=np.float64)
    n = int(kept.size)
    if n == 0:
        return None
    mean = float(np.mean(kept))
    if n == 1:
        return Interval(mean, mean, mean, 1, "none")
    if float(np.ptp(kept)) <= 1e-12 * max(abs(mean), 1e-300):  # no spread, whatever the method
        return Interval(mean, mean, mean, n, "t" if n < BOOTSTRAP_FROM else "bca")
    if n < BOOTSTRAP_FROM:
        from scipy.special import stdtrit

        quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
        half = quantile * float(np.std(kept, ddof=1)) / math.sqrt(n)
        return Interval(mean, mean - half, mean + half, n, "t")
    from scipy.stats import bootstrap

    found = bootstrap(
        (kept,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        vectorized=True,
        batch=1000,  # bounds memory for thousands of values
        rng=generator(0, "analysis/bootstrap"),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), n, "bca")


def paired_difference(
    a: Mapping[Hashable, float],
    b: Mapping[Hashable, float],
    *,
    cluster: Mapping[Hashable, Hashable] | None = None,
) -> PairedDifference:
    """The mean of a − b over the keys of both.

    Pairing by (cell, seed) takes out what both schemes share: trace, phase and loss mask.

    Args:
        a: value of a metric by (cell_id, seed); NaN is left out.
        b: the same of the other scheme.
        cluster: group of each key (its trace, say); values within a group are averaged first,
            because runs over the same trace are not independent.

    Raises:
        LocalProtocolError: a key without a cluster.
    """
    of_a = {key for key, value in a.items() if not math.isnan(value)}
    of_b = {key for key, value in b.items() if not math.isnan(value)}
    # In the order of `a`, so that the same runs give the same bootstrap.
    both = [key for key in a if key in of_a and key in of_b]
    differences = [a[key] - b[key] for key in both]
    if cluster is not None:
        groups: dict[Hashable, list[float]] = {}
        for key, difference in zip(both, differences, strict=True):
            if key not in cluster:
                raise LocalProtocolError(f"no cluster for {key!r}")
            groups.setdefault(cluster[key], []).append(difference)
        differences = [float(np.mean(group)) for group in groups.values()]
    return PairedDifference(
        confidence_interval(differences),
        len(both),
        len(of_a) - len(both),
        len(of_b) - len(both),
    )
