from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.statistics import (
    BOOTSTRAP_FROM,
    confidence_interval,
    paired_difference,
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
