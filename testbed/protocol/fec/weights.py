"""Coefficients of source packets in repair packets: the part of a code that both ends know.

A block's are those of the systematic Reed-Solomon code (`rs`). A sliding window's are 1 / (x + y)
of a Cauchy matrix, with x the row, 0 to 126, and y = 128 + sequence number modulo 128: every square
part of such a matrix can be inverted, and a packet's column is the same in every window that it is
in, so that the rows of several windows make one system of equations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from testbed.protocol.fec import rs
from testbed.protocol.fec.gf256 import INVERSE
from testbed.protocol.fec.wire import CODE_BLOCK, MAX_ROWS, MAX_SOURCES

#: Columns of the Cauchy matrix begin here, so that no row equals a column.
_FIRST_COLUMN: Final = 128
#: Rows that a window's code has before it starts again.
SLIDING_ROWS: Final = MAX_ROWS


@lru_cache(maxsize=1024)
def _cauchy(row: int, first: int, count: int) -> tuple[int, ...]:
    return tuple(
        int(INVERSE[row ^ (_FIRST_COLUMN + (first + place) % MAX_SOURCES)])
        for place in range(count)
    )


def weights(code: int, *, base: int, count: int, row: int) -> tuple[int, ...]:
    """The coefficients of one repair packet, in order of its source packets.

    Args:
        code: `CODE_BLOCK` or `CODE_SLIDING`.
        base: sequence number of the first source packet (any number of bits).
        count: source packets, 1 to 128.
        row: 0 to 126.
    """
    if code == CODE_BLOCK:
        return rs.coefficients(count, row)
    return _cauchy(row, base % MAX_SOURCES, count)
