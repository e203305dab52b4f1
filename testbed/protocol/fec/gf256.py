"""Arithmetic in GF(2^8), for erasure codes over packets.

The field of polynomials over GF(2) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11D) with generator x, as
RFC 5510 section 8.1 and most erasure codes have it. Addition is XOR. Products come from one table
of 64 kB; a whole packet times one coefficient is one `bytes.translate` with a row of it, which in
CPython is faster than indexing with numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from testbed.errors import LocalProtocolError

Bytes = npt.NDArray[np.uint8]

#: Primitive polynomial (RFC 5510 section 8.1).
POLYNOMIAL: Final = 0x11D
#: Elements of the field, and non-zero ones.
SIZE: Final = 256
ORDER: Final = SIZE - 1


def _powers() -> Bytes:
    powers = np.zeros(2 * ORDER, dtype=np.uint8)
    value = 1
    for exponent in range(2 * ORDER):
        powers[exponent] = value
        value <<= 1
        if value & SIZE:
            value ^= POLYNOMIAL
    return powers


#: EXP[i] = x^i for 0 <= i < 510, so that a sum of two logarithms needs no modulo.
EXP: Final[Bytes] = _powers()


def _logarithms() -> npt.NDArray[np.intp]:
    logarithms = np.zeros(SIZE, dtype=np.intp)
    logarithms[EXP[:ORDER]] = np.arange(ORDER)
    return logarithms


#: LOG[a] for a > 0; LOG[0] means nothing.
LOG: Final = _logarithms()


def _products() -> Bytes:
    table: Bytes = EXP[LOG[:, None] + LOG[None, :]]
    table[0, :] = 0
    table[:, 0] = 0
    return table


#: MUL[a, b] = a times b; uint8 (256, 256).
MUL: Final[Bytes] = _products()
#: INVERSE[a] = 1 / a for a > 0; INVERSE[0] means nothing.
INVERSE: Final[Bytes] = EXP[(ORDER - LOG) % ORDER]
#: Row a of `MUL` for `bytes.translate`.
_ROWS: Final = tuple(row.tobytes() for row in MUL)


def combine(coefficients: Sequence[int], symbols: Sequence[bytes], size_bytes: int) -> bytes:
    """Sum of coefficient times symbol; shorter symbols count as padded with zeros.

    Args:
        coefficients: one a symbol, 0 to 255.
        symbols: at most `size_bytes` each.
        size_bytes: of the result.
    """
    total = np.zeros(size_bytes, dtype=np.uint8)
    for coefficient, symbol in zip(coefficients, symbols, strict=True):
        if coefficient:
            part = symbol if coefficient == 1 else symbol.translate(_ROWS[coefficient])
            head = total[: len(part)]
            np.bitwise_xor(head, np.frombuffer(part, dtype=np.uint8), out=head)
    return total.tobytes()


def product(left: Bytes, right: Bytes) -> Bytes:
    """Matrix product; uint8 (a, b) times uint8 (b, c) is uint8 (a, c)."""
    if left.shape[1] != right.shape[0]:
        raise LocalProtocolError(f"matrices of {left.shape} and {right.shape} do not multiply")
    result = np.zeros((left.shape[0], right.shape[1]), dtype=np.uint8)
    for middle in range(left.shape[1]):
        result ^= MUL[left[:, middle, None], right[None, middle, :]]
    return result


def determined(matrix: Bytes) -> dict[int, Bytes]:
    """What a linear system tells of its unknowns, whether or not it tells them all.

    Args:
        matrix: uint8 (equations, unknowns).

    Returns:
        For each unknown that follows from the equations: the weights, uint8 (equations,), with
        which the right-hand sides add up to it.
    """
    equations, unknowns = matrix.shape
    # Gauss and Jordan, with the steps recorded on the right.
    work = np.concatenate([matrix, np.eye(equations, dtype=np.uint8)], axis=1)
    pivots: list[int] = []
    for column in range(unknowns):
        row = len(pivots)
        below = np.flatnonzero(work[row:, column])
        if not below.size:
            continue
        chosen = row + int(below[0])
        if chosen != row:
            work[[row, chosen]] = work[[chosen, row]]
        work[row] = MUL[INVERSE[work[row, column]], work[row]]
        factors = work[:, column].copy()
        factors[row] = 0
        touched = np.flatnonzero(factors)
        work[touched] ^= MUL[factors[touched, None], work[row][None, :]]
        pivots.append(column)
        if len(pivots) == equations:
            break
    alone = np.count_nonzero(work[:, :unknowns], axis=1) == 1
    return {column: work[row, unknowns:] for row, column in enumerate(pivots) if alone[row]}
