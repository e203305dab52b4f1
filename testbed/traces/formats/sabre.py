"""Sabre's JSON logs (the Norway 3G and Ghent 4G logs are published in this form)."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from testbed.errors import TraceError
from testbed.traces.formats.base import FORMATS, Series, TraceFormat, finite_number, rate_trace


def load_json(text: str) -> object:
    """JSON, with its own error as one line.

    Raises:
        TraceError: not JSON; names the line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceError(f"line {error.lineno}: not JSON ({error.msg})") from None
    except (RecursionError, ValueError):  # nesting bomb; integer of too many digits
        raise TraceError("not usable JSON") from None


class Sabre(TraceFormat):
    """List of {duration_ms, bandwidth_kbps, latency_ms}, played in order."""

    title: ClassVar[str] = "Sabre JSON: list of {duration_ms, bandwidth_kbps, latency_ms}"

    def matches(self, head: str, path: Path) -> bool:
        """A JSON list whose items have `bandwidth_kbps`."""
        return head.lstrip().startswith("[") and '"bandwidth_kbps"' in head

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """`latency_ms` is a setting of Sabre, not a measurement: left out."""
        items = load_json(text)
        if not isinstance(items, list) or not items:
            raise TraceError("must be a JSON list with at least one sample")
        durations: list[float] = []
        rates: list[float] = []
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise TraceError(f"sample {index + 1} is not an object")
            for key, into in (("duration_ms", durations), ("bandwidth_kbps", rates)):
                if key not in item:
                    raise TraceError(f"sample {index + 1} has no {key}")
                into.append(finite_number(item[key], f"sample {index + 1}: {key}"))
        return [Series("", rate_trace(np.array(durations) * 1000.0, np.array(rates)))]


FORMATS.register("sabre")(Sabre())
