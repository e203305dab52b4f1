from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_runs import Cell, write_run, write_suite

from testbed.analysis.gate.records import read_folder
from testbed.analysis.metrics import DEFINITIONS
from testbed.analysis.runs import open_run
from testbed.errors import InputError

CELL = Cell(duration_s=0.5)


def test_a_results_folder(tmp_path: Path) -> None:
    write_suite(tmp_path, [CELL], ["h264"], seeds=(1, 2))
    side = read_folder(tmp_path)
    assert [record.seed for record in side.records] == [1, 2]
    record = side.records[0]
    assert (record.scenario, record.transport, record.world) == ("synthetic", "h264", "simulator")
    assert record.cell == CELL.manifest()
    assert list(record.metrics) == list(DEFINITIONS)
    assert record.settings["name"] == "synthetic"
    assert record.settings["transports"] == '["h264"]'
    # 64 hex digits are told by a hash of them.
    assert record.settings["clip.sha256"].startswith("sha256 ")
    assert len(record.settings["clip.sha256"]) < 30
    assert record.made_with == {"morphe-testbed": "0.1.0", "numpy": "2.0"}
    assert (side.series_ms, record.series) == (None, {})


def test_a_single_run_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path, CELL, "h264", 3)
    side = read_folder(folder, series_ms=100)
    assert [record.seed for record in side.records] == [3]
    assert side.records[0].metrics["rendered_fps"] == open_run(folder).summary["rendered_fps"]
    assert len(side.records[0].series["target_kbps"]) == 5
    (folder / "frames.parquet").unlink()
    assert "frames.parquet: missing" in read_folder(folder).broken[0]


def test_broken_and_failed_runs_are_kept_apart(tmp_path: Path) -> None:
    whole = write_run(tmp_path, CELL, "h264", 1)
    (write_run(tmp_path, CELL, "h265", 1) / "manifest.json").write_text("{")
    (write_run(tmp_path, CELL, "h266", 1) / "packets.parquet").write_bytes(b"x")
    (tmp_path / "failures.json").write_text(json.dumps([{"run": "x"}]))
    side = read_folder(tmp_path)
    assert [record.transport for record in side.records] == ["h264"]
    assert side.records[0].metrics["frames"] == open_run(whole).summary["frames"]
    assert len(side.broken) == 2
    assert any("manifest.json" in line for line in side.broken)
    assert any("packets.parquet" in line for line in side.broken)
    assert side.failures == ({"run": "x"},)


def test_what_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "none")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="holds no runs; `testbed run` makes them"):
        read_folder(tmp_path)
