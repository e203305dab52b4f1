"""`morphe`, as a user sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import testbed
from testbed.cli.morphe import main as cli
from testbed.cli.morphe.main import run_command
from testbed.cli.morphe.options import numbers
from testbed.cli.morphe.progress import PictureProgress
from testbed.errors import InputError
from testbed.media import y4m
from tests.cli.test_main import HEAVY
from tests.codec.fakecodec import FakeCore

PROBE = """
import sys, json
from testbed.cli.morphe.main import run_command
code = run_command(sys.argv[1:])
print("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def _encode(tmp_path: Path, *more: str) -> Path:
    path = tmp_path / "x.morphe"
    arguments = ["encode", "carphone", "-o", str(path), "--kbps", "200", "--duration", "1"]
    assert run_command([*arguments, *more]) == 0
    return path


def _error(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line that a wrong command leaves."""
    capsys.readouterr()
    assert run_command(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("command", [[], ["encode"], ["decode"], ["evaluate"], ["info"], ["train"]])
def test_help_is_there_and_imports_nothing_heavy(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    text, _, last = done.stdout.rstrip().rpartition("\n")
    code, modules = json.loads(last)
    assert code == 0
    assert " ".join(["Usage: morphe", *command]) in text
    assert not set(modules) & (HEAVY | {"cv2", "constriction", "safetensors", "PIL"})


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"morphe {testbed.__version__}\n"


def test_encode_decode_and_info(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = _encode(tmp_path)
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: 30 pictures in 4 GoPs (4 at 1x), 24 packets, ")
    assert run_command(["info", str(path), "--gops"]) == 0
    text = capsys.readouterr().out
    assert "30 of 176x144, 30000/1001 fps" in text
    assert "small" in text
    for ending in ("mp4", "mkv", "y4m"):
        video = tmp_path / f"out.{ending}"
        assert run_command(["decode", str(path), "-o", str(video)]) == 0
        assert f"{video}: 30 pictures, 176x144" in capsys.readouterr().out
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            assert sum(1 for _ in container.decode(stream)) == 30
            assert (stream.width, stream.height) == (176, 144)


def test_answers_as_json(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = _encode(tmp_path, "--json")
    made = json.loads(capsys.readouterr().out)
    assert made["kbps"] == pytest.approx(200, rel=0.03)
    assert run_command(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kbps"] == pytest.approx(made["kbps"])
    assert sum(facts["bytes"].values()) == made["wire_bytes"]
    assert facts["bytes"]["packet_headers"] == 40 * made["units"] == 40 * facts["units"]
    assert np.mean(facts["kbps_by_second"]) == pytest.approx(200, rel=0.05)
    arguments = ["decode", str(path), "-o", str(tmp_path / "o.y4m"), "--loss", "0.5", "--json"]
    assert run_command(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["units"] == 24
    assert 0 < answer["lost_units"] < 24


def test_a_seed_loses_the_same_units_again(
    tmp_path: Path,
    fake_core: FakeCore,
) -> None:
    path = _encode(tmp_path)
    outputs = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        output = tmp_path / f"{name}.y4m"
        arguments = ["decode", str(path), "-o", str(output), "--loss", "0.4", "--burst", "3"]
        assert run_command([*arguments, "--seed", seed]) == 0
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1] != outputs[2]


def test_single_pictures(tmp_path: Path, fake_core: FakeCore) -> None:
    path, frames = _encode(tmp_path), tmp_path / "frames"
    output = tmp_path / "o.y4m"
    arguments = ["decode", str(path), "-o", str(output), "--frames-dir", str(frames)]
    assert run_command([*arguments, "--every", "12"]) == 0
    assert [entry.name for entry in sorted(frames.iterdir())] == [
        "000000.png", "000012.png", "000024.png",
    ]  # fmt: skip
    luma = list(y4m.read_pictures(output))[12][: 176 * 144].reshape(144, 176)
    grey = np.asarray(Image.open(frames / "000012.png").convert("L"), float)
    assert np.abs(grey - (luma.astype(float) - 16) * 255 / 219).mean() < 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["encode", "none.mp4", "-o", "x.morphe", "--kbps", "100"], "no such file"),
        (["encode", "notes.txt", "-o", "x.morphe", "--kbps", "100"], "cannot be read as video"),
        (["encode", "carphone", "-o", "x.morphe", "--kbps", "0"], "--kbps 0: must be within 1"),
        (["encode", "carphone", "-o", "x.morphe", "--kbps", "nan"], "--kbps nan"),
        (["encode", "carphone", "-o", "x.morphe", "--kbps", "fast"], "'--kbps'"),
        (["encode", "carphone", "-o", "x.morphe"], "Missing option '--kbps'"),
        (["encode", "carphone", "-o", "x", "--kbps", "9", "--scale", "4"], "auto, 1, 2, 3"),
        (["encode", "carphone", "-o", "x", "--kbps", "9", "--profile", "m"], "morphe-paper"),
        (["encode", "carphone", "-o", "x", "--kbps", "9", "--duration", "-1"], "duration"),
        (["encode", "carphone", "-o", "folder", "--kbps", "100"], "is a folder"),
        (["encode", "carphone", "-o", "notes.txt/x", "--kbps", "100"], "cannot be written"),
        (["decode", "none.morphe", "-o", "x.mp4"], "cannot be read"),
        (["decode", "folder", "-o", "x.mp4"], "is a folder"),
        (["decode", "notes.txt", "-o", "x.mp4"], "not a .morphe file"),
        (["decode", "notes.txt", "-o", "x.avi"], "allowed: .mp4, .mkv, .y4m"),
        (["decode", "notes.txt", "-o", "x.mp4", "--loss", "1"], "--loss 1: must be >= 0 and < 1"),
        (["decode", "notes.txt", "-o", "x.mp4", "--burst", "0"], "--burst 0: must be >= 1"),
        (["info", "none.morphe"], "cannot be read"),
        (["info", "empty.morphe"], "not a .morphe file"),
        (["evaluate", "none.mp4", "--kbps", "100"], "no such file"),
        (["evaluate", "carphone", "--kbps", "100,x"], "--kbps 'x': must be a number"),
        (["evaluate", "carphone", "--kbps", ""], "--kbps '': must be a number"),
        (["evaluate", "carphone", "--kbps", "9", "--loss", "1.5"], "--loss 1.5: must be within 0"),
        (["evaluate", "carphone", "--kbps", "9", "--drop", "1.5"], "--drop 1.5: must be within 0"),
        (
            ["evaluate", "carphone", "--kbps", "9", "--selection", "x"],
            "allowed: similarity, energy",
        ),
        (["evaluate", "carphone", "--kbps", "9", "--drop-scope", "i"], "allowed: p, all"),
        (["evaluate", "carphone", "--kbps", "9", "--anchors", "vp9"], "none, x264, x265"),
        (["evaluate", "carphone", "--kbps", "9", "--profile", "none"], "nothing to measure"),
        (["evaluate", "carphone", "--kbps", "9", "--height", "99"], "--height 99: must be even"),
        (["evaluate", "carphone", "--kbps", "9", "--out", "notes.txt"], "cannot be written"),
        (["evaluate", "a/x.mp4", "b/x.mkv", "--kbps", "9"], "would be called x"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, fake_core: FakeCore, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str,
) -> None:  # fmt: skip
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("notes\n" * 50)
    (tmp_path / "empty.morphe").touch()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    quiet = ["--quiet"] if arguments[0] == "evaluate" else []
    assert complaint in _error(capsys, *arguments, *quiet)
    assert sorted(tmp_path.rglob("*")) == before


def test_devices_and_weights_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode = ["encode", "carphone", "-o", str(tmp_path / "x.morphe"), "--kbps", "100"]
    assert "allowed: cpu, cuda" in _error(capsys, *encode, "--device", "tpu")
    assert "no such file" in _error(capsys, *encode, "--weights", "nothing")
    assert "no such file" in _error(capsys, "info", "nothing")


def test_a_damaged_file_is_told_and_decoded_as_far_as_it_goes(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = _encode(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data[:-300])
    capsys.readouterr()
    assert run_command(["decode", str(path), "-o", str(tmp_path / "o.y4m")]) == 0
    out = capsys.readouterr().out
    assert "30 pictures" in out
    assert "the file is cut off" in out
    assert "units of the file are damaged" in out
    path.write_bytes(data[:20])
    assert "damaged" in _error(capsys, "decode", str(path), "-o", str(tmp_path / "o.y4m"))


def test_a_file_of_other_weights_names_them(
    tmp_path: Path, fake_core: FakeCore, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = _encode(tmp_path)
    monkeypatch.setattr(fake_core, "sha256", "cd" * 32)
    message = _error(capsys, "decode", str(path), "-o", str(tmp_path / "o.mp4"))
    assert "abababab" in message
    assert "--weights" in message
    monkeypatch.setattr(fake_core, "name", "/etc/passwd")
    monkeypatch.setattr(fake_core, "sha256", "ab" * 32)
    path = _encode(tmp_path)
    message = _error(capsys, "decode", str(path), "-o", str(tmp_path / "o.mp4"))
    assert "not shipped here" in message


def test_evaluate_prints_a_table_or_rows(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["evaluate", "carphone", "--kbps", "150,300", "--loss", "0.25", "--frames", "18"]
    assert run_command([*arguments, "--seeds", "2", "--quiet", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [(row["target_kbps"], row["loss"], row["seed"]) for row in rows] == [
        (150, 0, 0), (150, 0.25, 1), (150, 0.25, 2), (300, 0, 0), (300, 0.25, 1), (300, 0.25, 2),
    ]  # fmt: skip
    assert run_command(arguments) == 0
    captured = capsys.readouterr()
    assert "[1/6] carphone: morphe encoded at 150 kbps" in captured.err
    assert captured.out.splitlines()[0].split()[:4] == ["clip", "codec", "target", "kbps"]
    assert len(captured.out.splitlines()) == 5


def test_evaluate_writes_tables_figures_and_sheets(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "carphone", "--kbps", "100,300", "--frames", "18", "--quiet"]
    assert run_command([*arguments, "--anchors", "x264", "--out", str(out)]) == 0
    assert {entry.name for entry in out.iterdir()} == {
        "rd.csv", "bd_rate.csv", "steadiness.csv", "rd.svg", "rd.png", "sheet--carphone.png",
    }  # fmt: skip
    text = capsys.readouterr().out
    assert "BD-rate of morphe against x264-keyint9" in text
    assert "the anchors' VMAF at the bytes of the row" in text


def test_evaluate_compares_ways_to_drop_tokens(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "carphone", "--kbps", "300", "--frames", "9", "--drop", "0,0.2,0.4"]
    arguments += ["--selection", "energy, random", "--drop-scope", "p,all", "--quiet"]
    assert run_command([*arguments, "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    found = [(row["drop"], row["selection"], row["drop_scope"]) for row in rows]
    assert found[:5] == [
        (0, "", ""), (0.2, "energy", "p"), (0.2, "energy", "all"), (0.2, "random", "p"),
        (0.2, "random", "all"),
    ]  # fmt: skip
    assert len(found) == 9
    assert run_command([*arguments, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "drop--carphone.png" in text
    assert "morphe at 300 kbps, 40 % of all: energy" in text
    assert {"drop.csv", "drop.svg", "drop.png", "drop--carphone.png"} <= {
        entry.name for entry in out.iterdir()
    }


def test_a_clip_that_fails_costs_only_itself(
    tmp_path: Path,
    fake_core: FakeCore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["evaluate", "missing.mp4", "carphone", "--kbps", "150", "--frames", "9"]
    assert run_command([*arguments, "--quiet", "--json"]) == 1
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 1
    assert "failed: missing.mp4: clip 'missing.mp4': no such file" in captured.err
    assert captured.err.endswith("error: 1 of 2 clips failed\n")


def test_clips_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Anchors only: the worker processes do not have the fake codec."""
    arguments = ["evaluate", "carphone", "none.mp4", "bikes", "--kbps", "100", "--frames", "5"]
    arguments += ["--profile", "none", "--anchors", "x264", "--quiet", "--json"]
    assert run_command([*arguments, "--jobs", "2"]) == 1
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert [(row["clip"], row["codec"]) for row in rows] == [
        ("carphone", "x264-keyint9"), ("carphone", "x264-lowlatency"),
        ("bikes", "x264-keyint9"), ("bikes", "x264-lowlatency"),
    ]  # fmt: skip
    assert "1 of 3 clips failed" in captured.err


def test_ctrl_c_leaves_nothing_half_written(
    tmp_path: Path,
    fake_core: FakeCore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PictureProgress, "__call__", interrupt)
    output = str(tmp_path / "x.morphe")
    message = _error(capsys, "encode", "carphone", "-o", output, "--kbps", "99", code=130)
    assert message == "error: interrupted\n"
    assert not list(tmp_path.iterdir())


def test_train_reads_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert _error(capsys, "train", "no-such-config.yaml")


def test_lists_of_numbers() -> None:
    assert numbers("--x", " 100, 50,100", low=1, high=1e3) == [100, 50]
    for text in ("", "1,", "1;2", "inf", "nan", "0", "1001"):
        with pytest.raises(InputError, match="--x"):
            numbers("--x", text, low=1, high=1e3)


def test_progress_speaks_only_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("testbed.cli.morphe.progress.time.perf_counter", lambda: now[0])
    with PictureProgress("encoded", 90, 9, quiet=False) as progress:
        now[0] += 1.9
        progress(9)
        assert capsys.readouterr().err == ""
        now[0] += 0.1
        progress(18)
        assert capsys.readouterr().err == "encoded GoP 2/10, 9.0 fps, 8 s left\n"
        progress(27)
        assert capsys.readouterr().err == ""
    with PictureProgress("encoded", 0, 9, quiet=False) as progress:
        now[0] += 3
        progress(30)
        assert capsys.readouterr().err == "encoded GoP 4, 10.0 fps\n"


def test_the_command_is_installed() -> None:
    assert cli.app.info.name == "morphe"
    project = (Path(testbed.__file__).parents[1] / "pyproject.toml").read_text()
    assert 'morphe = "testbed.cli.morphe.main:main"' in project
