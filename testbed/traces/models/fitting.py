"""Estimating a trace model from real traces.

Every recording becomes one session. A regime is observed, not hidden: the log-rate outside
outages, smoothed over `RAMP_S`, is cut at its terciles, and a run of seconds in one class is
a visit. Counts of one recording are few, so each session leans on the pool of all: transitions
and dwell times count the pool's with a total weight of `POOL_WEIGHT` observations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.traces.models.corpus import Recording
from testbed.traces.models.model import DEAD_KBPS, RAMP_S, Session, TraceModel, smoothed_up
from testbed.traces.statistics import OUTAGE_KBPS

#: Regimes outside the outage.
REGIMES: Final = 3
#: Observations that the pool of all recordings counts as, in each session.
POOL_WEIGHT: Final = 5.0
#: Longest visit that may be drawn, relative to the longest that was seen in the pool.
_LONGEST: Final = 1.5
_MIN_SPREAD: Final = 0.02
#: Lags that the memory of the flicker is read from.
_MEMORY_LAGS: Final = 4
_MAX_MEMORY: Final = 0.97
#: Two trips of one kind never have levels nearer than this, however alike a few recordings are.
_MIN_JITTER: Final = 0.15


@dataclass(frozen=True, slots=True)
class _Observed:
    """What one recording shows: visits (state, steps), jumps, and levels."""

    weight: float
    level: float
    offsets: NDArray[np.float64]
    spreads: NDArray[np.float64]
    top: float
    memory: float
    slow: float
    dead: float
    dwells: tuple[NDArray[np.int64], ...]
    jumps: NDArray[np.float64]


def fit(recordings: Sequence[Recording], *, name: str, title: str, step_s: float) -> TraceModel:
    """A model with one session a recording.

    Raises:
        TraceError: no recording.
    """
    if not recordings:
        raise TraceError("nothing to fit a model to: no recording of a minute or more")
    observed = [_observe(recording, step_s) for recording in recordings]
    pooled_jumps = sum((item.jumps for item in observed), np.zeros((REGIMES + 1, REGIMES + 1)))
    pooled_dwells = [
        np.concatenate([item.dwells[state] for item in observed]) for state in range(REGIMES + 1)
    ]
    sessions = tuple(_session(item, pooled_jumps, pooled_dwells) for item in observed)
    return TraceModel(
        name=name,
        title=title,
        step_s=step_s,
        level_jitter=_bandwidth(
            np.array([s.level for s in sessions]), np.array([s.weight for s in sessions])
        ),
        sessions=sessions,
    )


def _observe(recording: Recording, step_s: float) -> _Observed:
    up = np.concatenate([piece[piece >= OUTAGE_KBPS] for piece in recording.pieces])
    down = np.concatenate([piece[piece < OUTAGE_KBPS] for piece in recording.pieces])
    level = float(np.log(up).mean())
    half = round(RAMP_S / step_s) // 2
    smooth = [_smoothed(piece, half) for piece in recording.pieces]
    edges = np.quantile(
        np.concatenate([values[np.isfinite(values)] for values in smooth]),
        np.arange(1, REGIMES) / REGIMES,
    )
    dwells: list[list[int]] = [[] for _ in range(REGIMES + 1)]
    jumps = np.zeros((REGIMES + 1, REGIMES + 1))
    states = []
    for piece, values in zip(recording.pieces, smooth, strict=True):
        state = np.where(
            piece < OUTAGE_KBPS, 0, 1 + np.searchsorted(edges, np.nan_to_num(values), side="right")
        )
        states.append(state)
        _count(state, dwells, jumps)
    log_rates = [np.log(np.maximum(piece, 1.0)) - level for piece in recording.pieces]
    offsets = _regime_offsets(np.concatenate(states), np.concatenate(log_rates))
    spreads, memory, slow = _flicker(states, log_rates, offsets, half)
    return _Observed(
        weight=float(recording.seconds * step_s),
        level=level,
        offsets=offsets,
        spreads=spreads,
        top=float(np.log(up.max())) - level,
        memory=memory,
        slow=slow,
        dead=float(np.mean(down < DEAD_KBPS)) if down.size else 1.0,
        dwells=tuple(np.array(lengths, dtype=np.int64) for lengths in dwells),
        jumps=jumps,
    )


def _smoothed(piece: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Centred mean of the log-rate over the seconds outside outages; NaN in outages."""
    return smoothed_up(np.log(np.maximum(piece, 1.0)), piece >= OUTAGE_KBPS, half)


