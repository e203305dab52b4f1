"""`testbed fidelity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from testbed.traces import ResolvedTrace
    from testbed.worlds.fidelity import Comparison


def fidelity(
    traces: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TRACE]...", help="Traces to run live, in both directions."),
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
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of the runs.")] = False,
) -> None:
    """Send the same traffic through the simulated link and real mm-link; print what differs.

    Exit code 0 only if every departure (time, size, delay) and every opportunity is equal. Live
    runs need root, /dev/net/tun and mm-link, and last --seconds for every four shells; there are
    four shells a trace, with another queue in each direction of each. With --log nothing is run.
    """
    from testbed.errors import InputError
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
    from testbed.errors import InputError
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
