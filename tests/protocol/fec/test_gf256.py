"""Against galois, which does its own arithmetic in the same field."""

import galois
import numpy as np
import pytest

from testbed.errors import LocalProtocolError
from testbed.protocol.fec.gf256 import INVERSE, MUL, POLYNOMIAL, combine, determined, product

GF = galois.GF(2**8, irreducible_poly=galois.Poly.Int(POLYNOMIAL))


def matrix(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def test_all_products_and_inverses() -> None:
    every = GF(np.arange(256))
    assert np.array_equal(MUL, np.array(every[:, None] * every[None, :]))
    assert np.array_equal(INVERSE[1:], np.array(GF(np.arange(1, 256)) ** -1))


@pytest.mark.parametrize("seed", range(5))
def test_products_of_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = matrix(rng, 5, 9), matrix(rng, 9, 33)
    expected = np.array(GF(left) @ GF(right))
    assert np.array_equal(product(left, right), expected)
    rows = [row.tobytes() for row in right]
    for weights, line in zip(left, expected, strict=True):
        assert combine([int(w) for w in weights], rows, 33) == line.tobytes()


def test_a_product_needs_matching_matrices() -> None:
    with pytest.raises(LocalProtocolError, match="do not multiply"):
        product(np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8))


def test_shorter_symbols_count_as_padded() -> None:
    assert combine([1, 2], [b"\x01\x02\x03", b"\x01"], 4) == b"\x03\x02\x03\x00"
    assert combine([], [], 2) == b"\0\0"


@pytest.mark.parametrize("seed", range(20))
def test_a_full_system_gives_the_inverse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    square = matrix(rng, 8, 8)
    if np.linalg.matrix_rank(GF(square)) < 8:
        pytest.skip("singular")
    weights = determined(square)
    assert np.array_equal(
        np.array([weights[i] for i in range(8)]), np.array(np.linalg.inv(GF(square)))
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_poor_system_tells_just_what_follows_from_it(seed: int) -> None:
    """An unknown is determined if its unit vector lies in the row space: galois knows the rank."""
    rng = np.random.default_rng(seed)
    system = matrix(rng, int(rng.integers(1, 7)), int(rng.integers(1, 9)))
    system[rng.random(system.shape) < 0.6] = 0
    values = matrix(rng, system.shape[1], 4)
    sides = np.array(GF(system) @ GF(values))
    told = determined(system)
    rank = np.linalg.matrix_rank(GF(system))
    for unknown in range(system.shape[1]):
        unit = np.zeros((1, system.shape[1]), np.uint8)
        unit[0, unknown] = 1
        follows = np.linalg.matrix_rank(GF(np.concatenate([system, unit]))) == rank
        assert (unknown in told) == follows
        if follows:
            assert np.array_equal(product(told[unknown][None, :], sides)[0], values[unknown])
