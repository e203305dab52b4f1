"""Traces by formula: constant, step, sine, segments.

Rates are rounded to whole bits per second, so that the exact converter has nothing to round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from testbed.errors import TraceError
from testbed.network.trace import OPPORTUNITY_BITS, RateTrace
from testbed.registry import Registry
from testbed.traces.convert import bits_per_second
from testbed.traces.units import parse_duration_us, parse_rate_kbps

#: Sine waves are staircases of this step: a hundredth of the shortest sensible period (10 s).
SINE_STEP_US: Final = 100_000
#: A constant trace lasts at least this long, for plots and statistics.
_MIN_CONSTANT_US: Final = 60_000_000

#: Generators by the word before the colon; each takes the text after it.
GENERATORS: Registry[Callable[[str], RateTrace]] = Registry(
    "trace generator", group="testbed.trace_generators"
)


def _trace(durations_us: Sequence[int], rates_kbps: Sequence[float]) -> RateTrace:
    bps = bits_per_second(np.asarray(rates_kbps, dtype=np.float64))
    return RateTrace(np.asarray(durations_us, dtype=np.int64), bps / 1000.0)


def constant(rate_kbps: float) -> RateTrace:
    """One rate for ever.

    The period is a whole number of opportunities and of milliseconds where one below a minute
    exists, so that the mahimahi form has exactly the stated capacity.
    """
    bps = round(rate_kbps * 1000)
    if bps <= 0:
        raise TraceError(f"constant rate {rate_kbps:g} kbps must be > 0")
    # n opportunities take n * 12032e3 / bps ms; the smallest n that makes it whole:
    n = bps // math.gcd(bps, OPPORTUNITY_BITS * 1000)
    exact_us = n * OPPORTUNITY_BITS * 1_000_000 // bps
    period_us = exact_us * -(-_MIN_CONSTANT_US // exact_us)
    if exact_us > _MIN_CONSTANT_US:
        period_us = _MIN_CONSTANT_US
    return _trace([period_us], [rate_kbps])


def step(first_kbps: float, second_kbps: float, period_us: int) -> RateTrace:
    """Square wave: `first_kbps` for half a period, then `second_kbps`."""
    half = period_us // 2
    if half < 1:
        raise TraceError("step period must be at least 2 us")
    return _trace([half, period_us - half], [first_kbps, second_kbps])


def sine(first_kbps: float, second_kbps: float, period_us: int) -> RateTrace:
    """Sine wave between the two rates; starts midway, moving towards `second_kbps`.

    Each step of `SINE_STEP_US` (at least eight a period) holds the exact mean of the sine over
    the step.
    """
    steps = max(8, period_us // SINE_STEP_US)
    edges = np.rint(np.arange(steps + 1) * (period_us / steps)).astype(np.int64)
    middle = (first_kbps + second_kbps) / 2
    amplitude = (second_kbps - first_kbps) / 2
    phase = 2 * math.pi * edges / period_us
    durations = np.diff(edges)
    if int(durations.min()) <= 0:
        raise TraceError("sine period must be at least 8 us")
    mean_of_sine = -np.diff(np.cos(phase)) / np.diff(phase)
    return _trace(durations.tolist(), (middle + amplitude * mean_of_sine).tolist())


def segments(parts: Sequence[tuple[float, int]]) -> RateTrace:
    """Rates (kbit/s), each for its duration (us), in order."""
    return _trace([duration for _, duration in parts], [rate for rate, _ in parts])


def _two_rates_and_period(text: str, form: str) -> tuple[float, float, int]:
    """`200-500kbps/30s`; the first rate may carry its own unit."""
    rates, slash, period = text.partition("/")
    low, dash, high = rates.partition("-")
    if not (slash and dash):
        raise TraceError(f"not of the form {form}:200-500kbps/30s")
    unit = high.lstrip("0123456789.eE ")
    first = low if low.rstrip()[-1:].isalpha() else low + unit
    return parse_rate_kbps(first), parse_rate_kbps(high), parse_duration_us(period)


@GENERATORS.register("constant")
def _constant(text: str) -> RateTrace:
    return constant(parse_rate_kbps(text))


@GENERATORS.register("step")
def _step(text: str) -> RateTrace:
    return step(*_two_rates_and_period(text, "step"))


@GENERATORS.register("sine")
def _sine(text: str) -> RateTrace:
    return sine(*_two_rates_and_period(text, "sine"))


@GENERATORS.register("segments")
def _segments(text: str) -> RateTrace:
    parts = []
    for part in text.replace(";", ",").split(","):
        rate, at, duration = part.partition("@")
        if not at:
            raise TraceError(f"segment {part!r} is not of the form 1000kbps@40s")
        parts.append((parse_rate_kbps(rate), parse_duration_us(duration)))
    return segments(parts)
