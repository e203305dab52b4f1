from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from testbed.analysis.statistics import (
    BOOTSTRAP_FROM,
    Alternative,
    adjusted,
    confidence_interval,
    paired_changes,
    paired_difference,
    permutation_p,
    unpaired_change,
)
from testbed.errors import LocalProtocolError

FINITE = st.floats(-1e6, 1e6)


def test_t_interval_against_the_table() -> None:
    # n = 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653.
    found = confidence_interval([1.0, 2.0, 3.0])
    assert found is not None
    assert found.method == "t"
    assert found.mean == 2
    assert found.above == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.below == pytest.approx(found.above)


def test_t_interval_agrees_with_scipy() -> None:
    from scipy import stats

    values = [3.1, 2.7, 8.8, 1.0, 4.4, 4.5]
    low, high = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
    found = confidence_interval(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


def test_bootstrap_from_twenty_values_is_repeatable_and_near_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(10, 2, 60).tolist()
    first, second = confidence_interval(values), confidence_interval(values)
    assert first is not None
    assert first == second
    assert first.method == "bca"
    half = 1.96 * np.std(values, ddof=1) / math.sqrt(60)
    assert first.below == pytest.approx(half, rel=0.1)
    assert first.above == pytest.approx(half, rel=0.1)


def test_bootstrap_follows_skew_where_t_cannot() -> None:
    values = np.random.default_rng(2).lognormal(0, 1, 40).tolist()
    found = confidence_interval(values)
    assert found is not None
    assert found.above > found.below


def test_one_value_has_no_interval_and_none_is_none() -> None:
    found = confidence_interval([4.0])
    assert found is not None
    assert (found.low, found.high, found.method) == (4.0, 4.0, "none")
    assert confidence_interval([]) is None
    assert confidence_interval([math.nan]) is None


def test_undefined_values_are_left_out() -> None:
    found = confidence_interval([1.0, math.nan, 2.0, 3.0])
    assert found is not None
    assert found.n == 3
    assert found.mean == 2


@pytest.mark.parametrize("n", [2, BOOTSTRAP_FROM])
def test_equal_values_have_an_interval_without_width(n: int) -> None:
    found = confidence_interval([0.1] * n)
    assert found is not None
    assert found.low == found.high == pytest.approx(0.1)


@given(st.lists(FINITE, min_size=2, max_size=BOOTSTRAP_FROM - 1))
def test_the_mean_lies_inside(values: list[float]) -> None:
    found = confidence_interval(values)
    assert found is not None
    assert found.low <= found.mean <= found.high
    assert found.n == len(values)


@given(st.lists(FINITE, min_size=2, max_size=8), st.floats(-100, 100))
def test_shifting_the_values_shifts_the_interval(values: list[float], by: float) -> None:
    here = confidence_interval(values)
    there = confidence_interval([value + by for value in values])
    assert here is not None
    assert there is not None
    assert there.low - by == pytest.approx(here.low, abs=1e-3, rel=1e-6)


def test_pairing_takes_out_what_both_share() -> None:
    # Cells differ by hundreds, schemes by one: unpaired intervals overlap, paired ones do not.
    a = {("c1", 1): 101.0, ("c1", 2): 201.1, ("c2", 1): 500.9}
    b = {("c1", 1): 100.0, ("c1", 2): 200.0, ("c2", 1): 500.0}
    found = paired_difference(a, b)
    assert found.interval is not None
    assert found.interval.mean == pytest.approx(1.0)
    assert found.interval.low > 0
    assert (found.pairs, found.only_a, found.only_b) == (3, 0, 0)


def test_keys_without_a_partner_are_counted_and_left_out() -> None:
    a = {"x": 1.0, "y": 2.0, "z": math.nan}
    b = {"x": 0.0, "w": 5.0, "z": 1.0}
    found = paired_difference(a, b)
    assert (found.pairs, found.only_a, found.only_b) == (1, 1, 2)
    assert found.interval is not None
    assert found.interval.mean == 1.0


def test_no_pairs_give_no_interval() -> None:
    found = paired_difference({"x": 1.0}, {"y": 1.0})
    assert found.interval is None
    assert found.pairs == 0


def test_clusters_count_once() -> None:
    # Trace t1 has three seeds with difference 3, t2 one with 1: the mean over traces is 2.
    a = {("t1", 1): 3.0, ("t1", 2): 3.0, ("t1", 3): 3.0, ("t2", 1): 1.0}
    b = dict.fromkeys(a, 0.0)
    found = paired_difference(a, b, cluster={key: key[0] for key in a})
    assert found.interval is not None
    assert found.interval.mean == 2.0
    assert found.interval.n == 2
    assert found.pairs == 4
    with pytest.raises(LocalProtocolError, match="no cluster"):
        paired_difference(a, b, cluster={})


@given(st.dictionaries(st.integers(0, 9), FINITE, min_size=1, max_size=8))
def test_a_scheme_does_not_differ_from_itself(a: dict[int, float]) -> None:
    found = paired_difference(a, a)
    assert found.interval is not None
    assert found.interval.low == found.interval.high == 0


ALTERNATIVES: tuple[Alternative, ...] = ("greater", "less", "two-sided")
VALUES = st.lists(st.floats(-100, 100), min_size=3, max_size=12)
DEALT = st.lists(st.integers(-9, 9), min_size=2, max_size=4)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@given(VALUES)
def test_paired_test_agrees_with_scipy(alternative: Alternative, values: list[float]) -> None:
    from scipy import stats

    assume(np.std(values) > 1e-3)
    (found,) = paired_changes([values], alternative)
    assert found.method == "paired t"
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0, alternative=alternative).pvalue)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_the_spread_is_pooled_as_in_an_analysis_of_variance() -> None:
    from scipy import stats

    # One-way layout by hand: within-group sums of squares 2 + 8 over 2 + 2 degrees of freedom.
    quiet, loud = [4.0, 5.0, 6.0], [1.0, 3.0, 5.0]
    error = (10 / 4 / 3) ** 0.5
    first, second = paired_changes([quiet, loud], "greater")
    assert first.p == pytest.approx(stats.t.sf(5 / error, 4))
    assert first.interval.above == pytest.approx(stats.t.ppf(0.975, 4) * error)
    # The loud one keeps its own larger spread.
    assert second.p == pytest.approx(stats.ttest_1samp(loud, 0, alternative="greater").pvalue)


