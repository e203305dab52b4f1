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
