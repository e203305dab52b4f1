"""Scaling and cutting of traces."""

from __future__ import annotations

import math

import numpy as np

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace, Trace
from testbed.traces.convert import MAX_OPPORTUNITIES, bits_per_second
from testbed.traces.units import MAX_RATE_KBPS


def scale(trace: Trace, factor: float) -> Trace:
    """Capacity times `factor`, same times.

    A rate trace is scaled in whole bits per second. Of an opportunity trace, floor(k * factor) of
    the first k opportunities remain (or are repeated), at every k; the period is kept by one at its
    end.

    Raises:
        TraceError: factor not > 0, or nothing is left.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise TraceError(f"scale factor {factor:g} must be a number > 0")
    if isinstance(trace, RateTrace):
        if float(trace.rates_kbps.max()) > MAX_RATE_KBPS / factor:
            raise TraceError(f"scale factor {factor:g} takes the trace above 1000 Gbps")
        return RateTrace(trace.durations_us, bits_per_second(trace.rates_kbps * factor) / 1000.0)
    total = math.floor(trace.times_ms.size * factor)
    if total > MAX_OPPORTUNITIES:
        raise TraceError(f"scale factor {factor:g} gives {total} opportunities; too many")
    # The j-th of the new ones comes when the count of old ones times the factor reaches j.
    source = np.ceil(np.arange(1, total + 1) / factor).astype(np.int64) - 1
    times = trace.times_ms[np.minimum(source, trace.times_ms.size - 1)]
    if times.size == 0 or int(times[-1]) < trace.period_ms:
        times = np.append(times, trace.period_ms)
    return OpportunityTrace(times)


def scale_to_mean(trace: Trace, mean_kbps: float) -> Trace:
    """Capacity scaled so that its mean over the period is `mean_kbps`."""
    return scale(trace, mean_kbps / trace.mean_kbps)


def cut(trace: Trace, start_us: int, duration_us: int) -> Trace:
    """The part of the first period from `start_us` on.

    An opportunity trace is cut in whole milliseconds, and closed by an opportunity at its end
    where there is none, as its period demands.

    Raises:
        TraceError: not inside the period, or no capacity in it.
    """
    period_us = trace.period_us if isinstance(trace, RateTrace) else trace.period_ms * 1000
    if start_us < 0 or duration_us <= 0 or start_us + duration_us > period_us:
        raise TraceError(
            f"cut {start_us / 1e6:g} s + {duration_us / 1e6:g} s is not inside the trace "
            f"({period_us / 1e6:g} s)"
        )
    if isinstance(trace, OpportunityTrace):
        start_ms, length_ms = start_us // 1000, duration_us // 1000
        times = trace.times_ms[trace.times_ms > (start_ms if start_ms else -1)] - start_ms
        times = times[times <= length_ms]
        if times.size == 0 or length_ms == 0:
            raise TraceError("the cut has no delivery opportunity in it")
        if int(times[-1]) < length_ms:
            times = np.append(times, length_ms)
        return OpportunityTrace(times)
    edges = np.concatenate(([0], np.cumsum(trace.durations_us)))
    inner = np.clip(edges, start_us, start_us + duration_us)
    durations = np.diff(inner)
    keep = durations > 0
    return RateTrace(durations[keep], trace.rates_kbps[keep])
