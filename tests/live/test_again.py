"""A run again from its manifest: the same session, or none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.analysis.runs import open_run
from testbed.cli.main import run_command
from testbed.errors import BrokenLogError, InputError
from testbed.live.again import run_again, session_spec


def edited(folder: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run folder with a changed manifest."""
    shutil.copytree(folder, to)
    manifest = json.loads((to / "manifest.json").read_text())
    change(manifest)
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


SCENARIO = """\
name: odd
clips: [test:testsrc2]
width: 64
height: 48
fps: 10
duration_s: 1.5
warmup_s: 0
downlink:
  trace: {trace}
  {scale}
  queue: {{kind: codel, packets: 50, target_ms: 20}}
  loss:
    - - {{kind: gilbert-elliott, rate: 0.1, mean_burst: 2}}
      - {{kind: mask, bits: [0, 0, 1, 0]}}
  delay_ms: 30
  jitter_ms: 4
  order: [loss, queue, delay]
  phase_ms: random
uplink: {{delay_ms: 20, trace: "constant:300kbps"}}
transports: [{{name: h264, label: keyed, intra_period_frames: 5}}]
rate: {{control: bbr}}
seeds: [3]
quality: []
competing: [{{kind: tcp, start_s: 0.5}}]
"""
TRACES = [
    ("constant:400kbps", ""),
    ("constant:400kbps", "scale: 0.75"),
    ("model:rail@20s", "mean_kbps: 500"),
    ("mine.csv", ""),
    ("bandwidth-tracking", "scale: 2"),
]


@pytest.mark.parametrize(("trace", "scale"), TRACES)
def test_a_session_with_everything_in_it(trace: str, scale: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("time_s,rate_kbps\n0,400\n1,300\n2,500\n")
    scenario = tmp_path / "odd.yaml"
    scenario.write_text(SCENARIO.format(trace=trace, scale=scale))
    out = tmp_path / "out"
    assert run_command(["run", str(scenario), "--out", str(out), "--jobs", "1", "-q"]) == 0
    (folder,) = (out / "runs").iterdir()
    run = open_run(folder)
    result = run_again(run, base=tmp_path)  # it compares every frame's times with the folder
    assert len(result.received) == 15
    assert result.codec == "h264"
    spec = session_spec(run, base=tmp_path)
    assert [loss.kind for loss in spec.downlink.loss] == ["gilbert-elliott", "mask"]
    assert spec.competing[0].kind == "tcp"


def test_a_trace_file_that_went_away(tmp_path: Path) -> None:
    trace = tmp_path / "mine.csv"
    trace.write_text("time_s,rate_kbps\n0,400\n1,300\n2,500\n")
    scenario = tmp_path / "odd.yaml"
    scenario.write_text(SCENARIO.format(trace="mine.csv", scale=""))
    out = tmp_path / "out"
    assert run_command(["run", str(scenario), "--out", str(out), "--jobs", "1", "-q"]) == 0
    (folder,) = (out / "runs").iterdir()
    for change in (
        lambda: trace.write_text("time_s,rate_kbps\n0,400\n1,300\n2,501\n"),
        trace.unlink,
    ):
        change()
        with pytest.raises(InputError, match=r"has no capture.*its trace mine is not found below"):
            run_again(open_run(folder), base=tmp_path)


def test_another_world_cannot_be_run_again(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = edited(run_of("h264"), tmp_path / "r", lambda m: m.update(world="mahimahi"))
    with pytest.raises(InputError, match="has no capture: run it again with --capture"):
        run_again(open_run(folder), base=tmp_path)


def test_another_outcome_is_none(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    def other_seed(manifest: dict[str, Any]) -> None:
        manifest["resolved"]["downlink"]["loss"][0]["rate"] = 0.4

    folder = edited(run_of("h264"), tmp_path / "r", other_seed)
    with pytest.raises(InputError, match="it comes out otherwise"):
        run_again(open_run(folder), base=tmp_path)


@pytest.mark.parametrize("key", ["transport", "downlink", "rate", "clip", "competing", "compute"])
def test_a_manifest_that_lacks_something(
    run_of: Callable[[str], Path], tmp_path: Path, key: str
) -> None:
    folder = edited(run_of("h264"), tmp_path / "r", lambda m: m["resolved"].pop(key))
    with pytest.raises(BrokenLogError, match=f"manifest: lacks or garbles '{key}'"):
        session_spec(open_run(folder), base=tmp_path)
