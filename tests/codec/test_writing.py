"""Playable files, read back by another reader."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from testbed.codec.colour import Colour
from testbed.codec.reading import open_video
from testbed.codec.writing import Form, format_of, to_rgb, write_png, write_video
from testbed.errors import InputError, OutputError
from testbed.media.sources import Picture

WIDTH, HEIGHT = 64, 48
FPS = Fraction(30_000, 1001)


def _pictures(count: int) -> Iterator[Picture]:
    """A ramp whose level tells the index, with colour."""
    for index in range(count):
        luma = np.tile(np.linspace(16, 200, WIDTH), HEIGHT) + index
        chroma = [np.full(WIDTH * HEIGHT // 4, level) for level in (90, 160)]
        yield np.concatenate([luma, *chroma]).astype(np.uint8)


def _form(**colour: Any) -> Form:
    return Form(WIDTH, HEIGHT, FPS, Colour(**colour))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".y4m"])
def test_a_player_sees_the_same_pictures(tmp_path: Path, ending: str, full_range: bool) -> None:
    path = tmp_path / f"out{ending}"
    assert write_video(path, _pictures(20), _form(full_range=full_range)) == 20
    video = open_video(str(path))
    found = list(video.pictures())
    assert (video.fps, len(found)) == (FPS, 20)
    for picture, source in zip(found, _pictures(20), strict=True):
        difference = np.abs(picture.astype(int) - source)
        assert difference.mean() < (0.6 if ending != ".y4m" else 1e-9)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_range_and_colours_are_those_of_the_source(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write_video(path, _pictures(3), _form(primaries=9, transfer=16, matrix=9, full_range=True))
    with av.open(str(path)) as container:
        context: Any = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == (9, 16, 9)
        frame = next(container.decode(video=0))
        assert frame.to_ndarray()[:HEIGHT].min() < 3  # black is 0 now, not 16
    video = open_video(str(path))
    assert video.colour == Colour(9, 16, 9, True)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Picture]:
        yield from _pictures(3)
        raise KeyboardInterrupt

    for ending in (".mp4", ".mkv", ".y4m"):
        with pytest.raises(KeyboardInterrupt):
            write_video(tmp_path / f"out{ending}", broken(), _form())
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder.mp4", tmp_path / "file" / "x.mp4", tmp_path / "file" / "x.y4m"):
        with pytest.raises(OutputError) as caught:
            write_video(path, _pictures(1), _form())
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError):
        write_video(Path("/proc/x.mp4"), _pictures(1), _form())


@pytest.mark.parametrize("name", ["x", "x.avi", "x.morphe"])
def test_other_endings_list_ours(name: str) -> None:
    with pytest.raises(InputError, match=r"allowed: \.mp4, \.mkv, \.y4m"):
        format_of(Path(name))


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114)])
def test_rgb_is_that_of_the_matrix(matrix: int, kr: float, kb: float) -> None:
    """Against the equations of ITU-T H.273."""
    luma, u, v = 120, 100, 150
    pixels = WIDTH * HEIGHT
    picture = np.concatenate(
        [np.full(pixels, luma), np.full(pixels // 4, u), np.full(pixels // 4, v)]
    ).astype(np.uint8)
    y, pb, pr = (luma - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 2 * (1 - kr) * pr, y + 2 * (1 - kb) * pb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    found = to_rgb(picture, _form(matrix=matrix))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert found[20, 20] == pytest.approx(np.array([red, green, blue]) * 255, abs=2)


def test_png(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (5, 7, 3), np.uint8)
    write_png(tmp_path / "a" / "x.png", rgb)
    assert (np.asarray(Image.open(tmp_path / "a" / "x.png")) == rgb).all()
