"""mahimahi packet-delivery traces, as strict as mm-link and stricter (mahimahi F14)."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, Trace
from testbed.traces.convert import to_opportunities
from testbed.traces.formats.base import FORMATS, Series, TraceFormat
from testbed.traces.units import MAX_PERIOD_US

_LINE: Final = re.compile(r" *[0-9]{1,13}\Z")
_FILE: Final = re.compile(r"(?: *[0-9]{1,13}\n)* *[0-9]{1,13}\n?\Z")


class Mahimahi(TraceFormat):
    """One integer millisecond a line, each one opportunity of 1504 bytes."""

    title: ClassVar[str] = "mahimahi delivery opportunities, one integer millisecond a line"
    extension: ClassVar[str] = "mahimahi"

    def matches(self, head: str, path: Path) -> bool:
        """Every line is one integer (a negative one too, to say what is wrong with it)."""
        lines = head.split("\n")
        return all(re.fullmatch(r"\s*-?[0-9]+\s*", line) for line in lines if line.strip())

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """Strict: no empty line, no trailing blank, no CR, no sign, no point, no comment."""
        if not text:
            raise TraceError("the file is empty; it needs at least one delivery opportunity")
        if _FILE.match(text) is None:
            raise TraceError(_first_fault(text))
        times = np.array(text.split(), dtype=np.int64)
        if int(times[-1]) * 1000 > MAX_PERIOD_US:
            raise TraceError(f"line {times.size}: the trace is longer than 100 days")
        return [Series("", OpportunityTrace(times))]

    def write(self, trace: Trace, *, step_us: int) -> str:
        """Exact: one opportunity per 12032 bits, remainder carried."""
        times = to_opportunities(trace).times_ms
        return "\n".join(map(str, times.tolist())) + "\n"


def _first_fault(text: str) -> str:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if _LINE.match(line):
            continue
        if not line.strip():
            return f"line {number} is blank; mm-link refuses empty lines anywhere"
        if line.endswith("\r"):
            return f"line {number} ends with CR; mm-link needs plain newlines"
        if line != line.rstrip():
            return f"line {number}: {line[:40]!r} has a trailing blank; mm-link refuses it"
        if re.fullmatch(r" *-[0-9]+", line):
            return (
                f"line {number} is negative ({line.strip()[:20]}); mm-link would wrap it to a "
                "huge time; times must be >= 0"
            )
        return f"line {number}: {line[:40]!r} is not an integer number of milliseconds"
    return "not a mahimahi trace"


FORMATS.register("mahimahi")(Mahimahi())
