"""Records of made-up runs, for tests of the gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.analysis.gate.records import Record, Side
from testbed.analysis.metrics import DEFINITIONS

CELL: Mapping[str, Any] = {
    "clip": "a-clip",
    "fps": 30.0,
    "duration_s": 4.0,
    "loss": "bernoulli 5 %",
    "loss_rate": 0.05,
    "paths": "aaaa",
}


def make_record(
    seed: int = 1,
    *,
    transport: str = "h264",
    cell: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    made_with: Mapping[str, str] | None = None,
    series: Mapping[str, Sequence[float | None]] | None = None,
    **metrics: float | None,
) -> Record:
    """One run with the metrics given and no others."""
    return Record(
        scenario="made-up",
        transport=transport,
        seed=seed,
        world="simulator",
        cell={**CELL, **(cell or {})},
        settings=settings or {},
        made_with={"code": "c0de"} if made_with is None else made_with,
        metrics={**dict.fromkeys(DEFINITIONS), **metrics},
        series=series or {},
    )


def make_side(records: Iterable[Record], source: str = "old", **more: Any) -> Side:
    """A side of these runs."""
    return Side(Path(source), tuple(records), **more)


def seeds(metric: str, values: Sequence[float | None], **more: Any) -> list[Record]:
    """One run a value, seeds 1, 2, ..."""
    return [make_record(n, **{metric: v}, **more) for n, v in enumerate(values, start=1)]
