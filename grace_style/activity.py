"""Activity classes: how much happens in each cell, which every packet repeats.

The elements of a picture are scattered over packets at random, so that a packet's neighbours in the
stream are none in the picture and no context is left to lean on but the channel. GRACE sends
a scale for each channel with every packet. Here every packet has a map of the sum of magnitudes in
each cell instead, in coarse classes; a class and a channel together choose the symbol table.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

#: Class 0: all elements are zero, and none is coded. Class n >= 1: a sum below `EDGES[n]`.
EDGES: Final = (1, 3, 6, 12, 24, 48, 96, 192, 384)
CLASSES: Final = len(EDGES) + 1

Elements = npt.NDArray[np.int16]
ClassMap = npt.NDArray[np.int64]


def classes_of(elements: Elements, cells: tuple[int, int]) -> ClassMap:
    """The class of each cell.

    Args:
        elements: (channels, rows, columns) of latent positions.
        cells: rows and columns of cells; they divide the positions'.

    Returns:
        (rows, columns) of cells, 0..CLASSES - 1.
    """
    rows, cols = cells
    sums = np.abs(elements).sum(axis=0, dtype=np.int64)
    down, across = sums.shape[0] // rows, sums.shape[1] // cols
    sums = sums.reshape(rows, down, cols, across).sum(axis=(1, 3))
    classes: ClassMap = np.searchsorted(np.array(EDGES), sums, side="right")
    return classes
