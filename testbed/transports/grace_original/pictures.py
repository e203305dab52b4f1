"""Between the testbed's pictures and the codec's: another size, RGB, numbers in 0..1."""

from __future__ import annotations

import numpy as np

from testbed.media.clips import Picture
from testbed.media.sources import Shaper
from testbed.transports.grace_original.codec import PATCH, Rgb


def padded(side: int) -> int:
    """The multiple of 128 that frames are resized to, as the repository's script does."""
    return -(-side // PATCH) * PATCH


def to_rgb(picture: Picture, *, width: int, height: int) -> Rgb:
    """A packed yuv420p picture at the codec's size."""
    import av

    planes = np.ascontiguousarray(picture).reshape(height * 3 // 2, width)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    shaped = frame.reformat(padded(width), padded(height), "rgb24").to_ndarray()
    return np.ascontiguousarray(shaped.transpose(2, 0, 1).astype(np.float32) / 255)


class ToPicture:
    """From the codec's pictures to packed yuv420p of one size.

    Args:
        width: luma width.
        height: luma height.
    """

    def __init__(self, width: int, height: int) -> None:
        self._shaper = Shaper(width, height)

    def __call__(self, rgb: Rgb) -> Picture:
        """The picture."""
        import av

        pixels = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        return self._shaper(frame)
