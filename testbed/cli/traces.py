"""`testbed traces`: the catalogue, converters, statistics, pictures and models of traces."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.common import Json, print_json

if TYPE_CHECKING:
    from testbed.traces import ResolvedTrace

app = typer.Typer(
    no_args_is_help=True,
    help="Capacity traces: list, show, convert, scale, cut, plot; fit and check models of them.",
)

Spec = Annotated[
    str, typer.Argument(help="Path, glob, FORMAT:PATH, catalogue name, constant:2000kbps, ...")
]
Specs = Annotated[list[str], typer.Argument(help="Trace specifications.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="File to write.")]
To = Annotated[
    str | None,
    typer.Option(
        "--to", help="Format to write: mahimahi, csv, alphartc, pensieve; else by ending."
    ),
]
Step = Annotated[str, typer.Option(help="Bins of a mahimahi trace written as rates.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of synthetic traces.")]


@app.command("list")
def list_traces(json: Json = False) -> None:
    """List the catalogue, the models and the traces that are on this machine."""
    from testbed.traces import catalogue, fetch
    from testbed.traces.files import user_folders

    entries = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "title": entry.title,
            "origin": entry.origin,
            "licence": entry.licence,
            "citation": entry.citation,
        }
        for entry in catalogue.load()
    ]
    folder = fetch.driving_folder()
    if json:
        print_json(
            {
                "entries": entries,
                "user_folders": [str(path) for path in user_folders()],
                "debian_driving": str(folder) if folder else None,
            }
        )
        return
    headings = {
        "traces": "Traces (use the name)",
        "models": "Models (model:NAME@600s#3, set:NAME*10); synthetic",
        "sets": "Sets (set:NAME)",
        "datasets": "Data sets (not shipped; get them yourself, then use the path)",
    }
    for kind, heading in headings.items():
        print(heading)
        for entry in entries:
            if entry["kind"] == kind:
                print(f"  {entry['name']:<26} {entry['title']}")
    print("On this machine")
    print(f"  debian-driving: {folder or 'not here; testbed traces fetch driving'}")
    for path in user_folders():
        print(f"  TESTBED_TRACES: {path}")


@app.command()
def show(specs: Specs, json: Json = False, seed: Seed = 0) -> None:
    """Show duration, rates, variation, outages and time below 400 kbps, on a 1 s grid."""
    from testbed.traces.statistics import describe

    traces = _resolved(specs, seed)
    rows = [(trace, describe(trace.trace)) for trace in traces]
    if json:  # the notes are in the answer
        print_json(
            [
                {
                    "name": trace.name,
                    "source": trace.source,
                    "synthetic": trace.synthetic,
                    "sha256": trace.sha256,
                    "notes": list(trace.notes),
                    **figures.as_dict(),
                }
                for trace, figures in rows
            ]
        )
        return
    print(
        f"{'trace':<34} {'s':>8} {'mean':>8} {'p5':>8} {'p50':>8} {'p95':>8} {'CV':>5} "
        f"{'<400k':>6} {'outages':>7} {'mean s':>6} {'max s':>6}"
    )
    for trace, d in rows:
        print(
            f"{_fit(trace.name, 34):<34} {d.duration_s:>8.1f} {d.mean_kbps:>8.0f} "
            f"{d.p5_kbps:>8.0f} {d.p50_kbps:>8.0f} {d.p95_kbps:>8.0f} {d.cv:>5.2f} "
            f"{100 * d.below_400k:>5.1f}% {d.outages:>7} {d.outage_mean_s:>6.1f} "
            f"{d.outage_max_s:>6.0f}"
        )
    print("rates in kbps; an outage is a run of seconds under 100 kbps")
    _tell_notes(traces)


@app.command("import")
def import_trace(
    file: Annotated[Path, typer.Argument(help="File in any known format (.gz is unpacked).")],
    out: Out,
    form: Annotated[str | None, typer.Option("--format", help="Force the format.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the format, as NAME=VALUE.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of the rates: kbps, Mbps, MB/s, ...")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Which of several series of the file.")] = None,
    to: To = None,
    step: Step = "1s",
) -> None:
    """Read a foreign trace file and write it in a form of ours (CSV keeps every digit)."""
    from testbed.errors import TraceError
    from testbed.traces.specs import file_traces

    options = dict(_pair(text) for text in option or [])
    if unit is not None:
        options["unit"] = unit
    traces = file_traces(file, format_name=form, **options)
    if series is not None:
        traces = [trace for trace in traces if trace.name.endswith(f".{series}")] or traces
    if len(traces) > 1:
        known = ", ".join(trace.source.rpartition(", ")[2] for trace in traces[:8])
        raise TraceError(f"{file}: holds {len(traces)} series; choose one with --series: {known}")
    _save(traces[0], out, to, step)


@app.command()
def export(spec: Spec, out: Out, to: To = None, step: Step = "1s", seed: Seed = 0) -> None:
    """Write a trace as mahimahi, CSV, AlphaRTC JSON or Pensieve, with its manifest."""
    _save(_only(spec, seed), out, to, step)


@app.command()
def scale(
    spec: Spec,
    out: Out,
    by: Annotated[float | None, typer.Option(help="Factor, > 0.")] = None,
    to_mean: Annotated[str | None, typer.Option(help="Mean rate, such as 400kbps.")] = None,
    to: To = None,
    step: Step = "1s",
    seed: Seed = 0,
) -> None:
    """Scale a trace by a factor or to a mean."""
    import dataclasses

    from testbed.errors import TraceError
    from testbed.traces.transform import scale as scaled
    from testbed.traces.transform import scale_to_mean
    from testbed.traces.units import parse_rate_kbps

    if (by is None) == (to_mean is None):
        raise TraceError("scale: say either --by FACTOR or --to-mean RATE")
    trace = _only(spec, seed)
    if by is not None:
        changed, how = scaled(trace.trace, by), f"scaled by {by:g}"
    else:
        changed = scale_to_mean(trace.trace, parse_rate_kbps(str(to_mean)))
        how = f"scaled to a mean of {to_mean}"
    _save(dataclasses.replace(trace, trace=changed, source=f"{trace.source}; {how}"), out, to, step)


@app.command()
def cut(
    spec: Spec,
    out: Out,
    duration: Annotated[str, typer.Option(help="Length, such as 60s.")],
    start: Annotated[str, typer.Option(help="Where to begin, such as 30s.")] = "0s",
    to: To = None,
    step: Step = "1s",
    seed: Seed = 0,
) -> None:
    """Cut a part out of a trace."""
    import dataclasses

    from testbed.traces.transform import cut as cut_out
    from testbed.traces.units import parse_duration_us

    trace = _only(spec, seed)
    start_us = 0 if start in ("0", "0s", "0ms") else parse_duration_us(start)
    changed = cut_out(trace.trace, start_us, parse_duration_us(duration))
    source = f"{trace.source}; cut from {start} for {duration}"
    _save(dataclasses.replace(trace, trace=changed, source=source), out, to, step)


@app.command()
def plot(specs: Specs, out: Out, seed: Seed = 0) -> None:
    """Draw capacity over time, one panel a trace (.png, .svg or .pdf)."""
    from testbed.traces.plot import plot_traces

    traces = _resolved(specs, seed)
    plot_traces(traces, out)
    print(out)
    _tell_notes(traces)


@app.command()
def generate(
    model: Annotated[str, typer.Argument(help="Name of a model, or its parameter file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many traces.")] = 1,
    duration: Annotated[str, typer.Option(help="Length of each.")] = "600s",
    to: Annotated[str, typer.Option(help="mahimahi, csv, alphartc or pensieve.")] = "csv",
    seed: Seed = 0,
) -> None:
    """Draw synthetic traces from a model; the same model and seed give the same bytes."""
    from testbed.errors import OutputError
    from testbed.traces.formats import format_named
    from testbed.traces.specs import Context, draw
    from testbed.traces.store import save
    from testbed.traces.units import parse_duration_us

    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder")
    extension = format_named(to).extension
    context = Context(Path.cwd(), seed)
    duration_us = parse_duration_us(duration)
    for index in range(count):
        trace = draw(model, duration_us, index, context)
        path = out / f"{trace.name}-seed{seed}.{extension}"
        save(trace, path, format_name=to)
        print(path)


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help="driving: LTE and 3G traces of Debian's package.")],
) -> None:
    """Fetch real traces that we may not ship."""
    from testbed.errors import TraceError
    from testbed.traces.fetch import fetch_driving
    from testbed.traces.files import trace_files

    if what != "driving":
        raise TraceError(f"cannot fetch {what!r}; known: driving")
    folder, new = fetch_driving()
    names = [path.name for path in trace_files(folder)]
    print(f"{len(names)} traces {'fetched into' if new else 'are already in'} {folder}")
    print(f"use them as debian:NAME (such as debian:{names[0]}) or set:debian-driving")


@app.command()
def fit(
    sources: Annotated[list[str], typer.Argument(help="Files, globs or folders of real traces.")],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Parameter file (.json).")],
    title: Annotated[str, typer.Option(help="One line on what it stands for.")] = "",
    note: Annotated[list[str] | None, typer.Option(help="Note for readers of results.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Pattern of file names to leave out.")
    ] = None,
    use_all: Annotated[
        bool, typer.Option("--all", help="Fit to every file; nothing is left to check against.")
    ] = False,
) -> None:
    """Fit a model to one half of the files; which half, their names decide."""
    from testbed.traces.files import write_text_whole
    from testbed.traces.models.workflow import fit_files

    model = fit_files(
        sources,
        base=Path.cwd(),
        name=name,
        title=title,
        notes=note or (),
        exclude=exclude or (),
        use_all=use_all,
    )
    write_text_whole(out, model.to_json())
    facts = model.provenance
    print(
        f"{out}: model {name} of {len(model.sessions)} sessions, fitted to {facts['files_fitted']} "
        f"files ({facts['hours_fitted']:.1f} h), {facts['files_held_out']} files held out"
    )


@app.command()
def validate(
    model: Annotated[str, typer.Argument(help="Name of a model, or its parameter file.")],
    against: Annotated[
        list[str], typer.Option(help="Files, globs or folders that it was fitted to a half of.")
    ],
    figure: Annotated[Path | None, typer.Option(help="Draw the comparison (.png, .svg).")] = None,
    json: Json = False,
) -> None:
    """Compare a model with the recordings that it was not fitted to."""
    from testbed.traces.models.model import load
    from testbed.traces.models.table import markdown
    from testbed.traces.models.workflow import validate_files

    base = Path.cwd()
    check = validate_files(load(model, base=base), against, base=base)
    if figure is not None:
        from testbed.traces.plot import plot_validation

        plot_validation(check.result.model, check.sides, figure)
    if json:
        print_json(check.result.as_dict())
    else:
        print(markdown(check.result))


def _resolved(specs: Iterable[str], seed: int) -> list[ResolvedTrace]:
    from testbed.traces import resolve

    return [trace for spec in specs for trace in resolve(spec, base=Path.cwd(), seed=seed)]


def _only(spec: str, seed: int) -> ResolvedTrace:
    from testbed.errors import TraceError

    traces = _resolved([spec], seed)
    if len(traces) > 1:
        names = ", ".join(trace.name for trace in traces[:5])
        raise TraceError(f"trace {spec!r} stands for {len(traces)} traces ({names}, ...); name one")
    return traces[0]


def _tell_notes(traces: Iterable[ResolvedTrace]) -> None:
    """Every note once, on stderr."""
    for note in dict.fromkeys(note for trace in traces for note in trace.notes):
        print(f"note: {note}", file=sys.stderr)


def _save(trace: ResolvedTrace, out: Path, to: str | None, step: str) -> None:
    from testbed.traces.store import save
    from testbed.traces.units import parse_duration_us

    save(trace, out, format_name=to, step_us=parse_duration_us(step))
    print(out)
    _tell_notes([trace])


def _pair(text: str) -> tuple[str, Any]:
    from testbed.errors import TraceError

    name, equals, value = text.partition("=")
    if not equals:
        raise TraceError(f"--option {text!r} is not of the form NAME=VALUE")
    return name, value


def _fit(text: str, width: int) -> str:
    """The two ends of a long text; what tells file names apart is mostly at the end."""
    if len(text) <= width:
        return text
    head = width // 3
    return f"{text[:head]}~{text[head + 1 - width :]}"
