"""The trace model: sessions of regimes with explicit outages.

Theory of operation. A *session* stands for one trip or one viewer: a level (mean log-rate), the
regimes around it, and its outages. A draw first picks a session of the model at random and moves
its level a little, then walks a semi-Markov chain over the states

    0      outage: under 100 kbps, mostly nothing at all
    1..K   regimes, from low to high

Each visit lasts a log-normal number of steps, rounded, at least one; then the transition matrix
says where to go (never to the same state). The log-rate is the regime's mean, ramped over a few
seconds where regimes meet, plus the regime's spread times a flicker of unit variance: one AR(1)
process that runs through the whole trace and white noise. Everything is on a grid of `step_s`.

The level, the spread, the outages and the memory of a session belong together: slow 2010 3G with
long tunnels and fast 4G with short dips are different sessions of one model, never a mixture
within one trace.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.network.trace import RateTrace
from testbed.paths import data_dir
from testbed.traces.convert import bits_per_second
from testbed.traces.files import user_folders
from testbed.traces.statistics import OUTAGE_KBPS

#: Version of the parameter file.
FORMAT_VERSION: Final = 1
#: Below this an outage second carries nothing; between this and 100 kbps it is log-uniform.
DEAD_KBPS: Final = 10.0
#: Steps that are walked and thrown away, so that a trace starts anywhere in a session.
_BURN_IN_STEPS: Final = 400
#: A change of regime is spread over this window, as a train does not jump between cells.
RAMP_S: Final = 9.0
#: A trace without any capacity is drawn again, at most this often.
_MAX_TRIES: Final = 100


@dataclass(frozen=True, slots=True)
class Session:
    """Parameters of one kind of session with K regimes; state 0 is the outage.

    Attributes:
        weight: relative probability of being picked, > 0.
        level: mean of ln(kbit/s) outside outages.
        offsets: K means of ln(rate) around `level`, one a regime, ascending.
        spreads: K standard deviations of ln(rate) within a regime.
        top: highest ln(rate) above `level`.
        memory: AR(1) coefficient of a step of the slow part of the flicker, in [0, 1).
        slow: share of the flicker's variance that has this memory; the rest is white.
        transitions: (K+1) rows of (K+1) probabilities; zero diagonal, rows sum to 1.
        dwell_location, dwell_scale: K+1 parameters of ln(steps) of a visit.
        dwell_max: K+1 longest visits, in steps.
        dead: share of outage seconds that carry nothing.
    """

    weight: float
    level: float
    offsets: tuple[float, ...]
    spreads: tuple[float, ...]
    top: float
    memory: float
    slow: float
    transitions: tuple[tuple[float, ...], ...]
    dwell_location: tuple[float, ...]
    dwell_scale: tuple[float, ...]
    dwell_max: tuple[int, ...]
    dead: float


@dataclass(frozen=True, slots=True)
class TraceModel:
    """A fitted model: parameters and how they were made.

    Attributes:
        name: short; part of every name of a trace drawn from it.
        title: one line.
        step_s: grid in seconds.
        level_jitter: standard deviation of a session's level around a fitted one, in ln(rate).
        sessions: at least one.
        notes: what a reader of results should know ("proxy", ...).
        provenance: how it was fitted: groups, hours, number of files, hash of their names.
        fitted_names: SHA-256 of the names of the files it was fitted to, so that a check can leave
            them out; the names and contents are not part of a model.
    """

    name: str
    title: str
    step_s: float
    level_jitter: float
    sessions: tuple[Session, ...]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fitted_names: tuple[str, ...] = ()

    def draw(self, seconds: int, rng: np.random.Generator) -> RateTrace:
        """A synthetic trace of `seconds`; the same generator state gives the same trace.

        A draw that is one outage from end to end is repeated: a trace must have some capacity.
        """
        # Where the trace begins within a step: a grid of its own would align with whole seconds.
        phase = float(rng.random()) if self.step_s != 1 else 1.0
        steps = math.ceil(seconds / self.step_s + 1.0 - phase)
        edges = (np.arange(steps + 1) - 1.0 + phase) * self.step_s
        edges = np.clip(edges, 0.0, seconds)
        durations = np.diff(np.rint(edges * 1e6).astype(np.int64))
        inside = durations > 0
        half_ramp = round(RAMP_S / self.step_s) // 2
        weights = np.array([session.weight for session in self.sessions])
        for _ in range(_MAX_TRIES):
            session = self.sessions[int(rng.choice(weights.size, p=weights / weights.sum()))]
            level = session.level + self.level_jitter * float(rng.standard_normal())
            rates = _walk(session, level, half_ramp, steps, rng)
            if float(rates[inside].max()) > 0:
                break
        else:
            raise TraceError(f"model {self.name} draws nothing but outages over {seconds} s")
        return RateTrace(durations[inside], bits_per_second(rates[inside]) / 1000.0)

    def to_json(self) -> str:
        """The parameter file."""
        document = {"format": FORMAT_VERSION, **asdict(self)}
        return json.dumps(_rounded(document), indent=1) + "\n"


def _walk(
    session: Session, level: float, half_ramp: int, steps: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Rates in kbit/s, shape (steps,)."""
    states = _states(session, steps, rng)
    regime = np.maximum(states - 1, 0)
    flicker = math.sqrt(session.slow) * _ar1(session.memory, steps, rng)
    flicker = flicker + math.sqrt(1.0 - session.slow) * rng.standard_normal(steps)
    centre = smoothed_up(np.asarray(session.offsets)[regime], states > 0, half_ramp)
    log_rate = np.nan_to_num(centre) + np.asarray(session.spreads)[regime] * flicker
    rates = np.exp(level + np.minimum(log_rate, session.top))
    rates = np.maximum(rates, OUTAGE_KBPS)  # less would be an outage, and those are explicit
    faint = DEAD_KBPS * (OUTAGE_KBPS / DEAD_KBPS) ** rng.random(steps)
    dead = rng.random(steps) < session.dead
    drawn: NDArray[np.float64] = np.where(states > 0, rates, np.where(dead, 0.0, faint * 0.999))
    return drawn


