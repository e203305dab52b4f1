"""Curves and BD-rate against closed forms and published figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.codec.rd import at_rate, bd_rate

#: The example of PyPI's `bjontegaard` 1.3.0 (README), whose PCHIP equals the Excel sheet of
#: JVET-T2010 in ten digits by its authors' account; the figure is what it prints for `pchip`.
ANCHOR = [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)]
TEST = [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)]
PUBLISHED = -4.417485350589045

curves = st.lists(st.tuples(st.floats(50, 4000), st.floats(0, 100)), min_size=3, max_size=8)


def test_the_published_example() -> None:
    found = bd_rate(ANCHOR, TEST)
    assert found is not None
    assert found.percent == pytest.approx(PUBLISHED, abs=1e-9)
    assert found.overlap == pytest.approx((40.037 - 34.987) / (40.121 - 34.851))


def test_half_the_rate_is_minus_fifty_percent() -> None:
    found = bd_rate(ANCHOR, [(rate / 2, quality) for rate, quality in ANCHOR])
    assert found is not None
    assert found.percent == pytest.approx(-50)
    assert found.overlap == 1


@given(curves, curves)
def test_swapping_the_curves_inverts_the_ratio(
    one: list[tuple[float, float]], two: list[tuple[float, float]]
) -> None:
    there, back = bd_rate(one, two), bd_rate(two, one)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1, rel=1e-6)
        assert 0 < there.overlap <= 1


def test_curves_that_share_no_quality_have_no_figure() -> None:
    assert bd_rate([(100, 10), (200, 20)], [(100, 30), (200, 40)]) is None
    assert bd_rate([(100, 10)], ANCHOR) is None
    assert bd_rate([], ANCHOR) is None


def test_a_point_that_costs_more_for_less_is_left_out() -> None:
    assert bd_rate(ANCHOR, [*TEST, (20_000.0, 39.0)]) == bd_rate(ANCHOR, TEST)


def test_between_points_on_a_line_over_log_rate_the_line_is_met() -> None:
    points = [(rate, 20 * math.log2(rate / 100)) for rate in (100, 200, 400, 800)]
    for rate in (100, 150, 333, 800):
        assert at_rate(points, rate) == pytest.approx(20 * math.log2(rate / 100))


@given(curves, st.floats(50, 4000))
def test_what_is_answered_lies_within_what_was_measured(
    points: list[tuple[float, float]], rate: float
) -> None:
    value = at_rate(points, rate)
    rates, values = [r for r, _ in points], [q for _, q in points]
    if rate < 0.97 * min(rates) or rate > 1.03 * max(rates):
        assert value is None
    elif value is not None:
        assert min(values) - 1e-6 <= value <= max(values) + 1e-6


def test_outside_of_what_was_measured_there_is_no_answer() -> None:
    assert at_rate(ANCHOR, 1000) is None
    assert at_rate(ANCHOR, 1358.24 * 0.99) == pytest.approx(34.851)
    assert at_rate([], 100) is None
    assert at_rate([(100, 5.0)], 100) == 5.0


def test_a_miss_at_a_hopeless_rate_does_not_pull_the_curve_down() -> None:
    """x265 asked for 50 kbps gave 119 kbps at VMAF 5, asked for 100 it gave 111 at VMAF 14."""
    points = [(111.4, 14.1), (119.0, 5.4), (210.7, 35.8)]
    value = at_rate(points, 119)
    assert value is not None
    assert value > 14.1
    assert at_rate(points, 100) is None
