"""Trace file formats: a registry, detection, and reading and writing of files.

A format is forced by name (`puffer:PATH`, with options `puffer(unit=Mbps):PATH`) or found by
looking at the first lines.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from testbed.errors import TraceError, UnknownNameError
from testbed.network.trace import Trace
from testbed.traces.formats.base import FORMATS, Series, TraceFormat

# Imported for their registration, in the order of detection: most particular first.
from testbed.traces.formats import (  # isort: skip
    sabre,
    alphartc,
    fivegophers,
    nyumets,
    mahimahi,
    puffer,
    pensieve,
    plaincsv,
)

_HEAD_BYTES: Final = 4096
_DETECTION_ORDER: Final = (
    "sabre", "alphartc", "5gophers", "nyumets", "mahimahi", "puffer", "pensieve", "csv",
)  # fmt: skip
#: A daily Puffer file is a few gigabytes; nothing here should be larger once unpacked.
_MAX_BYTES: Final = 8 << 30

__all__ = ["FORMATS", "Series", "TraceFormat", "detect", "format_named", "read_file", "write_text"]
_MODULES: Final = (
    sabre, alphartc, fivegophers, nyumets, mahimahi, puffer, pensieve, plaincsv,
)  # fmt: skip


def format_named(name: str) -> TraceFormat:
    """The format called `name`.

    Raises:
        TraceError: unknown; the message lists the known ones.
    """
    try:
        return FORMATS.get(name)
    except UnknownNameError as error:
        raise TraceError(str(error)) from None


def detect(text: str, path: Path) -> str:
    """Name of the format of a file with content `text`.

    Raises:
        TraceError: empty, or none fits.
    """
    if not text.strip():
        raise TraceError("the file is empty; it needs at least one sample")
    head = text[:_HEAD_BYTES]
    if len(text) > _HEAD_BYTES and "\n" in head:
        head = head.rpartition("\n")[0]
    others = [name for name in FORMATS.names() if name not in _DETECTION_ORDER]
    for name in (*_DETECTION_ORDER, *others):
        if FORMATS.get(name).matches(head, path):
            return name
    raise TraceError(
        f"no known trace format; say which with FORMAT:PATH, one of {', '.join(FORMATS.names())} "
        "(csv(rate=COLUMN;unit=Mbps;time=COLUMN):PATH for other columns)"
    )


def read_file(
    path: Path, *, format_name: str | None = None, options: Mapping[str, str] | None = None
) -> tuple[str, list[Series]]:
    """The traces in a file (gzip is unpacked when the name ends with .gz).

    Args:
        path: the file.
        format_name: forces a format; None detects it.
        options: options of the format.

    Returns:
        The name of the format and at least one series.

    Raises:
        TraceError: cannot be read or is not what it must be; one line, starting with the path.
    """
    options = dict(options or {})
    try:
        with np.errstate(all="ignore"):  # what overflows ends as "not finite" below
            text = _text(path)
            name = format_name or detect(text, path)
            chosen = format_named(name)
            unknown = set(options) - set(chosen.options)
            if unknown:
                raise TraceError(
                    f"format {name} has no option {sorted(unknown)[0]!r}; "
                    f"it has: {', '.join(chosen.options) or 'none'}"
                )
            return name, chosen.read(text, path=path, options=options)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None


def write_text(trace: Trace, format_name: str, *, step_us: int = 1_000_000) -> str:
    """`trace` in the format called `format_name`.

    Raises:
        TraceError: unknown format, or one that is only read.
    """
    chosen = format_named(format_name)
    if not chosen.extension:
        writable = [name for name in FORMATS.names() if FORMATS.get(name).extension]
        raise TraceError(f"format {format_name} is only read; writable: {', '.join(writable)}")
    return chosen.write(trace, step_us=step_us)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                data = packed.read(_MAX_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"cannot be read ({reason})") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TraceError(f"not a text file (byte {error.start})") from None
