"""What a gate says: on a terminal, in a pull request, to a program."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from testbed.analysis.gate.limits import SERIES_PREFIX
from testbed.analysis.gate.matching import Problem
from testbed.analysis.gate.series import UNITS
from testbed.analysis.gate.verdicts import Comparison, Verdict
from testbed.analysis.metrics import definition

#: Rows of the table on a terminal; the files hold all.
ROWS: Final = 20
#: Metrics that the conclusion names.
_NAMED: Final = 4
_HEAD: Final = ("verdict", "metric", "cell", "baseline", "now", "change", "95 % interval", "by")
#: In the order of the table: worst first.
_TOLD: Final[tuple[Verdict, ...]] = ("regression", "unclear", "better")


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a gate.

    Attributes:
        baseline, directory: what was compared.
        cells: cells on both sides.
        pairs: runs on both sides with the same seed.
        comparisons: every metric of every cell.
        problems: what could not be compared because it is missing, failed or broken now.
        notes: what is worth knowing.
    """

    baseline: Path
    directory: Path
    cells: int
    pairs: int
    comparisons: tuple[Comparison, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def of(self, verdict: Verdict) -> list[Comparison]:
        """Comparisons with that verdict, the furthest beyond its limit first."""
        found = [one for one in self.comparisons if one.verdict == verdict]
        return sorted(found, key=lambda one: -abs(one.excess))

    def passed(self, *, strict: bool = False) -> bool:
        """Whether nothing became worse; with `strict` what is unclear counts as worse."""
        return not (self.problems or self.of("regression") or (strict and self.of("unclear")))

    def as_json(self, *, strict: bool = False) -> dict[str, Any]:
        """For a program; numbers that JSON cannot hold are null."""
        return {
            "passed": self.passed(strict=strict),
            "strict": strict,
            "baseline": str(self.baseline),
            "directory": str(self.directory),
            "cells": self.cells,
            "pairs": self.pairs,
            "problems": [asdict(problem) for problem in self.problems],
            "notes": list(self.notes),
            "comparisons": [
                {
                    key: None if isinstance(value, float) and not math.isfinite(value) else value
                    for key, value in {**asdict(one), "change": one.change}.items()
                }
                for one in self.comparisons
            ],
        }

    def as_text(self, *, strict: bool = False) -> str:
        """For a terminal."""
        rows = self._rows()
        lines = [self._compared(), *(f"note: {note}" for note in self.notes)]
        lines += [_problem(problem) for problem in self.problems]
        if rows:
            lines += _columns([_HEAD, *rows[:ROWS]])
        if len(rows) > ROWS:
            lines.append(f"... and {len(rows) - ROWS} more (--out FILE writes all)")
        return "\n".join([*lines, self.conclusion(strict=strict)])

    def as_markdown(self, *, strict: bool = False) -> str:
        """For a pull request or a job's summary."""
        lines = [f"**{self.conclusion(strict=strict)}**", "", self._compared(), ""]
        lines += [f"- {_problem(problem)}" for problem in self.problems]
        lines += [f"- note: {note}" for note in self.notes]
        rows = self._rows()
        if rows:
            table = [_HEAD, ("---",) * len(_HEAD), *rows]
            cells = ([cell.replace("|", "\\|") for cell in row] for row in table)
            lines += ["", *(f"| {' | '.join(row)} |" for row in cells)]
        return "\n".join(lines) + "\n"

    def conclusion(self, *, strict: bool = False) -> str:
        """One line: passed or not, and by what."""
        count = len(self.comparisons)
        aside = self._aside(strict=strict)
        if self.passed(strict=strict):
            equal = count and all(one.verdict == "same" for one in self.comparisons)
            return f"passed: {count} comparisons{', all equal' if equal else ''}{aside}"
        worse = self.of("regression")
        parts = [f"{len(worse)} of {count} comparisons"] if worse else []
        kinds = Counter(problem.kind for problem in self.problems)
        parts += [f"{number} {kind}" for kind, number in kinds.items()]
        if worse:
            metrics = list(dict.fromkeys(one.metric for one in worse))
            more = ", ..." if len(metrics) > _NAMED else ""
            parts[0] += f" ({', '.join(metrics[:_NAMED])}{more})"
        return f"regression: {', '.join(parts) or 'unclear counts, by --strict'}{aside}"

    def _aside(self, *, strict: bool) -> str:
        found = []
        if unclear := len(self.of("unclear")):
            hint = "" if strict else ": more seeds would tell, --strict fails on it"
            found.append(f"{unclear} unclear{hint}")
        if better := len(self.of("better")):
            found.append(f"{better} better")
        return "".join(f"; {one}" for one in found)

    def _compared(self) -> str:
        return (
            f"{self.directory} against {self.baseline}: {_count(self.cells, 'cell')}, "
            f"{_count(self.pairs, 'pair')} of runs"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        return [_row(one) for verdict in _TOLD for one in self.of(verdict)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _problem(problem: Problem) -> str:
    where = f"{problem.cell}: " if problem.cell else ""
    return f"{problem.kind}: {where}{problem.message}"


def _row(one: Comparison) -> tuple[str, ...]:
    unit = _unit(one.metric)
    interval = ""
    if one.low is not None and one.high is not None:
        interval = f"{_number(one.low, unit, sign=True)} to {_number(one.high, unit, sign=True)}"
    words = []
    if not one.metric.startswith(SERIES_PREFIX):
        words = [] if one.p is None else [one.test]
        words.append(_count(one.runs, "seed"))
        if one.p is not None and one.verdict != "better":  # p is about getting worse
            words.append(f"p {one.p:.2g}")
    by = ", ".join([*words, *([one.remark] if one.remark else [])])
    return (
        one.verdict,
        one.metric,
        one.cell,
        "none" if one.before is None else _with_unit(one.before, unit),
        "none" if one.after is None else _with_unit(one.after, unit),
        "" if one.change is None else _number(one.change, unit, sign=True),
        interval,
        by,
    )


def _unit(metric: str) -> str:
    if metric.startswith(SERIES_PREFIX):
        return UNITS[metric.removeprefix(SERIES_PREFIX)]
    return definition(metric).unit


def _with_unit(value: float, unit: str) -> str:
    shown = "%" if unit == "share" else unit
    return f"{_number(value, unit)} {shown}".rstrip()


def _number(value: float, unit: str, *, sign: bool = False) -> str:
    """To three digits or the whole number; a share in percent."""
    value = 100 * value if unit == "share" else value
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:{'+' if sign else ''}.{digits}f}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
