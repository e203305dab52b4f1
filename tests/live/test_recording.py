"""Opening a run folder for viewing: what is there, and one line where it cannot be seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_again import edited
from viewing import flat, psnr

from testbed.analysis.runs import open_run
from testbed.cli.main import run_command
from testbed.errors import BrokenLogError, ClipError, InputError
from testbed.live.again import run_again
from testbed.live.recording import CAPTURE, Recording, open_recording, pictures_at
from testbed.media.decoding import DecodedFrame
from testbed.media.quality import black


@pytest.mark.parametrize(("transport", "least_db"), [("h264", 24.0), ("morphe", 20.0)])
def test_what_was_received_looks_like_the_source(
    run_of: Callable[[str], Path], transport: str, least_db: float
) -> None:
    recording = open_recording(run_of(transport))
    assert recording.heading.world == "simulator"
    assert recording.codec == transport
    decoded = list(recording.decoded())
    assert len(decoded) > 20
    whole = [d for d in decoded if not d.damaged]
    similar = [psnr(d.picture, recording.clip.frame(d.index)) for d in whole]
    assert np.median(similar) > least_db


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_capture_gives_the_frames_that_the_session_kept(
    tmp_path: Path, results: Path, transport: str
) -> None:
    """The capture of the simulator's run, against the session itself run again."""
    scenario, out = results.parent / "viewed.yaml", tmp_path / "out"
    command = ["run", str(scenario), "--out", str(out), "--jobs", "1", "-q", "--capture"]
    assert run_command([*command, "--set", f"transports=[{transport}]"]) == 0
    (folder,) = (out / "runs").iterdir()
    assert (folder / CAPTURE).is_file()
    run = open_run(folder)
    assert (run.packets["drop"] == "loss").any()
    assert open_recording(folder).received == run_again(run, base=tmp_path).received


def test_the_wrong_folder(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds many runs; give one of the folders in .*runs"):
        open_recording(results)
    with pytest.raises(InputError, match="not a run folder"):
        open_recording(tmp_path)
    with pytest.raises(InputError, match="not a run folder"):
        open_recording(tmp_path / "nowhere")


def test_a_clip_file_is_looked_for_below_base(
    run_of: Callable[[str], Path], tmp_path: Path
) -> None:
    def from_file(manifest: dict) -> None:  # type: ignore[type-arg]
        manifest["resolved"]["clip"]["source"] = "clips/mine.mp4"

    folder = edited(run_of("h264"), tmp_path / "r", from_file)
    with pytest.raises(ClipError, match=r"mine\.mp4.*start from --base, the scenario's folder"):
        open_recording(folder, base=tmp_path)


def test_another_clip_than_the_run_had(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    def other(manifest: dict) -> None:  # type: ignore[type-arg]
        manifest["resolved"]["clip"]["source"] = "test:testsrc"

    folder = edited(run_of("h264"), tmp_path / "r", other)
    with pytest.raises(ClipError, match="'test:testsrc' is not the one of the run"):
        open_recording(folder)


def test_a_manifest_without_a_clip(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = edited(run_of("h264"), tmp_path / "r", lambda m: m["inputs"].pop("clip"))
    with pytest.raises(BrokenLogError, match="lacks or garbles clip"):
        open_recording(folder)
    shutil.copytree(run_of("h264"), tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_text(json.dumps([1]))
    with pytest.raises(BrokenLogError, match="must be a JSON object"):
        open_recording(tmp_path / "s")


def test_a_run_that_only_had_sizes(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    def ladder(manifest: dict) -> None:  # type: ignore[type-arg]
        assert manifest["facts"]["sender"]["encoder"]["kind"] == "live"
        manifest["facts"]["sender"]["encoder"]["kind"] = "ladder"

    folder = edited(run_of("morphe"), tmp_path / "r", ladder)
    with pytest.raises(InputError, match=r"has no pictures.*quality=\[psnr\]"):
        open_recording(folder)


def test_the_screen_holds_what_it_had() -> None:
    frames = [DecodedFrame(n, flat(n)) for n in (1, 2, 4)]
    wanted = [-1, 0, 1, 1, 3, 4, 9]
    seen = list(pictures_at(iter(frames), wanted, width=32, height=16))
    assert [at for at, _ in seen] == [-1, -1, 1, 1, 2, 4, 4]
    assert np.array_equal(seen[0][1], black(32, 16))
    assert [int(picture[0]) for _, picture in seen[2:]] == [1, 1, 2, 4, 4]


def test_every_frame_that_was_on_the_screen_can_be_decoded(recording: Recording) -> None:
    wanted = recording.frames.on_screen()
    shown = pictures_at(recording.decoded(), wanted, width=160, height=96)
    assert [at for at, _ in shown] == wanted