def _count(state: NDArray[np.int64], dwells: list[list[int]], jumps: NDArray[np.float64]) -> None:
    """Add the visits and jumps of one piece; cut-off visits at its ends count as visits."""
    change = np.flatnonzero(np.diff(state)) + 1
    starts = np.concatenate(([0], change))
    lengths = np.diff(np.append(starts, state.size))
    visited = state[starts]
    for where, length in zip(visited.tolist(), lengths.tolist(), strict=True):
        dwells[where].append(length)
    np.add.at(jumps, (visited[:-1], visited[1:]), 1.0)


def _regime_offsets(state: NDArray[np.int64], log_rate: NDArray[np.float64]) -> NDArray[np.float64]:
    offsets = np.zeros(REGIMES)
    for regime in range(REGIMES):
        inside = log_rate[state == regime + 1]
        offsets[regime] = inside.mean() if inside.size else offsets[max(regime - 1, 0)]
    return offsets


def _flicker(
    states: Sequence[NDArray[np.int64]],
    log_rates: Sequence[NDArray[np.float64]],
    offsets: NDArray[np.float64],
    half: int,
) -> tuple[NDArray[np.float64], float, float]:
    """Spreads of what the ramped regimes leave unexplained, its memory and its slow share.

    The autocorrelation of slow * AR(1) + white is slow * memory**lag: memory from the ratio of
    neighbouring lags, the share from what then remains at lag 1.
    """
    rests = []
    weighted = []
    for state, log_rate in zip(states, log_rates, strict=True):
        centre = smoothed_up(offsets[np.maximum(state - 1, 0)], state > 0, half)
        rests.append(log_rate - centre)
        # As deviations of the rate, not of its logarithm: it is the rate's memory that counts.
        weighted.append(rests[-1] * np.exp(np.nan_to_num(centre)))
    rest, state = np.concatenate(rests), np.concatenate(states)
    spreads = np.full(REGIMES, _MIN_SPREAD)
    for regime in range(REGIMES):
        inside = rest[state == regime + 1]
        if inside.size:
            spreads[regime] = max(float(np.sqrt(np.mean(inside**2))), _MIN_SPREAD)
    lags = [_gappy_correlation(weighted, lag) for lag in range(1, _MEMORY_LAGS + 2)]
    near, far = sum(lags[:-1]), sum(lags[1:])
    if near <= 0 or lags[0] <= 0:
        return spreads, 0.0, 0.0
    memory = min(max(far / near, 0.0), _MAX_MEMORY)
    slow = min(lags[0] / memory, 1.0) if memory > 0 else 0.0
    return spreads, memory, slow


def _gappy_correlation(parts: Sequence[NDArray[np.float64]], lag: int) -> float:
    """Correlation at `lag` over pairs of which neither is NaN; 0 with fewer than ten pairs."""
    before = np.concatenate([part[:-lag] for part in parts])
    after = np.concatenate([part[lag:] for part in parts])
    both = np.isfinite(before) & np.isfinite(after)
    if int(both.sum()) < 10:
        return 0.0
    x, y = before[both], after[both]
    scale = float(np.sqrt(np.mean(x * x) * np.mean(y * y)))
    return float(np.mean(x * y)) / scale if scale > 1e-9 else 0.0


