"""Bytes on the wire and the budget of GoPs."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.codec.rates import GopBudget, cut_to_packets, kbps, wire_bytes


def test_headers_are_those_of_ipv4_udp_and_rtp() -> None:
    assert wire_bytes([1200, 1]) == 1200 + 1 + 2 * (20 + 8 + 12)


@given(st.integers(0, 10**6))
def test_packets_hold_all_bytes_and_no_empty_one(size: int) -> None:
    packets = cut_to_packets(size)
    assert sum(packets) == size
    assert all(0 < packet <= 1200 for packet in packets)
    assert len(packets) == -(-size // 1200)


def test_rate_of_a_second() -> None:
    assert kbps(50_000, 30, Fraction(30)) == pytest.approx(400)
    assert kbps(50_050, 30, Fraction(30_000, 1001)) == pytest.approx(400)


def _coded(budget: GopBudget, shares: list[float], unit_bytes: int) -> tuple[int, int]:
    """Wire bytes and frames of an encoder that misses its budget by the given factors."""
    total = 0
    for share in shares:
        size = max(1, round(budget.next(9) * share))
        units = [unit_bytes] * (size // unit_bytes) + [size % unit_bytes] * (size % unit_bytes > 0)
        budget.record(9, units)
        total += wire_bytes(units)
    return total, 9 * len(shares)


@given(
    st.floats(20, 5000),
    st.sampled_from([Fraction(24), Fraction(30_000, 1001), Fraction(60)]),
    st.integers(100, 1400),
    st.lists(st.floats(0.9, 1.1), min_size=12, max_size=40),
)
def test_the_whole_meets_its_rate_whatever_single_gops_do(
    rate: float, fps: Fraction, unit_bytes: int, shares: list[float]
) -> None:
    total, frames = _coded(GopBudget(rate, fps), shares, unit_bytes)
    # What is left is the miss of the last GoPs; below a few hundred bytes a GoP, headers decide.
    worth = rate * 125 / float(fps) * 9
    slack = 0.03 if worth > 2000 else 0.6
    assert kbps(total, frames, fps) == pytest.approx(rate, rel=slack)


def test_a_constant_overshoot_is_taken_back() -> None:
    total, frames = _coded(GopBudget(400, Fraction(30)), [1.3] * 30, 1200)
    assert kbps(total, frames, Fraction(30)) == pytest.approx(400, rel=0.03)


def test_a_still_scene_saves_for_one_gop_only() -> None:
    budget = GopBudget(400, Fraction(30))
    first = budget.next(9)
    for _ in range(50):
        budget.record(9, [40])
    assert first < budget.next(9) <= 2 * 15_000
    budget.record(9, [1000] * 28)
    assert budget.next(9) <= 1.1 * first


def test_after_a_far_too_large_gop_the_next_ones_still_get_something() -> None:
    budget = GopBudget(400, Fraction(30))
    budget.record(9, [1200] * 500)
    assert budget.next(9) >= 0.2 * 15_000


def test_a_hopeless_rate_asks_for_a_few_bytes() -> None:
    assert GopBudget(0.01, Fraction(30)).next(9) > 0


@given(st.lists(st.integers(0, 6000), min_size=30, max_size=60), st.integers(100, 1400))
def test_repeats_are_within_the_rate(repeats: list[int], unit_bytes: int) -> None:
    budget, total = GopBudget(400, Fraction(30)), 0
    for size_bytes in repeats:
        budget.repeat(size_bytes)
        size = budget.next(9)
        units = [unit_bytes] * (size // unit_bytes) + [size % unit_bytes] * (size % unit_bytes > 0)
        budget.record(9, units)
        total += wire_bytes(units) + size_bytes
    # What the latest repeats took may not be paid back yet: at most two GoPs' worth of 15 kB.
    assert -0.01 <= kbps(total, 9 * len(repeats), Fraction(30)) / 400 - 1 <= 2 / len(repeats)


def test_a_burst_of_repeats_is_paid_by_several_gops() -> None:
    budget = GopBudget(400, Fraction(30))
    usual = budget.next(9)
    budget.repeat(15_000)  # a whole GoP's worth
    sizes = []
    for _ in range(4):
        size = budget.next(9)
        sizes.append(size)
        budget.record(9, [size // 13] * 13)
    assert 0.45 * usual < sizes[0] < 0.55 * usual
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
    assert sizes[2] == pytest.approx(usual, rel=0.1)


def test_without_repeats_nothing_changes() -> None:
    plain, told = GopBudget(400, Fraction(30)), GopBudget(400, Fraction(30))
    for size in (14_000, 15_500, 3000, 20_000):
        told.repeat(0)
        assert plain.next(9) == told.next(9)
        for budget in (plain, told):
            budget.record(9, [size // 10] * 10)
