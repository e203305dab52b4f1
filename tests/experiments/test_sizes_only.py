"""A matrix of a real codec and one without pictures, from the scenario to the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from testbed.analysis.report import write_report
from testbed.analysis.runs import Run, scan_runs
from testbed.cli.main import run_command
from testbed.errors import InputError
from testbed.live.recording import open_recording

SCENARIO = """\
name: rivals
clips: [test:testsrc2]
width: 160
height: 90
fps: 30
duration_s: 1
downlink:
  trace: [constant:400kbps]
  loss:
    - {kind: bernoulli, rate: 0}
    - {kind: bernoulli, rate: 0.1}
  delay_ms: 20
uplink: {delay_ms: 20}
transports: [h264, dcvc-rt]
rate: {control: fixed, kbps: 200}
seeds: [1]
quality: [psnr]
"""


def run(folder: Path, out: str = "out") -> Path:
    scenario = folder / "rivals.yaml"
    scenario.write_text(SCENARIO)
    arguments = ["run", str(scenario), "--out", str(folder / out), "--quiet", "--jobs", "1"]
    assert run_command(arguments) == 0
    return folder / out


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sizes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTBED_CACHE", str(folder / "cache"))
        yield run(folder)


def of(suite: Path, transport: str) -> list[Run]:
    return [run for run in scan_runs(suite).runs if run.transport == transport]


def test_the_runs_say_so_and_have_no_quality(suite: Path) -> None:
    for made in of(suite, "dcvc-rt"):
        assert made.sizes_only
        assert made.manifest["facts"]["pixels"] == "sizes-only"
        assert made.manifest["facts"]["sender"]["encoder"]["sizes"] == "scaled-to-target"
        summary = json.loads((made.folder / "summary.json").read_text())
        assert summary["pixels"] == "sizes-only"
        assert summary["psnr_mean"] is None
        assert summary["rendered_share"] > 0.5
        assert "psnr" not in pq.read_schema(made.folder / "frames.parquet").names
    for made in of(suite, "h264"):
        assert not made.sizes_only
        assert "pixels" not in made.summary
        assert made.summary["psnr_mean"] > 20


def test_the_report_says_sizes_only_in_its_place_and_leaves_it_out_of_the_figure(
    suite: Path,
) -> None:
    result = write_report(suite, figures=["quality"])
    page = result.html.read_text(encoding="utf-8")
    assert page.count(">sizes only</td>") == 2  # a row a loss level, one picture column with values
    assert "<dt>Sizes only, no pictures</dt>" in page
    (figure,) = json.loads((suite / "figures" / "index.json").read_text())
    assert figure["caption"].endswith("is left out: sizes only, no pictures.")
    table = pd.read_csv(result.csv)
    assert table[table.transport == "dcvc-rt"].psnr_mean.isna().all()
    assert table[table.transport == "h264"].psnr_mean.notna().all()
    assert set(table[table.pixels == "sizes-only"].transport) == {"dcvc-rt"}


def test_the_same_tables_every_time(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "cache"))
    for one, two in zip(of(suite, "dcvc-rt"), of(run(tmp_path), "dcvc-rt"), strict=True):
        assert one.name == two.name
        for table in ("frames", "packets", "control", "link"):
            name = f"{table}.parquet"
            assert pq.read_table(one.folder / name).equals(pq.read_table(two.folder / name))


def test_a_recording_is_refused_in_one_line(suite: Path) -> None:
    with pytest.raises(InputError, match="has no pictures: of the codec of dcvc-rt only sizes"):
        open_recording(of(suite, "dcvc-rt")[0].folder)


def test_a_live_session_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "live.yaml"
    scenario.write_text(
        SCENARIO.replace("h264, ", "").replace("    - {kind: bernoulli, rate: 0}\n", "")
    )
    assert run_command(["live", str(scenario), "--no-browser"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "error: transport dcvc-rt: has no pictures to view: of its codec only sizes are known\n"
    )
