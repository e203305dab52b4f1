"""The whole chain with real encoders and the real simulator."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from testbed.analysis.runs import scan_runs

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = """\
name: real
clips: [test:testsrc2]
width: 160
height: 90
fps: 30
duration_s: 2
downlink:
  trace: [constant:400kbps, "model:rail@30s"]
  queue: {kind: droptail, packets: 60}
  loss:
    - {kind: bernoulli, rate: 0.1}
  delay_ms: 50
uplink: {delay_ms: 50}
transports: [h264, h265, h266, morphe]
rate: {control: fixed, kbps: 200}
seeds: [1]
quality: [psnr]
"""


@pytest.mark.slow
def test_one_and_two_jobs_give_the_same_tables(tmp_path: Path) -> None:
    scenario = tmp_path / "real.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    for jobs in ("1", "2"):
        # A cache of its own each, so that the encoders really run twice.
        environment = {**os.environ, "TESTBED_CACHE": str(tmp_path / f"cache{jobs}")}
        command = [sys.executable, "-m", "testbed.cli.main", "run", str(scenario), "--quiet"]
        done = subprocess.run(
            [*command, "--jobs", jobs, "--out", str(tmp_path / jobs)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    one, two = (scan_runs(tmp_path / jobs) for jobs in ("1", "2"))
    assert not one.broken
    assert [run.name for run in one.runs] == [run.name for run in two.runs]
    assert len(one.runs) == 8
    for first, second in zip(one.runs, two.runs, strict=True):
        for table in ("frames", "packets", "control", "link"):
            assert pq.read_table(first.folder / f"{table}.parquet").equals(
                pq.read_table(second.folder / f"{table}.parquet")
            ), (first.transport, table)
        assert first.summary == second.summary
        assert first.manifest["facts"] == second.manifest["facts"]
        assert pq.read_table(first.folder / "frames.parquet")["psnr"].null_count < 60


def test_the_mask_is_the_same_for_every_transport(tmp_path: Path) -> None:
    scenario = tmp_path / "real.yaml"
    scenario.write_text(SCENARIO.replace("[psnr]", "[]"), encoding="utf-8")
    command = [sys.executable, "-m", "testbed.cli.main", "run", str(scenario), "--quiet"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--set", "downlink.trace=constant:400kbps",
         "--set", "transports=[h264, h265]"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "TESTBED_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    masks = []
    for run in scan_runs(tmp_path / "out").runs:
        packets = run.packets.query("direction == 'down' and drop != 'queue'")
        masks.append((packets["drop"] == "loss").tolist())
    assert len(masks) == 2
    shorter = min(len(mask) for mask in masks)
    assert shorter > 40
    assert masks[0][:shorter] == masks[1][:shorter]
    assert any(masks[0])
