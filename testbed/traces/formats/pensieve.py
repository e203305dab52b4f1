"""Two columns, seconds and Mbit/s, as in Pensieve's cooked traces."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from testbed.errors import TraceError
from testbed.network.trace import Trace
from testbed.traces.convert import to_rate
from testbed.traces.formats.base import FORMATS, Series, TraceFormat, numeric_rows, rate_trace
from testbed.traces.units import rate_unit

_HEAD_ROWS: Final = 200


def two_columns(head: str) -> bool:
    """Whether every line of `head` is two numbers."""
    try:
        return numeric_rows(head, 2).size > 0
    except TraceError:
        return False


class Pensieve(TraceFormat):
    """Value i covers (t[i-1], t[i]]: the rate is known when the interval has ended."""

    title: ClassVar[str] = (
        "Pensieve: two columns, seconds and Mbit/s; value i covers (t[i-1], t[i]]"
    )
    options: ClassVar[Mapping[str, str]] = {"unit": "unit of the second column; default Mbps"}
    extension: ClassVar[str] = "txt"

    def matches(self, head: str, path: Path) -> bool:
        """Two numbers a line; what looks like Puffer's bytes has been claimed before."""
        return two_columns(head)

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """A first row at time 0 covers nothing and is left out."""
        rows = numeric_rows(text, 2)
        times_us = rows[:, 0] * 1e6
        durations = np.diff(times_us, prepend=0.0)
        if float(times_us[0]) < 0:
            raise TraceError("line 1: time is negative")
        if float(durations.min()) < 0:
            line = int(np.argmax(durations < 0)) + 1
            raise TraceError(f"line {line}: time goes back; times must not decrease")
        rates = rows[:, 1] * rate_unit(options.get("unit", "Mbps"))
        return [Series("", rate_trace(durations, rates))]

    def write(self, trace: Trace, *, step_us: int) -> str:
        """Time is the end of each interval; both columns exact to the last digit."""
        rates = to_rate(trace, step_us=step_us)
        ends = np.cumsum(rates.durations_us) / 1e6
        lines = [
            f"{end!r}\t{rate!r}"
            for end, rate in zip(ends.tolist(), (rates.rates_kbps / 1000.0).tolist(), strict=True)
        ]
        return "\n".join(lines) + "\n"


FORMATS.register("pensieve")(Pensieve())
