"""The residual layer's block transform, against SciPy's DCT."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from morphe_core.vgc.residual_dct import STEP_BITS, Scan

REACH = {8: (1, 2, 3, 4, 6, 8, 15), 16: (1, 2, 3, 4, 6, 8, 12, 16, 31)}


@pytest.fixture(params=[8, 16])
def scan(request: pytest.FixtureRequest) -> Scan:
    return Scan(request.param, REACH[request.param])


def test_forward_is_the_dct(scan: Scan) -> None:
    blocks = np.random.default_rng(1).normal(0, 30, (5, scan.side, scan.side)).astype(np.float32)
    expected = dctn(blocks, norm="ortho", axes=(1, 2)).reshape(5, -1)[:, scan.order].T
    error = scan.forward(blocks) - expected  # the integer matrix is not quite orthonormal
    assert np.linalg.norm(error) < 0.005 * np.linalg.norm(expected)


def test_order_goes_by_diagonals_and_groups_end_with_them(scan: Scan) -> None:
    diagonals = scan.order // scan.side + scan.order % scan.side
    assert (np.diff(diagonals) >= 0).all()
    assert sorted(scan.order) == list(range(scan.side**2))
    for end, reach in zip(scan.ends[1:], REACH[scan.side], strict=True):
        assert (diagonals[:end] < reach).all()
        assert (diagonals[end:] >= reach).all()
    assert scan.ends[-1] == scan.side**2


def test_neighbours_lie_nearer_to_the_corner(scan: Scan) -> None:
    rows, cols = np.append(scan.order, 0) // scan.side, np.append(scan.order, 0) % scan.side
    for near, (up, left) in zip(scan.near, ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)), strict=True):
        inside = near < scan.side**2
        assert (rows[near] == rows[:-1] - up)[inside].all()
        assert (cols[near] == cols[:-1] - left)[inside].all()
        assert ((rows[:-1] < up) | (cols[:-1] < left))[~inside].all()


@pytest.mark.parametrize("step", [16, 100, 1000])
def test_quantised_round_trip(scan: Scan, step: int) -> None:
    blocks = np.random.default_rng(2).uniform(-40, 40, (7, scan.side, scan.side))
    coefficients = scan.forward(blocks.astype(np.float32))
    levels = np.rint(coefficients * 2**STEP_BITS / step).astype(np.int32)
    error = scan.inverse(levels, step) - blocks
    real_step = step / 2**STEP_BITS
    # Uniform quantisation noise and rounding of samples; a little for the integer matrix.
    assert np.mean(error**2) <= 1.1 * (real_step**2 + 1) / 12 + 0.01


def test_inverse_is_exact_integer_arithmetic(scan: Scan) -> None:
    """The same with Python's integers."""
    generator = np.random.default_rng(3)
    levels = generator.integers(-4110, 4111, (scan.side**2, 3)).astype(np.int32)
    levels[:, 1] //= 500
    side = scan.side
    wave = np.cos(np.pi * np.outer(np.arange(side), 2 * np.arange(side) + 1) / (2 * side))
    wave[0] /= np.sqrt(2)
    matrix = np.rint(512 * np.sqrt(2 / side) * wave).astype(int).astype(object)
    for step in (16, 3761):
        result = scan.inverse(levels, step)
        for number in range(3):
            block = np.zeros(side * side, object)
            whole = [int(level) * step for level in levels[:, number]]
            block[scan.order] = [min(max(value, -(2**17)), 2**17) for value in whole]
            wide = matrix.T @ block.reshape(side, side) @ matrix
            expected = np.clip(((wide + 2**21) // 2**22).astype(int), -255, 255)
            assert (result[number] == expected).all()


def test_extents(scan: Scan) -> None:
    levels = np.zeros((scan.side**2, 4), np.int32)
    levels[0, 1] = -1
    levels[scan.ends[2], 2] = 3
    levels[-1, 3] = 1
    assert scan.extents(levels).tolist() == [0, 1, 3, scan.groups]
    assert scan.extents(levels[: scan.ends[3]]).tolist() == [0, 1, 3, 0]
