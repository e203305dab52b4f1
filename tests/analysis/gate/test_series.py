from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import Cell, write_run

from testbed.analysis.gate.limits import Limit
from testbed.analysis.gate.series import UNITS, check_step, decimate, follow
from testbed.analysis.runs import Run, open_run
from testbed.errors import InputError

MS = 1_000_000
LIMIT = Limit(absolute=10, relative=0.1)
VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1e4)), max_size=30)


class HandmadeRun(Run):
    """Tables of a few rows, written down."""

    def table(self, name: str, columns: object = None) -> pd.DataFrame:
        rows: dict[str, dict[str, list[object]]] = {
            "control": {
                "time_ns": [100 * MS, 200 * MS, 201 * MS, 400 * MS],
                "target_kbps": [100.0, 300.0, 50.0, None],
            },
            "link": {
                "time_ns": [0, 100 * MS, 200 * MS, 0],
                "direction": ["down", "down", "down", "up"],
                "capacity_bytes": [1000, 2000, 5000, 77],
                "delivered_bytes": [500, 0, 1250, 77],
            },
            "packets": {
                "direction": ["down", "down", "down", "down", "up"],
                "link_in_ns": [0, 10 * MS, 199 * MS, 300 * MS, 0],
                "link_out_ns": [10 * MS, 40 * MS, 204 * MS, None, 900 * MS],
            },
        }
        return pd.DataFrame(rows[name])


def test_decimation_by_hand() -> None:
    run = HandmadeRun(Path("x"), {"cell": {"duration_s": 0.75}})
    # Reports speak of the time up to them: two in the first step, one in the second, none after.
    # 1000 and 2000 bytes in 200 ms are 120 kbit/s; a bin of 5000 in 100 ms is 400.
    # Packets wait 10, 30 and 5 ms in the first step; the one that never left counts nowhere.
    assert decimate(run, 200) == {
        "target_kbps": [200.0, 50.0, 50.0, 50.0],
        "capacity_kbps": [120.0, 400.0, None, None],
        "delivered_kbps": [20.0, 100.0, None, None],
        "queueing_delay_ms": [15.0, None, None, None],
    }


def test_decimation_of_a_run_keeps_its_totals(tmp_path: Path) -> None:
    cell = Cell(duration_s=4, capacity_kbps=lambda s: 800.0 if s < 2 else 2000.0)
    run = open_run(write_run(tmp_path, cell, "h264", 1))
    found = decimate(run, 500)
    assert set(found) == set(UNITS)
    assert found["capacity_kbps"] == [800.0] * 4 + [2000.0] * 4
    assert found["target_kbps"] == [400.0] * 8
    delivered = [value for value in found["delivered_kbps"] if value is not None]
    assert len(delivered) == 8
    down = run.link[run.link["direction"] == "down"]
    assert sum(delivered) * 500 / 8 == pytest.approx(down["delivered_bytes"].sum(), rel=1e-3)
    assert all(value is not None and value >= 0 for value in found["queueing_delay_ms"])


@pytest.mark.parametrize("step", [-100, 0, 50, 150])
def test_a_step_is_a_multiple_of_the_bins(step: int) -> None:
    with pytest.raises(InputError, match="must be a multiple of 100"):
        check_step(step)


@given(VALUES)
def test_a_series_follows_itself(values: list[float | None]) -> None:
    found = follow(values, values, Limit())
    assert (found.outside, found.steps, found.holds) == (0, len(values), True)


@given(VALUES)
def test_and_itself_one_step_later(values: list[float | None]) -> None:
    late = [*values[:1], *values[:-1]]
    assert follow(values, late, Limit()).outside == 0


def test_two_steps_later_is_too_late() -> None:
    before = [100.0, 100.0, 100.0, 500.0, 500.0, 500.0]
    assert follow(before, [100.0] * 4 + [500.0] * 2, LIMIT).holds
    found = follow(before, [100.0] * 5 + [500.0], LIMIT)
    assert not found.holds
    # At step 4 all neighbours are 500; 400 beyond them is 8 times the 10 %.
    assert (found.outside, found.worst, found.before, found.after) == (1, 4, 500.0, 100.0)
    assert found.allowed == 50
    assert found.excess == pytest.approx(8)


def test_exactly_the_limit_is_within_it() -> None:
    assert follow([100.0] * 3, [100.0, 110.0, 90.0], LIMIT).holds
    assert not follow([100.0] * 3, [100.0, 110.1, 90.0], LIMIT).holds
    assert not follow([100.0], [100.001], Limit()).holds


def test_one_step_in_fifty_is_forgiven() -> None:
    before = [100.0] * 100
    spikes = [300.0] * 2 + [100.0] * 98
    assert follow(before, spikes, LIMIT).holds
    assert not follow(before, [300.0, *spikes[:-1]], LIMIT).holds
    assert not follow(before[:49], [300.0, *before[:48]], LIMIT).holds


def test_what_is_missing() -> None:
    assert follow([5.0, None, 5.0], [5.0, 5.0, 5.0], LIMIT).holds
    assert follow([5.0, None, 5.0], [5.0, 5.0, None], LIMIT).holds  # a gap one step later
    assert not follow([5.0, 5.0, 5.0], [5.0, None, 5.0], LIMIT).holds
    assert not follow([None, None, None], [None, 5.0, None], LIMIT).holds
    assert not follow([5.0] * 4, [5.0] * 2, LIMIT).holds  # it ends early
    assert not follow([5.0] * 2, [5.0] * 4, LIMIT).holds  # it goes on
