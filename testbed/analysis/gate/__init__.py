"""The gate: has a results folder become worse than a baseline?

Cells are matched by what their scenario says, runs of the same seed are paired, and every metric is
held against its limit and a test over the seeds (see `testbed.analysis.gate.verdicts`). A baseline
is another results folder, or the small file that `record` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from testbed.analysis.gate.answer import Answer
from testbed.analysis.gate.baseline import check_whole, read_file, to_text
from testbed.analysis.gate.limits import DEFAULTS, SERIES_PREFIX, limits
from testbed.analysis.gate.matching import match
from testbed.analysis.gate.records import Side, read_folder
from testbed.analysis.gate.series import check_step
from testbed.analysis.gate.verdicts import compare, compare_series
from testbed.errors import InputError

__all__ = ["Answer", "gate", "record"]


def gate(
    baseline: Path,
    directory: Path,
    *,
    metrics: Sequence[str] = (),
    tolerances: Sequence[str] = (),
    series_ms: int | None = None,
) -> Answer:
    """Compare `directory` with `baseline`.

    Args:
        baseline: a results folder, a run folder, or a recorded file.
        directory: a results folder or a run folder.
        metrics: what to look at; the defaults when empty.
        tolerances: see `testbed.analysis.gate.limits.limits`.
        series_ms: step of the series over time; of two folders None leaves series out, a recorded
            file says its own.

    Raises:
        InputError: an input cannot be read or used, or the two have no cell in common.
    """
    names = list(metrics)
    if names and series_ms is not None and not any(n.startswith(SERIES_PREFIX) for n in names):
        names += [name for name in DEFAULTS if name.startswith(SERIES_PREFIX)]
    chosen = limits(names, tolerances)
    wanted = any(name.startswith(SERIES_PREFIX) for name in chosen)
    before = _baseline(baseline, series_ms if wanted else None)
    step = before.series_ms if wanted else None
    if step is None and any(name.startswith(SERIES_PREFIX) for name in names):
        raise InputError(f"{baseline}: has no series to compare; give --series MS when it is made")
    after = read_folder(directory, series_ms=step)
    matching = match(before, after)
    found, notes = compare(matching.cells, chosen)
    if step is not None:
        courses, more = compare_series(matching.cells, chosen, step)
        found, notes = [*found, *courses], [*notes, *more]
    return Answer(
        baseline=baseline,
        directory=directory,
        cells=len(matching.cells),
        pairs=sum(len(cell.shared) for cell in matching.cells),
        comparisons=tuple(found),
        problems=matching.problems,
        notes=(*matching.notes, *notes),
    )


def _baseline(path: Path, series_ms: int | None) -> Side:
    if series_ms is not None:
        check_step(series_ms)
    if not path.is_file() and path.suffix != ".json":
        side = read_folder(path, series_ms=series_ms)
        check_whole(side)
        return side
    side = read_file(path)
    if series_ms not in (None, side.series_ms):
        has = "no series" if side.series_ms is None else f"series in steps of {side.series_ms} ms"
        raise InputError(f"--series {series_ms}: {path} holds {has}")
    return side


def record(directory: Path, *, series_ms: int | None = None) -> str:
    """The content of a baseline file made of `directory`.

    Args:
        directory: a results folder or a run folder.
        series_ms: step of the series over time; None for none.

    Raises:
        InputError: it cannot be read, or some of its runs failed or are broken.
    """
    if series_ms is not None:
        check_step(series_ms)
    return to_text(read_folder(directory, series_ms=series_ms))
