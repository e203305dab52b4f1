from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.main import run_command

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis" / "helpers"))

from synthetic_runs import Cell, write_run

CELL = Cell(duration_s=0.5)
#: Key frames of many small packets into a short queue: how they are paced decides what is dropped.
SCENARIO = """\
name: paced
clips: [test:testsrc2]
width: 320
height: 180
fps: 30
duration_s: 2
downlink:
  trace: [constant:600kbps]
  queue: {kind: droptail, packets: 3}
  loss: [{kind: bernoulli, rate: 0.02}]
  delay_ms: 30
uplink: {delay_ms: 30}
transports: [{name: h264, pacing_factor: 1.2, payload_bytes: 300, intra_period_frames: 15}]
rate: {control: fixed, kbps: 400}
seeds: [1, 2, 3, 4, 5]
quality: []
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_run(tmp_path / "base", CELL, "h264", 1)
    write_run(tmp_path / "now", CELL, "h264", 1)
    return tmp_path


def run(folder: Path, scenario: Path, *more: str) -> Path:
    assert run_command(["run", str(scenario), "--out", str(folder), "--quiet", *more]) == 0
    return folder


def test_a_wrong_pacing_gain_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real encoders, the real simulator, the real command, and a sender that bursts."""
    scenario = tmp_path / "paced.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    base = run(tmp_path / "base", scenario)
    again = run(tmp_path / "again", scenario)
    scenario.write_text(SCENARIO.replace("pacing_factor: 1.2", "pacing_factor: 8"))
    wrong = run(tmp_path / "wrong", scenario)
    golden = tmp_path / "golden.json"
    assert run_command(["gate", "--record", str(golden), str(base), "--series", "200"]) == 0
    assert f"{golden}: baseline of {base}" in capsys.readouterr().out

    for baseline in (base, golden):
        assert run_command(["gate", str(baseline), str(again), "--strict"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"{again} against {baseline}: 1 cell, 5 pairs of runs"
        assert said[-1].endswith("comparisons, all equal")
        assert len(said) == 2

        out = tmp_path / "gate.json"
        arguments = ["gate", str(baseline), str(wrong), "--out", str(out)]
        assert run_command(arguments) == 1
        said = capsys.readouterr().out.splitlines()
        assert "note: transport.options.pacing_factor differs: 1.2 -> 8 (5 runs)" in said
        (row,) = (line for line in said if "queue_drop_share" in line.split())
        assert row.split()[:3] == ["regression", "queue_drop_share", "h264"]
        assert said[-1].startswith("regression: ")
        worse = [c for c in json.loads(out.read_text())["comparisons"]
                 if c["verdict"] == "regression"]  # fmt: skip
        assert {"queue_drop_share", "retransmission_share"} <= {c["metric"] for c in worse}
        tested = {c["metric"]: c for c in worse}["queue_drop_share"]
        assert (tested["runs"], tested["test"]) == (5, "paired t")
        assert tested["p"] <= 0.05


def test_json_and_files(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, now = str(results / "base"), str(results / "now")
    files = [results / "gate.json", results / "gate.md"]
    options = [word for file in files for word in ("--out", str(file))]
    assert run_command(["gate", base, now, "--json", *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"] is True
    assert answer == json.loads(files[0].read_text())
    assert files[1].read_text().startswith("**passed: ")


def test_metrics_and_tolerances(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, now = str(results / "base"), str(results / "now")
    options = ["--metric", "rendered_fps", "--tolerance", "rendered_fps=1,5%", "--json"]
    assert run_command(["gate", base, now, *options]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["metric"] == "rendered_fps"
    assert found["allowed"] == max(1, 0.05 * found["before"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'BASELINE DIR'"),
        (["base"], "gate takes BASELINE and DIR, or --record FILE and DIR; got 1"),
        (["base", "now", "x"], "got 3"),
        (["base", "none"], "none: no such folder"),
        (["none.json", "now"], "none.json: cannot read: No such file or directory"),
        (["text.txt", "now"], "text.txt: not JSON"),
        (["base", "empty"], "empty: holds no `runs` folder"),
        (["base", "now", "--metric", "fps"], "--metric: unknown metric 'fps'; known: frames"),
        (["base", "now", "--tolerance", "rendered_fps=a"], "'a' must be a number >= 0"),
        (["base", "now", "--series", "50"], "--series 50: must be a multiple of 100"),
        (["base", "now", "--out", "gate.txt"], "--out gate.txt: must end in .json or .md"),
        (["base", "now", "--out", "none/gate.md"], "none/gate.md: cannot write"),
        (["base", "other"], "base and other share no cell: trace is "),
        (["--record", "b.json", "base", "now"], "--record FILE goes with one DIR"),
        (["--record", "b.json", "base", "--strict"], "--record FILE goes with one DIR"),
        (["--record", "none/b.json", "base"], "none/b.json: cannot write"),
    ],
)
def test_mistakes_are_one_line(
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(results)
    Path("empty").mkdir()
    Path("text.txt").write_text("hello")
    write_run(results / "other", Cell(duration_s=0.5, trace="constant:1kbps"), "h264", 1)
    assert run_command(["gate", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_help_needs_no_heavy_import() -> None:
    heavy = "{'matplotlib', 'pandas', 'scipy', 'pyarrow', 'jinja2', 'numpy'} & set(sys.modules)"
    code = f"import sys, testbed.cli.gate; sys.exit(str({heavy}) if {heavy} else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
