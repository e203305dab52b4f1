"""Which element goes into which packet: a reversible pseudo-random map.

As GRACE has it (NSDI 2024, section 4.1): the index of an element times a prime, modulo the number
of elements, is its place in a shuffled order, and packets take equal shares of that order. So a
lost packet is a share of the elements missing at random everywhere. Multiplying by the prime's
inverse leads back.

A multiplicative map is a lattice: with an unlucky prime neighbours in the picture would fall into
the same packet. So the prime is the first one, from the golden section of the length on, under
which neighbours along rows, columns and channels are far apart.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from typing import Final

import numpy as np
import numpy.typing as npt

#: Share of the order that neighbours must be apart, to either side.
LEAST_SPREAD: Final = 0.12
#: Primes tried before neighbours may be nearer.
TRIES: Final = 400
_GOLDEN: Final = (5**0.5 - 1) / 2

Indices = npt.NDArray[np.int64]


@lru_cache(maxsize=64)
def multiplier(length: int, strides: tuple[int, ...]) -> int:
    """The prime for `length` elements (>= 1) whose neighbours are `strides` apart."""
    best, best_spread = 1, -1.0
    tried = 0
    for number in count(max(2, int(_GOLDEN * length))):
        if not _is_prime(number) or length % number == 0:
            continue
        shares = [number * stride % length / length for stride in strides if stride % length]
        spread = min((min(share, 1 - share) for share in shares), default=1.0)
        if spread > best_spread:
            best, best_spread = number, spread
        tried += 1
        if best_spread >= LEAST_SPREAD or tried >= TRIES:
            return best
    raise AssertionError("unreachable: there is no last prime")


def places(length: int, strides: tuple[int, ...]) -> Indices:
    """Place of each element in the shuffled order, (length,)."""
    return np.arange(length) * multiplier(length, strides) % length


def elements(at: Indices, length: int, strides: tuple[int, ...]) -> Indices:
    """The inverse of `places`: the elements at these places."""
    inverse = pow(multiplier(length, strides), -1, length) if length > 1 else 0
    return at * inverse % length


@lru_cache(maxsize=16)
def shares(shape: tuple[int, int, int], packets: int) -> tuple[npt.NDArray[np.int32], ...]:
    """Elements of each of `packets` packets, ascending, as flat indices.

    Args:
        shape: (channels, rows, columns) of the elements.
        packets: 1 or more.
    """
    _, rows, cols = shape
    length = int(np.prod(shape))
    order = places(length, (1, cols, rows * cols))
    packet = order * packets // length
    return tuple(np.flatnonzero(packet == number).astype(np.int32) for number in range(packets))


def _is_prime(number: int) -> bool:
    if number < 4:
        return number > 1
    if number % 2 == 0:
        return False
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))