def test_a_group_without_spread_is_not_tested_and_does_not_calm_the_others() -> None:
    values = [1.0, 2.0, 4.0]
    alone = paired_changes([values], "less")
    beside = paired_changes([[7.0, 7.0, 7.0], values, [0.0], [0.0, 0.0]], "less")
    assert beside[1] == alone[0]
    assert [change.p for change in (beside[0], *beside[2:])] == [None, None, None]
    assert beside[0].interval.mean == 7


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@given(VALUES, VALUES)
def test_unpaired_test_agrees_with_scipy(
    alternative: Alternative, before: list[float], after: list[float]
) -> None:
    from scipy import stats

    assume(np.std(before) > 1e-3)
    assume(np.std(after) > 1e-3)
    found = unpaired_change(before, after, alternative)
    oracle = stats.ttest_ind(after, before, equal_var=False, alternative=alternative)
    assert found.p == pytest.approx(oracle.pvalue)
    low, high = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.method == "Welch t"


def test_runs_without_spread_leave_nothing_to_test() -> None:
    assert unpaired_change([1.0], [3.0, 4.0], "greater").p is None
    found = unpaired_change([1.0, 1.0], [3.0, 3.0], "greater")
    assert (found.p, found.method, found.interval.mean) == (None, "none", 2.0)


def test_a_test_without_values_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        paired_changes([[1.0], []], "greater")
    with pytest.raises(LocalProtocolError):
        unpaired_change([1.0], [], "greater")


def test_permutation_by_counting() -> None:
    # One of the C(6, 3) = 20 ways to deal 1..6 puts the three largest after.
    before, after = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    assert permutation_p(before, after, "greater") == pytest.approx(1 / 20)
    assert permutation_p(before, after, "less") == 1
    assert permutation_p(before, after, "two-sided") == pytest.approx(2 / 20)
    assert permutation_p([1.0, 1.0], [1.0, 1.0], "greater") == 1


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@given(DEALT, DEALT)
def test_permutation_agrees_with_scipy(
    alternative: Alternative, before: list[float], after: list[float]
) -> None:
    from scipy import stats

    oracle = stats.permutation_test(
        (after, before),
        lambda a, b: np.mean(a) - np.mean(b),
        vectorized=False,
        n_resamples=np.inf,
        alternative=alternative,
    )
    assert permutation_p(before, after, alternative) == pytest.approx(oracle.pvalue)


def test_permutation_agrees_with_t_on_many_values_and_is_repeatable() -> None:
    from scipy import stats

    rng = np.random.default_rng(5)
    before, after = rng.normal(0, 1, 40).tolist(), rng.normal(0.4, 1, 40).tolist()
    found = permutation_p(before, after, "greater")
    assert found == permutation_p(before, after, "greater")
    assert found == pytest.approx(
        stats.ttest_ind(after, before, alternative="greater").pvalue, rel=0.15
    )


@given(st.lists(st.floats(0, 1), max_size=20))
def test_adjusting_agrees_with_scipy(values: list[float]) -> None:
    from scipy import stats

    oracle = stats.false_discovery_control(values, method="bh") if values else []
    assert adjusted(values) == pytest.approx(list(oracle))


def test_adjusting_by_hand() -> None:
    # Times 4/1, 4/2, 4/3, 4/4 of the sorted ones: 0.04, 0.04, 0.04, 0.04.
    assert adjusted([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.04] * 4)
    assert adjusted([0.5, 0.01]) == pytest.approx([0.5, 0.02])


@pytest.mark.parametrize("seeds", [3, 5])
def test_false_alarms_stay_below_the_level(seeds: int) -> None:
    # Twelve cells whose noise grows by a factor of four, as from no loss to much; both sides are
    # draws from the same distribution and share half of their variance, as runs of one seed do.
    rng = np.random.default_rng(seeds)
    noise = np.linspace(1, 4, 12)[:, None]
    alarms = 0
    for _ in range(300):
        shared, old, new = (noise * rng.normal(0, 1, (12, seeds)) for _ in range(3))
        before, after = (shared + old).tolist(), (shared + new).tolist()
        pairs = [np.subtract(b, a).tolist() for a, b in zip(before, after, strict=True)]
        found = [change.p for change in paired_changes(pairs, "greater")]
        alarms += min(adjusted([p for p in found if p is not None])) <= 0.05
    assert alarms / 300 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_three_seeds_are_enough_for_a_large_change_among_many_cells() -> None:
    rng = np.random.default_rng(3)
    cells = rng.normal(0, 1, (40, 3))
    cells[17] += 6
    found = [change.p for change in paired_changes(cells.tolist(), "greater")]
    shares = adjusted([p for p in found if p is not None])
    assert [index for index, p in enumerate(shares) if p <= 0.05] == [17]
