"""The integers that a GoP becomes: two token matrices, their masks, and motion.

A *token* is what one 8x8 block of the coded picture size becomes: a vector of integers for the
first picture (I) and another for the eight that follow (P) (paper, section 4.3). Everything below
`entropy` sees integers alone, so an encoder and a decoder on different hardware agree bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.errors import CodecConfigError

#: Pictures of a GoP: one I and eight P pictures (paper, section 4.3).
GOP_FRAMES = 9
#: Side of the block that one token stands for, in coded pixels (paper, section 4.1).
TOKEN_SIDE = 8
#: Tokens that share one motion vector, along a row.
MOTION_COLS = 2
#: Pictures of the GoP (0 = I) where a cell's motion is given; in between it is linear.
KNOTS = (2, 4, 6, 8)
#: Motion of a cell: x and y at each knot.
MOTION_CHANNELS = 2 * len(KNOTS)
#: Pictures for which the camera's motion is given: the one before the GoP, then the eight P ones.
CAMERA_AT = (-1, 1, 2, 3, 4, 5, 6, 7, 8)
#: The camera's motion of a GoP as an array: x and y for each of `CAMERA_AT`.
CAMERA_SHAPE = (len(CAMERA_AT), 2)
#: Motion is kept in quarters of a coded pixel.
MOTION_STEPS_PER_PIXEL = 4
#: Longest motion, in motion steps (64 coded pixels).
MOTION_MAX = 255
#: Largest magnitude of a token value; anything larger is clipped by the encoder.
TOKEN_MAX = 4095
#: Quality indices: 0 is the coarsest. See `vgc.quantiser`.
QUALITIES = 128
#: Sixteen indices halve the step: one index changes the rate by about three per cent.
INDICES_PER_OCTAVE = 16

Tokens = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows and columns of a token matrix; columns are even, so that motion cells fit.

    Raises:
        CodecConfigError: not within 1..255 rows and 2..510 columns, or an odd number of columns.
    """

    rows: int
    cols: int

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 255 and 2 <= self.cols <= 510 and self.cols % 2 == 0):
            raise CodecConfigError(
                f"token grid {self.rows}x{self.cols}: rows must be within 1 and 255, columns even "
                "and within 2 and 510"
            )


@dataclass(frozen=True, slots=True)
class GopTokens:
    """One GoP as integers.

    Attributes:
        i: (rows, cols, i_channels) int16, the I tokens; zero where not sent.
        p: (rows, cols, p_channels) int16, the P tokens; zero where not sent.
        i_sent: (rows, cols) bool; a token that is not sent or was lost is False.
        p_sent: (rows, cols) bool.
        motion: (rows, cols // 2, 8) int16, in quarter pixels, beyond the camera's; shape
            (rows, cols // 2, 0) for a backend without motion.
        camera: (9, 2) int16, in quarter pixels, the motion that all cells share; see `CAMERA_AT`.
        i_quality: step index of the I tokens, 0..QUALITIES - 1.
        p_quality: step index of the P tokens.
    """

    i: Tokens
    p: Tokens
    i_sent: Mask
    p_sent: Mask
    motion: Tokens
    camera: Tokens
    i_quality: int
    p_quality: int

    @property
    def grid(self) -> Grid:
        """Size of the token matrices."""
        return Grid(self.i.shape[0], self.i.shape[1])
