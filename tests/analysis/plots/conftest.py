"""Suites of synthetic runs, each made once a session, that figures are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_runs import Cell, write_suite

from testbed.analysis import style
from testbed.analysis.runs import Run, scan_runs
from testbed.tables import OPTIONAL_TABLES


def _loss(folder: Path) -> None:
    write_suite(
        folder,
        [Cell(loss_rate=rate, fps=fps, duration_s=2.0) for rate in (0.0, 0.25) for fps in (30, 60)],
    )


def _tracking(folder: Path) -> None:
    def capacity(second: float) -> float:
        return 350 + 150 * math.sin(second)

    cell = Cell(
        trace="sine", loss_rate=0.0, loss_kind="none", kbps=None, control="oracle",
        duration_s=6.0, capacity_kbps=capacity,
    )  # fmt: skip
    write_suite(folder, [cell], seeds=(2, 1))


def _traces(folder: Path) -> None:
    write_suite(
        folder,
        [Cell(trace=f"a-trace-with-a-long-name-{i}", duration_s=1.5) for i in range(14)],
        transports=("h264", "h265", "h265-fec", "morphe", "another"),
        seeds=(1,),
    )


def _all_lost(folder: Path) -> None:
    write_suite(folder, [Cell(loss_rate=1.0, duration_s=1.5)], transports=("h264",), seeds=(1,))


def _unlimited(folder: Path) -> None:
    write_suite(folder, [Cell(duration_s=1.5)], transports=("h264", "h265"), seeds=(1,))
    for path in (folder / "runs").glob("*/link.parquet"):
        table = pq.read_table(path)
        zero = table.column("capacity_bytes").to_pandas() * 0
        at = table.schema.get_field_index("capacity_bytes")
        field = table.schema.field(at)
        pq.write_table(table.set_column(at, field, pa.array(zero, pa.int64())), path)


def _no_quality(folder: Path) -> None:
    write_suite(folder, [Cell(loss_rate=r, duration_s=1.5) for r in (0.0, 0.1)], seeds=(1,))
    for path in (folder / "runs").glob("*/frames.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["vmaf", "ssim", "psnr"]), path)


#: Who is there in `_shared`, from and to which second, at which rate (kbit/s).
FLOWS = ((0, "media", 0, 6, 800), (1, "media", 1, 6, 400), (2, "tcp", 2, 5, 900))


def _shared(folder: Path) -> None:
    cells = [
        Cell(loss_rate=0.0, loss_kind="none", kbps=400 + n, duration_s=6.0) for n in range(5)
    ]  # fmt: skip
    write_suite(folder, cells, transports=("h264", "morphe"), seeds=(2, 1))
    rows = [
        (at * 10**8, number, kind, rate * 15, rate * 100 // 8, None)
        for number, kind, first, end, rate in FLOWS
        for at in range(first * 10, end * 10)
    ]
    for run in (folder / "runs").iterdir():
        columns = [list(column) for column in zip(*rows, strict=True)]
        pq.write_table(pa.table(columns, schema=OPTIONAL_TABLES["flows"]), run / "flows.parquet")


SUITES: dict[str, Callable[[Path], None]] = {
    "loss": _loss,
    "tracking": _tracking,
    "traces": _traces,
    "all-lost": _all_lost,
    "unlimited": _unlimited,
    "no-quality": _no_quality,
    "shared": _shared,
}


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Run, ...]]:
    made: dict[str, tuple[Run, ...]] = {}

    def get(name: str) -> tuple[Run, ...]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            SUITES[name](folder)
            made[name] = scan_runs(folder).runs
        return made[name]

    return get


@pytest.fixture
def styled() -> Iterator[None]:
    with style.paper_style():
        yield
