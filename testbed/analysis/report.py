"""`DIR/report.html`: one file that says what was run and what came of it.

It holds its figures as inline SVG and needs no script and no network. Everything in it is a
function of the run folders; writing it twice gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.analysis.runs import Run, RunSet, scan_runs
from testbed.errors import BrokenLogError, InputError

if TYPE_CHECKING:
    from testbed.analysis.fairness import FairnessRow

#: Files of one figure kind; a suite of forty traces would otherwise make forty of each.
MAX_FILES: Final = 12


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
        superseded: how many runs were left out for newer ones.
        fairness: what `DIR/fairness.json` and `DIR/fairness.csv` hold.
    """

    html: Path
    csv: Path
    figures: tuple[Path, ...]
    runs: int
    broken: tuple[tuple[Path, str], ...]
    failed_cells: int
    superseded: int
    fairness: tuple[FairnessRow, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure in the report: `svg` is its markup, ready to stand inside HTML."""

    stem: str
    kind: str
    title: str
    caption: str
    svg: str
    files: tuple[Path, ...]


def write_report(
    directory: Path,
    *,
    figures: Sequence[str] | None = None,
    max_files: int = MAX_FILES,
    progress: Callable[[str], None] | None = None,
) -> ReportResult:
    """Write `report.html`, `summary.csv`, `fairness.*` and `figures/` into a results folder.

    Broken runs are left out, listed in the report and returned; the others are reported.

    Args:
        directory: the `--out` folder of `testbed run`.
        figures: names of registered figures; all when None.
        max_files: files of one figure kind, 0 for no limit.
        progress: told one line a slow step.

    Raises:
        InputError: `directory` holds no readable run.
        UnknownNameError: no figure of that name.
        OutputError: the report cannot be written.
    """
    from testbed.analysis.fairness import fairness_frame
    from testbed.analysis.pages import render
    from testbed.analysis.style import looks_of, write_whole
    from testbed.analysis.suite import summary_table

    say = progress or (lambda _line: None)
    kinds = _kinds(figures)
    runs = _readable(scan_runs(directory), say)
    table = summary_table(runs.runs)
    html = directory / "report.html"
    csv = directory / "summary.csv"
    with looks_of(runs.runs):
        say(f"drawing figures of {len(runs.runs)} runs")
        drawn, notes = _draw(runs, kinds, directory / "figures", max_files, say)
        fair = _fair(runs, notes)
        if runs.superseded:
            names = ", ".join(folder.name for folder in runs.superseded)
            notes.append(
                "Left out, as newer runs have the same cell, seed and label (give variants a "
                f"`label` of their own): {names}"
            )
        write_whole(csv, table.to_csv(index=False, lineterminator="\n").encode())
        told = [row.as_json() for row in fair]
        write_whole(directory / "fairness.json", (json.dumps(told, indent=1) + "\n").encode())
        listed = fairness_frame(fair).to_csv(index=False, lineterminator="\n")
        write_whole(directory / "fairness.csv", listed.encode())
        write_whole(html, render(runs, table, drawn, notes, fair).encode())
    return ReportResult(
        html,
        csv,
        tuple(path for figure in drawn for path in figure.files),
        len(runs.runs),
        runs.broken,
        len(runs.failures),
        len(runs.superseded),
        tuple(fair),
    )


def _fair(runs: RunSet, notes: list[str]) -> list[FairnessRow]:
    """The fairness table of the runs whose packet logs can be read; a note on the others."""
    from testbed.analysis.fairness import fairness, sent_by

    sent = {}
    for run in runs.runs:
        try:
            sent[run.name] = sent_by(run)
        except BrokenLogError as error:
            notes.append(f"Fairness: a run is left out: {error}")
    return fairness([run for run in runs.runs if run.name in sent], sent)


def _kinds(names: Sequence[str] | None) -> list[str]:
    from testbed.analysis.plots import FIGURES

    chosen = FIGURES.names() if names is None else list(dict.fromkeys(names))
    return sorted(chosen, key=lambda name: (FIGURES.get(name).rank, name))


def _readable(found: RunSet, say: Callable[[str], None]) -> RunSet:
    """The runs whose tables hold what they must; the others become broken ones."""
    if found.runs:
        say(f"reading {len(found.runs)} runs")
    kept: list[Run] = []
    broken = list(found.broken)
    for run in found.runs:
        try:
            _ = run.summary, run.timeline
            kept.append(run)
        except BrokenLogError as error:
            broken.append((run.folder, str(error)))
    if not kept:
        if broken:
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise InputError(f"{found.directory}: no readable run; {broken[0][1]}{more}")
        where = found.directory / "runs"
        failed = f"; {len(found.failures)} cells failed" if found.failures else ""
        raise InputError(f"{where}: holds no run{failed}")
    return dataclasses.replace(found, runs=tuple(kept), broken=tuple(broken))


def _draw(
    runs: RunSet,
    kinds: Sequence[str],
    folder: Path,
    max_files: int,
    say: Callable[[str], None],
) -> tuple[list[Drawn], list[str]]:
    """Draw every figure that applies; a note for what was left out or could not be drawn."""
    from testbed.analysis.plots import FIGURES
    from testbed.analysis.style import paper_style, save

    drawn: list[Drawn] = []
    notes: list[str] = []
    for name in kinds:
        kind = FIGURES.get(name)
        try:
            plans = kind.plan(runs.runs)
        except BrokenLogError as error:
            notes.append(f"{kind.title}: not drawn: {error}")
            continue
        if max_files and len(plans) > max_files:
            notes.append(
                f"{kind.title}: {max_files} of {len(plans)} figures drawn; "
                "`testbed report DIR --max-files 0` draws all."
            )
            plans = plans[:max_files]
        if plans:
            say(f"drawing {name}: {len(plans)} {'figure' if len(plans) == 1 else 'figures'}")
        for plan in plans:
            try:
                with paper_style():
                    files = save(plan.draw(), folder, plan.stem)
            except BrokenLogError as error:
                notes.append(f"{plan.title}: not drawn: {error}")
                continue
            svg = inline_svg(files[0].read_text(encoding="utf-8"), f"f{len(drawn)}-", plan.title)
            drawn.append(Drawn(plan.stem, name, plan.title, plan.caption, svg, files))
    _remember(folder, drawn, redrawn=set(kinds))
    return drawn, notes


def _remember(folder: Path, drawn: Sequence[Drawn], *, redrawn: set[str]) -> None:
    """Write `figures/index.json` and remove our own figures that no longer apply.

    Only files that an earlier index lists are removed; whatever else lies there is the user's.
    """
    from testbed.analysis.style import write_whole

    path = folder / "index.json"
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        earlier = [entry for entry in earlier if isinstance(entry["stem"], str)]
    except (OSError, ValueError, TypeError, KeyError):
        earlier = []
    current = {figure.stem for figure in drawn}
    kept = []
    for entry in earlier:
        stem = str(entry["stem"])
        if stem in current:
            continue
        if entry.get("figure") not in redrawn:
            kept.append(entry)
        elif Path(stem).name == stem:
            for suffix in (".svg", ".png"):
                (folder / f"{stem}{suffix}").unlink(missing_ok=True)
    entries: list[dict[str, Any]] = [
        {"stem": f.stem, "figure": f.kind, "title": f.title, "caption": f.caption} for f in drawn
    ]
    entries += kept
    if entries or path.exists():
        write_whole(path, (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode())


_ID: Final = re.compile(r'\bid="([^"]+)"')
_REFERENCE: Final = re.compile(r'(xlink:href|href)="#([^"]+)"|url\(#([^)]+)\)')


def inline_svg(text: str, prefix: str, title: str) -> str:
    """The `<svg>` element of a file, ready to stand in HTML beside others.

    Names are unique within a file only, so every id and every reference to one gets `prefix`.
    """
    import html

    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = _ID.sub(lambda m: f'id="{prefix}{m[1]}"', body)

    def point(match: re.Match[str]) -> str:
        if match[1]:
            return f'{match[1]}="#{prefix}{match[2]}"'
        return f"url(#{prefix}{match[3]})"

    body = _REFERENCE.sub(point, body)
    label = html.escape(title, quote=True)
    return body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
