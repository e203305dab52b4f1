"""Reading run folders: what every number and picture is a function of.

A results folder DIR holds `DIR/runs/<hash>/` for every run that ended whole (it is renamed there
only then) and `DIR/failures.json` for the cells that did not. Nothing here repairs or guesses: a
folder that does not hold what it must raises `BrokenLogError` with one line that names the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.errors import BrokenLogError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from testbed.analysis.metrics.columns import Frames

#: Version of the manifest that this reader understands.
MANIFEST_SCHEMA: Final = 1

_MANIFEST_KEYS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "scenario": str,
    "transport": str,
    "seed": int,
    "cell": dict,
    "cell_id": str,
    "warmup_s": (int, float),
}
_TABLES: Final = ("frames", "packets", "control", "link")
_CELL_NUMBERS: Final = ("fps", "duration_s", "playout_deadline_ms")


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder; tables are read when first asked for and then kept.

    Attributes:
        folder: the run folder.
        manifest: `manifest.json`, checked for the keys that analysis needs.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name: the hash of everything that determines the run."""
        return self.folder.name

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return str(self.manifest["scenario"])

    @property
    def transport(self) -> str:
        """Registered name of the transport."""
        return str(self.manifest["transport"])

    @property
    def seed(self) -> int:
        """Master seed."""
        return int(self.manifest["seed"])

    @property
    def cell_id(self) -> str:
        """Equal for all transports and seeds of one cell of the matrix."""
        return str(self.manifest["cell_id"])

    @property
    def cell(self) -> Mapping[str, Any]:
        """The cell's coordinates: clip, fps, trace, loss, control and so on."""
        cell: Mapping[str, Any] = self.manifest["cell"]
        return cell

    @property
    def sizes_only(self) -> bool:
        """There were no pictures: the transport's codec is known by its sizes alone."""
        return self.manifest.get("facts", {}).get("pixels") is not None

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a table afresh, without keeping it.

        Args:
            name: a key of `testbed.tables.TABLES`.
            columns: only these columns; all when None.

        Raises:
            BrokenLogError: the file is missing, garbled, or lacks a column.
        """
        return _read_table(self.folder / f"{name}.parquet", name, columns)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """`frames.parquet`, one row a source frame."""
        return self.table("frames")

    @cached_property
    def packets(self) -> pd.DataFrame:
        """`packets.parquet`, one row a datagram and direction."""
        return self.table("packets")

    @cached_property
    def control(self) -> pd.DataFrame:
        """`control.parquet`, one row a report."""
        return self.table("control")

    @cached_property
    def link(self) -> pd.DataFrame:
        """`link.parquet`, one row a direction and 100 ms bin."""
        return self.table("link")

    @cached_property
    def flows(self) -> pd.DataFrame | None:
        """`flows.parquet`, one row a flow and 100 ms bin; None where nothing competed."""
        return self.table("flows") if (self.folder / "flows.parquet").exists() else None

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run's metrics (see `testbed.analysis.metrics`).

        `summary.json` is taken when it was made by the metric definitions of this version;
        otherwise the metrics are computed again from the tables.
        """
        from testbed.analysis.metrics import METRICS_VERSION, summarise

        path = self.folder / "summary.json"
        if path.exists():
            stored = _read_json(path)
            if isinstance(stored, dict) and stored.get("metrics_version") == METRICS_VERSION:
                return stored
        with self._named():
            return summarise(
                self.table("frames"),
                self.table("packets"),
                self.table("control"),
                self.table("link"),
                manifest=self.manifest,
                flows=self.flows,
            )

    @cached_property
    def timeline(self) -> Frames:
        """`frames.parquet` as checked arrays."""
        from testbed.analysis.metrics.columns import frame_columns

        with self._named():
            return frame_columns(self.frames)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Puts the folder into the message of a broken log."""
        try:
            yield
        except BrokenLogError as error:
            message = str(error)
            if str(self.folder) in message:
                raise
            raise BrokenLogError(f"{self.folder}: {message}") from None


@dataclass(frozen=True, slots=True)
class RunSet:
    """All runs of a results folder.

    Attributes:
        directory: the results folder.
        runs: readable runs in a fixed order.
        broken: (folder, one-line message) of every unreadable one.
        failures: `failures.json`, one mapping a failed cell.
        superseded: folders of runs that a newer one of the same cell, seed and label replaces:
            counted as well, two configurations would pass for two seeds.
    """

    directory: Path
    runs: tuple[Run, ...]
    broken: tuple[tuple[Path, str], ...] = ()
    failures: tuple[Mapping[str, Any], ...] = ()
    superseded: tuple[Path, ...] = ()


def open_run(folder: Path) -> Run:
    """Open one run folder.

    Raises:
        BrokenLogError: no manifest, or one that lacks what analysis needs.
    """
    path = folder / "manifest.json"
    manifest = _read_json(path)
    if not isinstance(manifest, dict):
        raise BrokenLogError(f"{path}: must be a JSON object")
    if manifest.get("schema") != MANIFEST_SCHEMA:
        raise BrokenLogError(
            f"{path}: schema is {manifest.get('schema')!r}; this version reads {MANIFEST_SCHEMA}"
        )
    for key, kind in _MANIFEST_KEYS.items():
        value = manifest.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BrokenLogError(f"{path}: field {key!r} is missing or of the wrong type")
    for key in _CELL_NUMBERS:
        value = manifest["cell"].get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise BrokenLogError(f"{path}: field 'cell.{key}' must be a number > 0, is {value!r}")
    for name in _TABLES:
        if not (folder / f"{name}.parquet").is_file():
            raise BrokenLogError(f"{folder / name}.parquet: missing")
    return Run(folder, manifest)


def iter_runs(directory: Path) -> Iterator[Run]:
    """Every run of a results folder, in a fixed order that does not depend on folder names first.

    Raises:
        InputError: `directory` is not a results folder.
        BrokenLogError: at the first broken run; use `scan_runs` to go past it.
    """
    runs = [open_run(folder) for folder in _run_folders(directory)]
    yield from sorted(runs, key=_order)


def scan_runs(directory: Path) -> RunSet:
    """Every readable run of a results folder, and a list of the others.

    Raises:
        InputError: `directory` is not a results folder.
    """
    runs: list[Run] = []
    broken: list[tuple[Path, str]] = []
    for folder in _run_folders(directory):
        try:
            runs.append(open_run(folder))
        except BrokenLogError as error:
            broken.append((folder, str(error)))
    failures: list[Mapping[str, Any]] = []
    listed = directory / "failures.json"
    if listed.exists():
        try:
            content = _read_json(listed)
            if not isinstance(content, list) or not all(isinstance(c, dict) for c in content):
                raise BrokenLogError(f"{listed}: must be a JSON list of objects")
            failures = content
        except BrokenLogError as error:
            broken.append((listed, str(error)))
    newest = _newest(runs)
    kept = {run.folder for run in newest}
    return RunSet(
        directory,
        tuple(sorted(newest, key=_order)),
        tuple(broken),
        tuple(failures),
        tuple(run.folder for run in runs if run.folder not in kept),
    )


def _newest(runs: Sequence[Run]) -> list[Run]:
    """One run for each scenario, world, cell, seed and transport: the one that was made last."""
    found: dict[tuple[Any, ...], Run] = {}
    for run in sorted(runs, key=lambda run: (run.folder / "manifest.json").stat().st_mtime_ns):
        world = run.manifest.get("world")
        found[run.scenario, world, run.cell_id, run.seed, run.transport] = run
    return list(found.values())


def _run_folders(directory: Path) -> list[Path]:
    if not directory.exists():
        raise InputError(f"{directory}: no such folder; `testbed run` makes one")
    if not directory.is_dir():
        raise InputError(f"{directory}: not a folder; give the --out folder of `testbed run`")
    runs = directory / "runs"
    if not runs.is_dir():
        if (directory / "manifest.json").exists():
            raise InputError(
                f"{directory}: a single run folder; give the folder that holds `runs/`"
            )
        raise InputError(f"{directory}: holds no `runs` folder; `testbed run` makes one")
    # A run under way lies under a name that starts with a dot until it is whole.
    return sorted(p for p in runs.iterdir() if p.is_dir() and not p.name.startswith("."))


def _order(run: Run) -> tuple[Any, ...]:
    cell = run.cell
    rate = cell.get("loss_rate")
    burst = cell.get("mean_burst")
    return (
        run.scenario,
        str(cell.get("clip", "")),
        float(cell["fps"]),
        str(cell.get("trace", "")),
        str(cell.get("loss_kind") or ""),
        float(burst) if isinstance(burst, int | float) else 0.0,
        float(rate) if isinstance(rate, int | float) else 0.0,
        run.cell_id,
        run.transport,
        run.seed,
        run.name,
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenLogError(f"{path}: missing") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BrokenLogError(f"{path}: cannot be read ({_one_line(error)})") from None


def _read_table(path: Path, name: str, columns: Sequence[str] | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from testbed.tables import OPTIONAL_TABLES, TABLES

    if not path.exists():
        raise BrokenLogError(f"{path}: missing")
    try:
        with pq.ParquetFile(path) as file:
            present = set(file.schema_arrow.names)
            known = (TABLES | OPTIONAL_TABLES)[name].names
            wanted = list(known if columns is None else columns)
            missing = [column for column in wanted if column not in present]
            if missing:
                raise BrokenLogError(f"{path}: lacks column {', '.join(missing)}")
            table = file.read(columns=None if columns is None else wanted)
            frame: pd.DataFrame = table.to_pandas()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise BrokenLogError(f"{path}: cannot be read ({_one_line(error)})") from None
    return frame


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
