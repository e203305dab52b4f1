"""A systematic Reed-Solomon erasure code: any k of n symbols give the k source symbols back.

The source symbols are the values, at k points of GF(2^8), of a polynomial of degree below k; the
repair symbols are its values at further points, and any k values tell the polynomial (Reed and
Solomon 1960). The points are 0, 1, x, x^2, ... in the order of the symbols. That is the code of
Rizzo (Computer Communication Review 27, 1997) and of its descendant zfec, byte for byte, without
their inversion of a Vandermonde matrix: the coefficients are Lagrange's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from testbed.errors import LocalProtocolError
from testbed.protocol.fec.gf256 import EXP, LOG, ORDER, SIZE, Bytes, combine

#: Most symbols of one block, source and repair. There are 256 points; the count travels in a byte.
MAX_SYMBOLS: Final = 255
#: The point of each symbol.
_POINTS: Final[Bytes] = np.concatenate([np.zeros(1, dtype=np.uint8), EXP[: SIZE - 1]])


def lagrange(known: Sequence[int], wanted: Sequence[int]) -> Bytes:
    """Weights with which the symbols at `known` add up to those at `wanted`.

    Args:
        known: numbers of different symbols, 0 to 254; as many as the block has source symbols.
        wanted: numbers of symbols that are not in `known`.

    Returns:
        uint8 (wanted, known).
    """
    at, to = _POINTS[list(known)], _POINTS[list(wanted)]
    # log of prod (to_w - at_m) for m != j, less log of prod (at_j - at_m): all in the exponents.
    over = LOG[to[:, None] ^ at[None, :]]
    between = LOG[at[:, None] ^ at[None, :]]  # LOG[0] on the diagonal is 0, which adds nothing
    exponents = over.sum(axis=1)[:, None] - over - between.sum(axis=1)[None, :]
    weights: Bytes = EXP[exponents % ORDER]
    return weights


@lru_cache(maxsize=512)
def coefficients(sources: int, row: int) -> tuple[int, ...]:
    """Weights of the source symbols in repair symbol `row` (from 0) of a block.

    Raises:
        LocalProtocolError: the code has no such symbol.
    """
    if not (sources >= 1 and row >= 0 and sources + row < MAX_SYMBOLS):
        raise LocalProtocolError(f"no repair symbol {row} of a block of {sources}")
    return tuple(int(c) for c in lagrange(range(sources), [sources + row])[0])


def encode(symbols: Sequence[bytes], rows: Sequence[int]) -> list[bytes]:
    """Repair symbols `rows` of a block, as long as its longest source symbol.

    Args:
        symbols: of the block, in order; shorter ones count as padded with zeros.
        rows: which repair symbols, from 0; `len(symbols)` + row stays below 255.

    Raises:
        LocalProtocolError: the code has no such symbol.
    """
    size_bytes = max((len(symbol) for symbol in symbols), default=0)
    return [combine(coefficients(len(symbols), row), symbols, size_bytes) for row in rows]


def decode(have: Mapping[int, bytes], sources: int) -> list[bytes]:
    """All source symbols of a block from any `sources` of its symbols.

    Args:
        have: number to symbol; source symbols from 0, repair symbols from `sources`.
        sources: source symbols of the block, 1 to 254.

    Returns:
        The source symbols; recovered ones are as long as the longest symbol of `have`.

    Raises:
        LocalProtocolError: there are too few, or a number is out of range.
    """
    if len(have) < sources or not 1 <= sources <= MAX_SYMBOLS:
        raise LocalProtocolError(f"{len(have)} symbols do not give {sources}")
    if any(not 0 <= number < MAX_SYMBOLS for number in have):
        raise LocalProtocolError(f"symbols are numbered 0..{MAX_SYMBOLS - 1}")
    known = sorted(have)[:sources]
    wanted = [number for number in range(sources) if number not in have]
    size_bytes = max(len(symbol) for symbol in have.values())
    held = [have[number] for number in known]
    made = {
        number: combine([int(w) for w in weights], held, size_bytes)
        for number, weights in zip(wanted, lagrange(known, wanted), strict=True)
    }
    return [have[number] if number in have else made[number] for number in range(sources)]
