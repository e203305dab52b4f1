"""The view as files: pictures where they belong, as they were, once for every slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from viewing import psnr

from testbed.errors import InputError, OutputError
from testbed.live.compose import FORMATS, Composer, slots, write_still, write_video
from testbed.live.look import Box
from testbed.live.recording import Recording, open_recording
from testbed.media.clips import Picture


def luma(planes: Picture, width: int, height: int) -> np.ndarray:  # type: ignore[type-arg]
    return planes[: width * height].reshape(height, width)


def cut(plane: np.ndarray, box: Box, every: int) -> np.ndarray:  # type: ignore[type-arg]
    """The picture in a box, at its own size."""
    return plane[box.top : box.bottom : every, box.left : box.right : every]


def test_one_slot_for_every_frame(recording: Recording) -> None:
    made = list(slots(recording))
    assert [c.slot for c in made] == list(range(45))
    assert [c.received_frame for c in made] == recording.frames.on_screen()
    for composed in made:
        assert np.array_equal(composed.source, recording.clip.frame(composed.slot))
        time_ns = recording.frames.capture_ns[composed.slot]
        assert composed.samples == sum(s.time_ns <= time_ns for s in recording.samples)


def test_aligned_slots_leave_the_latency_out(recording: Recording) -> None:
    made = list(slots(recording, aligned=True))
    assert [c.received_frame for c in made] == recording.frames.aligned()
    same = [c for c in made if c.received_frame == c.slot]
    assert len(same) > 25
    assert np.median([psnr(c.source, c.received) for c in same]) > 24


def test_screens_are_in_the_planes_as_they_are(recording: Recording) -> None:
    composer = Composer(recording)
    place = composer.canvas.layout
    width, height = recording.clip.width, recording.clip.height
    assert place.enlarged == 3
    for composed in list(slots(recording))[::9]:
        planes = composer.planes(composed)
        assert planes.size == place.width * place.height * 3 // 2
        whole = luma(planes, place.width, place.height)
        for box, picture in ((place.source, composed.source), (place.received, composed.received)):
            for offset in range(3):  # each pixel three times, both ways
                moved = Box(box.left + offset, box.top + offset, box.width - 2, box.height - 2)
                assert np.array_equal(cut(whole, moved, 3), luma(picture, width, height))
        chroma = planes[place.width * place.height :][: place.width * place.height // 4]
        half = Box(*(n // 2 for n in (place.source.left, place.source.top, place.source.width,
                                      place.source.height)))  # fmt: skip
        u = composed.source[width * height :][: width * height // 4]
        found = cut(chroma.reshape(place.height // 2, -1), half, 3)
        assert np.array_equal(found, u.reshape(height // 2, -1))


def frames_of(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="yuv420p").reshape(-1) for f in container.decode(video=0)]


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_the_file_decodes_to_what_was_put_in(
    run_of: Callable[[str], Path], tmp_path: Path, suffix: str, transport: str
) -> None:
    recording = open_recording(run_of(transport))
    path = tmp_path / f"view{suffix}"
    done: list[int] = []
    assert write_video(recording, path, progress=done.append) == 45
    assert done == list(range(45))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    place = Composer(recording).canvas.layout
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (place.width, place.height)
        assert float(stream.average_rate or 0) == pytest.approx(15, rel=0.01)
    pictures = frames_of(path)
    assert len(pictures) == 45
    width, height = recording.clip.width, recording.clip.height
    for composed in slots(recording):
        whole = luma(pictures[composed.slot], place.width, place.height)
        for box, picture in ((place.source, composed.source), (place.received, composed.received)):
            middle = Box(box.left + 1, box.top + 1, box.width - 1, box.height - 1)
            assert psnr(cut(whole, middle, 3), luma(picture, width, height)) > 28


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_the_same_run_gives_the_same_file(
    recording: Recording, tmp_path: Path, suffix: str
) -> None:
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    for path in (one, other):
        write_video(recording, path)
    assert one.read_bytes() == other.read_bytes()


def test_a_still_is_a_slot(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    write_still(recording, path, 30)
    image = Image.open(path).convert("RGB")
    composer = Composer(recording)
    place = composer.canvas.layout
    assert image.size == (place.width, place.height)
    composed = list(slots(recording))[30]
    assert np.array_equal(np.asarray(image), np.asarray(composer.image(composed)))
    # Its brightness, by BT.601, is the source's own.
    box = place.source
    grey = np.asarray(image.convert("L"))[box.top : box.bottom : 3, box.left : box.right : 3]
    own = (luma(composed.source, 160, 96).astype(float) - 16) * 255 / 219
    assert np.abs(grey - np.clip(own, 0, 255)).mean() < 4


@pytest.mark.parametrize("frame", [-1, 45])
def test_no_such_slot(recording: Recording, tmp_path: Path, frame: int) -> None:
    with pytest.raises(InputError, match="the run has frames 0 to 44"):
        write_still(recording, tmp_path / "a.png", frame)


def test_other_suffixes(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one of \.mp4, \.mkv, \.webm; stills need --frame"):
        write_video(recording, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a still is one of \.png, \.jpg"):
        write_still(recording, tmp_path / "a.mp4", 0)


def test_a_file_in_the_way(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for write in (
        lambda: write_video(recording, tmp_path / "file" / "a.mp4"),
        lambda: write_still(recording, tmp_path / "file" / "a.png", 0),
    ):
        with pytest.raises(OutputError, match="cannot be written"):
            write()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_nothing_stays_when_the_decoder_fails(recording: Recording, tmp_path: Path) -> None:
    broken = replace(recording, codec="no-such-codec")
    with pytest.raises(InputError, match="unknown decoder"):
        write_video(broken, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
