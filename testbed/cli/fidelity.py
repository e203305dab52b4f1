"""`testbed fidelity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import find_scenario, print_json
from testbed.errors import InputError

if TYPE_CHECKING:
    from testbed.analysis.agreement import Agreement
    from testbed.traces import ResolvedTrace
    from testbed.worlds.fidelity import Comparison


def fidelity(
    traces: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TRACE]... | SCENARIO",
            help="Traces to run live, in both directions; with --worlds a scenario.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="LOG[.gz]", help="Compare with this recorded log instead."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option("--trace", metavar="TRACE", help="With --log: the trace of its direction."),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue",
            metavar="KIND[:LIMITS]",
            help="With --log: its queue, such as droptail:packets=10,bytes=9000; "
            "the log's header names it otherwise.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=600.0, help="Live: length of the traffic.")
    ] = 5.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Live: seed of the traffic.")] = 1,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Live: keep mm-link's logs in this folder."),
    ] = None,
    worlds: Annotated[
        str | None,
        typer.Option(
            "--worlds", metavar="NAMES", help="Run a scenario in these: relay,mahimahi,webrtc."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --worlds: results folder. Default: results/fidelity-NAME.", metavar="DIR"
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --worlds: as in `testbed run`."),
    ] = None,
    tries: Annotated[
        int, typer.Option(min=1, help="With --worlds: tries of a run when the machine is busy.")
    ] = 3,
    allow_ms: Annotated[
        float,
        typer.Option(
            "--allow", min=0.0, metavar="MS", help="With --worlds: added to the bounds on delay."
        ),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of the runs.")] = False,
) -> None:
    """Is the simulator right? Traffic or whole sessions, simulated and real, side by side.

    With traces: the same traffic through the simulated link and real mm-link. Exit code 0 only if
    every departure (time, size, delay) and every opportunity is equal. Live runs need root,
    /dev/net/tun and mm-link, and last --seconds for every four shells; there are four shells a
    trace, with another queue in each direction of each. With --log nothing is run.

    With --worlds: the sessions of a scenario in the simulator and in real time in each world, one
    after the other; DIR gets the runs, fidelity.md, fidelity.csv and quantile-quantile figures.
    Exit code 0 only if frame delay and rendered FPS agree within the bounds.
    """
    if worlds is not None:
        if log is not None or trace is not None or queue is not None or keep is not None:
            raise InputError("--log, --trace, --queue and --keep go without --worlds")
        if not traces or len(traces) != 1:
            raise InputError("--worlds needs exactly one scenario")
        names = [name.strip() for name in worlds.split(",")]
        _sessions(
            traces[0], names, out, overrides or [], tries=tries, allow_ms=allow_ms,
            as_json=as_json,
        )  # fmt: skip
        return
    if out is not None or overrides or allow_ms:
        raise InputError("--out, --set and --allow go with --worlds only")
    from testbed.worlds.fidelity import check_log

    if log is None:
        if not traces:
            raise InputError("give traces to run live, or --log LOG with --trace TRACE")
        if trace is not None or queue is not None:
            raise InputError("--trace and --queue go with --log only")
        results = _live(traces, seconds=seconds, seed=seed, keep=keep)
    else:
        if trace is None or traces:
            raise InputError("--log needs exactly one trace, as --trace TRACE")
        results = [check_log(log, _one_trace(trace).opportunities(), queue=queue)]
    _print(results, as_json=as_json)
    if any(result.differences for result in results):
        raise typer.Exit(1)


def _sessions(
    scenario: str, worlds: list[str], out: Path | None, overrides: list[str], *, tries: int,
    allow_ms: float, as_json: bool,
) -> None:  # fmt: skip
    from testbed.analysis.agreement import SIMULATOR, Bounds, compare, labels, pairs, write_report
    from testbed.analysis.runs import scan_runs
    from testbed.cli.run import cells_of, run_world
    from testbed.experiments.runner import check_world
    from testbed.experiments.scenario import load_scenario

    loaded = load_scenario(find_scenario(scenario), overrides=overrides)
    for name in worlds:
        if name == SIMULATOR:
            raise InputError(f"--worlds {name}: is what the others are compared with")
        check_world(name)
        cells_of(loaded, name)
    folder = out or Path("results") / f"fidelity-{loaded.scenario.name}"
    names: set[str] = set()
    failed = 0
    for name in dict.fromkeys([SIMULATOR, *worlds]):
        for last in (n == tries - 1 for n in range(tries)):
            made, broken = run_world(loaded, name, folder, quiet=as_json)
            if not broken or last:
                break
        names |= made
        failed += broken
    bounds = Bounds()
    bounds = Bounds(bounds.delay_p50_ms + allow_ms, bounds.delay_p95_ms + allow_ms)
    found = pairs(run for run in scan_runs(folder).runs if run.name in names)
    rows = [
        compare(pair, bounds, label=label) for pair, label in zip(found, labels(found), strict=True)
    ]
    command = " ".join(["testbed fidelity", scenario, "--worlds", ",".join(worlds)])
    command += "".join(f" --set '{text}'" for text in overrides)
    written = write_report(rows, found, folder, bounds, command=command)
    _print_sessions(rows, written, as_json=as_json)
    if failed or not rows or any(row.over for row in rows):
        raise typer.Exit(1)


def _print_sessions(rows: list[Agreement], written: list[Path], *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        typer.echo(
            f"{row.cell}  {row.transport}  {row.world}  seed {row.seed}  "
            f"delay p50 {row.p50_difference_ms:+.2f} ms  p95 {row.p95_difference_ms:+.2f} ms  "
            f"FPS {100 * row.fps_difference:+.2f} %  link {row.link}  "
            f"{'differs: ' + row.over if row.over else 'agrees'}"
        )
    typer.echo(f"{sum(not row.over for row in rows)} of {len(rows)} runs agree; {written[1]}")


def _live(specs: list[str], *, seconds: float, seed: int, keep: Path | None) -> list[Comparison]:
    from testbed.errors import OutputError
    from testbed.traces import resolve
    from testbed.worlds.fidelity import check_live
    from testbed.worlds.mahimahi import TrafficSpec, require_mahimahi

    traces = [found for spec in specs for found in resolve(spec, base=Path.cwd())]
    require_mahimahi()
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"--keep {keep}: {error.strerror}") from None
    return check_live(
        [(found.name, found.opportunities()) for found in traces],
        traffic=TrafficSpec(seconds=seconds, seed=seed),
        keep=keep,
    )


def _one_trace(spec: str) -> ResolvedTrace:
    from testbed.traces import resolve

    found = resolve(spec, base=Path.cwd())
    if len(found) != 1:
        raise InputError(f"--trace {spec}: names {len(found)} traces; must be one")
    return found[0]


def _print(results: list[Comparison], *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from testbed.worlds.fidelity import STATISTICAL_QUEUES

    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
        return
    for result in results:
        verdict = "differs" if result.differences else "equal"
        typer.echo(
            f"{result.name}  {result.direction}  {result.queue}  {result.arrivals} arrivals  "
            f"{result.equal}/{result.departures} departures  {verdict}"
        )
        for line in result.differences:
            typer.echo(f"  first difference: {line}")
        if result.differences and result.queue.partition(":")[0] in STATISTICAL_QUEUES:
            typer.echo(
                f"  this queue matches mm-link statistically only (docs/guides/link.md): "
                f"{result.departures} departures, {result.simulated} simulated"
            )
    same = sum(not result.differences for result in results)
    departures = sum(result.departures for result in results)
    typer.echo(f"{same} of {len(results)} runs equal ({departures} departures)")
