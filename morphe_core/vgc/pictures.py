"""Pictures as tensors: packed yuv420p, planes, and the 96 numbers of an 8x8 block.

Inside the codec a picture is two tensors: luma (..., 1, H, W) and chroma (..., 2, H/2, W/2), float,
in steps of the 8-bit scale with 128 taken off. A *patch* tensor (..., 96, H/8, W/8) holds for each
token place its 64 luma and 2 x 16 chroma samples.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from morphe_core.vgc.tokens import TOKEN_SIDE

#: Numbers of one picture in one token place: 64 luma, 16 + 16 chroma (4:2:0).
PATCH_CHANNELS = 96
#: Chroma samples count less than luma ones, as in the 6:1:1 weighting of PSNR in video coding.
CHROMA_GAIN = 0.7
#: Black level is not zero for a transform: the middle of the scale is.
MIDDLE = 128.0


class Picture(NamedTuple):
    """Luma (N, 1, H, W) and chroma (N, 2, H/2, W/2), float, 128 taken off."""

    luma: Tensor
    chroma: Tensor

    def take(self, which: slice | list[int] | Tensor) -> Picture:
        """Some of the N pictures, as both planes are indexed by `which`."""
        return Picture(self.luma[which], self.chroma[which])

    def joined(self, others: Picture) -> Picture:
        """These pictures, then the others, of the same size."""
        return Picture(torch.cat([self.luma, others.luma]), torch.cat([self.chroma, others.chroma]))


def unpack(packed: Tensor, height: int, width: int) -> Picture:
    """Packed yuv420p (N, height * 3 // 2 * width) of any number type as a `Picture`."""
    flat = packed.reshape(packed.shape[0], -1)
    pixels = height * width
    luma = flat[:, :pixels].reshape(-1, 1, height, width).float() - MIDDLE
    chroma = flat[:, pixels:].reshape(-1, 2, height // 2, width // 2).float() - MIDDLE
    return Picture(luma, chroma)


def pack(picture: Picture) -> Tensor:
    """A `Picture` as packed yuv420p, (N, H * W * 3 // 2) uint8."""
    count = picture.luma.shape[0]
    flat = torch.cat([picture.luma.reshape(count, -1), picture.chroma.reshape(count, -1)], dim=1)
    return to_bytes(flat)


def to_bytes(plane: Tensor) -> Tensor:
    """A plane with its 128 again, rounded and clipped to uint8; same shape."""
    return (plane + (MIDDLE + 0.5)).clamp_(0, 255).to(torch.uint8)


def to_patches(picture: Picture) -> Tensor:
    """(N, 96, H/8, W/8), chroma weighted by `CHROMA_GAIN`; H and W are multiples of 8."""
    luma = functional.pixel_unshuffle(picture.luma, TOKEN_SIDE)
    chroma = functional.pixel_unshuffle(picture.chroma, TOKEN_SIDE // 2)
    return torch.cat([luma, chroma * CHROMA_GAIN], dim=1)


def from_patches(patches: Tensor) -> Picture:
    """The inverse of `to_patches`."""
    side = TOKEN_SIDE * TOKEN_SIDE
    luma = functional.pixel_shuffle(patches[:, :side], TOKEN_SIDE)
    chroma = functional.pixel_shuffle(patches[:, side:] / CHROMA_GAIN, TOKEN_SIDE // 2)
    return Picture(luma, chroma)


def shrink(picture: Picture, factor: int) -> Picture:
    """Smaller by an exact factor (mean over factor x factor samples)."""
    if factor == 1:
        return picture
    return Picture(
        functional.avg_pool2d(picture.luma, factor), functional.avg_pool2d(picture.chroma, factor)
    )