def _session(
    item: _Observed, pooled_jumps: NDArray[np.float64], pooled_dwells: list[NDArray[np.int64]]
) -> Session:
    rows = []
    for state in range(REGIMES + 1):
        pool = pooled_jumps[state].copy()
        if pool.sum() == 0:  # never left anywhere: go to the neighbouring regimes alike
            pool = np.array([0.0 if other in (state, 0) else 1.0 for other in range(REGIMES + 1)])
        row = item.jumps[state] + POOL_WEIGHT * pool / pool.sum()
        rows.append(tuple((row / row.sum()).tolist()))
    location, scale, longest = [], [], []
    for state in range(REGIMES + 1):
        m, s = dwell_fit(item.dwells[state], pooled_dwells[state])
        location.append(m)
        scale.append(s)
        pool_dwells = pooled_dwells[state]
        longest.append(math.ceil(_LONGEST * int(pool_dwells.max(initial=1))))
    return Session(
        weight=item.weight,
        level=item.level,
        offsets=tuple(item.offsets.tolist()),
        spreads=tuple(item.spreads.tolist()),
        top=item.top,
        memory=item.memory,
        slow=item.slow,
        transitions=tuple(rows),
        dwell_location=tuple(location),
        dwell_scale=tuple(scale),
        dwell_max=tuple(longest),
        dead=item.dead,
    )


def dwell_fit(own: NDArray[np.int64], pool: NDArray[np.int64]) -> tuple[float, float]:
    """Maximum-likelihood (location, scale) of a log-normal rounded to whole steps, at least one.

    The pool counts as `POOL_WEIGHT` observations. Without any observation: visits of one step.
    """
    from scipy.optimize import minimize
    from scipy.special import log_ndtr, ndtr

    values, inverse = np.unique(np.concatenate([own, pool]), return_inverse=True)
    if values.size == 0:
        return 0.0, 0.1
    weights = np.concatenate(
        [np.ones(own.size), np.full(pool.size, POOL_WEIGHT / max(pool.size, 1))]
    )
    weight = np.bincount(inverse, weights=weights)
    below = np.where(values > 1, np.log(values - 0.5), -np.inf)
    above = np.log(values + 0.5)

    def cost(parameters: NDArray[np.float64]) -> float:
        m, s = float(parameters[0]), math.exp(float(parameters[1]))
        low, high = (below - m) / s, (above - m) / s
        # ndtr(high) - ndtr(low), taken in the tail where it does not cancel
        flip = low > 0
        mass = np.where(flip, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
        tail = np.where(flip, log_ndtr(-low), log_ndtr(high))
        log_mass = np.where(mass > 0, np.log(np.maximum(mass, 1e-300)), tail - 50.0)
        return -float(np.sum(weight * log_mass)) + 0.5 * float(parameters[1]) ** 2

    logs = np.log(values)
    mean = float(np.average(logs, weights=weight))
    start = math.sqrt(max(float(np.average((logs - mean) ** 2, weights=weight)), 0.05))
    found = minimize(cost, np.array([mean, math.log(start)]), method="Nelder-Mead")
    m, s = float(found.x[0]), math.exp(float(found.x[1]))
    return m, min(max(s, 0.05), 2.5)


def _bandwidth(levels: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Kernel width of the levels: the one under which each is likeliest given the others."""
    if levels.size < 2:
        return _MIN_JITTER
    candidates = np.geomspace(_MIN_JITTER, 1.0, 40)
    distance = (levels[:, None] - levels[None, :]) ** 2
    share = np.where(np.eye(levels.size, dtype=bool), 0.0, weights[None, :])
    share = share / share.sum(axis=1, keepdims=True)
    scores = []
    for width in candidates:
        density = (share * np.exp(-distance / (2 * width * width)) / width).sum(axis=1)
        scores.append(float(np.sum(weights * np.log(np.maximum(density, 1e-12)))))
    return float(candidates[int(np.argmax(scores))])
