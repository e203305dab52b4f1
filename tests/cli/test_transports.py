from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli.main import run_command
from testbed.transports.schemes import shipped_names

SCHEME = """\
name: a-scheme-with-a-long-name
display_name: Long
summary: H.264 in slices
base: h264
options: {slices: 8}
colour: "#123456"
marker: D
line: "-"
notes: made up
variant_of: h264
"""


def test_every_option_has_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("h264", "morphe", "h264+conceal"):
        assert run_command(["transports", "show", name, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["name"] == name
        assert {option["name"] for option in answer["options"]} >= {"retransmission"}
        assert all(option["meaning"] for option in answer["options"])
    assert answer["base"] == answer["codec"] == "h264"
    changed = {o["name"]: o["default"] for o in answer["options"] if o["changed"]}
    assert changed == {"conceal": True, "slices": 4}


def test_the_list_is_aligned_and_says_where_a_transport_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["transports", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= set(shipped_names())
    assert run_command(["transports", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    starts = {line.index(one["summary"]) for line, one in zip(lines, entries, strict=True)}
    assert len(starts) == 1
    marked = [line.split()[0] for line in lines if line.endswith("[--world webrtc only]")]
    assert marked == ["aiortc-h264", "aiortc-vp8"]


def test_a_transport_that_is_confined_to_a_world_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["transports", "show", "aiortc-vp8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "aiortc-vp8: aiortc VP8. aiortc's own media: libvpx, NACK, REMB, jitter buffer "
        "[--world webrtc only]"
    )
    assert lines[-1] == "no options"
    assert run_command(["transports", "show", "aiortc-vp8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worlds"] == ["webrtc"]


def test_a_scheme_file_is_shown_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a-scheme-with-a-long-name.yaml"
    path.write_text(SCHEME, encoding="utf-8")
    assert run_command(["transports", "show", str(path)]) == 0
    text = capsys.readouterr().out
    for line in ("base       h264", "variant of h264", "colour     #123456", "note       made up"):
        assert f"  {line}\n" in text
    assert "* slices: 8 " in text
    assert "  preset: '' " in text
    assert text.endswith("(* where the scheme differs from h264)\n")


@pytest.mark.parametrize("name", ["pigeon", "./pigeon.yaml"])
def test_what_is_not_there_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["transports", "show", name]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "pigeon" in lines[0]
    if name == "pigeon":
        assert "known: aiortc-h264, aiortc-vp8, " in lines[0]
