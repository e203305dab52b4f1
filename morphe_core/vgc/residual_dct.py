"""Block transform of the residual layer, and the order in which its coefficients are coded.

The inverse has integer matrices and one rounding at its end. It is computed in float64, where all
its numbers are whole and below 2**53, so it gives the same samples on every machine.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from morphe_core.vgc.residual_blocks import VALUE_MAX, Floats, Samples
from morphe_core.vgc.residual_coder import Ints

#: The matrices are rounded to multiples of 1 / 2**9, coefficients to multiples of 1 / 2**4.
_MATRIX_BITS: Final = 9
STEP_BITS: Final = 4
#: In sixteenths: no coefficient of a real residual is larger (255 * 16 * 16), and the inverse stays
#: exact whatever arrives.
_COEFFICIENT_MAX: Final = 1 << 17


class Scan:
    """Blocks of one size: transform, order of coefficients and their groups.

    Args:
        side: of a block, in samples.
        reach: anti-diagonals up to which each group of coefficients goes, increasing.

    Attributes:
        side: as given.
        order: (n,) n = side * side; coefficients anti-diagonal by anti-diagonal, as places in a
            flattened block.
        ends: (groups + 1,) coefficients up to and with each group; ends[0] = 0.
        near: (5, n) for each coefficient those to the left and above, the one aslant, and those two
            to the left and two above, as places in `order`; n where there is none.
    """

    def __init__(self, side: int, reach: tuple[int, ...]) -> None:
        self.side = side
        rows, cols = (axis.ravel() for axis in np.indices((side, side)))
        self.order = np.lexsort((rows, rows + cols))
        rows, cols = rows[self.order], cols[self.order]
        self.ends = np.searchsorted(rows + cols, (0, *reach))
        place = np.full((side + 2, side + 2), side * side)
        place[2 + rows, 2 + cols] = np.arange(side * side)
        offsets = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
        self.near = np.stack([place[2 + rows - up, 2 + cols - left] for up, left in offsets])
        wave = np.cos(np.pi * np.outer(np.arange(side), 2 * np.arange(side) + 1) / (2 * side))
        wave[0] /= np.sqrt(2)
        self._matrix = np.round(2**_MATRIX_BITS * np.sqrt(2 / side) * wave)
        self._forward = (self._matrix / 2**_MATRIX_BITS).astype(np.float32)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.ends) - 1

    def forward(self, blocks: Floats) -> Floats:
        """(count, side, side) samples to (n, count) coefficients in `order`, unit gain."""
        turned = (self._forward @ blocks @ self._forward.T).reshape(len(blocks), -1)
        return np.ascontiguousarray(turned[:, self.order].T)

    def inverse(self, levels: Ints, step: int) -> Samples:
        """(n, count) quantised coefficients to (count, side, side) samples.

        Args:
            levels: whole multiples of the step.
            step: in sixteenths.
        """
        active = np.flatnonzero(levels.any(axis=0))
        sixteenths = levels[:, active].astype(np.float64) * step
        blocks = np.empty((active.size, self.side * self.side))
        blocks[:, self.order] = np.clip(sixteenths, -_COEFFICIENT_MAX, _COEFFICIENT_MAX).T
        wide = self._matrix.T @ blocks.reshape(-1, self.side, self.side) @ self._matrix
        shift = 2 * _MATRIX_BITS + STEP_BITS
        samples = np.floor((wide + 2 ** (shift - 1)) / 2**shift)
        result = np.zeros((levels.shape[1], self.side, self.side), np.int16)
        result[active] = np.clip(samples, -VALUE_MAX, VALUE_MAX)
        return result

    def extents(self, levels: Ints) -> Ints:
        """(count,) groups up to and with the last that is not all zero, of (n, count) levels."""
        present = np.stack(
            [
                levels[self.ends[group] : self.ends[group + 1]].any(axis=0)
                for group in range(self.groups)
            ]
        )
        last = self.groups - np.argmax(present[::-1], axis=0)
        result: Ints = np.where(present.any(axis=0), last, 0)
        return result
