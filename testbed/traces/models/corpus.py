"""Real traces prepared for fitting and checking: the split, the cut, the grid."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.network.trace import RateTrace, Trace
from testbed.traces.convert import to_rate
from testbed.traces.files import find_paths, name_hash
from testbed.traces.formats import read_file
from testbed.traces.statistics import OUTAGE_KBPS, runs, seconds_grid

#: At most this much of a file is used, so that one long log does not become the model.
MAX_FILE_S: Final = 3600
#: A longer outage is taken for a stalled logger or a parked vehicle, and cut out.
MAX_OUTAGE_S: Final = 600
#: A shorter piece says nothing about regimes.
MIN_PIECE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Recording:
    """One real series, cut, on the grid.

    Attributes:
        name: file name (and segment).
        group: data set, the part of the file name before "__".
        pieces: kbit/s on a grid, float64 arrays; several where an over-long outage was cut out.
    """

    name: str
    group: str
    pieces: tuple[NDArray[np.float64], ...]

    @property
    def seconds(self) -> int:
        """Steps in all pieces."""
        return sum(piece.size for piece in self.pieces)


def group_of(name: str) -> str:
    """Data set of a file name: what is before "__", or "" where there is no such mark."""
    head, mark, _ = name.partition("__")
    return head if mark else ""


def split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Half of the names to fit to, half to check against; from the names alone.

    Within each data set the names are sorted by their SHA-256, and every second one is held out,
    starting with the second; so each data set is in both halves, as near to equal as it can be. A
    data set of one file goes where the parity of its hash says.

    Returns:
        (fit, held out), each sorted.
    """
    groups: dict[str, list[str]] = {}
    for name in set(names):
        groups.setdefault(group_of(name), []).append(name)
    fit: list[str] = []
    held: list[str] = []
    for members in groups.values():
        members.sort(key=name_hash)
        if len(members) == 1:
            (held if int(name_hash(members[0]), 16) % 2 else fit).append(members[0])
        else:
            fit += members[0::2]
            held += members[1::2]
    return sorted(fit), sorted(held)


def collect(sources: Sequence[str], *, base: Path, exclude: Sequence[str] = ()) -> list[Path]:
    """Files of the paths, globs and folders in `sources`, without those that match `exclude`.

    Raises:
        TraceError: a source has no file, or two files have one name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        paths = find_paths(source, base=base)
        if not paths:
            raise TraceError(f"{source}: no such file or folder")
        for path in paths:
            if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in exclude):
                continue
            if found.setdefault(path.name, path) != path:
                raise TraceError(f"{path}: another file has the same name; the split goes by name")
    return [found[name] for name in sorted(found)]


def record(path: Path, *, step_s: float) -> list[Recording]:
    """The series of a file on a grid of `step_s`, cut to `MAX_FILE_S`.

    Raises:
        TraceError: cannot be read; starts with the path.
    """
    recordings = []
    for part in read_file(path)[1]:
        grid = grid_of(part.trace, step_s)[: int(MAX_FILE_S / step_s)]
        pieces = tuple(_pieces(grid, step_s))
        if pieces:
            name = f"{path.name}#{part.segment}" if part.segment else path.name
            recordings.append(Recording(name, group_of(path.name), pieces))
    return recordings


def grid_of(trace: Trace, step_s: float) -> NDArray[np.float64]:
    """Mean rates of 1 s steps; for another step the rate in the middle of each.

    A sparse series (Puffer's two seconds) would be smoothed by means that do not fall on its own
    samples; one value a step keeps its variance.
    """
    if step_s == 1:
        return seconds_grid(trace)
    rates = trace if isinstance(trace, RateTrace) else to_rate(trace, step_us=100_000)
    ends = np.cumsum(rates.durations_us)
    steps = int(ends[-1] // (step_s * 1e6))
    middle = (np.arange(steps) + 0.5) * step_s * 1e6
    return rates.rates_kbps[np.searchsorted(ends, middle, side="right")]


def common_step(paths: Sequence[Path]) -> float:
    """The median native step of the files in whole seconds, at least 1."""
    medians = [
        float(np.median(part.trace.durations_us)) / 1e6
        for path in paths
        for part in read_file(path)[1]
        if isinstance(part.trace, RateTrace)
    ]
    return max(1.0, float(round(float(np.median(medians))))) if medians else 1.0


def _pieces(grid: NDArray[np.float64], step_s: float) -> list[NDArray[np.float64]]:
    pieces = []
    start = 0
    for at, length in [*runs(grid < OUTAGE_KBPS), (grid.size, 0)]:
        if length == 0 or length * step_s > MAX_OUTAGE_S:
            pieces.append(grid[start:at])
            start = at + length
    # A piece that is one outage has no level; it can only be the rest of a cut.
    return [
        piece
        for piece in pieces
        if piece.size * step_s >= MIN_PIECE_S and bool(np.any(piece >= OUTAGE_KBPS))
    ]
