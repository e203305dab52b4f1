"""NYU-METS: iperf's one-second reports without a time column."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from testbed.errors import TraceError
from testbed.traces.formats.base import FORMATS, Series, TraceFormat, rate_trace
from testbed.traces.units import rate_unit

_ROW: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?),([KMG]?bits/sec),*\s*\Z")
_STEP_US: Final = 1_000_000.0


class NyuMets(TraceFormat):
    """`9.41,Mbits/sec`, one row a second; other lines are iperf's messages."""

    title: ClassVar[str] = "NYU-METS: lines of <value>,<K|M|G>bits/sec, one a second"

    def matches(self, head: str, path: Path) -> bool:
        """Most lines are a value and a unit."""
        lines = head.splitlines()
        hits = sum(1 for line in lines if _ROW.match(line))
        return hits > 0 and 2 * hits >= len(lines)

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """Lines that are no report (a header, "connected to") are skipped and counted."""
        rates = []
        skipped = 0
        for line in text.splitlines():
            match = _ROW.match(line)
            if match is None:
                skipped += 1
            else:
                rates.append(float(match[1]) * rate_unit(match[2]))
        if not rates:
            raise TraceError("no line of the form 9.41,Mbits/sec")
        notes = (f"{skipped} lines without a report skipped",) if skipped else ()
        return [Series("", rate_trace(np.full(len(rates), _STEP_US), np.array(rates)), notes)]


FORMATS.register("nyumets")(NyuMets())
