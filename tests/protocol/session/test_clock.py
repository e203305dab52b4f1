from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.session.clock import (
    KEPT_EXCHANGES,
    MAX_TIME_NS,
    ClockEstimate,
    ClockFilter,
    estimate,
)

times = st.integers(-(2**63), 2**63 - 1)
delays = st.integers(0, 10**11)


@given(st.integers(-(2**61), 2**61), st.integers(0, 2**40), delays, delays, delays)
def test_the_offset_against_the_closed_form(
    offset_ns: int, t1_ns: int, there_ns: int, held_ns: int, back_ns: int
) -> None:
    t2_ns = t1_ns + there_ns + offset_ns
    t3_ns = t2_ns + held_ns
    t4_ns = t3_ns - offset_ns + back_ns
    found = estimate(t1_ns, t2_ns, t3_ns, t4_ns)
    assert found is not None
    assert found.rtt_ns == there_ns + back_ns
    # The error is half the asymmetry, rounded down; the bound holds even so.
    assert found.offset_ns == offset_ns + (there_ns - back_ns) // 2
    assert found.bound_ns == (there_ns + back_ns + 1) // 2
    assert abs(found.offset_ns - offset_ns) <= found.bound_ns


def test_an_exchange_by_hand() -> None:
    assert estimate(100, 1130, 1135, 145) == ClockEstimate(1010, 20, 40)


@given(times, times, times, times)
def test_any_times_give_an_estimate_or_none(t1: int, t2: int, t3: int, t4: int) -> None:
    found = estimate(t1, t2, t3, t4)
    honest = t4 >= t1 and t3 >= t2 and t4 - t1 >= t3 - t2
    if found is None:
        assert not honest or abs(t2 - t1 + t3 - t4) // 2 >= MAX_TIME_NS - 1
    else:
        assert honest
        assert found.rtt_ns >= 0
        assert abs(found.offset_ns) < MAX_TIME_NS


def test_the_least_round_trip_of_the_last_eight_counts() -> None:
    clocks = ClockFilter()
    assert clocks.best is None
    assert not clocks.add(10, 0, 0, 9)
    assert clocks.best is None
    for rtt_ns in (8, 2, 6, 4):
        assert clocks.add(0, 50, 50, rtt_ns)
    assert clocks.best == ClockEstimate(49, 1, 2)
    for _ in range(KEPT_EXCHANGES - 2):
        assert clocks.add(0, 50, 50, 10)
    assert clocks.best == ClockEstimate(48, 2, 4)


def test_of_equal_round_trips_the_newest_counts() -> None:
    clocks = ClockFilter()
    clocks.add(0, 50, 50, 10)
    clocks.add(100, 151, 151, 110)
    assert clocks.best == ClockEstimate(46, 5, 10)
