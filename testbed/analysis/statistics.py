"""Confidence intervals over seeds, paired differences, and tests of whether a mean has moved.

Frames and packets within a run are correlated, so a run gives one value and intervals are over
runs: over seeds within a cell, or over cells (or traces) where several are pooled.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
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
Method = Literal["paired t", "Welch t", "none"]


@dataclass(frozen=True, slots=True)
class Change:
    """How a mean moved: after − before.

    Attributes:
        interval: of the change.
        p: probability of so large a change, in the direction asked for, if the mean had not
            moved; None where no test can say: one value, or values without any spread.
        method: the test, or "none".
    """

    interval: Interval
    p: float | None
    method: Method


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


def paired_changes(groups: Sequence[Sequence[float]], alternative: Alternative) -> list[Change]:
    """Student's t-tests of paired differences (after − before) against 0, one a group.

    Spreads are pooled over the groups, see `_pool`. A group whose differences are all equal has
    nothing to test.

    Args:
        groups: differences of one cell each, at least one, all finite.
        alternative: which way counts.

    Raises:
        LocalProtocolError: a group without differences.
    """
    found = []
    for values, (variance, freedom) in zip(groups, _pool(groups), strict=True):
        mean = float(np.mean(values))
        if not _spread(values):
            found.append(_untested(mean, len(values)))
            continue
        error = math.sqrt(variance / len(values))
        found.append(_change(mean, error, freedom, len(values), alternative, "paired t"))
    return found


def _pool(groups: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """Variance and degrees of freedom to judge each group by.

    Three seeds say little about their own spread: alone they leave two degrees of freedom. As in
    an analysis of variance the spread is therefore pooled over the groups. A group with a larger
    spread keeps its own, and its own degrees of freedom, so that a noisy group is not judged by
    quiet ones. A group whose values are all equal does not enter the pool, or it would make the
    others look more certain than they are.
    """
    if not all(groups):
        raise LocalProtocolError("a group has no values to test")
    own = [float(np.var(group, ddof=1)) if _spread(group) else 0.0 for group in groups]
    freedoms = [len(g) - 1 if variance else 0 for g, variance in zip(groups, own, strict=True)]
    total = sum(freedoms)
    pooled = sum(v * f for v, f in zip(own, freedoms, strict=True)) / total if total else 0.0
    return [
        (variance, freedom) if variance > pooled else (pooled, total)
        for variance, freedom in zip(own, freedoms, strict=True)
    ]


def _spread(values: Sequence[float]) -> bool:
    return len(values) > 1 and float(np.ptp(values)) > _NO_SPREAD * float(np.max(np.abs(values)))


def _untested(mean: float, n: int) -> Change:
    return Change(Interval(mean, mean, mean, n, "none"), None, "none")


def _change(
    mean: float, error: float, freedom: float, n: int, alternative: Alternative, method: Method
) -> Change:
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    t = mean / error
    if alternative == "two-sided":
        p = 2 * float(stdtr(freedom, -abs(t)))
    else:
        p = float(stdtr(freedom, -t if alternative == "greater" else t))
    return Change(Interval(mean, mean - half, mean + half, n, "t"), p, method)


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
    mean = float(np.mean(after) - np.mean(before))
    n = len(before) + len(after)
    if len(before) < 2 or len(after) < 2 or not (_spread(before) or _spread(after)):
        return _untested(mean, n)
    of_a, of_b = (float(np.var(side, ddof=1)) / len(side) for side in (before, after))
    error = math.sqrt(of_a + of_b)
    # Welch and Satterthwaite's degrees of freedom.
    freedom = error**4 / (of_a**2 / (len(before) - 1) + of_b**2 / (len(after) - 1))
    return _change(mean, error, freedom, n, alternative, "Welch t")


def permutation_p(
    before: Sequence[float], after: Sequence[float], alternative: Alternative
) -> float:
    """Share of the ways to deal all values to two sides that move the mean at least as far.

    Exact up to `RESAMPLES` ways (seven values a side), else by as many random ones. It assumes
    nothing about how values are distributed, and is not put off by a change that hits some seeds
    much harder than others, as a broken retransmission does.

    Args:
        before: at least one value, all finite.
        after: likewise.
        alternative: which way counts.
    """
    values = np.asarray([*after, *before], dtype=np.float64)
    dealt = _deals(len(after), len(before)) @ values
    observed = float(np.sum(after))
    # Sums in another order differ by rounding.
    slack = 1e-9 * max(float(np.sum(np.abs(values))), 1e-300)
    above = float(np.mean(dealt >= observed - slack))
    below = float(np.mean(dealt <= observed + slack))
    if alternative == "two-sided":
        return min(1.0, 2 * min(above, below))
    return above if alternative == "greater" else below


@cache
def _deals(first: int, second: int) -> NDArray[np.float64]:
    """Ways to deal values to two sides, one a row: 1 for the first side's, 0 for the other's.

    All of them, or the way that they lie and random ones.
    """
    count = first + second
    if math.comb(count, first) <= RESAMPLES:
        chosen = np.array(list(combinations(range(count), first)))
    else:
        rng = generator(0, "analysis/permutation")
        order = rng.permuted(np.tile(np.arange(count), (RESAMPLES, 1)), axis=1)
        chosen = np.vstack([np.arange(first), order[:, :first]])
    deals = np.zeros((len(chosen), count))
    np.put_along_axis(deals, chosen, 1.0, axis=1)
    return deals


def adjusted(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Benjamini and Hochberg 1995), in the order given.

    Of all that come out below 0.05, at most 5 % are expected to be chance; where nothing has
    changed at all, the probability of even one such alarm is at most 5 %. That is what an exit
    code needs, and unlike Holm's adjustment it does not grow blind as metrics and cells are added:
    a real regression moves many of them, and they support each other.
    """
    found = [1.0] * len(values)
    smallest = 1.0
    order = sorted(range(len(values)), key=values.__getitem__)
    for rank in range(len(order), 0, -1):
        smallest = min(smallest, values[order[rank - 1]] * len(order) / rank)
        found[order[rank - 1]] = smallest
    return found
