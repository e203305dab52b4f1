from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_runs import Cell, write_suite

from testbed.analysis.pages import _failure, _number, _tables
from testbed.analysis.runs import scan_runs


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (1234.5, None, "1234"),
        (123.4, None, "123"),
        (12.34, None, "12.3"),
        (1.234, None, "1.23"),
        (0.0123, None, "0.01"),
        (0.0001, None, "0"),
        (-0.0001, None, "0"),
        (0.254, 53.5, "0.3"),
        (7.7, 400.0, "8"),
    ],
)
def test_numbers_have_the_decimals_that_matter(value: float, like: float | None, text: str) -> None:
    assert _number(value, like=like) == text


def test_tables_hold_means_and_intervals_over_seeds(tmp_path: Path) -> None:
    write_suite(tmp_path, [Cell(loss_rate=r, duration_s=2.0) for r in (0.0, 0.2)], ("h264", "h266"))
    runs = scan_runs(tmp_path).runs
    tables = {table["title"]: table for table in _tables(runs)}
    assert list(tables) == ["Delay and playback", "Wire", "Picture"]
    delays = tables["Delay and playback"]
    rows = delays["rows"]
    assert [(row["level"], row["transport"], row["n"], row["first"]) for row in rows] == [
        ("0 % loss", "H.264", 3, True),
        ("0 % loss", "H.266", 3, False),
        ("20 % loss", "H.264", 3, True),
        ("20 % loss", "H.266", 3, False),
    ]
    assert not delays["settings"]
    at = [name for name, _ in delays["columns"]].index("Latency p50")
    mine = [run.summary["latency_ms_p50"] for run in runs[:3]]
    assert float(rows[0]["cells"][at]["mean"]) == pytest.approx(sum(mine) / 3, abs=0.051)
    assert rows[0]["cells"][at]["spread"].startswith("± ")
    assert "Student's t over 3 seeds" in rows[0]["cells"][at]["title"]


def test_failures_are_named_whatever_their_form() -> None:
    cell = {"clip": "bbb", "loss": "bernoulli 5 %", "loss_kind": "bernoulli", "fps": 30.0}
    assert _failure({"cell": cell, "error": "no"}) == {
        "cell": "bbb, bernoulli 5 % loss, 30 fps",
        "error": "no",
    }
    assert _failure({"transport": "h264", "seed": 2, "run": "abc"}) == {
        "cell": "h264, 2, abc",
        "error": "no reason given",
    }
