"""What samples mean: numbers of ITU-T H.273, as files carry them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Matrices that we tell apart (H.273, Table 4), and "not said".
BT709: Final = 1
UNSPECIFIED: Final = 2
BT470BG: Final = 5
SMPTE170M: Final = 6
#: FFmpeg's numbers of the ranges (AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG).
LIMITED_RANGE: Final = 1
FULL_RANGE: Final = 2


@dataclass(frozen=True, slots=True)
class Colour:
    """How samples mean colours; numbers of ITU-T H.273, 2 = not said.

    Attributes:
        primaries: colour primaries.
        transfer: transfer characteristics.
        matrix: matrix coefficients.
        full_range: the range of the file that is written; pictures themselves are limited range.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False


#: A file that says nothing.
UNTAGGED: Final = Colour()
