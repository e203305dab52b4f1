"""Any video in."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from testbed.codec.reading import in_gops, open_reference, open_video
from testbed.errors import ClipError
from testbed.media import y4m
from testbed.media.clips import open_clip
from testbed.media.sources import Picture
from testbed.media.spec import ClipSpec


def _y4m(path: Path, width: int, height: int, count: int, fps: Fraction = Fraction(25)) -> Path:
    size = y4m.Y4mHeader(width, height, fps).picture_bytes
    pictures = (np.full(size, 16 + index, np.uint8) for index in range(count))
    y4m.write_pictures(path, pictures, width=width, height=height, fps=fps)
    return path


def test_a_file_is_read_in_order_and_tells_how_long_it_is() -> None:
    video = open_video("carphone")
    clip = open_clip(ClipSpec("carphone", duration_s=10), base=Path())
    pictures = list(video.pictures())
    assert (video.width, video.height, video.fps) == (176, 144, Fraction(30_000, 1001))
    assert len(pictures) == video.expected == clip.source_frames
    assert all((a == b).all() for a, b in zip(pictures, clip.frames(), strict=False))


def test_a_duration_cuts() -> None:
    video = open_video("carphone", duration_s=0.5)
    assert len(list(video.pictures())) == video.expected == 15


def test_patterns_end_after_ten_seconds_or_the_duration() -> None:
    assert open_video("test:testsrc2").expected == 300
    assert len(list(open_video("test:testsrc2", duration_s=0.2).pictures())) == 6


def test_odd_sizes_lose_a_column_and_a_row(tmp_path: Path) -> None:
    video = open_video(str(_y4m(tmp_path / "odd.y4m", 33, 49, 3)))
    assert (video.width, video.height) == (32, 48)
    assert [picture.size for picture in video.pictures()] == [32 * 48 * 3 // 2] * 3


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("missing.mp4", "no such file"),
        ("folder", "is a folder"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be read as video"),
        ("no_pictures.y4m", "has no pictures"),
        ("tiny.y4m", "not within 16x16"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    _y4m(tmp_path / "no_pictures.y4m", 32, 32, 0)
    _y4m(tmp_path / "tiny.y4m", 8, 8, 1)
    for opening in (
        lambda: open_video(name, base=tmp_path),
        lambda: open_reference(name, height=720, frames=9, base=tmp_path),
    ):
        with pytest.raises(ClipError, match=complaint) as caught:
            opening()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("duration", [-1, 0.001, 1e9, float("nan"), float("inf")])
def test_impossible_durations(duration: float) -> None:
    with pytest.raises(ClipError, match="duration"):
        open_video("carphone", duration_s=duration)


@pytest.mark.parametrize("count", [1, 8, 9, 10, 27])
def test_gops_hold_all_pictures_in_order(count: int) -> None:
    pictures = [np.full(6, index, np.uint8) for index in range(count)]
    gops = list(in_gops(pictures, 9))
    assert [int(picture[0]) for gop in gops for picture in gop] == list(range(count))
    assert all(len(gop) == 9 for gop in gops[:-1])
    assert 1 <= len(gops[-1]) <= 9


def test_gops_are_not_read_ahead() -> None:
    read: list[int] = []

    def source() -> Iterator[Picture]:
        for index in range(100):
            read.append(index)
            yield np.zeros(6, np.uint8)

    next(in_gops(source(), 9))
    assert len(read) == 9


def test_a_taller_source_is_scaled_down_a_smaller_one_stays(tmp_path: Path) -> None:
    tall = _y4m(tmp_path / "tall.y4m", 200, 400, 12)
    small = open_reference(str(tall), height=100, frames=5)
    assert (small.clip.width, small.clip.height, small.frames) == (50, 100, 5)
    same = open_reference(str(tall), height=400, frames=100)
    assert (same.clip.width, same.clip.height, same.frames) == (200, 400, 12)
    assert same.name == "tall"
