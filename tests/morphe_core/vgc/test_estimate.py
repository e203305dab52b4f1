from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.vgc.estimate import estimate_motion, motion_price
from morphe_core.vgc.quantiser import LAGRANGIAN
from morphe_core.vgc.tokens import MOTION_MAX, MOTION_STEPS_PER_PIXEL, Grid

ROWS, COLS = 12, 20
HEIGHT, WIDTH = ROWS * 8, COLS * 8
GRID = Grid(ROWS, COLS)
#: What a bit is worth at a middling step (`quantiser.LAGRANGIAN` times 50 squared).
PRICE = 0.13 * 50**2


def texture(seed: int = 8) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH))
    smooth = gaussian_filter(values, 2.0, mode="wrap")
    return 128 + 45 * smooth / smooth.std()


def gop(x: float, y: float) -> np.ndarray:
    """Nine pictures of a texture that moves by (x, y) pixels from the first to the ninth."""
    down, across = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    pictures = [
        map_coordinates(
            texture(), [down - y * t / 8, across - x * t / 8], order=3, mode="grid-wrap"
        )
        for t in range(9)
    ]
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def test_a_translation_is_found_in_most_cells() -> None:
    field = estimate_motion(gop(3, -1.5), GRID, price=PRICE)
    assert field.shape == (ROWS, COLS // 2, 4)
    assert field.dtype == np.int16
    # Backwards: where the pixel was in the first picture.
    wanted = np.array([-1.5, 0.75, -3, 1.5]) * MOTION_STEPS_PER_PIXEL
    within_a_quarter_pixel = np.abs(field - wanted).max(axis=-1) <= 1
    assert within_a_quarter_pixel.mean() > 0.8
    np.testing.assert_array_equal(np.median(field, axis=(0, 1)), wanted)


def test_each_half_of_the_picture_has_its_own_motion() -> None:
    pictures = np.concatenate(
        [gop(4, 0)[:, :, : WIDTH // 2], gop(-4, 2)[:, :, WIDTH // 2 :]], axis=2
    )
    field = estimate_motion(pictures, GRID, price=PRICE)[..., 2:] / MOTION_STEPS_PER_PIXEL
    np.testing.assert_allclose(np.median(field[:, :4], axis=(0, 1)), [-4, 0], atol=0.25)
    np.testing.assert_allclose(np.median(field[:, 6:], axis=(0, 1)), [4, -2], atol=0.25)


def test_a_static_scene_has_no_motion_even_with_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 3, (9, HEIGHT, WIDTH))
    luma = np.clip(np.rint(texture() + noise), 0, 255).astype(np.uint8)
    assert not estimate_motion(luma, GRID, price=PRICE).any()


def test_motion_must_be_worth_its_bits() -> None:
    assert not estimate_motion(gop(3, -1.5), GRID, price=1e9).any()


def test_a_vector_is_paid_for_once_along_a_row() -> None:
    """What repeats the cell before is free: noise does not make vectors change along a row."""
    noise = np.random.default_rng(1).normal(0, 6, (9, HEIGHT, WIDTH))
    pictures = np.clip(np.rint(gop(3, -1.5) + noise), 0, 255).astype(np.uint8)
    field = estimate_motion(pictures, GRID, price=3000.0)
    assert (field != 0).any(axis=-1).mean() > 0.95
    assert (np.diff(field, axis=1) != 0).any(axis=-1).mean() < 0.08


def test_a_knot_stands_for_four_pictures() -> None:
    """Four times the error at the knot must pay for a bit as one picture's does elsewhere."""
    for step in (1.0, 8.0, 215.0):
        assert 4 * motion_price(step) == pytest.approx(LAGRANGIAN * step**2)


@pytest.mark.parametrize(("rows", "cols"), [(1, 2), (3, 8), (8, 2)])
def test_tiny_pictures_have_none(rows: int, cols: int) -> None:
    luma = gop(3, 3)[:, : rows * 8, : cols * 8]
    field = estimate_motion(np.ascontiguousarray(luma), Grid(rows, cols), price=0.0)
    assert field.shape == (rows, cols // 2, 4)
    assert not field.any()


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (4, 6), (5, 4), (6, 20), (12, 4)])
def test_small_pictures_are_estimated(rows: int, cols: int) -> None:
    luma = np.ascontiguousarray(gop(1, 0)[:, : rows * 8, : cols * 8])
    field = estimate_motion(luma, Grid(rows, cols), price=0.0)
    assert field.shape == (rows, cols // 2, 4)
    assert np.abs(field).max() <= MOTION_MAX
