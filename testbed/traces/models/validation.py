"""How near the traces of a model are to real ones that it was not fitted to.

Both sides are cut into windows of `WINDOW_S` on the 1 s grid, so that every figure is taken over
the same length. Beside the model stands the same comparison of the real half that the model was
fitted to with the real half that was held out: what two halves of the same data differ by is as
near as any model can be expected to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.randomness import generator
from testbed.traces.models.model import TraceModel
from testbed.traces.statistics import (
    LAGS_S,
    LOW_KBPS,
    OUTAGE_KBPS,
    autocorrelation,
    outage_lengths,
    seconds_grid,
)

#: Length that traces are compared at; shorter rests down to `MIN_WINDOW_S` are used too.
WINDOW_S: Final = 300
MIN_WINDOW_S: Final = 100
#: Traces drawn for a check.
DRAWS: Final = 400
#: Under this, rates count as equal on the log scale: nothing useful gets through.
_FLOOR_KBPS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one side.

    Attributes:
        windows, hours: how much there is.
        percentiles_kbps: p5, p25, p50, p75, p95 of all seconds.
        below_400k, outage_share: shares of time under 400 and under 100 kbps.
        acf: median over windows of the autocorrelation at `LAGS_S` seconds.
        outages_per_hour: runs under 100 kbps.
        outage_mean_s, outage_p50_s, outage_p95_s, outage_max_s: their lengths; NaN without any.
    """

    windows: int
    hours: float
    percentiles_kbps: tuple[float, ...]
    below_400k: float
    outage_share: float
    acf: tuple[float, ...]
    outages_per_hour: float
    outage_mean_s: float
    outage_p50_s: float
    outage_p95_s: float
    outage_max_s: float


@dataclass(frozen=True, slots=True)
class Distance:
    """How far one side is from the held-out one; 0 is equal.

    Attributes:
        ks_rate, ks_mean, ks_outage: Kolmogorov-Smirnov distance of the rates of all seconds, of
            the window means, and of the outage lengths (NaN without outages on a side).
        w1_rate: Wasserstein distance of log10(rate), floored at 10 kbps: 0.3 is a factor of two.
        acf: largest absolute difference over `LAGS_S`.
        outages_ratio: outages per hour, this side over the held-out one.
    """

    ks_rate: float
    w1_rate: float
    ks_mean: float
    acf: float
    ks_outage: float
    outages_ratio: float


@dataclass(frozen=True, slots=True)
class Validation:
    """One model against the half that it has not seen."""

    model: str
    held_files: int
    fit_files: int
    held: Summary
    fitted: Summary | None
    drawn: Summary
    drawn_to_held: Distance
    fitted_to_held: Distance | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        return {"lags_s": list(LAGS_S), "window_s": WINDOW_S, **_jsonable(asdict(self))}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def windows(grids: Iterable[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Cuts of `WINDOW_S` seconds; a rest of at least `MIN_WINDOW_S` counts."""
    cut = []
    for grid in grids:
        for start in range(0, grid.size, WINDOW_S):
            part = grid[start : start + WINDOW_S]
            if part.size >= MIN_WINDOW_S:
                cut.append(part)
    return cut


def drawn_windows(
    model: TraceModel, *, draws: int = DRAWS, seed: int = 0
) -> list[NDArray[np.float64]]:
    """One window a draw of the model."""
    return [
        seconds_grid(
            model.draw(WINDOW_S, generator(seed, f"trace/validation/{model.name}/{index}"))
        )
        for index in range(draws)
    ]


def summarise(parts: Sequence[NDArray[np.float64]]) -> Summary:
    """The figures of one side.

    Raises:
        TraceError: no window.
    """
    if not parts:
        raise TraceError(f"nothing to compare: no recording of {MIN_WINDOW_S} s or more")
    pooled = np.concatenate(parts)
    lengths = np.concatenate([outage_lengths(part) for part in parts])
    hours = pooled.size / 3600
    nan = float("nan")
    acf = []
    for lag in LAGS_S:
        values = [autocorrelation(part, lag) for part in parts]
        finite = [value for value in values if value == value]
        acf.append(float(np.median(finite)) if finite else nan)
    return Summary(
        windows=len(parts),
        hours=hours,
        percentiles_kbps=tuple(np.percentile(pooled, [5, 25, 50, 75, 95]).tolist()),
        below_400k=float(np.mean(pooled < LOW_KBPS)),
        outage_share=float(np.mean(pooled < OUTAGE_KBPS)),
        acf=tuple(acf),
        outages_per_hour=lengths.size / hours,
        outage_mean_s=float(lengths.mean()) if lengths.size else nan,
        outage_p50_s=float(np.median(lengths)) if lengths.size else nan,
        outage_p95_s=float(np.percentile(lengths, 95)) if lengths.size else nan,
        outage_max_s=float(lengths.max()) if lengths.size else nan,
    )


def distance(parts: Sequence[NDArray[np.float64]], held: Sequence[NDArray[np.float64]]) -> Distance:
    """How far `parts` are from `held`."""
    from scipy.stats import wasserstein_distance

    a, b = np.concatenate(parts), np.concatenate(held)
    left, right = summarise(parts), summarise(held)
    logs = [np.log10(np.maximum(side, _FLOOR_KBPS)) for side in (a, b)]
    outages = [np.concatenate([outage_lengths(p) for p in side]) for side in (parts, held)]
    gaps = [abs(x - y) for x, y in zip(left.acf, right.acf, strict=True)]
    rate = right.outages_per_hour
    return Distance(
        ks_rate=ks(a, b),
        w1_rate=float(wasserstein_distance(*logs)),
        ks_mean=ks(
            np.array([part.mean() for part in parts]), np.array([part.mean() for part in held])
        ),
        acf=max(gaps),
        ks_outage=ks(outages[0], outages[1]) if all(o.size for o in outages) else float("nan"),
        outages_ratio=left.outages_per_hour / rate if rate else float("nan"),
    )


def ks(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Two-sample Kolmogorov-Smirnov distance: the largest gap between the two CDFs."""
    at = np.sort(np.concatenate([a, b]))
    gap = np.searchsorted(np.sort(a), at, "right") / a.size
    gap = gap - np.searchsorted(np.sort(b), at, "right") / b.size
    return float(np.abs(gap).max())


def validate(
    model: TraceModel,
    held: Sequence[NDArray[np.float64]],
    fitted: Sequence[NDArray[np.float64]],
    *,
    held_files: int,
    fit_files: int,
    drawn: Sequence[NDArray[np.float64]] | None = None,
) -> Validation:
    """Compare draws of `model` with held-out windows, and the fitted windows with them too.

    Args:
        model: the model.
        held: windows of recordings that it was not fitted to.
        fitted: windows of those that it was; may be empty.
        held_files: number of files that `held` comes from, for the report.
        fit_files: the same of `fitted`.
        drawn: windows of the model; None draws `DRAWS` of them.
    """
    drawn = drawn_windows(model) if drawn is None else drawn
    return Validation(
        model=model.name,
        held_files=held_files,
        fit_files=fit_files,
        held=summarise(held),
        fitted=summarise(fitted) if fitted else None,
        drawn=summarise(drawn),
        drawn_to_held=distance(drawn, held),
        fitted_to_held=distance(fitted, held) if fitted else None,
    )
