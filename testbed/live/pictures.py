"""Packed yuv420p pictures as images: for JPEG files, and for stills.

Images have samples of the full range, pictures of the limited one; a table stretches them. The
colour matrix stays as it is.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from testbed.media.clips import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

#: libjpeg's quality: 640x360 takes 40 to 70 kB, and nothing that a codec does is hidden by it.
JPEG_QUALITY: Final = 85


@cache
def _stretch() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Tables from limited to full range, of luma and chroma (ITU-R BT.601: 16..235, 16..240)."""
    values = np.arange(256, dtype=np.float64)
    luma = (values - 16) * 255 / 219
    chroma = (values - 128) * 255 / 224 + 128
    whole = [np.clip(np.rint(table), 0, 255).astype(np.uint8) for table in (luma, chroma)]
    return whole[0], whole[1]


def to_image(picture: Picture, width: int, height: int) -> Image:
    """The picture as a YCbCr image.

    Args:
        picture: packed yuv420p planes, limited range.
        width: luma width, even.
        height: luma height, even.
    """
    from PIL import Image

    luma, chroma = _stretch()
    split, quarter = width * height, width * height // 4
    bands = [Image.fromarray(luma[picture[:split]].reshape(height, width))]
    for start in (split, split + quarter):
        samples = chroma[picture[start : start + quarter]].reshape(height // 2, width // 2)
        small = Image.fromarray(samples)
        # JPEG's own 4:2:0 takes means of four equal samples again: nothing is lost.
        bands.append(small.resize((width, height), Image.Resampling.NEAREST))
    return Image.merge("YCbCr", bands)


def encode_jpeg(picture: Picture, width: int, height: int) -> bytes:
    """The picture as a JPEG file; arguments as for `to_image`."""
    file = BytesIO()
    to_image(picture, width, height).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
