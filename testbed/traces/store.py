"""Writing traces: the file, and beside it a manifest that says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from testbed.errors import OutputError, TraceError
from testbed.traces.files import MANIFEST_SUFFIX, write_text_whole
from testbed.traces.formats import FORMATS, write_text
from testbed.traces.resolved import ResolvedTrace, content_hash
from testbed.traces.statistics import describe

#: Format by file ending, where the user names none.
_BY_ENDING: Final = {
    ".csv": "csv",
    ".json": "alphartc",
    ".mahimahi": "mahimahi",
    ".down": "mahimahi",
    ".up": "mahimahi",
}


def format_for(path: Path, wanted: str | None) -> str:
    """The format to write `path` in.

    Raises:
        TraceError: neither named nor told by the ending.
    """
    if wanted is not None:
        return wanted
    if path.suffix not in _BY_ENDING:
        raise TraceError(
            f"{path}: the ending does not tell the format; say it with --to "
            f"({', '.join(writable_formats())}) or end in {', '.join(_BY_ENDING)}"
        )
    return _BY_ENDING[path.suffix]


def writable_formats() -> list[str]:
    """Names of the formats that can be written."""
    return [name for name in FORMATS.names() if FORMATS.get(name).extension]


def save(
    trace: ResolvedTrace, path: Path, *, format_name: str | None = None, step_us: int = 1_000_000
) -> Path:
    """Write `trace` and its manifest, each all or nothing.

    Args:
        trace: what to write; a synthetic one must have "synthetic" in the name of its file.
        path: the file.
        format_name: None goes by the ending.
        step_us: bins of an opportunity trace in a format of rates.

    Returns:
        The path of the manifest.

    Raises:
        TraceError: unknown format, or a synthetic trace under a name that hides it.
        OutputError: cannot be written.
    """
    if trace.synthetic and "synthetic" not in path.name:
        raise TraceError(
            f"{path}: {trace.name} is synthetic; the name of its file must say so "
            f"(such as {path.stem}-synthetic{path.suffix})"
        )
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    format_name = format_for(path, format_name)
    write_text_whole(path, write_text(trace.trace, format_name, step_us=step_us))
    manifest = path.with_name(path.name + MANIFEST_SUFFIX)
    write_text_whole(manifest, json.dumps(describe_file(trace, format_name), indent=1) + "\n")
    return manifest


def describe_file(trace: ResolvedTrace, format_name: str) -> dict[str, Any]:
    """The manifest of a written trace; `sha256` is that of the capacity, not of the file."""
    return {
        "name": trace.name,
        "synthetic": trace.synthetic,
        "source": trace.source,
        "notes": list(trace.notes),
        "format": format_name,
        "sha256": content_hash(trace.trace),
        "statistics": describe(trace.trace).as_dict(),
    }
