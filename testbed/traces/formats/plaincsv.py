"""CSV with named columns: anybody's own measurements, and our own exact export."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.network.trace import Trace
from testbed.traces.convert import to_rate
from testbed.traces.formats.base import FORMATS, Series, TraceFormat, hold_forward, rate_trace
from testbed.traces.units import KBPS_PER_UNIT, rate_unit, time_unit_us

_RATE_NAME: Final = re.compile(
    r"(?:rate|capacity|bandwidth|throughput|bitrate)(?:_|\s*\(|\s+)?(?P<unit>[kmg]?bps|[kmg]?bit/s)?\)?\Z",
    re.IGNORECASE,
)
_TIME_NAME: Final = re.compile(
    r"(?P<what>time|timestamp|t|duration|seconds)(?:_|\s*\(|\s+)?(?P<unit>us|ms|s)?\)?\Z",
    re.IGNORECASE,
)
_UNIT_SPELLING: Final = {name.lower(): name for name in KBPS_PER_UNIT if "B" not in name}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column is what: indices, factors, and whether times are durations."""

    rate: int
    kbps_per_unit: float
    time: int | None
    us_per_unit: float
    is_duration: bool


class PlainCsv(TraceFormat):
    """A header and comma-, semicolon- or tab-separated columns; others than the two are dropped."""

    title: ClassVar[str] = (
        "CSV with named columns, such as duration_us,rate_kbps or time_s,rate_mbps"
    )
    options: ClassVar[Mapping[str, str]] = {
        "rate": "name of the rate column",
        "unit": "its unit: " + ", ".join(KBPS_PER_UNIT),
        "time": "name of the time column (samples are held until the next)",
        "duration": "name of the duration column instead",
        "time_unit": "unit of time or duration: us, ms or s; default s",
        "step_s": "seconds a row, where there is no time column",
    }
    extension: ClassVar[str] = "csv"

    def matches(self, head: str, path: Path) -> bool:
        """A header in which a rate column with its unit and a time column can be recognised."""
        try:
            header, _ = _split(head)
            found = _columns(header, {})
        except TraceError:
            return False
        return found.time is not None

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """Columns that are not asked for (positions above all) are dropped unread."""
        header, rows = _split(text)
        columns = _columns(header, options)
        rates = _numbers(rows, columns.rate, header) * columns.kbps_per_unit
        notes = _dropped_note(header, columns)
        if columns.time is None:
            durations = np.full(rates.size, columns.us_per_unit)
            return [Series("", rate_trace(durations, rates), notes)]
        times = _numbers(rows, columns.time, header)
        if not columns.is_duration:
            times_us = (times - (times[0] if times.size else 0.0)) * columns.us_per_unit
            return [Series("", hold_forward(times_us, rates, first_line=2), notes)]
        if times.size and float(times.min()) < 0:
            raise TraceError(f"line {int(np.argmin(times)) + 2}: duration is negative")
        return [Series("", rate_trace(times * columns.us_per_unit, rates), notes)]

    def write(self, trace: Trace, *, step_us: int) -> str:
        """`duration_us,rate_kbps`: reads back to the same trace, digit for digit."""
        rates = to_rate(trace, step_us=step_us)
        pairs = zip(rates.durations_us.tolist(), rates.rates_kbps.tolist(), strict=True)
        return "duration_us,rate_kbps\n" + "".join(f"{d},{r!r}\n" for d, r in pairs)


def _split(text: str) -> tuple[list[str], list[list[str]]]:
    lines = text.lstrip("\ufeff").splitlines()
    if not lines:
        raise TraceError("the file is empty; it needs a header line")
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise TraceError(f"not a CSV file ({error})") from None
    return [name.strip() for name in rows[0]], rows[1:]


def _columns(header: Sequence[str], options: Mapping[str, str]) -> _Columns:
    rate, factor = _rate_column(header, options)
    if "step_s" in options:
        try:
            step_us = float(options["step_s"]) * 1e6
        except ValueError:
            step_us = 0.0
        if not step_us > 0:
            raise TraceError(f"option step_s={options['step_s']!r} must be a number > 0")
        return _Columns(rate, factor, None, step_us, is_duration=True)
    for option in ("duration", "time"):
        if option in options:
            unit_us = time_unit_us(options.get("time_unit", "s"))
            column = _index(header, options[option], option)
            return _Columns(rate, factor, column, float(unit_us), option == "duration")
    for column, name in enumerate(header):
        match = _TIME_NAME.match(name)
        if match and column != rate:
            unit = options.get("time_unit", (match["unit"] or "s").lower())
            is_duration = match["what"].lower() == "duration"
            return _Columns(rate, factor, column, float(time_unit_us(unit)), is_duration)
    raise TraceError(
        f"no time column among {', '.join(header)[:80]}; name one with time= or duration=, "
        "or say step_s="
    )


def _rate_column(header: Sequence[str], options: Mapping[str, str]) -> tuple[int, float]:
    if "rate" in options:
        column = _index(header, options["rate"], "rate")
    else:
        named = [i for i, name in enumerate(header) if _RATE_NAME.match(name)]
        if len(named) != 1:
            raise TraceError(
                f"no single rate column among {', '.join(header)[:80]}; name it with rate="
            )
        column = named[0]
    if "unit" in options:
        return column, rate_unit(options["unit"])
    match = _RATE_NAME.match(header[column])
    if match is None or match["unit"] is None:
        raise TraceError(
            f"column {header[column]!r} does not tell its unit; say unit= "
            f"({', '.join(KBPS_PER_UNIT)})"
        )
    return column, rate_unit(_UNIT_SPELLING[match["unit"].lower().replace("bit/s", "bps")])


def _index(header: Sequence[str], name: str, option: str) -> int:
    if name not in header:
        raise TraceError(f"option {option}={name!r}: the columns are {', '.join(header)[:120]}")
    return header.index(name)


def _numbers(
    rows: Sequence[Sequence[str]], column: int, header: Sequence[str]
) -> NDArray[np.float64]:
    values = np.empty(len(rows))
    kept = 0
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            values[kept] = float(row[column])
        except (IndexError, ValueError):
            raise TraceError(f"line {line}: no number in column {header[column]!r}") from None
        if not np.isfinite(values[kept]):
            raise TraceError(f"line {line}: {header[column]} is {row[column]!r}; must be finite")
        kept += 1
    return values[:kept]


def _dropped_note(header: Sequence[str], columns: _Columns) -> tuple[str, ...]:
    dropped = [n for i, n in enumerate(header) if i not in (columns.rate, columns.time)]
    return (f"columns left out: {', '.join(dropped)[:100]}",) if dropped else ()


FORMATS.register("csv")(PlainCsv())
