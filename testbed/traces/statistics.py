"""What a capacity trace looks like in numbers, always on a 1 s grid.

The grid makes traces of any native step comparable: every figure is taken over the mean rates of
whole seconds; a last part of a second is left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.network.trace import RateTrace, Trace
from testbed.traces.convert import to_rate

#: A second below this is (part of) an outage.
OUTAGE_KBPS: Final = 100.0
#: The regime that Morphe is made for; time spent below it is reported.
LOW_KBPS: Final = 400.0
#: Lags of the autocorrelation that models are compared at.
LAGS_S: Final = (1, 2, 5, 10, 30)
_STEP_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TraceStatistics:
    """Figures of one trace; rates in kbit/s, times in seconds, percentiles "linear".

    Attributes:
        duration_s: one period.
        mean_kbps, p5_kbps, p50_kbps, p95_kbps, cv: of the 1 s means; cv = standard deviation
            (population) / mean.
        below_400k: share of seconds under 400 kbps.
        outages: runs of seconds under 100 kbps; `outage_share` is their share of time.
        outage_mean_s, outage_max_s: length of a run; 0 without outages.
        autocorrelation_1s: of the 1 s means at lag 1; NaN for a constant trace.
    """

    duration_s: float
    mean_kbps: float
    p5_kbps: float
    p50_kbps: float
    p95_kbps: float
    cv: float
    below_400k: float
    outages: int
    outage_mean_s: float
    outage_max_s: float
    outage_share: float
    autocorrelation_1s: float

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON: NaN becomes None."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def seconds_grid(trace: Trace, *, step_us: int = _STEP_US) -> NDArray[np.float64]:
    """Mean kbit/s over each whole second of one period (the whole period if under a second).

    Returns:
        float64, shape (floor(duration / step),), at least one element.
    """
    if not isinstance(trace, RateTrace):
        # Binning the opportunities at the step itself is exact; interpolating would not be.
        rates = to_rate(trace, step_us=step_us)
        whole = rates.durations_us == step_us
        return rates.rates_kbps[whole] if bool(whole.any()) else rates.rates_kbps
    edges = np.concatenate(([0], np.cumsum(trace.durations_us)))
    # kbit/s * us; cumulative, so that any window is one difference.
    work = np.concatenate(([0.0], np.cumsum(trace.rates_kbps * trace.durations_us)))
    steps = int(edges[-1]) // step_us
    if steps == 0:
        return np.array([trace.mean_kbps])
    at = np.interp(np.arange(steps + 1) * step_us, edges, work)
    grid: NDArray[np.float64] = np.maximum(np.diff(at) / step_us, 0.0)
    return grid


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Maximal runs of True as (start, length)."""
    padded = np.concatenate(([False], flags, [False])).astype(np.int8)
    change = np.diff(padded)
    starts = np.flatnonzero(change == 1)
    return list(zip(starts.tolist(), (np.flatnonzero(change == -1) - starts).tolist(), strict=True))


def outage_lengths(grid: NDArray[np.float64]) -> NDArray[np.int64]:
    """Lengths in seconds of the runs under `OUTAGE_KBPS`."""
    return np.array([length for _, length in runs(grid < OUTAGE_KBPS)], dtype=np.int64)


def autocorrelation(values: NDArray[np.float64], lag: int) -> float:
    """Pearson correlation of `values[:-lag]` with `values[lag:]`; NaN if undefined."""
    if values.size <= lag + 1:
        return float("nan")
    before, after = values[:-lag], values[lag:]
    spread = float(before.std()) * float(after.std())
    # Relative to the values: a constant has a spread of rounding errors only.
    if spread <= (1e-9 * float(np.abs(values).max())) ** 2:
        return float("nan")
    return float(np.mean((before - before.mean()) * (after - after.mean()))) / spread


def describe(trace: Trace) -> TraceStatistics:
    """The figures of `trace`.

    Raises:
        TraceError: longer than can be laid on a 1 s grid.
    """
    try:
        grid = seconds_grid(trace)
    except MemoryError:
        raise TraceError("the trace is too long for a 1 s grid") from None
    mean = float(grid.mean())
    lengths = outage_lengths(grid)
    p5, p50, p95 = np.percentile(grid, [5, 50, 95], method="linear")
    duration_us = trace.period_us if isinstance(trace, RateTrace) else trace.period_ms * 1000
    return TraceStatistics(
        duration_s=duration_us / 1e6,
        mean_kbps=mean,
        p5_kbps=float(p5),
        p50_kbps=float(p50),
        p95_kbps=float(p95),
        cv=float(grid.std()) / mean if mean > 0 else float("nan"),
        below_400k=float(np.mean(grid < LOW_KBPS)),
        outages=int(lengths.size),
        outage_mean_s=float(lengths.mean()) if lengths.size else 0.0,
        outage_max_s=float(lengths.max()) if lengths.size else 0.0,
        outage_share=float(lengths.sum()) / grid.size,
        autocorrelation_1s=autocorrelation(grid, 1),
    )
