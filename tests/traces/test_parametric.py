"""Generators against their closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.traces import parametric
from testbed.traces.convert import to_opportunities
from testbed.traces.parametric import GENERATORS


@given(st.integers(1, 10**7))
@settings(deadline=None)
def test_a_constant_keeps_its_rate_and_lasts_a_minute(bps):
    trace = parametric.constant(bps / 1000)
    assert trace.mean_kbps == pytest.approx(bps / 1000)
    assert trace.period_us >= 60_000_000


@pytest.mark.parametrize("kbps", [100, 400, 500, 1000, 2000, 2500, 5000, 12032])
def test_a_constant_in_mahimahi_form_has_exactly_its_capacity(kbps):
    assert to_opportunities(parametric.constant(kbps)).mean_kbps == kbps


def test_step_is_half_and_half():
    trace = parametric.step(500, 1000, 30_000_000)
    assert trace.durations_us.tolist() == [15_000_000, 15_000_000]
    assert trace.rates_kbps.tolist() == [500.0, 1000.0]


@given(st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 120))
@settings(deadline=None)
def test_sine_has_the_mean_and_the_variance_of_a_sine(low, high, period_s):
    trace = parametric.sine(low, high, period_s * 1_000_000)
    weights = trace.durations_us / trace.period_us
    mean = float(np.sum(trace.rates_kbps * weights))
    assert mean == pytest.approx((low + high) / 2, abs=0.001)
    # Means over steps of width w lose sinc(w/2)^2 of the variance A^2 / 2.
    width = 2 * math.pi / trace.durations_us.size
    kept = (math.sin(width / 2) / (width / 2)) ** 2
    expected = ((high - low) / 2) ** 2 / 2 * kept
    variance = float(np.sum((trace.rates_kbps - mean) ** 2 * weights))
    assert variance == pytest.approx(expected, rel=1e-3, abs=0.1)
    assert trace.rates_kbps.max() <= max(low, high)
    assert trace.rates_kbps.min() >= min(low, high)


def test_sine_starts_midway_towards_the_second_rate():
    up = parametric.sine(200, 500, 30_000_000).rates_kbps
    down = parametric.sine(500, 200, 30_000_000).rates_kbps
    assert 350 < up[0] < up[1]
    assert 350 > down[0] > down[1]
    assert float(up.max()) == pytest.approx(500, abs=0.1)


def test_segments_are_rfc_8867_5_1():
    trace = GENERATORS.get("segments")("1000kbps@40s,2.5Mbps@20s;600kbps@20s,1Mbps@20s")
    assert trace.durations_us.tolist() == [40_000_000, 20_000_000, 20_000_000, 20_000_000]
    assert trace.rates_kbps.tolist() == [1000.0, 2500.0, 600.0, 1000.0]


def test_the_first_rate_may_have_its_own_unit():
    assert GENERATORS.get("step")("500kbps-1Mbps/10s").rates_kbps.tolist() == [500.0, 1000.0]
    assert GENERATORS.get("step")("1-2Mbps/10s").rates_kbps.tolist() == [1000.0, 2000.0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("constant", "", "'' is not a rate"),
        ("constant", "2000", "is not a rate"),
        ("constant", "0kbps", "must be > 0"),
        ("constant", "-5kbps", "is not a rate"),
        ("constant", "1e99Gbps", "out of range"),
        ("constant", "5parsec", "unknown rate unit 'parsec'"),
        ("step", "500kbps/30s", "not of the form step:200-500kbps/30s"),
        ("step", "1-2kbps/0s", "out of range"),
        ("step", "0-0kbps/10s", "no capacity"),
        ("step", "1-2kbps/1us", "at least 2 us"),
        ("sine", "1-2kbps/x", "is not a duration"),
        ("sine", "1-2kbps/5us", "at least 8 us"),
        ("segments", "1kbps", "'1kbps' is not of the form 1000kbps@40s"),
        ("segments", "1kbps@400000000s", "100 days"),
    ],
)
def test_what_is_no_trace_is_one_line(name, text, message):
    with pytest.raises(TraceError) as caught:
        GENERATORS.get(name)(text)
    assert message in str(caught.value)
