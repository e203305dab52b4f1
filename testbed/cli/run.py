"""`testbed run` and `testbed schema`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.common import (
    Json,
    Quiet,
    find_scenario,
    make_reporter,
    name_cell,
    print_json,
    usable_cores,
    varying,
)
from testbed.errors import InputError, ScenarioError

if TYPE_CHECKING:
    from testbed.experiments.cell import Cell
    from testbed.experiments.executor import Outcome
    from testbed.experiments.scenario import LoadedScenario


def run(
    scenarios: Annotated[
        list[str],
        typer.Argument(metavar="SCENARIO...", help="Scenario file, or name of a shipped one."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Results folder. Default: results/<scenario name>.", metavar="DIR"),
    ] = None,
    world: Annotated[
        str,
        typer.Option(
            help="Where sessions run: simulator, relay, mahimahi or webrtc.", metavar="NAME"
        ),
    ] = "simulator",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes. Default: one a core; in real time one."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: rate.kbps=300."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Use seeds 1 to N instead of the file's.")
    ] = None,
    capture: Annotated[
        bool,
        typer.Option("--capture", help="Leave each run's packets in its folder: capture.pcapng."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, list the runs, stop.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run the suites that scenario files describe.

    Runs that are already whole are kept, so the same command goes on where it stopped; with
    --capture, those that have no capture are run again. Exit code
    0: all whole; 1: some failed (see DIR/failures.json); 2: wrong input; 130: interrupted.
    """
    suites = _load(scenarios, out, world, overrides or [], seeds)
    if dry_run:
        _list(suites, json=json, capture=capture)
        return
    failed = 0
    answer: list[dict[str, Any]] = []
    for folder, cells in suites.items():
        outcome = _run_one(folder, cells, jobs, quiet=quiet or json, capture=capture)
        failed += len(outcome.failed)
        answer.append(_as_json(folder, outcome))
        if not json:
            _conclude(folder, cells, outcome)
    if json:
        print_json(answer)
    if failed:
        raise typer.Exit(1)


def _load(
    scenarios: list[str], out: Path | None, world: str, overrides: list[str], seeds: int | None
) -> dict[Path, list[Cell]]:
    """Cells by results folder."""
    from testbed.experiments.runner import check_world
    from testbed.experiments.scenario import load_scenario

    check_world(world)
    suites: dict[Path, list[Cell]] = {}
    files: dict[str, Path] = {}
    for text in scenarios:
        path = find_scenario(text)
        loaded = load_scenario(path, overrides=overrides, seeds=seeds)
        name = loaded.scenario.name
        if name in files:
            raise ScenarioError(f"{path}: name: {name} is also the name of {files[name]}")
        files[name] = path
        folder = out or Path("results") / name
        suites.setdefault(folder, []).extend(cells_of(loaded, world))
    return suites


def cells_of(loaded: LoadedScenario, world: str) -> list[Cell]:
    """The runs of a scenario in a world that can run all of them.

    Raises:
        ScenarioError: it cannot; names the file.
    """
    from testbed.experiments.runner import check_session
    from testbed.experiments.suite import expand

    cells = expand(loaded, world=world)
    for cell in cells:
        try:
            check_session(world, cell.session)
        except InputError as error:
            raise ScenarioError(f"{loaded.document.path}: {error}") from None
    return cells


def run_world(
    loaded: LoadedScenario, world: str, folder: Path, *, quiet: bool
) -> tuple[set[str], int]:
    """Run a scenario in one world.

    Returns:
        The names of all its runs, and how many failed; those are told on stderr.
    """
    cells = cells_of(loaded, world)
    outcome = _run_one(folder, cells, None, quiet=quiet)
    keys = varying(cells)
    for failure in outcome.failed:
        print(f"failed: {name_cell(failure.cell, keys)}: {failure.message}", file=sys.stderr)
    return {cell.run for cell in cells}, len(outcome.failed)


def _run_one(
    folder: Path, cells: list[Cell], jobs: int | None, *, quiet: bool, capture: bool = False
) -> Outcome:
    from testbed.experiments.executor import run_suite
    from testbed.experiments.runner import REAL_TIME, WORLDS
    from testbed.experiments.store import is_whole

    if jobs is None:
        # Sessions in real time would take the processor from each other.
        jobs = 1 if cells[0].world in REAL_TIME else usable_cores()
    todo = sum(not is_whole(folder, cell.run, capture=capture) for cell in cells)
    reporter = make_reporter(cells, todo, quiet=quiet)
    shown: AbstractContextManager[Any] = (
        reporter if isinstance(reporter, AbstractContextManager) else nullcontext()
    )
    with shown:
        return run_suite(
            cells,
            out=folder,
            jobs=jobs,
            reporter=reporter,
            session=WORLDS.get(cells[0].world),
            capture=capture,
        )


def _conclude(folder: Path, cells: list[Cell], outcome: Outcome) -> None:
    whole = len(outcome.made) + len(outcome.kept)
    kept = f", {len(outcome.kept)} of them from before" if outcome.kept else ""
    again = f", {len(outcome.again)} run again for a capture" if outcome.again else ""
    print(f"{folder}: {whole} of {whole + len(outcome.failed)} runs are whole{kept}{again}")
    keys = varying(cells)
    for failure in outcome.failed:
        print(f"failed: {name_cell(failure.cell, keys)}: {failure.message}", file=sys.stderr)
    if outcome.failed:
        print(f"error: {len(outcome.failed)} failed; see {folder}/failures.json", file=sys.stderr)


def _as_json(folder: Path, outcome: Outcome) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "made": [cell.run for cell in outcome.made],
        "kept": [cell.run for cell in outcome.kept],
        "again": [cell.run for cell in outcome.again],
        "failed": [failure.as_json() for failure in outcome.failed],
    }


def _list(suites: dict[Path, list[Cell]], *, json: bool, capture: bool) -> None:
    from testbed.experiments.store import is_whole

    if json:
        print_json(
            [
                {
                    "folder": str(folder),
                    "run": cell.run,
                    "scenario": cell.scenario,
                    "transport": cell.transport,
                    "seed": cell.seed,
                    "cell_id": cell.cell_id,
                    "cell": dict(cell.conditions),
                    "whole": is_whole(folder, cell.run, capture=capture),
                }
                for folder, cells in suites.items()
                for cell in cells
            ]
        )
        return
    for folder, cells in suites.items():
        keys = varying(cells)
        for cell in cells:
            mark = "whole" if is_whole(folder, cell.run, capture=capture) else "to do"
            print(f"{cell.run}  {mark}  {name_cell(cell, keys)}")
        distinct = len({cell.cell_id for cell in cells})
        print(f"{folder}: {len(cells)} runs of {distinct} cells")


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there.")
    ] = None,
) -> None:
    """Print the JSON Schema of scenario files."""
    from testbed.experiments.scenario import schema_text
    from testbed.experiments.store import write_text

    if out is None:
        print(schema_text(), end="")
    else:
        write_text(out, schema_text())
