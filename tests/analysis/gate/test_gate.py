"""The gate as a whole, over made-up results folders."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from synthetic_runs import Cell, write_run, write_suite

from testbed.analysis.gate import gate, record
from testbed.errors import InputError

#: Same words, a third of the capacity after the first second: the link has become worse.
GOOD = Cell(duration_s=3, kbps=400.0, loss_rate=0.02)
BAD = dataclasses.replace(GOOD, capacity_kbps=lambda s: 2000.0 if s < 1 else 330.0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "base", [GOOD], ["h264", "h265"])


@pytest.fixture
def worse(tmp_path: Path, base: Path) -> Path:
    """One transport as before, the other over the worse link."""
    folder = write_suite(tmp_path / "worse", [GOOD], ["h265"])
    return write_suite(folder, [BAD], ["h264"])


def test_a_copy_passes_exactly(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    found = gate(base, tmp_path / "copy", series_ms=500)
    assert found.passed(strict=True)
    assert (found.cells, found.pairs, found.problems, found.notes) == (2, 6, (), ())
    assert {one.verdict for one in found.comparisons} == {"same"}
    assert found.conclusion() == f"passed: {len(found.comparisons)} comparisons, all equal"


def test_a_worse_link_is_told_by_metric_and_cell(base: Path, worse: Path) -> None:
    found = gate(base, worse)
    assert not found.passed()
    told = {(one.metric, one.cell) for one in found.of("regression")}
    assert ("latency_ms_p95", "h264") in told
    assert ("capacity_kbps", "h264") in told
    assert {cell for _, cell in told} == {"h264"}
    assert "h264" in found.as_text()
    assert found.conclusion().startswith("regression: ")


def test_the_other_way_round_is_better(base: Path, worse: Path) -> None:
    found = gate(worse, base, metrics=["latency_ms_p95"])
    assert found.passed()
    assert [one.cell for one in found.of("better")] == ["h264"]
    assert found.conclusion() == "passed: 2 comparisons; 1 better"


def test_a_recorded_baseline_says_the_same_as_its_folder(
    base: Path, worse: Path, tmp_path: Path
) -> None:
    file = tmp_path / "golden.json"
    file.write_text(record(base, series_ms=500), encoding="utf-8")
    from_file, from_folder = gate(file, worse), gate(base, worse, series_ms=500)
    assert from_file.comparisons == from_folder.comparisons
    series = [one for one in from_file.of("regression") if one.metric == "series.capacity_kbps"]
    assert [one.cell for one in series] == ["h264, seed 1", "h264, seed 2", "h264, seed 3"]
    assert "most at" in series[0].remark
    # Without series in question none are computed.
    only = gate(file, worse, metrics=["rendered_fps"])
    assert {one.metric for one in only.comparisons} == {"rendered_fps"}


def test_a_tolerance_lets_it_pass(base: Path, worse: Path) -> None:
    assert not gate(base, worse, metrics=["latency_ms_p95"]).passed()
    assert gate(
        base, worse, metrics=["latency_ms_p95"], tolerances=["latency_ms_p95=1000"]
    ).passed()


def test_a_run_folder_against_another(tmp_path: Path) -> None:
    old = write_run(tmp_path / "a", GOOD, "h264", 1)
    new = write_run(tmp_path / "b", BAD, "h264", 1)
    found = gate(old, new, metrics=["latency_ms_p95"])
    assert [one.verdict for one in found.comparisons] == ["regression"]
    assert found.comparisons[0].remark == "limit alone"


def test_missing_failed_and_broken_runs_are_regressions(base: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(base, new)
    folders = {}
    for folder in sorted((new / "runs").iterdir()):
        manifest = json.loads((folder / "manifest.json").read_text())
        folders[manifest["transport"], manifest["seed"]] = folder, manifest
    for seed in (1, 2):
        folder, manifest = folders["h264", seed]
        shutil.rmtree(folder)
    (folders["h265", 3][0] / "link.parquet").write_bytes(b"gone")
    (folders["h265", 3][0] / "summary.json").unlink(missing_ok=True)
    failure = {k: manifest[k] for k in ("run", "scenario", "transport", "seed", "cell")}
    (new / "failures.json").write_text(json.dumps([{**failure, "error": "it fell over"}]))
    found = gate(base, new)
    assert not found.passed()
    kinds = [(problem.kind, problem.cell) for problem in found.problems]
    assert kinds == [("broken", ""), ("failed", "h264, seed 2"), ("missing", "h264"),
                     ("missing", "h265")]  # fmt: skip
    assert "link.parquet" in found.problems[0].message
    assert found.conclusion() == "regression: 1 broken, 1 failed, 2 missing"
    with pytest.raises(InputError, match="a baseline must be whole"):
        gate(new, base)


def test_series_that_are_not_there(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "golden.json"
    file.write_text(record(base), encoding="utf-8")
    with pytest.raises(InputError, match=r"golden\.json: has no series to compare"):
        gate(file, base, metrics=["series.target_kbps"])
    with pytest.raises(InputError, match=r"--series 500: .*golden\.json holds no series"):
        gate(file, base, series_ms=500)
    with pytest.raises(InputError, match="must be a multiple of 100"):
        gate(base, base, series_ms=250)
    with pytest.raises(InputError, match="must be a multiple of 100"):
        record(base, series_ms=1)


def test_series_come_with_named_metrics(base: Path) -> None:
    found = gate(base, base, metrics=["rendered_fps"], series_ms=500)
    metrics = {one.metric for one in found.comparisons}
    assert {"rendered_fps", "series.target_kbps", "series.queueing_delay_ms"} <= metrics
