"""Between source pictures and coded pictures: padding and exact factors.

The source is padded to whole token cells at its right and lower edges and made smaller by an exact
factor, so that nothing moves by a fraction of a pixel when it is made larger again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.bitstream import coded_grid
from morphe_core.vgc.pictures import Picture, shrink, unpack
from morphe_core.vgc.tokens import GOP_FRAMES, TOKEN_SIDE, Grid

Packed = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes at one factor.

    Attributes:
        width, height: the source, even.
        scale: factor between source and coded size.
        grid: token matrices.
    """

    width: int
    height: int
    scale: int
    grid: Grid

    @classmethod
    def of(cls, width: int, height: int, scale: int) -> Geometry:
        """The geometry of a source.

        Raises:
            CodecConfigError: an odd size, or one beyond what the bitstream can name.
        """
        if width % 2 or height % 2:
            raise CodecConfigError(f"picture size {width}x{height}: both sides must be even")
        return cls(width, height, scale, coded_grid(width, height, scale))

    @property
    def coded_width(self) -> int:
        """Luma width of coded pictures."""
        return self.grid.cols * TOKEN_SIDE

    @property
    def coded_height(self) -> int:
        """Luma height of coded pictures."""
        return self.grid.rows * TOKEN_SIDE

    def coded(self, pictures: Sequence[Packed], device: torch.device) -> Picture:
        """Source pictures, packed yuv420p, padded and shrunk; a GoP is filled with its last.

        Raises:
            CodecConfigError: no picture or more than nine, or one of another size.
        """
        if not 1 <= len(pictures) <= GOP_FRAMES:
            raise CodecConfigError(f"a GoP has 1 to {GOP_FRAMES} pictures, not {len(pictures)}")
        size = self.width * self.height * 3 // 2
        for packed in pictures:
            if packed.size != size:
                raise CodecConfigError(
                    f"a picture of {packed.size} bytes where {self.width}x{self.height} "
                    f"(yuv420p) needs {size}"
                )
        # One by one: the source as floating-point numbers is four times its bytes, and what does
        # not fit the processor's caches costs more time than the work on it.
        small = [self._coded_one(packed, device) for packed in pictures]
        small += small[-1:] * (GOP_FRAMES - len(pictures))
        return Picture(*(torch.cat(planes) for planes in zip(*small, strict=True)))

    def _coded_one(self, packed: Packed, device: torch.device) -> Picture:
        flat = torch.from_numpy(np.array(packed, np.uint8).reshape(1, -1)).to(device)
        right = self.coded_width * self.scale - self.width
        below = self.coded_height * self.scale - self.height
        picture = unpack(flat, self.height, self.width)
        return shrink(
            Picture(
                _replicate(picture.luma, right, below),
                _replicate(picture.chroma, right // 2, below // 2),
            ),
            self.scale,
        )

    def adopt(self, picture: Picture, scale: int) -> Picture:
        """A decoded picture of another factor `scale`, brought to this geometry's coded size."""
        if scale == self.scale:
            return picture
        planes = []
        for plane, half in zip(picture, (1, 2), strict=True):
            large = torch.nn.functional.interpolate(
                plane, scale_factor=scale, mode="bilinear", align_corners=False
            )
            height = self.coded_height * self.scale // half
            width = self.coded_width * self.scale // half
            large = large[..., :height, :width]
            large = _replicate(large, width - large.shape[-1], height - large.shape[-2])
            planes.append(large)
        return shrink(Picture(*planes), self.scale)


def _replicate(plane: Tensor, right: int, below: int) -> Tensor:
    if not right and not below:
        return plane
    return torch.nn.functional.pad(plane, (0, right, 0, below), mode="replicate")
