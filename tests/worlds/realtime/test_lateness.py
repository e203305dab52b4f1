"""Lateness, against numpy over everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.worlds.realtime.lateness import PERCENTILES, Lateness

#: As documented: beyond so many values every second one is kept, and so on.
MOST = 65_536


def filled(values: list[int]) -> Lateness:
    late = Lateness()
    for value in values:
        late.add(value)
    return late


def test_nothing_is_zero() -> None:
    assert Lateness().facts() == {
        "count": 0, "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0,
    }  # fmt: skip


@given(st.lists(st.integers(-(10**9), 10**12), min_size=1, max_size=200))
def test_percentiles_are_numpys(values: list[int]) -> None:
    late = filled(values)
    assert late.count == len(values)
    assert late.values_ns().tolist() == values
    for percent in PERCENTILES:
        expected = np.percentile(np.array(values, np.float64), percent)
        assert late.percentile_ns(percent) == pytest.approx(expected, abs=1)
    assert late.facts()["max_ms"] == max(0, *values) / 1e6
    assert late.facts()["count"] == len(values)


@pytest.mark.parametrize("count", [MOST - 1, MOST, MOST + 1, 2 * MOST + 3, 5 * MOST + 17])
def test_memory_is_bounded_and_thinning_is_even(count: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.gamma(2.0, 100_000.0, count).astype(np.int64)
    late = filled(values.tolist())
    kept = late.values_ns()
    assert late.count == count
    assert len(kept) <= MOST
    assert late.most_ns == values.max()
    every = 1
    while count >= every * MOST:
        every *= 2
    # Evenly over the whole time: every n-th value from the first on, and no other.
    assert kept.tolist() == values[::every].tolist()
    assert len(kept) * every >= count
    for percent in PERCENTILES:
        expected = float(np.percentile(values, percent))
        # 32 768 values or more: their percentiles are those of all to a few per cent.
        assert late.percentile_ns(percent) == pytest.approx(expected, rel=0.05)


def test_the_largest_is_kept_although_it_was_thinned_out() -> None:
    values = [0] * (2 * MOST)
    values[1] = 77_000_000
    late = filled(values)
    assert late.facts()["max_ms"] == 77.0
    assert late.percentile_ns(100.0) == 0
