"""`testbed play` and `testbed live` from the command line."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from PIL import Image

from testbed.analysis.runs import iter_runs
from testbed.cli.main import run_command
from tests.live.conftest import results  # noqa: F401 - a fixture


@pytest.fixture
def folder(results: Path) -> Path:  # noqa: F811
    return next(run.folder for run in iter_runs(results) if run.transport == "h264")


def test_a_video(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "o.mp4"
    assert run_command(["play", str(folder), "-o", str(out)]) == 0
    assert capsys.readouterr() == (f"{out}: 45 frames at 15 fps\n", "")
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 45


def test_a_still(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.png"
    assert run_command(["play", str(folder), "-o", str(out), "--frame", "20", "--aligned"]) == 0
    assert capsys.readouterr().out == f"{out}: frame 20\n"
    with Image.open(out) as image:
        assert image.size == (1008, 684)


@pytest.mark.parametrize("command", [["play", "-o", "x.mp4"], ["live", "--no-browser"]])
def test_not_a_run(
    results: Path,  # noqa: F811
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong, said in ((results, "holds many runs"), (tmp_path, "not a run folder")):
        assert run_command([command[0], str(wrong), *command[1:]]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_live_shows_a_run_over_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["live", str(folder), "--no-browser", "--no-stay", "--speed", "20"]
    assert run_command(command) == 0
    out, err = capsys.readouterr()
    assert out.startswith("http://127.0.0.1:")
    assert err == ""


def test_live_refuses_an_impossible_port(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["live", str(folder), "--no-browser", "--port", "70000"]) == 2
    assert "65535" in capsys.readouterr().err
