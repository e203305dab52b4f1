"""What the tables of the residual layer start with; see `vgc.residual_fit`.

Counted over ten clips of the training set at 640x360 and their decodes by x264 (veryfast,
zerolatency, keyint 9, crf 34 and 38), by `count_symbols`. A unit learns its own statistics from
there on, so other reconstructions lose little.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

#: Classes of activity near by, per class of group and whether it is the last within the extent.
ACTIVITIES: Final = 10
#: Magnitudes are symbols up to this one, which stands for all from it on.
ESCAPE: Final = 15
#: Denominator of the shares below.
SHARES: Final = 128
#: Sum of the counts of a context of magnitudes at the start.
_TOTAL: Final = 1000


def geometric_counts(zeros: tuple[int, ...], decays: tuple[int, ...]) -> Counts:
    """Counts of magnitudes 0 to `ESCAPE`: a share of zeros, then a geometric series.

    Args:
        zeros: share of zeros in each context, in parts of `SHARES`.
        decays: by activity (context modulo their number): the share of magnitudes beyond 0 that
            goes on to the next, in parts of `SHARES`.

    Returns:
        (contexts, ESCAPE + 1), each at least 1; exact integers, the same everywhere.
    """
    table = []
    for context, zero in enumerate(zeros):
        decay = decays[context % len(decays)]
        row, left = [_TOTAL * zero // SHARES], _TOTAL * (SHARES - zero) // SHARES
        for _ in range(ESCAPE):
            row.append(left * (SHARES - decay) // SHARES)
            left -= row[-1]
        table.append([max(1, count) for count in row])
    return np.array(table, np.int64)


_LEVEL_ZEROS: Final = (
    40, 99, 89, 89, 86, 86, 89, 85, 93, 52,
    1, 99, 89, 89, 86, 86, 89, 85, 93, 52,
    60, 99, 56, 89, 47, 38, 34, 28, 36, 47,
    44, 99, 48, 89, 43, 38, 39, 46, 91, 52,
    85, 82, 78, 71, 66, 57, 48, 38, 30, 24,
    74, 84, 93, 67, 68, 58, 52, 45, 59, 41,
    106, 103, 97, 91, 82, 74, 65, 52, 37, 27,
    109, 115, 110, 106, 98, 90, 81, 68, 48, 49,
    120, 99, 118, 107, 116, 112, 106, 95, 75, 47,
    119, 99, 122, 90, 119, 117, 116, 110, 103, 60,
    57, 99, 89, 89, 86, 86, 89, 85, 93, 52,
    113, 99, 121, 84, 121, 122, 125, 123, 109, 58,
)  # fmt: skip
_LEVEL_DECAYS: Final = (29, 11, 19, 14, 19, 23, 25, 29, 21, 33)
_PIXEL_ZEROS: Final = (106, 124, 109, 99, 70, 45, 44, 31)
_PIXEL_DECAYS: Final = (109, 103, 100, 107, 109, 112, 113, 114)

#: Magnitudes of coefficients: 20 contexts to a class of group, 10 to whether it is the last.
LEVELS: Final = geometric_counts(_LEVEL_ZEROS, _LEVEL_DECAYS)
#: Magnitudes of samples (less the smallest), by `neighbour_mean`.
PIXEL_VALUES: Final = geometric_counts(_PIXEL_ZEROS, _PIXEL_DECAYS)
#: Extents of luma blocks, by `neighbour_mean`.
LUMA_EXTENTS: Final = np.array(
    [
        [70, 20, 18, 14, 10, 16, 13, 17, 13, 8],
        [190, 7, 2, 1, 1, 1, 1, 1, 1, 1],
        [134, 48, 11, 4, 1, 1, 1, 1, 1, 1],
        [90, 65, 28, 10, 4, 2, 1, 1, 1, 1],
        [71, 48, 45, 20, 6, 6, 2, 1, 1, 1],
        [56, 36, 51, 29, 12, 10, 4, 2, 1, 1],
        [43, 28, 45, 40, 17, 16, 6, 3, 1, 1],
        [33, 20, 36, 38, 26, 28, 10, 7, 2, 1],
        [24, 17, 25, 35, 34, 35, 15, 12, 4, 1],
        [5, 3, 6, 10, 12, 33, 28, 44, 36, 23],
    ],
    np.int64,
)  # fmt: skip
#: Extents of chroma blocks, by `neighbour_mean` and the class of the luma extent.
CHROMA_EXTENTS: Final = np.array(
    [
        [198, 2, 1, 1, 1, 1, 1, 1],
        [173, 21, 6, 1, 1, 1, 1, 1],
        [110, 39, 26, 13, 4, 5, 2, 1],
        [200, 1, 1, 1, 1, 1, 1, 1],
        [192, 8, 1, 1, 1, 1, 1, 1],
        [176, 19, 4, 1, 1, 1, 1, 1],
        [177, 22, 1, 1, 1, 1, 1, 1],
        [149, 44, 6, 1, 1, 1, 1, 1],
        [126, 53, 16, 4, 1, 1, 1, 1],
        [154, 36, 7, 2, 1, 1, 1, 1],
        [103, 55, 36, 5, 1, 1, 1, 1],
        [64, 44, 41, 25, 9, 10, 4, 3],
    ],
    np.int64,
)  # fmt: skip
#: Whether an 8x8 block is sent, by `neighbour_mean`.
PIXEL_BLOCKS: Final = np.array(
    [
        [163, 37],
        [198, 2],
        [179, 21],
        [157, 43],
        [105, 95],
        [60, 140],
        [43, 157],
        [23, 177],
    ],
    np.int64,
)  # fmt: skip
#: Whether a sample is negative; around it more are negative, as many, fewer.
PIXEL_SIGNS: Final = np.array(
    [
        [24, 176],
        [99, 101],
        [175, 25],
    ],
    np.int64,
)  # fmt: skip
