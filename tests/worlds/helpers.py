"""Small sessions for the tests of the worlds."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from testbed.media.spec import ClipSpec
from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.network.trace import RateTrace
from testbed.tables import OPTIONAL_TABLES, TABLES
from testbed.worlds.session import CompetingSpec, SessionResult, SessionSpec
from testbed.worlds.simulator import run_session


class MemorySink:
    """Keeps the rows; `tables()` checks them against the schemas."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {
            name: [] for name in TABLES | OPTIONAL_TABLES
        }

    def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        self.rows[table].extend(rows)

    def tables(self) -> dict[str, pd.DataFrame]:
        made = {}
        for name, schema in (TABLES | OPTIONAL_TABLES).items():
            columns = list(zip(*self.rows[name], strict=True)) or [()] * len(schema)
            arrays = [
                pa.array(column, type=field.type)
                for column, field in zip(columns, schema, strict=True)
            ]
            made[name] = pa.Table.from_arrays(arrays, schema=schema).to_pandas()
        return made


def constant(kbps: float) -> RateTrace:
    import numpy as np

    return RateTrace(np.array([1_000_000]), np.array([float(kbps)]))


def path(
    *,
    kbps: float = 2000.0,
    delay_ms: float = 50.0,
    loss: LossSpec | None = None,
    packets: int | None = 100,
) -> PathSpec:
    return PathSpec(
        trace=constant(kbps),
        queue=QueueSpec("droptail", packets=packets) if packets else QueueSpec(),
        loss=(loss,) if loss else (),
        delay=DelaySpec(delay_ms=delay_ms),
    )


def session(
    *,
    transport: str = "h264",
    down: PathSpec | None = None,
    up: PathSpec | None = None,
    kbps: float = 200.0,
    duration_s: float = 3.0,
    fps: float = 15.0,
    options: dict[str, Any] | None = None,
    seed: int = 1,
    deadline_ms: float = 400.0,
    compute: str = "zero",
    clip: str = "test:testsrc2",
    rate: dict[str, Any] | None = None,
    competing: tuple[CompetingSpec, ...] = (),
) -> SessionSpec:
    return SessionSpec(
        transport=transport,
        clip=ClipSpec(clip, 160, 96, fps, duration_s),
        downlink=down or path(),
        uplink=up or path(),
        rate_control=(rate or {}).get("control", "fixed"),
        rate_options={k: v for k, v in (rate or {"kbps": kbps}).items() if k != "control"},
        transport_options=options or {},
        compute=compute,
        playout_deadline_ms=deadline_ms,
        seed=seed,
        competing=competing,
    )


def run(spec: SessionSpec) -> tuple[dict[str, pd.DataFrame], SessionResult]:
    sink = MemorySink()
    result = run_session(spec, sink, base=Path.cwd())
    return sink.tables(), result