def _states(session: Session, steps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The semi-Markov walk, after its burn-in."""
    jumps = np.cumsum(np.asarray(session.transitions), axis=1)
    total = steps + _BURN_IN_STEPS
    states = np.empty(total, dtype=np.int64)
    state, at = jumps.shape[0] - 1, 0
    while at < total:
        stay = session.dwell_location[state] + session.dwell_scale[state] * rng.standard_normal()
        # exp is bounded before rounding: a large draw must not overflow.
        length = round(math.exp(min(stay, 20.0)))
        length = min(max(length, 1), session.dwell_max[state])
        states[at : at + length] = state
        at += length
        state = min(
            int(np.searchsorted(jumps[state], rng.random(), side="right")), jumps.shape[0] - 1
        )
    return states[_BURN_IN_STEPS:]


def smoothed_up(
    values: NDArray[np.float64], up: NDArray[np.bool_], half: int
) -> NDArray[np.float64]:
    """Centred mean of `values` over the steps in `up`, at most `half` to each side.

    Returns:
        Same shape; NaN where `up` is False.
    """
    kernel = np.ones(2 * half + 1)
    window = slice(half, half + values.size)
    total = np.convolve(np.where(up, values, 0.0), kernel, mode="full")[window]
    count = np.convolve(up.astype(np.float64), kernel, mode="full")[window]
    return np.where(up, total / np.maximum(count, 1.0), np.nan)


def _ar1(memory: float, steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A stationary AR(1) process of unit variance."""
    shocks = rng.standard_normal(steps)
    innovation = math.sqrt(1.0 - memory * memory)
    values = np.empty(steps)
    value = float(shocks[0])
    values[0] = value
    for at in range(1, steps):
        value = memory * value + innovation * float(shocks[at])
        values[at] = value
    return values


@lru_cache(maxsize=16)
def _parsed(text: str) -> TraceModel:
    return from_json(text)


def _load_file(path: Path) -> TraceModel:
    try:
        return _parsed(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise TraceError(f"{path}: cannot be read ({reason})") from None
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None


def load(name: str, *, base: Path) -> TraceModel:
    """The model called `name`, or the one in the parameter file `name` (ends in .json).

    Raises:
        TraceError: none such; the message lists the shipped ones.
    """
    if name.endswith(".json"):
        return _load_file(base / name)
    shipped = data_dir("traces") / "models"
    for folder in (*[folder / "models" for folder in user_folders()], shipped):
        if (folder / f"{name}.json").is_file():
            return _load_file(folder / f"{name}.json")
    known = ", ".join(sorted(path.stem for path in shipped.glob("*.json"))) or "none"
    raise TraceError(f"unknown trace model {name!r}; known: {known}, or the path of a .json file")


def from_json(text: str) -> TraceModel:
    """A model from its parameter file.

    Raises:
        TraceError: not a parameter file, or a value that no model can have.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise TraceError("not JSON") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT_VERSION:
        raise TraceError(f"not a trace model of format {FORMAT_VERSION}")
    try:
        sessions = tuple(_session(item) for item in document.pop("sessions"))
        model = TraceModel(
            sessions=sessions,
            notes=tuple(document.pop("notes")),
            fitted_names=tuple(document.pop("fitted_names")),
            **document,
        )
        _check(model)
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"not a trace model ({type(error).__name__}: {error})") from None
    return model


def _session(item: Mapping[str, Any]) -> Session:
    values = dict(item)
    for name in ("weight", "level", "top", "memory", "slow", "dead"):
        values[name] = _finite(values[name])
    for name in ("offsets", "spreads", "dwell_location", "dwell_scale"):
        values[name] = tuple(_finite(value) for value in values[name])
    values["dwell_max"] = tuple(int(value) for value in values["dwell_max"])
    values["transitions"] = tuple(tuple(_finite(p) for p in row) for row in values["transitions"])
    return Session(**values)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def _check(model: TraceModel) -> None:
    if not model.sessions or not _finite(model.step_s) > 0 or not _finite(model.level_jitter) >= 0:
        raise ValueError("needs sessions, step_s > 0 and level_jitter >= 0")
    if not isinstance(model.name, str) or not isinstance(model.title, str):
        raise ValueError("name and title must be text")
    for number, session in enumerate(model.sessions):
        regimes = len(session.offsets)
        sizes = {len(row) for row in session.transitions} | {
            len(session.transitions),
            len(session.dwell_location),
            len(session.dwell_scale),
            len(session.dwell_max),
            len(session.spreads) + 1,
        }
        if regimes < 1 or sizes != {regimes + 1}:
            raise ValueError(f"sessions[{number}] has lists of unequal length")
        rows = np.asarray(session.transitions, dtype=np.float64)
        if not (np.all(rows >= 0) and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3)):
            raise ValueError(f"sessions[{number}].transitions must be probabilities")
        shares = (session.slow, session.dead)
        if (
            not 0 <= session.memory < 1
            or not session.weight > 0
            or min(shares) < 0
            or max(shares) > 1
        ):
            raise ValueError(f"sessions[{number}] has memory, slow, dead or weight out of range")
        if min(session.spreads) < 0 or min(session.dwell_scale) < 0 or min(session.dwell_max) < 1:
            raise ValueError(f"sessions[{number}] has a negative spread or dwell")


def _rounded(value: Any) -> Any:
    """Floats to 5 decimals, so that the same fit gives the same file on every machine."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value
