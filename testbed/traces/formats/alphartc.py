"""Trace JSON of AlphaRTC's gym (OpenNetLab), read and written."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from testbed.errors import TraceError
from testbed.network.trace import Trace
from testbed.traces.convert import to_rate
from testbed.traces.formats.base import (
    FORMATS,
    Series,
    TraceFormat,
    choose,
    finite_number,
    rate_trace,
)
from testbed.traces.formats.sabre import load_json

_DIRECTIONS: Final = ("uplink", "downlink")


class AlphaRtc(TraceFormat):
    """{"uplink": {"trace_pattern": [{"duration": ms, "capacity": kbps, ...}]}}."""

    title: ClassVar[str] = "AlphaRTC / OpenNetLab JSON: trace_pattern of duration ms, capacity kbps"
    options: ClassVar[Mapping[str, str]] = {"direction": "uplink or downlink; default: all there"}
    extension: ClassVar[str] = "json"

    def matches(self, head: str, path: Path) -> bool:
        """A JSON object that speaks of `trace_pattern`."""
        return head.lstrip().startswith("{") and '"trace_pattern"' in head

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """Capacity 0 is an outage; loss, rtt and jitter are no part of a capacity trace."""
        document = load_json(text)
        if not isinstance(document, dict):
            raise TraceError("must be a JSON object with uplink or downlink")
        wanted: tuple[str, ...] = _DIRECTIONS
        if "direction" in options:
            wanted = (choose("direction", options["direction"], _DIRECTIONS),)
        found = {}
        for name in wanted:
            side = document.get(name)
            if isinstance(side, dict) and side.get("trace_pattern"):
                found[name] = side["trace_pattern"]
        if not found:
            raise TraceError(f"no trace_pattern under {' or '.join(wanted)}")
        return [
            _series(name if len(found) > 1 else "", name, items) for name, items in found.items()
        ]

    def write(self, trace: Trace, *, step_us: int) -> str:
        """As `uplink`, the direction that the gym replays (it uses it for both)."""
        rates = to_rate(trace, step_us=step_us)
        pattern = [
            {"duration": _short(duration / 1000), "capacity": _short(rate)}
            for duration, rate in zip(
                rates.durations_us.tolist(), rates.rates_kbps.tolist(), strict=True
            )
        ]
        document = {"type": "video", "downlink": {}, "uplink": {"trace_pattern": pattern}}
        return json.dumps(document, indent=1) + "\n"


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _series(segment: str, direction: str, items: object) -> Series:
    if not isinstance(items, list):
        raise TraceError(f"{direction}.trace_pattern is not a list")
    durations: list[float] = []
    rates: list[float] = []
    ignored = set()
    for index, item in enumerate(items):
        where = f"{direction}.trace_pattern[{index}]"
        if not isinstance(item, dict):
            raise TraceError(f"{where} is not an object")
        for key, into in (("duration", durations), ("capacity", rates)):
            if key not in item:
                raise TraceError(f"{where} has no {key}")
            into.append(finite_number(item[key], f"{where}.{key}"))
        ignored |= {key for key in ("loss", "rtt", "jitter") if item.get(key)}
    notes: tuple[str, ...] = ()
    if ignored:
        notes = (f"{', '.join(sorted(ignored))} of the file left out; a trace is capacity only",)
    return Series(segment, rate_trace(np.array(durations) * 1000.0, np.array(rates)), notes)


FORMATS.register("alphartc")(AlphaRtc())
