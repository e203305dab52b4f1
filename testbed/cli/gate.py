"""`testbed gate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import Json, print_json

if TYPE_CHECKING:
    from testbed.analysis.gate import Answer


def gate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASELINE DIR",
            help="What to compare with: a results folder, a run folder, or a file made by "
            "--record; and the folder that `testbed run` has made now.",
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="Look at this only; may be repeated."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            "--tolerance",
            metavar="NAME=VALUE",
            help="How far it may get worse: 5 (in its unit), 5%, or 5,5% (the larger); "
            "may be repeated.",
        ),
    ] = None,
    series: Annotated[
        int | None,
        typer.Option(
            "--series",
            metavar="MS",
            help="Also record or compare rates and queueing delay over time, in steps of MS "
            "milliseconds (500). A recorded baseline knows its own.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Beyond the limit is a regression even if unclear.")
    ] = False,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write all of it to FILE, .json or .md; repeatable."
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="Make the baseline FILE of DIR instead."),
    ] = None,
    json: Json = False,
) -> None:
    """Compare results with a baseline; exit 1 if something has become worse.

    Runs of the same cell and seed are paired. A metric has become worse when its mean moved the
    wrong way by more than its tolerance and a test over the seeds, corrected for the number of
    comparisons, says that it is not chance. Missing, failed and broken runs count as well.

    testbed gate BASELINE DIR compares; testbed gate --record FILE DIR makes a baseline.

    Exit code 0: nothing worse; 1: something is; 2: wrong input.
    """
    from testbed.analysis.gate import gate as compare
    from testbed.errors import InputError

    if record is not None:
        _record(record, paths, series, others=[metric, tolerance, strict, out, json])
        return
    if len(paths) != 2:
        raise InputError(f"gate takes BASELINE and DIR, or --record FILE and DIR; got {len(paths)}")
    for file in out or ():
        if file.suffix not in (".json", ".md"):
            raise InputError(f"--out {file}: must end in .json or .md")
    answer = compare(
        paths[0], paths[1], metrics=metric or (), tolerances=tolerance or (), series_ms=series
    )
    for file in out or ():
        _write(file, answer, strict=strict)
    if json:
        print_json(answer.as_json(strict=strict))
    else:
        print(answer.as_text(strict=strict))
    if not answer.passed(strict=strict):
        raise typer.Exit(1)


def _record(file: Path, paths: list[Path], series: int | None, *, others: list[object]) -> None:
    from testbed.analysis.gate import record
    from testbed.errors import InputError
    from testbed.experiments.store import write_text

    if len(paths) != 1 or any(others):
        raise InputError("--record FILE goes with one DIR, and with --series only")
    text = record(paths[0], series_ms=series)
    write_text(file, text)
    print(f"{file}: baseline of {paths[0]}")


def _write(file: Path, answer: Answer, *, strict: bool) -> None:
    from testbed.experiments.store import write_json, write_text

    if file.suffix == ".json":
        write_json(file, answer.as_json(strict=strict))
    else:
        write_text(file, answer.as_markdown(strict=strict))
