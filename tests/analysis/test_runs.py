from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from synthetic_runs import Cell, write_run, write_suite

from testbed.analysis.metrics import METRICS_VERSION
from testbed.analysis.runs import iter_runs, open_run, scan_runs
from testbed.errors import BrokenLogError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path, Cell(duration_s=1.0), "h264", 3)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_a_run_gives_its_manifest_and_tables(folder: Path) -> None:
    run = open_run(folder)
    assert (run.transport, run.seed, run.scenario) == ("h264", 3, "synthetic")
    assert run.name == folder.name
    assert run.cell["loss_rate"] == 0.05
    assert len(run.frames) == 30
    assert run.frames is run.frames
    assert list(run.table("packets", ["sent_ns"]).columns) == ["sent_ns"]
    assert len(run.link) == len(run.control) == 10
    assert run.timeline.count == 30


def test_a_stored_summary_of_this_version_is_taken(folder: Path) -> None:
    stored = {"metrics_version": METRICS_VERSION, "rendered_fps": 12.5}
    (folder / "summary.json").write_text(json.dumps(stored))
    assert open_run(folder).summary == stored


@pytest.mark.parametrize("content", [{"metrics_version": -1, "rendered_fps": 1}, {}, []])
def test_a_summary_of_another_version_is_computed_again(folder: Path, content: Any) -> None:
    fresh = open_run(folder).summary
    (folder / "summary.json").write_text(json.dumps(content))
    assert open_run(folder).summary == fresh


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=2), "schema is 2; this version reads 1"),
        (lambda m: m.pop("transport"), "field 'transport' is missing"),
        (lambda m: m.update(seed="1"), "field 'seed' is missing or of the wrong type"),
        (lambda m: m.update(seed=True), "field 'seed'"),
        (lambda m: m.update(cell=[]), "field 'cell'"),
        (lambda m: m["cell"].update(fps=0), "field 'cell.fps' must be a number > 0, is 0"),
        (lambda m: m["cell"].pop("playout_deadline_ms"), "field 'cell.playout_deadline_ms'"),
    ],
)
def test_wrong_manifests_are_one_line(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change_manifest(folder, change)
    with pytest.raises(BrokenLogError) as caught:
        open_run(folder)
    assert message in str(caught.value)
    assert str(folder / "manifest.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b"7"])
def test_garbled_manifests_are_one_line(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BrokenLogError, match=r"manifest\.json: ") as caught:
        open_run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["frames", "packets", "control", "link"])
def test_a_missing_table_is_named(folder: Path, name: str) -> None:
    (folder / f"{name}.parquet").unlink()
    with pytest.raises(BrokenLogError, match=rf"{name}\.parquet: missing"):
        open_run(folder)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_garbled_table_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "packets.parquet").write_bytes(content)
    with pytest.raises(BrokenLogError, match=r"packets\.parquet: cannot be read") as caught:
        _ = open_run(folder).packets
    assert "\n" not in str(caught.value)


def test_a_table_cut_short_is_one_line(folder: Path) -> None:
    path = folder / "frames.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BrokenLogError, match=r"frames\.parquet: cannot be read"):
        _ = open_run(folder).frames


def test_a_missing_column_is_named(folder: Path) -> None:
    path = folder / "link.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["queue_bytes"]), path)
    with pytest.raises(BrokenLogError, match=r"link\.parquet: lacks column queue_bytes"):
        _ = open_run(folder).link


def test_a_contradiction_names_its_folder(folder: Path) -> None:
    path = folder / "frames.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 20), path)
    with pytest.raises(BrokenLogError, match=rf"{folder}: frames: 20 rows where"):
        _ = open_run(folder).summary


def test_the_order_of_runs_does_not_depend_on_names_of_folders(tmp_path: Path) -> None:
    cells = [Cell(loss_rate=rate, duration_s=0.5) for rate in (0.25, 0.05)]
    write_suite(tmp_path, cells, transports=("h265", "h264"), seeds=(2, 1))
    seen = [(run.cell["loss_rate"], run.transport, run.seed) for run in iter_runs(tmp_path)]
    assert seen == sorted(seen)
    for index, folder in enumerate(sorted((tmp_path / "runs").iterdir(), reverse=True)):
        folder.rename(folder.with_name(f"{index:03d}"))
    assert seen == [(r.cell["loss_rate"], r.transport, r.seed) for r in iter_runs(tmp_path)]


def test_runs_under_way_and_stray_files_are_not_runs(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, folder.with_name(f".{folder.name}.tmp"))
    (folder.parent / "notes.txt").write_text("hello")
    assert [run.name for run in iter_runs(tmp_path)] == [folder.name]


def test_broken_runs_are_listed_beside_the_others(tmp_path: Path, folder: Path) -> None:
    broken = folder.with_name("broken")
    broken.mkdir()
    found = scan_runs(tmp_path)
    assert [run.name for run in found.runs] == [folder.name]
    assert found.broken == ((broken, f"{broken / 'manifest.json'}: missing"),)
    with pytest.raises(BrokenLogError):
        list(iter_runs(tmp_path))


def test_a_newer_run_of_the_same_cell_seed_and_label_takes_the_place(
    tmp_path: Path, folder: Path
) -> None:
    newer = Path(shutil.copytree(folder, folder.with_name("another-configuration")))
    for path, at in ((folder, 1000), (newer, 2000)):
        os.utime(path / "manifest.json", (at, at))
    found = scan_runs(tmp_path)
    assert [run.folder for run in found.runs] == [newer]
    assert found.superseded == (folder,)
    os.utime(folder / "manifest.json", (3000, 3000))
    assert scan_runs(tmp_path).superseded == (newer,)
    facts = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**facts, "world": "relay"}))
    assert scan_runs(tmp_path).superseded == ()


def test_failed_cells_are_read(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "failures.json").write_text(json.dumps([{"cell": "x", "error": "y"}]))
    assert scan_runs(tmp_path).failures == ({"cell": "x", "error": "y"},)
    (tmp_path / "failures.json").write_text('{"not": "a list"}')
    assert "must be a JSON list" in scan_runs(tmp_path).broken[0][1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "no such folder"),
        (lambda p: p, "holds no `runs` folder"),
    ],
)
def test_folders_without_runs_are_one_line(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        scan_runs(make(tmp_path))


def test_a_single_run_folder_or_a_file_is_told_apart(folder: Path) -> None:
    with pytest.raises(InputError, match="a single run folder"):
        scan_runs(folder)
    with pytest.raises(InputError, match="not a folder"):
        scan_runs(folder / "manifest.json")
