"""Sizes: pictures are padded to whole cells, the squares that the packets' side information knows.

A latent position of the residual covers 16 x 16 luma samples, one of the motion 32 x 32, and a cell
64 x 64 of them: what the activity maps tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from grace_style.errors import CodecConfigError

RESIDUAL_SIDE: Final = 16
MOTION_SIDE: Final = 32
CELL_SIDE: Final = 64
#: Motion vectors each way in a motion position, one for each 8x8 patch, and the elements that they
#: make: x and y of each.
MOTION_VECTORS: Final = MOTION_SIDE // 8
MOTION_CHANNELS: Final = 2 * MOTION_VECTORS * MOTION_VECTORS
#: Largest side of a picture; what a frame header can say.
MOST_SIDE: Final = 8192


@dataclass(frozen=True, slots=True)
class Geometry:
    """A picture's size and what follows from it.

    Attributes:
        width, height: of the picture in luma samples, even, 64..8192.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if value % 2 or not CELL_SIDE <= value <= MOST_SIDE:
                raise CodecConfigError(
                    f"{name}: must be even and in {CELL_SIDE}..{MOST_SIDE} (got {value})"
                )

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of cells; the padded picture is whole cells."""
        return -(-self.height // CELL_SIDE), -(-self.width // CELL_SIDE)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the padded picture."""
        rows, cols = self.cells
        return rows * CELL_SIDE, cols * CELL_SIDE

    def positions(self, side: int) -> tuple[int, int]:
        """Rows and columns of latent positions that cover `side` samples each way."""
        height, width = self.padded
        return height // side, width // side

    def pad(self, packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Packed yuv420p of the picture, edges repeated to the padded size; flat."""
        height, width = self.padded
        planes = []
        for plane, shift in zip(self.planes(packed), (0, 1, 1), strict=True):
            down, across = (height >> shift) - plane.shape[0], (width >> shift) - plane.shape[1]
            planes.append(np.pad(plane, ((0, down), (0, across)), mode="edge").reshape(-1))
        return np.concatenate(planes)

    def crop(self, packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The inverse of `pad`: flat, width * height * 3 // 2 values."""
        height, width = self.padded
        whole = Geometry(width, height)
        return np.concatenate(
            [
                plane[: self.height >> shift, : self.width >> shift].reshape(-1)
                for plane, shift in zip(whole.planes(packed), (0, 1, 1), strict=True)
            ]
        )

    def planes(self, packed: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], ...]:
        """Views of Y, U and V, each (rows, columns)."""
        pixels = self.width * self.height
        flat = packed.reshape(-1)
        half = (self.height // 2, self.width // 2)
        return (
            flat[:pixels].reshape(self.height, self.width),
            flat[pixels : pixels * 5 // 4].reshape(half),
            flat[pixels * 5 // 4 :].reshape(half),
        )
