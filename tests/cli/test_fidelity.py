"""`testbed fidelity` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli.main import run_command
from testbed.worlds import mahimahi

GOLDEN = Path(__file__).parents[1] / "golden" / "mahimahi"
LOG = str(GOLDEN / "bursts-2.up.log.gz")
TRACE = str(GOLDEN / "bursts.trace")


def test_equal_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fidelity", "--log", LOG, "--trace", TRACE]) == 0
    out = capsys.readouterr().out
    assert "droptail:packets=25,bytes=20000" in out
    assert "720/720 departures  equal" in out


def test_other_queue(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fidelity", "--log", LOG, "--trace", TRACE, "--queue", "droptail:packets=9"]
    assert run_command(arguments) == 1
    assert "first difference: departure" in capsys.readouterr().out


def test_statistical_queue_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fidelity", "--log", str(GOLDEN / "steps-aqm.up.log.gz")]
    assert run_command([*arguments, "--trace", str(GOLDEN / "steps.trace")]) == 1
    out = capsys.readouterr().out
    assert "statistically only" in out
    assert "872 departures, " in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fidelity", "--log", LOG, "--trace", TRACE, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["departures"] == result["equal"] == 720
    assert result["differences"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--log LOG with --trace TRACE"),
        (["--log", LOG], "--log needs exactly one trace"),
        (["--log", LOG, "--trace", TRACE, TRACE], "--log needs exactly one trace"),
        (["--log", LOG, "--trace", "nowhere.trace"], "nowhere.trace"),
        (["--log", TRACE, "--trace", TRACE], "is not an mm-link log"),
        (["--log", LOG, "--trace", TRACE, "--queue", "red"], "unknown queue 'red'; known: codel"),
        (["--log", LOG, "--trace", TRACE, "--queue", "droptail:x"], "droptail:x"),
        ([TRACE, "--queue", "infinite"], "go with --log only"),
        (["--worlds", "relay"], "--worlds needs exactly one scenario"),
        (["fidelity", "loss-random", "--worlds", "relay"], "--worlds needs exactly one scenario"),
        (["fidelity", "--worlds", "relay", "--log", LOG], "go without --worlds"),
        (["fidelity", "--worlds", "the-moon"], "unknown world 'the-moon'; known: "),
        (["fidelity", "--worlds", ""], "unknown world ''"),
        (["fidelity", "--worlds", "relay,simulator"], "is what the others are compared with"),
        (["no-such-scenario", "--worlds", "relay"], "no-such-scenario"),
        (["fidelity", "--worlds", "relay", "--set", "seeds=x"], "seeds"),
        ([TRACE, "--out", "somewhere"], "go with --worlds only"),
        ([TRACE, "--allow", "3"], "go with --worlds only"),
        ([TRACE, "--set", "fps=30"], "go with --worlds only"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["fidelity", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_live_without_mm_link_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mahimahi.shutil, "which", lambda *_args, **_kwargs: None)
    assert run_command(["fidelity", TRACE]) == 2
    assert "tools/install_mahimahi.sh" in capsys.readouterr().err


SCENARIO = """\
name: tiny
description: One short session
clips: ["test:testsrc2"]
width: 160
height: 96
fps: 15
duration_s: 2
warmup_s: 0
downlink: {trace: [constant:2000kbps], queue: {kind: droptail, packets: 60}, delay_ms: 10}
uplink: {delay_ms: 10}
transports: [h264]
rate: {control: fixed, kbps: 200}
seeds: [1]
quality: []
"""


@pytest.mark.slow
def test_a_scenario_in_two_worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", "10000")  # lateness is not the point here
    scenario, out = tmp_path / "tiny.yaml", tmp_path / "out"
    scenario.write_text(SCENARIO)
    command = ["fidelity", str(scenario), "--worlds", " relay", "--out", str(out)]
    assert run_command([*command, "--allow", "1000"]) == 0
    printed = capsys.readouterr().out
    assert "h264  relay  seed 1" in printed
    assert f"1 of 1 runs agree; {out}/fidelity.md" in printed
    assert "p50 within 1002 ms" in (out / "fidelity.md").read_text()
    assert len((out / "fidelity.csv").read_text().splitlines()) == 2
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"qq-{what}--h264.{kind}" for what in ("frames", "packets") for kind in ("svg", "png")
    }
    # Whole runs are kept; what they say is compared again, and as JSON.
    before = sorted((out / "runs").iterdir())
    assert run_command([*command, "--json"]) in (0, 1)  # within 2 ms, or not, on a busy machine
    (row,) = json.loads(capsys.readouterr().out)
    assert row["world"] == "relay"
    assert row["link"] == "exact"
    assert row["simulated_fps"] == row["emulated_fps"] == 15.0
    assert sorted((out / "runs").iterdir()) == before


@pytest.mark.slow
def test_a_machine_that_is_too_busy_fails_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", "0.001")
    scenario, out = tmp_path / "tiny.yaml", tmp_path / "out"
    scenario.write_text(SCENARIO.replace("duration_s: 2", "duration_s: 0.5"))
    command = ["fidelity", str(scenario), "--worlds", "relay", "--out", str(out), "--tries", "2"]
    assert run_command(command) == 1
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert len(told) == 2  # one a try
    assert all("machine too busy: the sender's datagrams left" in line for line in told)
    assert "0 of 0 runs agree" in captured.out
