"""A run of the simulator run again from its manifest, for the packets that it did not keep.

The manifest has everything that determines a session, but traces only by their hash and in words.
Traces are found again by these words and held against the hash; the session, against the frames of
the run folder. What cannot be found or differs is an error: a picture of another session is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed.analysis.runs import Run
from testbed.errors import BrokenLogError, InputError
from testbed.experiments.inputs import Capacity, scaled
from testbed.experiments.matrix import Scale
from testbed.media.spec import ClipSpec
from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.tables import FRAMES
from testbed.traces import ResolvedTrace, resolve
from testbed.worlds.session import CompetingSpec, SessionResult, SessionSpec
from testbed.worlds.simulator import run_session

#: What a run folder without a capture can do otherwise.
REMEDY: Final = "has no capture: run it again with --capture"
#: How `testbed.traces.specs` and `testbed.experiments.inputs` word where a trace comes from.
_FORMULA: Final = re.compile(r"formula (?P<spec>.+)")
_CATALOGUE: Final = re.compile(r"catalogue (?P<spec>[^:]+):")
_MODEL: Final = re.compile(
    r"synthetic: model (?P<name>\S+) \(.*\), (?P<seconds>\d+) s, index (?P<index>\d+), seed "
)
_FILE: Final = re.compile(r"file (?P<spec>.+?) \(")
_SCALED: Final = re.compile(r"(, rates scaled by [0-9.e+-]+)\Z")
_MEAN: Final = re.compile(r"-mean(?P<kbps>[0-9.e+-]+)kbps\Z")
_FACTOR: Final = re.compile(r"-x(?P<factor>[0-9.e+-]+)\Z")


def run_again(run: Run, *, base: Path) -> SessionResult:
    """The session of a run folder once more, with all that arrived.

    Args:
        run: of the simulator.
        base: folder that relative paths of clips and traces start from.

    Raises:
        InputError: another world, an input that is not there any more, or another outcome.
    """
    if run.manifest.get("world") != "simulator":
        raise InputError(f"{run.folder}: {REMEDY}")
    sink = _FramesOnly()
    result = run_session(session_spec(run, base=base), sink, base=base)
    _compare(run, sink.rows)
    return result


def session_spec(run: Run, *, base: Path) -> SessionSpec:
    """The session that a manifest describes; arguments and errors as for `run_again`."""
    try:
        return _spec(run, base)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenLogError(f"{run.folder}: manifest: lacks or garbles {error}") from None


def _spec(run: Run, base: Path) -> SessionSpec:
    resolved, inputs = run.manifest["resolved"], run.manifest["inputs"]
    rate = dict(resolved["rate"])
    return SessionSpec(
        transport=resolved["transport"].get("base", resolved["transport"]["name"]),
        clip=ClipSpec(**resolved["clip"]),
        downlink=_path(run, resolved["downlink"], inputs["trace"], base),
        uplink=_path(run, resolved["uplink"], inputs["uplink_trace"], base),
        rate_control=rate.pop("control"),
        rate_options=rate,
        transport_options=resolved["transport"]["options"],
        compute=resolved["compute"],
        playout_deadline_ms=resolved["playout_deadline_ms"],
        seed=run.seed,
        competing=tuple(CompetingSpec(**sort) for sort in resolved["competing"]),
    )


def _path(
    run: Run, told: Mapping[str, Any], trace: Mapping[str, Any] | None, base: Path
) -> PathSpec:
    queue = dict(told["queue"])
    delay = dict(told["delay"])
    delay["trace_ms"] = tuple(delay["trace_ms"])
    found = None if told["trace"] is None else _find_trace(run, told["trace"], trace or {}, base)
    return PathSpec(
        trace=Capacity("", found).in_form(told["mode"]),
        mode=told["mode"],
        queue=QueueSpec(queue.pop("kind"), queue.pop("packets"), queue.pop("bytes"), queue),
        loss=tuple(_loss(one) for one in told["loss"]),
        delay=DelaySpec(**delay),
        order=tuple(told["order"]),
        phase_ms=told["phase_ms"],
        once=told["once"],
    )


def _loss(told: Mapping[str, Any]) -> LossSpec:
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if k != "kind"}
    return LossSpec(told["kind"], options)


def _find_trace(run: Run, sha256: str, told: Mapping[str, Any], base: Path) -> ResolvedTrace:
    """The trace of this hash, by the words of the manifest about it."""
    name, source = str(told.get("name", "")), str(told.get("source", ""))
    spec = _trace_spec(_SCALED.sub("", source))
    try:
        candidates = [] if spec is None else resolve(spec, base=base, seed=run.seed)
        candidates = [scaled(one, _scale(name)) for one in candidates]
    except InputError:
        candidates = []
    for candidate in candidates:
        if candidate.sha256 == sha256:
            return candidate
    raise InputError(f"{run.folder}: {REMEDY} (its trace {name} is not found below {base})")


def _trace_spec(source: str) -> str | None:
    """What `testbed.traces.resolve` would make of that source."""
    for form in (_FORMULA, _CATALOGUE, _FILE):
        if match := form.match(source):
            return match["spec"]
    if match := _MODEL.match(source):
        return f"model:{match['name']}@{match['seconds']}s#{match['index']}"
    return None


def _scale(name: str) -> Scale:
    """What was done to the rates, by the suffix of the trace's name."""
    if match := _MEAN.search(name):
        return Scale(mean_kbps=float(match["kbps"]))
    if match := _FACTOR.search(name):
        return Scale(factor=float(match["factor"]))
    return Scale()


class _FramesOnly:
    """A sink that keeps the rows of the frame table and drops the rest."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Keep or drop."""
        if table == "frames":
            self.rows += rows


def _compare(run: Run, rows: list[tuple[Any, ...]]) -> None:
    """Hold the frames of the new session against those of the folder."""
    for column in ("decodable_ns", "render_ns"):
        at = FRAMES.get_field_index(column)
        now = np.array([np.nan if row[at] is None else row[at] for row in rows], np.float64)
        if not np.array_equal(now, getattr(run.timeline, column), equal_nan=True):
            raise InputError(
                f"{run.folder}: {REMEDY} (run again from its manifest it comes out otherwise: it "
                "was made by another version, or on another machine)"
            )
