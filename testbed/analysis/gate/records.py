"""What a gate knows of each run, from a results folder, a single run folder, or a recorded file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from testbed.analysis.metrics import DEFINITIONS
from testbed.analysis.runs import Run, RunSet, open_run, scan_runs
from testbed.errors import BrokenLogError, InputError

#: Values over time by the name of the series; None where a step has none.
Series = Mapping[str, Sequence[float | None]]

#: A setting longer than this (a loss mask) is told by its hash.
_LONG: Final = 60
#: Differs with every commit, and `code` says whether the commit concerns the runs.
_UNTOLD: Final = frozenset({"git"})


@dataclass(frozen=True, slots=True)
class Record:
    """One run.

    Attributes:
        scenario, transport, seed, world: which run it is.
        cell: its coordinates.
        settings: everything that the session was resolved to, one entry a leaf.
        made_with: versions of the code, the encoders and the packages.
        metrics: by the keys of `DEFINITIONS`; None where a metric has no meaning.
        series: values over time, when asked for.
    """

    scenario: str
    transport: str
    seed: int
    world: str
    cell: Mapping[str, Any]
    settings: Mapping[str, str]
    made_with: Mapping[str, str]
    metrics: Mapping[str, float | None]
    series: Series = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two things compared.

    Attributes:
        source: the folder or file.
        records: its whole runs.
        series_ms: step of their series; None without series.
        failures: entries of `failures.json`.
        broken: one line for each run that cannot be read.
    """

    source: Path
    records: tuple[Record, ...]
    series_ms: int | None = None
    failures: tuple[Mapping[str, Any], ...] = ()
    broken: tuple[str, ...] = ()


def read_folder(folder: Path, *, series_ms: int | None = None) -> Side:
    """The runs of a results folder, or the one of a run folder.

    Args:
        folder: what `testbed run` left, or one of the folders in its `runs`.
        series_ms: step of the series to compute; None for no series.

    Raises:
        InputError: neither, or nothing in it.
    """
    found = _open(folder)
    records: list[Record] = []
    broken = [message for _, message in found.broken]
    for run in found.runs:
        try:
            records.append(_record(run, series_ms))
        except BrokenLogError as error:
            broken.append(str(error))
    if not (records or broken or found.failures):
        raise InputError(f"{folder}: holds no runs; `testbed run` makes them")
    return Side(folder, tuple(records), series_ms, found.failures, tuple(broken))


def _open(folder: Path) -> RunSet:
    if (folder / "manifest.json").is_file() and not (folder / "runs").is_dir():
        try:
            return RunSet(folder, (open_run(folder),))
        except BrokenLogError as error:
            return RunSet(folder, (), ((folder, str(error)),))
    return scan_runs(folder)


def _record(run: Run, series_ms: int | None) -> Record:
    from testbed.analysis.gate.series import decimate

    manifest = run.manifest
    inputs = manifest.get("inputs")
    clip = inputs.get("clip") if isinstance(inputs, Mapping) else None
    settings = {
        "clip.sha256": clip.get("sha256") if isinstance(clip, Mapping) else None,
        **dict(_leaves(manifest.get("resolved"))),
    }
    versions = manifest.get("versions")
    summary = run.summary
    return Record(
        scenario=run.scenario,
        transport=run.transport,
        seed=run.seed,
        world=str(manifest.get("world", "")),
        cell=run.cell,
        settings={key: _short(value) for key, value in settings.items()},
        made_with={
            key: str(value)
            for key, value in (versions.items() if isinstance(versions, Mapping) else ())
            if key not in _UNTOLD
        },
        metrics={key: summary.get(key) for key in DEFINITIONS},
        series={} if series_ms is None else decimate(run, series_ms),
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    if len(text) <= _LONG:
        return text
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"
