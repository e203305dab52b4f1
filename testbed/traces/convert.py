"""Exact conversions between the two forms of a trace.

A delivery opportunity carries 1504 bytes of TUN frame, 12032 bits (mahimahi F6). mahimahi's own
`mm-rate-to-events` counts 12000 bits an opportunity, so that its capacity comes out 0.27 % high
(F31); the converter here counts 12032 and works in whole bits and microseconds throughout.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.network.trace import OPPORTUNITY_BITS, OpportunityTrace, RateTrace, Trace

#: More than this is no trace that anybody replays (1 Gbit/s for 20 minutes), and 800 MB.
MAX_OPPORTUNITIES: Final = 100_000_000

#: Work unit of the exact arithmetic: one bit per second for one microsecond, 1e-6 bit.
_OPPORTUNITY_UNITS: Final = OPPORTUNITY_BITS * 1_000_000


def bits_per_second(rates_kbps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rates as whole bits per second, rounded to the nearest."""
    return np.rint(np.asarray(rates_kbps, dtype=np.float64) * 1000.0).astype(np.int64)


def to_opportunities(trace: Trace) -> OpportunityTrace:
    """One opportunity each time 12032 bits have accumulated, remainder carried.

    An opportunity falls on the first whole millisecond at which its bits are complete, so the one
    at `t` stands for capacity of (t_previous, t]. The form repeats after its last opportunity;
    where the capacity does not end with a whole one at the end of the period, one closes the
    period there (less than one opportunity too many a period; never a shorter period).

    Returns:
        The trace itself when it already has this form.

    Raises:
        TraceError: more than `MAX_OPPORTUNITIES`.
    """
    if isinstance(trace, OpportunityTrace):
        return trace
    durations = trace.durations_us
    bps = bits_per_second(trace.rates_kbps)
    expected = float(np.sum(bps.astype(np.float64) * durations)) / _OPPORTUNITY_UNITS
    if expected > MAX_OPPORTUNITIES:
        raise TraceError(f"the trace has {expected:.3g} delivery opportunities; too many to list")
    units = bps * durations  # 1e8 opportunities are 1.2e18 units, inside int64
    ends = np.cumsum(durations)
    starts = ends - durations
    rest = np.cumsum(units % _OPPORTUNITY_UNITS)
    count = np.cumsum(units // _OPPORTUNITY_UNITS) + rest // _OPPORTUNITY_UNITS
    count_before = np.concatenate(([0], count[:-1]))
    carried = np.concatenate(([0], rest[:-1] % _OPPORTUNITY_UNITS))
    period_ms = -(-int(ends[-1]) // 1000)
    per_segment = count - count_before
    index = np.repeat(np.arange(durations.size), per_segment)
    ordinal = np.arange(1, index.size + 1) - count_before[index]
    # ordinal * unit stays below 2**63: it is at most the units of one segment plus one.
    needed = ordinal * _OPPORTUNITY_UNITS - carried[index]
    time_us = starts[index] + -(-needed // bps[index])
    times_ms = -(-time_us // 1000)
    if times_ms.size == 0 or int(times_ms[-1]) < period_ms:
        times_ms = np.append(times_ms, period_ms)
    return OpportunityTrace(times_ms.astype(np.int64))


def to_rate(trace: Trace, *, step_us: int = 1_000_000) -> RateTrace:
    """Mean rates over steps of `step_us`; a rate trace is returned as it is.

    The opportunity at `t` counts for the step that holds (t - 1 ms, t]. The last step is cut at
    the end of the period.
    """
    if isinstance(trace, RateTrace):
        return trace
    period_us = trace.period_ms * 1000
    steps = math.ceil(period_us / step_us)
    at = np.maximum(trace.times_ms * 1000 - 1, 0) // step_us
    counts = np.bincount(at, minlength=steps)[:steps]
    durations = np.full(steps, step_us, dtype=np.int64)
    durations[-1] = period_us - step_us * (steps - 1)
    rates = counts * float(OPPORTUNITY_BITS) * 1000.0 / durations
    return RateTrace(durations, rates.astype(np.float64))
