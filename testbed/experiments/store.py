"""Run folders: written under a temporary name, renamed when whole.

`DIR/runs/<hash>/` holds one run. While it is being written it is `DIR/runs/.<hash>.tmp/`; readers
skip names that start with a dot, and whatever carries such a name at the start of a suite is left
over from one that was killed. Rows go to Parquet in groups of fixed size, so a long session never
holds its tables in memory and equal rows make equal files however they arrived.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.capture.tap import CAPTURE_NAME, Tap
from testbed.errors import LocalProtocolError, OutputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Version of the manifest; `testbed.analysis.runs` reads this one.
MANIFEST_SCHEMA: Final = 1
#: Rows held before they are written: 16384 packet rows are about 10 MB as Python objects.
GROUP_ROWS: Final = 16_384
RUNS: Final = "runs"
FAILURES: Final = "failures.json"
_COMPRESSION: Final = "zstd"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failed write below `path` into one line.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise OutputError(f"{path}: cannot write: {why}") from None


def run_folder(out: Path, run: str) -> Path:
    """Where the run called `run` lies once it is whole."""
    return out / RUNS / run


def is_whole(out: Path, run: str, *, capture: bool = False) -> bool:
    """Whether the run has been written before; only whole folders carry its name.

    Args:
        out: results folder.
        run: the run's name.
        capture: it must have a capture of its packets as well.
    """
    return _is_whole(run_folder(out, run), capture=capture)


def _is_whole(folder: Path, *, capture: bool) -> bool:
    wanted = ("manifest.json", CAPTURE_NAME) if capture else ("manifest.json",)
    return all((folder / name).is_file() for name in wanted)


def prepare_output(out: Path) -> None:
    """Make the results folder and see that it can be written.

    Raises:
        OutputError: `out` is a file, or cannot be made or written.
    """
    runs = out / RUNS
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next(p for p in (runs, *runs.parents) if p.exists() and not p.is_dir())
        raise OutputError(f"{in_the_way}: is a file; --out must name a folder") from None
    except OSError as error:
        raise OutputError(f"{out}: cannot make the folder: {error.strerror}") from None
    probe = runs / f".probe.{os.getpid()}"
    with writing(out):
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()


def discard_unfinished(out: Path) -> None:
    """Remove runs that were cut off; the caller holds the folder's lock."""
    for leftover in (out / RUNS).glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the results folder for this process.

    Raises:
        OutputError: another suite is writing there.
    """
    import fcntl

    with writing(out):
        handle = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{out}: another `testbed run` is writing there") from None
        yield
    finally:
        os.close(handle)


class RunWriter:
    """The sink of one session and the folder that it ends in.

    Use as a context manager: leaving it without `publish` removes everything.

    Args:
        out: results folder, prepared.
        run: the run's name.
    """

    def __init__(self, out: Path, run: str) -> None:
        self.target = run_folder(out, run)
        self.folder = self.target.with_name(f".{run}.tmp")
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._writers: dict[str, Any] = {}
        self._files: dict[str, Any] = {}

    def __enter__(self) -> RunWriter:
        from testbed.tables import TABLES

        with writing(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            for name, schema in TABLES.items():
                self._open(name, schema)
        return self

    def _open(self, name: str, schema: Any) -> None:
        import pyarrow.parquet as pq

        path = str(self.path(name))
        self._writers[name] = pq.ParquetWriter(path, schema, compression=_COMPRESSION)
        self._rows[name] = []

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            # The disk may be full: what matters now is that nothing stays behind.
            try:
                writer.close()
            except OSError:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, table: str) -> Path:
        """The file of a table while the run is being written."""
        return self.folder / f"{table}.parquet"

    def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Add rows, each a tuple in the order of the table's columns.

        Raises:
            OutputError: the disk is full.
            LocalProtocolError: no such table, or a row that does not fit it.
        """
        from testbed.tables import OPTIONAL_TABLES

        if table in OPTIONAL_TABLES and table not in self._rows:
            with writing(self.folder):
                self._open(table, OPTIONAL_TABLES[table])
        held = self._rows.get(table)
        if held is None:
            known = ", ".join((*self._rows, *OPTIONAL_TABLES))
            raise LocalProtocolError(f"no table {table!r} to append to; known: {known}")
        held += rows
        while len(held) >= GROUP_ROWS:
            self._write(table, held[:GROUP_ROWS])
            del held[:GROUP_ROWS]

    def _write(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        import pyarrow as pa

        from testbed.tables import OPTIONAL_TABLES, TABLES

        schema = (TABLES | OPTIONAL_TABLES)[table]
        try:
            columns = zip(*rows, strict=True)
            arrays = [
                pa.array(column, type=field.type)
                for column, field in zip(columns, schema, strict=True)
            ]
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise LocalProtocolError(f"table {table}: rows do not fit: {error}") from error
        for array, field in zip(arrays, schema, strict=True):
            if array.null_count and not field.nullable:
                raise LocalProtocolError(f"table {table}: {field.name} is null in a row")
        with writing(self.path(table)):
            self._writers[table].write_batch(pa.record_batch(arrays, schema=schema))

    def tap(self) -> Tap:
        """What writes a capture of the session's packets into the folder.

        Raises:
            OutputError: the folder cannot be written.
        """
        return Tap(self.folder / CAPTURE_NAME)

    def close_tables(self) -> None:
        """Write the rows still held; no rows may follow.

        Raises:
            OutputError: the disk is full.
        """
        for name, rows in self._rows.items():
            if rows:
                self._write(name, rows)
            with writing(self.path(name)):
                self._writers.pop(name).close()
        self._rows = {}

    def add_frame_columns(self, columns: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """Put quality columns beside the frames; NaN becomes null.

        Raises:
            OutputError: the disk is full.
            LocalProtocolError: a column has another length than the table.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path("frames")
        frames = pq.read_table(path)
        for name, values in columns.items():
            if len(values) != frames.num_rows:
                raise LocalProtocolError(
                    f"{name}: {len(values)} values for {frames.num_rows} frames"
                )
            frames = frames.append_column(name, pa.array(values, pa.float64(), from_pandas=True))
        with writing(path):
            pq.write_table(frames, path, compression=_COMPRESSION, row_group_size=GROUP_ROWS)

    def optional_table(self, name: str) -> pd.DataFrame | None:
        """A closed table of `testbed.tables.OPTIONAL_TABLES`; None if it is not there."""
        return self.table(name) if self.path(name).exists() else None

    def table(self, name: str) -> pd.DataFrame:
        """A table that has been closed."""
        import pyarrow.parquet as pq

        frame: pd.DataFrame = pq.read_table(self.path(name)).to_pandas()
        return frame

    def publish(self, *, manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Write the JSON files and give the folder its name.

        A folder of that name can only be the same run, written by somebody else meanwhile or
        without the capture that this one has. It is kept, unless it lacks that capture.

        Raises:
            OutputError: the disk is full.
        """
        write_json(self.folder / "summary.json", summary)
        write_json(self.folder / "manifest.json", manifest)
        captured = (self.folder / CAPTURE_NAME).is_file()
        if self.target.exists() and _is_whole(self.target, capture=captured):
            return
        with writing(self.target):
            # A folder cannot be renamed onto another. Who is cut off between the two steps finds
            # no run, and the same command makes it again.
            if self.target.exists():
                retired = self.target.with_name(f".{self.target.name}.old.tmp")
                shutil.rmtree(retired, ignore_errors=True)
                self.target.rename(retired)
                self.folder.rename(self.target)
                shutil.rmtree(retired, ignore_errors=True)
            else:
                self.folder.rename(self.target)


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary name.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
        LocalProtocolError: a value that JSON cannot hold, such as NaN.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise LocalProtocolError(f"{path.name}: not JSON: {error}") from error
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file through a temporary name.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, paths and tuples as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def record_failures(out: Path, failed: Sequence[Mapping[str, Any]], tried: Sequence[str]) -> None:
    """Bring `DIR/failures.json` up to date.

    Args:
        out: results folder.
        failed: cells that failed now, each with its `run`.
        tried: names of all runs of this suite; older entries about them are replaced.

    Raises:
        OutputError: the disk is full.
    """
    path = out / FAILURES
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = []
    known = set(tried)
    kept = [
        entry
        for entry in before
        if isinstance(entry, dict)
        and entry.get("run") not in known
        and not is_whole(out, str(entry.get("run")))
    ]
    if kept or failed:
        write_json(path, [*kept, *failed])
    else:
        with writing(path):
            path.unlink(missing_ok=True)
