"""JPEG files, held against FFmpeg's decoder."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from viewing import flat, psnr

from testbed.live.pictures import encode_jpeg, to_image
from testbed.media.clips import open_clip
from testbed.media.sources import Shaper
from testbed.media.spec import ClipSpec


@pytest.mark.parametrize("source", ["test:testsrc2", "test:mandelbrot"])
def test_ffmpeg_decodes_the_same_picture(source: str) -> None:
    clip = open_clip(ClipSpec(source, 160, 96, 15, 0.4), base=Path.cwd())
    picture = clip.frame(3)
    jpeg = encode_jpeg(picture, 160, 96)
    with av.open(BytesIO(jpeg), format="mjpeg") as container:
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        again = Shaper(160, 96)(frame)  # full range back to the limited one
    assert psnr(again, picture) > 33
    # The mean brightness tells a range that is off by the stretch from a coarse quantiser.
    assert abs(float(again[: 160 * 96].mean()) - float(picture[: 160 * 96].mean())) < 0.7


@pytest.mark.parametrize(
    ("luma", "u", "v", "rgb"),
    # ITU-R BT.601, limited range: black, white, and 75 % red.
    [(16, 128, 128, (0, 0, 0)), (235, 128, 128, (255, 255, 255)), (65, 100, 212, (191, 0, 0))],
)
def test_known_colours(luma: int, u: int, v: int, rgb: tuple[int, int, int]) -> None:
    image = to_image(flat(luma, u=u, v=v), 32, 16).convert("RGB")
    assert image.size == (32, 16)
    assert np.abs(np.asarray(image).astype(int) - rgb).max() <= 2


def test_values_outside_the_range_are_clipped() -> None:
    assert to_image(flat(0, u=0, v=255), 32, 16).getpixel((5, 5)) == (0, 0, 255)
    assert to_image(flat(255, u=255, v=0), 32, 16).getpixel((5, 5)) == (255, 255, 0)
