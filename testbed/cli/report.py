"""`testbed report DIR`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from testbed.analysis.report import ReportResult


def report(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Results folder: the --out of `testbed run`.")
    ],
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", metavar="NAME", help="Only this figure; may be repeated."),
    ] = None,
    max_files: Annotated[
        int,
        typer.Option(
            "--max-files", min=0, metavar="N", help="Files of one figure at most; 0: no limit."
        ),
    ] = 12,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as one JSON object.")
    ] = False,
) -> None:
    """Write DIR/report.html, summary.csv, fairness.csv and figures/ from the run folders in DIR.

    Exit code 1 when some runs could not be read; the report covers the others and lists them.
    """
    from testbed.analysis.report import write_report

    result = write_report(
        directory,
        figures=figure or None,
        max_files=max_files,
        progress=lambda line: typer.echo(line, err=True),
    )
    for _, message in result.broken:
        typer.echo(f"warning: {message}", err=True)
    if result.superseded:
        typer.echo(
            f"warning: {result.superseded} runs are left out, as newer ones have the same cell, "
            "seed and label; the report names them",
            err=True,
        )
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "report": str(result.html),
                    "summary": str(result.csv),
                    "figures": [str(path) for path in result.figures],
                    "runs": result.runs,
                    "broken": [message for _, message in result.broken],
                    "failed_cells": result.failed_cells,
                    "superseded": result.superseded,
                    "fairness": [row.as_json() for row in result.fairness],
                }
            )
        )
    else:
        typer.echo(
            f"{result.html}: {result.runs} runs, {len(result.figures)} figure files, "
            f"{len(result.broken)} broken runs, {result.failed_cells} failed cells"
        )
        typer.echo(f"{result.csv}: one row a run")
        _say_fairness(result)
    if result.broken:
        raise typer.Exit(1)


def _say_fairness(result: ReportResult) -> None:
    """How many rows of the fairness table are not as they should be."""
    wrong = [row for row in result.fairness if row.verdict not in ("ok", "not judged")]
    path = result.csv.with_name("fairness.csv")
    found = f"{len(wrong)} of {len(result.fairness)} rows are off" if wrong else "nothing is off"
    typer.echo(f"{path}: {found}")
