"""From what a user writes in a scenario or on the command line to traces.

A specification is `WORD:REST`, where WORD is a registered form, generator or file format, or a
catalogue name, or a path, glob or folder. What is not found is one line that lists the forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import TraceError
from testbed.randomness import generator
from testbed.registry import Registry
from testbed.traces import catalogue, fetch
from testbed.traces.files import find_paths, name_hash, trace_files, user_folders
from testbed.traces.formats import FORMATS, read_file
from testbed.traces.parametric import GENERATORS
from testbed.traces.resolved import ResolvedTrace
from testbed.traces.units import parse_duration_us

#: For error messages and help: every form with an example.
FORMS_HELP: Final = (
    "a path, glob or folder; FORMAT:PATH or FORMAT(option=value;...):PATH; a catalogue name; "
    "constant:2000kbps; step:500-1000kbps/30s; sine:200-500kbps/30s; "
    "segments:1000kbps@40s,2500kbps@20s; model:NAME[@600s][#3]; set:NAME*10; debian:NAME"
)
_DEFAULT_MODEL_S: Final = 600
_MODEL: Final = re.compile(r"(?P<name>.+?)(?:@(?P<duration>[^@#]+))?(?:#(?P<index>[0-9]{1,9}))?\Z")
_SET: Final = re.compile(r"(?P<name>.+?)(?:\*(?P<count>[0-9]{1,6}))?\Z")
_WORD: Final = re.compile(r"(?P<word>[A-Za-z0-9_+.-]+)(?:\((?P<options>[^()]*)\))?\Z")


@dataclass(frozen=True, slots=True)
class Context:
    """What a form may depend on beside its own text."""

    base: Path
    seed: int


#: Forms by the word before the colon.
FORMS: Registry[Callable[[str, Context], list[ResolvedTrace]]] = Registry(
    "trace form", group="testbed.trace_forms"
)


def resolve(spec: str, *, base: Path, seed: int = 0) -> list[ResolvedTrace]:
    """The traces that `spec` names.

    Args:
        spec: one of the forms of `FORMS_HELP`.
        base: folder that relative paths start from (the scenario's own); then the folders in the
            environment variable TESTBED_TRACES.
        seed: seed of synthetic traces, >= 0; nothing else depends on it.

    Returns:
        One trace, or several for a glob, a folder, a file of several series, or a set; names are
        unique.

    Raises:
        TraceError: unknown form, missing file, unreadable content; one line.
    """
    spec = spec.strip()
    context = Context(base, seed)
    word, colon, rest = spec.partition(":")
    match = _WORD.match(word) if colon else None
    if match and match["options"] is None and match["word"] in FORMS.names():
        return _unique(FORMS.get(match["word"])(rest, context))
    if match and match["options"] is None and match["word"] in GENERATORS.names():
        return [_generated(match["word"], rest, spec)]
    if match and match["word"] in FORMATS.names():
        return _unique(_files(spec, rest, context, match["word"], _options(match["options"], spec)))
    entry = catalogue.find(spec, "traces") or catalogue.find(spec, "sets")
    if entry is not None:
        return _unique(_catalogued(entry, context))
    return _unique(_files(spec, spec, context, None, {}))


def file_traces(
    path: Path, *, format_name: str | None = None, **options: str
) -> list[ResolvedTrace]:
    """The traces in one file.

    Raises:
        TraceError: cannot be read; one line, starting with the path.
    """
    name, series = read_file(path, format_name=format_name, options=options)
    return [
        ResolvedTrace(
            name=_clean(f"{_stem(path)}.{part.segment}" if part.segment else _stem(path)),
            trace=part.trace,
            source=f"file {path.name} ({name})" + (f", {part.segment}" if part.segment else ""),
            synthetic="synthetic" in path.name,
            notes=part.notes,
        )
        for part in series
    ]


def _files(
    spec: str, pattern: str, context: Context, format_name: str | None, options: dict[str, str]
) -> list[ResolvedTrace]:
    paths = find_paths(pattern, base=context.base) if pattern else []
    if not paths:
        known = ", ".join(catalogue.names("traces") + catalogue.names("sets"))
        raise TraceError(
            f"trace {spec!r} is no file below {context.base} and no name that is known; "
            f"use {FORMS_HELP}; catalogue: {known}"
        )
    return [
        trace for path in paths for trace in file_traces(path, format_name=format_name, **options)
    ]


def _options(text: str | None, spec: str) -> dict[str, str]:
    options = {}
    for part in filter(None, (text or "").split(";")):
        key, equals, value = part.partition("=")
        if not equals:
            raise TraceError(f"trace {spec!r}: option {part!r} is not of the form name=value")
        options[key.strip()] = value.strip()
    return options


def _generated(word: str, rest: str, spec: str) -> ResolvedTrace:
    try:
        trace = GENERATORS.get(word)(rest)
    except TraceError as error:
        raise TraceError(f"trace {spec!r}: {error}") from None
    return ResolvedTrace(_short_name(spec), trace, f"formula {spec}")


def _catalogued(entry: catalogue.Entry, context: Context) -> list[ResolvedTrace]:
    traces = [
        trace
        for part in entry.spec
        for trace in resolve(part, base=context.base, seed=context.seed)
    ]
    if len(traces) != 1:
        return traces
    only = traces[0]
    source = f"catalogue {entry.name}: {only.source}"
    return [ResolvedTrace(entry.name, only.trace, source, only.synthetic, only.notes)]


@FORMS.register("model")
def _model(rest: str, context: Context) -> list[ResolvedTrace]:
    """`rail`, `rail@600s`, `rail@600s#3`; or the path of a parameter file instead of the name."""
    match = _MODEL.match(rest)
    if match is None:
        raise TraceError(f"trace 'model:{rest}' is not of the form model:rail@600s#3")
    duration_us = parse_duration_us(match["duration"] or f"{_DEFAULT_MODEL_S}s")
    return [draw(match["name"], duration_us, int(match["index"] or 0), context)]


def draw(name: str, duration_us: int, index: int, context: Context) -> ResolvedTrace:
    """Trace number `index` of a model under the context's seed.

    Raises:
        TraceError: no such model.
    """
    from testbed.traces.models.model import load

    model = load(name, base=context.base)
    rng = generator(context.seed, f"trace/model/{model.name}/{index}")
    seconds = max(1, round(duration_us / 1e6))
    trace = model.draw(seconds, rng)
    return ResolvedTrace(
        name=f"{model.name}-synthetic-{seconds}s-{index}",
        trace=trace,
        source=f"synthetic: model {model.name} ({model.title}), {seconds} s, index {index}, "
        f"seed {context.seed}",
        synthetic=True,
        notes=tuple(model.notes),
    )


@FORMS.register("set")
def _set(rest: str, context: Context) -> list[ResolvedTrace]:
    """`NAME*10`: a folder of the user, a set of the catalogue, or draws of a model."""
    match = _SET.match(rest)
    if match is None:
        raise TraceError("trace 'set:' needs a name, as in set:rail*10")
    name = match["name"]
    count = int(match["count"]) if match["count"] else None
    if count == 0:
        raise TraceError(f"trace 'set:{rest}' asks for 0 traces")
    folder = _set_folder(name, context.base)
    if folder is not None:
        return _sample(f"set:{rest}", trace_files(folder), count)
    entry = catalogue.find(name, "sets")
    if entry is not None:
        return _limited(f"set:{rest}", _catalogued(entry, context), count)
    if catalogue.find(name, "models") is not None:
        if count is None:
            raise TraceError(f"trace 'set:{rest}': a model has no end; say how many, set:{name}*10")
        duration_us = _DEFAULT_MODEL_S * 1_000_000
        return [draw(name, duration_us, index, context) for index in range(count)]
    known = sorted({*catalogue.names("sets"), *catalogue.names("models"), "debian-driving"})
    raise TraceError(f"trace set {name!r} is neither a folder nor one of {', '.join(known)}")


def _set_folder(name: str, base: Path) -> Path | None:
    """The folder that a set name means: a path, or a folder in TESTBED_TRACES."""
    if name == "debian-driving":
        return _driving_folder()
    candidates = [folder / name for folder in user_folders()]
    if "/" in name or name in (".", ".."):
        candidates.insert(0, base / name)
    return next((path for path in candidates if path.is_dir()), None)


def _sample(spec: str, paths: list[Path], count: int | None) -> list[ResolvedTrace]:
    """The first `count` traces in the order of the hash of the file names (all: by name)."""
    if count is None:
        return [trace for path in paths for trace in file_traces(path)]
    traces: list[ResolvedTrace] = []
    for path in sorted(paths, key=lambda path: name_hash(path.name)):
        if len(traces) < count:
            traces += file_traces(path)
    return _limited(spec, traces, count)


def _limited(spec: str, traces: list[ResolvedTrace], count: int | None) -> list[ResolvedTrace]:
    if count is not None and len(traces) < count:
        raise TraceError(f"trace {spec!r} asks for {count} traces; the set has {len(traces)}")
    return traces[:count]


@FORMS.register("debian")
def _debian(rest: str, _context: Context) -> list[ResolvedTrace]:
    """A file of Debian's mahimahi-traces, such as `ATT-LTE-driving-2016.down`."""
    folder = _driving_folder()
    path = folder / rest
    if "/" in rest or not path.is_file():
        known = ", ".join(file.name for file in trace_files(folder))
        raise TraceError(f"trace 'debian:{rest}': the package has {known}")
    return file_traces(path, format_name="mahimahi")


def _driving_folder() -> Path:
    folder = fetch.driving_folder()
    if folder is None:
        raise TraceError(
            "the Debian driving traces are not here; get them with: testbed traces fetch driving"
        )
    return folder


def _stem(path: Path) -> str:
    """The file name without an ending that only tells the format (`.down` says more)."""
    name = path.name.removesuffix(".gz")
    return re.sub(r"\.(json|csv|txt|log|tsv|mahimahi)\Z", "", name)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+=-]+", "-", name).strip("-") or "trace"


def _short_name(spec: str) -> str:
    """`spec` as a name; a long one is cut and told apart by its hash."""
    name = _clean(spec)
    return name if len(name) <= 48 else f"{name[:39]}-{name_hash(spec)[:8]}"


def _unique(traces: Iterable[ResolvedTrace]) -> list[ResolvedTrace]:
    """Names made unique by a number where two are equal."""
    seen: dict[str, int] = {}
    unique = []
    for trace in traces:
        seen[trace.name] = seen.get(trace.name, 0) + 1
        if seen[trace.name] > 1:
            name = f"{trace.name}-{seen[trace.name]}"
            trace = ResolvedTrace(name, trace.trace, trace.source, trace.synthetic, trace.notes)
        unique.append(trace)
    return unique
