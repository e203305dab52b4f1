"""Scaling and cutting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces.transform import cut, scale, scale_to_mean

RATES = RateTrace(np.array([1_000_000, 2_000_000]), np.array([300.0, 900.0]))
TICKS = OpportunityTrace(np.arange(10, 1001, 10))


def test_rates_scale_and_keep_their_times():
    scaled = scale(RATES, 0.5)
    assert scaled.rates_kbps.tolist() == [150.0, 450.0]
    assert scaled.durations_us is RATES.durations_us
    assert scale_to_mean(RATES, 70.0).mean_kbps == pytest.approx(70.0)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 30), st.integers(1, 10)
)
@settings(deadline=None)
def test_at_every_time_the_scaled_count_is_the_floor(gaps, up, down):
    times = np.cumsum(gaps) + 1
    trace = OpportunityTrace(times)
    scaled = scale(trace, up / down).times_ms
    # All but the closing one; the factor is a ratio so that the floor is exact.
    for at in np.unique(times[times < trace.period_ms]):
        expected = int(np.sum(times <= at)) * up // down
        assert abs(int(np.sum(scaled <= at)) - expected) <= (1 if (up / down) * 1e9 % 1 else 0)
    assert int(scaled[-1]) == trace.period_ms


def test_opportunities_thin_out_evenly():
    assert scale(TICKS, 0.1).times_ms.tolist() == list(range(100, 1001, 100))
    assert scale(TICKS, 2).times_ms.tolist() == np.repeat(TICKS.times_ms, 2).tolist()
    assert scale(TICKS, 1e-6).times_ms.tolist() == [1000]


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("trace", [RATES, TICKS])
def test_bad_factors(trace, factor):
    with pytest.raises(TraceError, match=r"scale factor"):
        scale(trace, factor)


def test_cut_of_rates():
    part = cut(RATES, 500_000, 1_500_000)
    assert part.durations_us.tolist() == [500_000, 1_000_000]
    assert part.rates_kbps.tolist() == [300.0, 900.0]
    assert cut(RATES, 0, RATES.period_us).durations_us.tolist() == RATES.durations_us.tolist()


def test_cut_of_opportunities_closes_its_period():
    assert cut(TICKS, 0, 35_000).times_ms.tolist() == [10, 20, 30, 35]
    # The one at 20 ms stands for the time before it.
    assert cut(TICKS, 20_000, 20_000).times_ms.tolist() == [10, 20]
    assert cut(OpportunityTrace(np.array([0, 10])), 0, 10_000).times_ms.tolist() == [0, 10]


@pytest.mark.parametrize(
    ("trace", "start", "duration", "message"),
    [
        (RATES, 0, 3_000_001, "not inside the trace (3 s)"),
        (RATES, 3_000_000, 1, "not inside"),
        (RATES, -1, 5, "not inside"),
        (RATES, 0, 0, "not inside"),
        (TICKS, 1_000, 5_000, "no delivery opportunity"),
    ],
)
def test_bad_cuts(trace, start, duration, message):
    with pytest.raises(TraceError) as caught:
        cut(trace, start, duration)
    assert message in str(caught.value)


def test_a_dead_cut_is_refused():
    trace = RateTrace(np.array([1_000_000, 1_000_000]), np.array([0.0, 5.0]))
    with pytest.raises(TraceError, match=r"no capacity"):
        cut(trace, 0, 1_000_000)
