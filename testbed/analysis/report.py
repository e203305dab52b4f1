"""`DIR/report.html`: one file that says what was run and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportResult:
    """What a report wrote.

    Attributes:
        html: `DIR/report.html`.
        csv: `DIR/summary.csv`, one row a run.
        figures: every figure file.
        runs: how many runs went in.
        broken: (folder, message) of every run that could not be read.
        failed_cells: how many cells `failures.json` lists.
    """

    html: Path
    csv: Path
    figures: tuple[Path, ...]
    runs: int
    broken: tuple[tuple[Path, str], ...]
    failed_cells: int


def write_report(
    directory: Path,
    *,
    figures: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> ReportResult:
    """Write `report.html`, `summary.csv` and `figures/` into a results folder.

    Args:
        directory: the `--out` folder of `testbed run`.
        figures: names of registered figures; all when None.
        progress: told one line a slow step.

    Raises:
        InputError: `directory` holds no readable run.
        OutputError: the report cannot be written.
    """
    raise NotImplementedError
