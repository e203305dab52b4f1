"""Confidence intervals over seeds, paired differences, and tests of whether a mean has moved.

Frames and packets within a run are correlated, so a run gives one value and intervals are over
runs: over seeds within a cell, or over cells (or traces) where several are pooled.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from testbed.errors import LocalProtocolError
from testbed.randomness import generator

#: From this many values on the interval is a bootstrap. BCa's skewness correction rests on the
#: empirical distribution, which below about twenty values is too coarse in the tails that a 95 %
#: interval needs (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 14).
BOOTSTRAP_FROM: Final = 20
RESAMPLES: Final = 9999
CONFIDENCE: Final = 0.95
#: A spread below this share of the mean is rounding.
_NO_SPREAD: Final = 1e-12


Floats = NDArray[np.float64]


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


#: Which way a mean must have moved to count: up, down, or either.
Alternative = Literal["greater", "less", "two-sided"]


@dataclass(frozen=True, slots=True)
class Change:
    """How a mean moved: after − before.

    Attributes:
        interval: of the change.
        p: probability of so large a change, in the direction asked for, if the mean had not
            moved; None where no test can say: one value, or values without any spread.
        method: "paired t", "Welch t" or "none".
    """

    interval: Interval
    p: float | None
    method: Literal["paired t", "Welch t", "none"]


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
    if float(np.ptp(kept)) <= _NO_SPREAD * max(abs(mean), 1e-300):  # no spread, whatever the method
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


def paired_changes(
    groups: Sequence[Sequence[float]], alternative: Alternative
) -> list[Change]:
    """Student's t-tests of paired differences (after − before) against 0, one a group.

    Three seeds say little about their own spread: alone they leave two degrees of freedom. As in
    an analysis of variance the spread is therefore pooled over the groups. A group with a larger
    spread keeps its own, and its own degrees of freedom, so that a noisy group is not judged by
    quiet ones. A group whose differences are all equal has nothing to test; it does not enter the
    pool either, or it would make the others look more certain than they are.

    Args:
        groups: differences of one cell each, at least one, all finite.
        alternative: which way counts.

    Raises:
        LocalProtocolError: a group without differences.
    """
    if not all(groups):
        raise LocalProtocolError("a group has no differences to test")
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    own = [float(np.var(a, ddof=1)) if _spread(a) else 0.0 for a in arrays]
    freedoms = [a.size - 1 if variance else 0 for a, variance in zip(arrays, own, strict=True)]
    total = sum(freedoms)
    pooled = sum(v * f for v, f in zip(own, freedoms, strict=True)) / total if total else 0.0
    found = []
    for a, variance in zip(arrays, own, strict=True):
        if not variance:
            mean = float(np.mean(a))
            single: Literal["t", "none"] = "t" if a.size > 1 else "none"
            found.append(Change(Interval(mean, mean, mean, int(a.size), single), None, "none"))
        elif variance > pooled:
            found.append(_change(a, variance, a.size - 1, alternative))
        else:
            found.append(_change(a, pooled, total, alternative))
    return found


def _spread(values: Floats) -> bool:
    scale = float(np.max(np.abs(values)))
    return values.size > 1 and float(np.ptp(values)) > _NO_SPREAD * scale


def _change(values: Floats, variance: float, freedom: int, alternative: Alternative) -> Change:
    from scipy.special import stdtrit

    mean, error = float(np.mean(values)), math.sqrt(variance / values.size)
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    interval = Interval(mean, mean - half, mean + half, int(values.size), "t")
    return Change(interval, _tail(mean / error, freedom, alternative), "paired t")


def unpaired_change(
    before: Sequence[float], after: Sequence[float], alternative: Alternative
) -> Change:
    """Welch's t-test and interval of mean(after) − mean(before) for runs that share no seeds.

    Args:
        before: at least one value, all finite.
        after: likewise.
        alternative: which way counts.

    Raises:
        LocalProtocolError: one of the sides is empty.
    """
    if not before or not after:
        raise LocalProtocolError("a side has no values to test")
    from scipy.special import stdtrit

    a, b = (np.asarray(side, dtype=np.float64) for side in (before, after))
    mean = float(np.mean(b) - np.mean(a))
    n = int(a.size + b.size)
    if a.size < 2 or b.size < 2:
        return Change(Interval(mean, mean, mean, n, "none"), None, "none")
    of_a, of_b = (float(np.var(side, ddof=1)) / side.size for side in (a, b))
    error = math.sqrt(of_a + of_b)
    if not (_spread(a) or _spread(b)):
        return Change(Interval(mean, mean, mean, n, "t"), None, "none")
    # Welch and Satterthwaite's degrees of freedom.
    freedom = error**4 / (of_a**2 / (a.size - 1) + of_b**2 / (b.size - 1))
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    interval = Interval(mean, mean - half, mean + half, n, "t")
    return Change(interval, _tail(mean / error, freedom, alternative), "Welch t")


def _tail(t: float, freedom: float, alternative: Alternative) -> float:
    """Probability of a t-value at least as far out, in the direction that counts."""
    from scipy.special import stdtr

    if alternative == "two-sided":
        return 2 * float(stdtr(freedom, -abs(t)))
    return float(stdtr(freedom, -t if alternative == "greater" else t))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given.

    An adjusted value below 0.05 keeps the chance of even one false alarm among all of them below
    5 %, whatever the dependence between them.
    """
    adjusted = [1.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted
