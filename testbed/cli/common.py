"""What several commands share: options, finding scenario files, naming cells, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.errors import InputError, ScenarioError
from testbed.paths import data_dir

if TYPE_CHECKING:
    from testbed.experiments.cell import Cell
    from testbed.experiments.executor import Failure, Reporter

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
Base = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where relative paths of clips and traces start from. Default: the working folder.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def find_scenario(text: str) -> Path:
    """The file that the user means: a path, or the bare name of a shipped scenario.

    Raises:
        ScenarioError: neither; lists the shipped ones.
    """
    path = Path(text)
    shipped = data_dir("scenarios")
    candidate = shipped / f"{text}.yaml"
    if not path.is_file() and len(path.parts) == 1 and candidate.is_file():
        return candidate
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
    raise ScenarioError(f"{text}: no such file, nor a shipped scenario; shipped: {known}")


def varying(cells: Sequence[Cell]) -> list[str]:
    """Conditions that differ between cells, in the order of the conditions."""
    if not cells:
        return []
    return [
        key
        for key in cells[0].conditions
        if len({repr(cell.conditions.get(key)) for cell in cells}) > 1
    ]


#: Conditions that say in numbers what a label beside them says in words.
_DETAILS = frozenset({"loss_kind", "loss_rate", "mean_burst", "height", "paths"})
_UNITS: Mapping[str, str] = {
    "fps": "fps",
    "kbps": "kbps",
    "delay_ms": "ms",
    "jitter_ms": "ms jitter",
    "playout_deadline_ms": "ms deadline",
}


def name_cell(cell: Cell, keys: Sequence[str]) -> str:
    """`h264, seed 1, bernoulli 5 %`: what sets the cell apart from its neighbours."""
    words = [cell.transport, f"seed {cell.seed}"]
    for key in keys:
        if key in _DETAILS:
            continue
        value = cell.conditions.get(key)
        if key == "width":
            value = f"{value}x{cell.conditions.get('height')}"
        elif isinstance(value, float):
            value = f"{value:g}"
        words.append(f"{value} {_UNITS[key]}" if key in _UNITS else str(value))
    return ", ".join(words)


class QuietReporter:
    """Says nothing."""

    def started(self, cell: Cell) -> None:
        """Nothing."""

    def finished(self, cell: Cell) -> None:
        """Nothing."""

    def failed(self, failure: Failure) -> None:
        """Nothing."""


class LineReporter:
    """One plain line a cell, for logs and pipes."""

    def __init__(self, cells: Sequence[Cell], todo: int) -> None:
        self.keys = varying(cells)
        self.todo = todo
        self.done = 0

    def started(self, cell: Cell) -> None:
        """Nothing: a line a cell is enough."""

    def finished(self, cell: Cell) -> None:
        """One line."""
        self._say(cell, "")

    def failed(self, failure: Failure) -> None:
        """One line with the reason."""
        self._say(failure.cell, f": FAILED: {failure.message}")

    def _say(self, cell: Cell, suffix: str) -> None:
        self.done += 1
        line = f"[{self.done}/{self.todo}] {name_cell(cell, self.keys)}{suffix}"
        print(line, file=sys.stderr, flush=True)


class BarReporter:
    """A progress bar on a terminal; use as a context manager."""

    def __init__(self, cells: Sequence[Cell], todo: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.keys = varying(cells)
        self.under_way: dict[str, str] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.progress.add_task("starting", total=todo)

    def __enter__(self) -> BarReporter:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def started(self, cell: Cell) -> None:
        """Shows the cell under way."""
        self.under_way[cell.run] = name_cell(cell, self.keys)
        self._show()

    def finished(self, cell: Cell) -> None:
        """One step further."""
        self.under_way.pop(cell.run, None)
        self.progress.advance(self.task)
        self._show()

    def failed(self, failure: Failure) -> None:
        """One step further, with a line above the bar that stays."""
        name = name_cell(failure.cell, self.keys)
        self.progress.console.print(
            f"FAILED {name}: {failure.message}", style="red", markup=False, highlight=False
        )
        self.finished(failure.cell)

    def _show(self) -> None:
        names = list(self.under_way.values())
        text = names[0] if names else ""
        self.progress.update(self.task, description=text.replace("[", "\\["))


def make_reporter(cells: Sequence[Cell], todo: int, *, quiet: bool) -> Reporter:
    """The reporter that fits stderr: a bar on a terminal, lines elsewhere."""
    if quiet or not todo:
        return QuietReporter()
    if sys.stderr.isatty():
        return BarReporter(cells, todo)
    return LineReporter(cells, todo)


def print_json(value: Any) -> None:
    """The answer for a program."""
    import json

    print(json.dumps(value, indent=2, default=str))


def one_cell(scenario: str, overrides: Sequence[str], *, world: str) -> Cell:
    """The only run that a scenario describes.

    Raises:
        InputError: it describes several.
    """
    from testbed.cli.run import cells_of
    from testbed.experiments.scenario import load_scenario

    path = find_scenario(scenario)
    cells = cells_of(load_scenario(path, overrides=overrides), world)
    if len(cells) != 1:
        keys = varying(cells)
        first = ", ".join(f"[{name_cell(cell, keys)}]" for cell in cells[:3])
        raise InputError(
            f"{path}: describes {len(cells)} runs ({first}, ...); --set must leave exactly one"
        )
    return cells[0]
