"""Capacity over time, in the two forms a link can replay.

`OpportunityTrace` is mahimahi's: integer milliseconds, each one delivery opportunity of
`OPPORTUNITY_BYTES`. `RateTrace` is piecewise-constant kbit/s with integer-microsecond edges.
Both repeat for ever. Values are checked here, once; a link can trust them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError

#: mahimahi's delivery opportunity (F6; its manual says 1500).
OPPORTUNITY_BYTES: Final = 1504
OPPORTUNITY_BITS: Final = OPPORTUNITY_BYTES * 8


@dataclass(frozen=True, slots=True)
class OpportunityTrace:
    """Delivery opportunities at integer milliseconds, repeating with period `times_ms[-1]`.

    Attributes:
        times_ms: int64, shape (n,), n >= 1, >= 0, non-decreasing, last > 0.
    """

    times_ms: NDArray[np.int64]

    def __post_init__(self) -> None:
        times = self.times_ms
        if times.ndim != 1 or times.size == 0:
            raise TraceError("trace is empty; it needs at least one delivery opportunity")
        if int(times[0]) < 0:
            raise TraceError(f"trace line 1 is {int(times[0])}; times must be >= 0 ms")
        falling = np.flatnonzero(np.diff(times) < 0)
        if falling.size:
            line = int(falling[0]) + 2
            raise TraceError(
                f"trace line {line} is {int(times[line - 1])} after {int(times[line - 2])}; "
                "times must not decrease"
            )
        if int(times[-1]) <= 0:
            raise TraceError("trace ends at 0 ms; the last time is the period and must be > 0")

    @property
    def period_ms(self) -> int:
        """Milliseconds after which the trace repeats."""
        return int(self.times_ms[-1])

    @property
    def mean_kbps(self) -> float:
        """Mean capacity over one period."""
        return self.times_ms.size * OPPORTUNITY_BITS / self.period_ms


@dataclass(frozen=True, slots=True)
class RateTrace:
    """Piecewise-constant capacity, repeating with period `sum(durations_us)`.

    Attributes:
        durations_us: int64, shape (n,), n >= 1, each > 0.
        rates_kbps: float64, shape (n,), each >= 0, at least one > 0, finite.
    """

    durations_us: NDArray[np.int64]
    rates_kbps: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.durations_us.ndim != 1 or self.durations_us.size == 0:
            raise TraceError("trace is empty; it needs at least one rate")
        if self.rates_kbps.shape != self.durations_us.shape:
            raise TraceError(
                f"trace has {self.durations_us.size} durations and {self.rates_kbps.size} rates"
            )
        if int(self.durations_us.min()) <= 0:
            at = int(np.argmin(self.durations_us))
            raise TraceError(
                f"trace sample {at + 1} lasts {int(self.durations_us[at])} us; must be > 0"
            )
        if not np.all(np.isfinite(self.rates_kbps)) or float(self.rates_kbps.min()) < 0:
            bad = ~np.isfinite(self.rates_kbps) | (self.rates_kbps < 0)
            at = int(np.flatnonzero(bad)[0])
            raise TraceError(
                f"trace sample {at + 1} is {self.rates_kbps[at]} kbps; must be finite and >= 0"
            )
        if float(self.rates_kbps.max()) <= 0:
            raise TraceError("trace has no capacity at all; at least one rate must be > 0")

    @property
    def period_us(self) -> int:
        """Microseconds after which the trace repeats."""
        return int(self.durations_us.sum())

    @property
    def mean_kbps(self) -> float:
        """Time-weighted mean capacity over one period."""
        return float(np.average(self.rates_kbps, weights=self.durations_us))


Trace = OpportunityTrace | RateTrace
