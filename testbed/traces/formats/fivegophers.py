"""5Gophers (WWW 2020): three carriers measured together, one row a second."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from testbed.errors import TraceError
from testbed.traces.formats.base import FORMATS, Series, TraceFormat, choose, rate_trace

_SUFFIX: Final = "throughput_mbps"  # after "<carrier>_", or alone in the walking trace
_STEP_US: Final = 1_000_000.0


class FiveGophers(TraceFormat):
    """Columns `<carrier>_throughput_mbps`, rows of one second."""

    title: ClassVar[str] = "5Gophers CSV: <carrier>_throughput_mbps columns, Mbit/s, 1 s rows"
    options: ClassVar[Mapping[str, str]] = {"carrier": "which carrier; default: every one"}

    def matches(self, head: str, path: Path) -> bool:
        """The header names carriers."""
        first = head.split("\n", 1)[0]
        return _SUFFIX in first and "num_tcp_conn" in first

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """One series a carrier, or the chosen one."""
        rows = list(csv.reader(text.splitlines()))
        header = [name.strip() for name in rows[0]] if rows else []
        carriers = {
            name.removesuffix(_SUFFIX).rstrip("_"): column
            for column, name in enumerate(header)
            if name.endswith(_SUFFIX)
        }
        if not carriers:
            raise TraceError(f"line 1: no column ends with {_SUFFIX}")
        if "carrier" in options:
            name = choose("carrier", options["carrier"], list(carriers))
            carriers = {name: carriers[name]}
        series = []
        for name, column in carriers.items():
            rates = np.array([_mbps(row, column, at) for at, row in enumerate(rows[1:], start=2)])
            trace = rate_trace(np.full(rates.size, _STEP_US), rates * 1000.0)
            series.append(Series(name, trace))
        return series


def _mbps(row: list[str], column: int, line: int) -> float:
    try:
        return float(row[column])
    except (IndexError, ValueError):
        raise TraceError(f"line {line}: no number in column {column + 1}") from None


FORMATS.register("5gophers")(FiveGophers())
