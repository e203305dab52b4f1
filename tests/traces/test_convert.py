"""The exact converter: 12032 bits an opportunity, remainder carried, whole numbers only."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces.convert import to_opportunities, to_rate


def trace_of(*parts: tuple[int, float]) -> RateTrace:
    return RateTrace(
        np.array([d for d, _ in parts], dtype=np.int64),
        np.array([r for _, r in parts], dtype=np.float64),
    )


def by_fractions(parts: list[tuple[int, int]]) -> list[int]:
    """The definition, in exact rationals: first whole ms at which k * 12032 bits are complete."""
    times, done, start_us, count = [], Fraction(0), 0, 0
    for duration_us, bps in parts:
        end = done + Fraction(duration_us * bps, 10**6)
        while bps and (count + 1) * 12032 <= end:
            count += 1
            at_us = start_us + ceil((count * 12032 - done) * 10**6 / bps)
            times.append(ceil(Fraction(at_us, 1000)))
        done, start_us = end, start_us + duration_us
    period = ceil(Fraction(start_us, 1000))
    if not times or times[-1] < period:
        times.append(period)
    return times


segment_lists = st.lists(
    st.tuples(st.integers(1, 200_000), st.integers(0, 20_000_000)), min_size=1, max_size=8
).filter(lambda parts: any(bps for _, bps in parts))


@given(segment_lists)
@settings(deadline=None)
def test_equals_the_definition_in_rationals(parts):
    trace = trace_of(*[(d, bps / 1000) for d, bps in parts])
    assert to_opportunities(trace).times_ms.tolist() == by_fractions(parts)


@given(segment_lists)
@settings(deadline=None)
def test_at_any_time_the_opportunities_are_the_bits_so_far(parts):
    trace = trace_of(*[(d, bps / 1000) for d, bps in parts])
    times = to_opportunities(trace).times_ms
    bits = sum(Fraction(d * bps, 10**6) for d, bps in parts)
    # One more at most: the one that closes the period.
    assert bits // 12032 <= times.size <= bits // 12032 + 1


def test_fast_and_long_traces_stay_exact():
    # 1 Gbit/s for 10 s: 10^10 bits. The last whole opportunity ends in the last millisecond.
    times = to_opportunities(trace_of((10_000_000, 1_000_000.0))).times_ms
    assert int(times[-1]) == 10_000
    assert times.size == 10**10 // 12032


def test_what_no_file_could_hold_is_refused():
    with pytest.raises(TraceError, match=r"delivery opportunities; too many"):
        to_opportunities(trace_of((10**12, 1e9)))


def test_an_outage_has_no_opportunity_but_the_closing_one():
    trace = trace_of((10_000, 12032.0), (50_000, 0.0))
    assert to_opportunities(trace).times_ms.tolist() == [*range(1, 11), 60]


def test_an_opportunity_trace_is_itself():
    trace = OpportunityTrace(np.array([1, 5]))
    assert to_opportunities(trace) is trace


def test_rates_of_whole_steps_come_back():
    # 752 ms are 125 opportunities at 2000 kbit/s.
    back = to_rate(to_opportunities(trace_of((1_504_000, 2000.0))), step_us=752_000)
    assert back.durations_us.tolist() == [752_000, 752_000]
    assert back.rates_kbps.tolist() == [2000.0, 2000.0]
