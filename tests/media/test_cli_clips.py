"""`testbed clips`, as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli.main import run_command
from testbed.media import y4m


def _json(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)


def test_list_names_clips_and_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["clips", "list"]) == 0
    out = capsys.readouterr().out
    assert "bbb-720p" in out
    assert "test:testsrc2" in out
    assert run_command(["clips", "list", "--json"]) == 0
    rows = _json(capsys)
    assert isinstance(rows, list)
    assert all(row["licence"] and row["citation"] for row in rows if ":" not in row["name"])


def test_show_tells_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["clips", "show", "carphone", "--fps", "10", "--duration", "5", "--json"]
    assert run_command(arguments) == 0
    facts = _json(capsys)
    assert isinstance(facts, dict)
    assert (facts["frame_count"], facts["looped"], facts["fps"]) == (50, True, "10")
    assert run_command(arguments[:-1]) == 0
    assert "frame_count    50" in capsys.readouterr().out


def test_export_writes_y4m(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.y4m"
    arguments = ["clips", "export", "test:testsrc2", "--width", "64", "--height", "48"]
    assert run_command([*arguments, "--duration", "0.2", "-o", str(path)]) == 0
    assert "6 pictures, 64x48, 30 fps" in capsys.readouterr().out
    assert len(list(y4m.read_pictures(path))) == 6


def test_encode_reports_tracking_and_quality(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["clips", "encode", "carphone", "--target", "constant:100", "--duration", "2"]
    assert run_command([*arguments, "--quality", "--json"]) == 0
    answer = _json(capsys)
    assert isinstance(answer, dict)
    assert answer["error"] < 0.2
    assert answer["psnr"] > 30
    assert 0 < answer["vmaf"] <= 100
    assert run_command(arguments) == 0
    assert "error" in capsys.readouterr().out


def test_cache_is_shown_and_emptied(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["clips", "cache"]) == 0
    assert run_command(["clips", "cache", "--clear"]) == 0
    capsys.readouterr()
    assert run_command(["clips", "cache", "--json"]) == 0
    info = _json(capsys)
    assert isinstance(info, dict)
    assert info["frames"] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "nope"], "clip 'nope': no such file"),
        (["show", "carphone", "--width", "3"], "width 3 must be even"),
        (["encode", "carphone", "--codec", "av1"], "unknown encoder 'av1'"),
        (["encode", "carphone", "--target", "x"], "target 'x'"),
        (["encode", "carphone", "--preset", "warp"], "preset 'warp'"),
        (["export", "carphone", "-o", "/no/such/folder/a.y4m"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["clips", *arguments]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
