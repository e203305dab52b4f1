from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.vgc.estimate import Motion, estimate_motion, motion_price
from morphe_core.vgc.motion_coding import NEW, ORDER, choose, lead_of
from morphe_core.vgc.quantiser import LAGRANGIAN
from morphe_core.vgc.tokens import (
    CAMERA_AT,
    CAMERA_SHAPE,
    KNOTS,
    MOTION_CHANNELS,
    MOTION_MAX,
    MOTION_STEPS_PER_PIXEL,
    Grid,
)

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


def knots(motion: Motion) -> np.ndarray:
    """What cells and camera do together at each knot, (rows, cells, 4, 2), in pixels."""
    cells = motion.cells.reshape(*motion.cells.shape[:2], len(KNOTS), 2)
    camera = motion.camera[[CAMERA_AT.index(knot) for knot in KNOTS]]
    return (cells + camera) / MOTION_STEPS_PER_PIXEL


def noisy(pictures: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, deviation, pictures.shape)
    return np.clip(np.rint(pictures + noise), 0, 255).astype(np.uint8)


def with_object(pictures: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """The pictures, and in cells 3 to 6 of rows 3 to 8 what `thing` shows there."""
    both = pictures.copy()
    both[:, OBJECT[0], OBJECT[1]] = thing[:, OBJECT[0], OBJECT[1]]
    return both


OBJECT = slice(3 * 8, 9 * 8), slice(3 * 16, 7 * 16)
#: Cells that lie in the object with all their surroundings, and those that are far from it.
INSIDE = np.zeros((ROWS, COLS // 2), bool)
INSIDE[4:8, 4:6] = True
OUTSIDE = np.ones((ROWS, COLS // 2), bool)
OUTSIDE[2:10, 2:8] = False


def shaken(shifts: np.ndarray) -> np.ndarray:
    """The texture moved by whole pixels (x, y), a picture for each."""
    pictures = [np.roll(texture(), (y, x), (0, 1)) for x, y in shifts]
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def test_a_translation_is_the_cameras() -> None:
    motion = estimate_motion(gop(4, -2), GRID, price=PRICE)
    assert motion.cells.shape == (ROWS, COLS // 2, MOTION_CHANNELS)
    assert motion.camera.shape == CAMERA_SHAPE
    assert motion.cells.dtype == motion.camera.dtype == np.int16
    # Backwards: where the pixel was in the first picture.
    way = np.array([-4, 2]) * MOTION_STEPS_PER_PIXEL
    exact = np.abs(np.array(CAMERA_AT))[:, None] / 8 * way
    assert np.abs(motion.camera - exact).max() < 0.75
    at_knots = np.array(KNOTS)[:, None] / 8 * [-4, 2]
    error = np.abs(knots(motion) - at_knots).max(axis=(2, 3))
    assert (error <= 1 / MOTION_STEPS_PER_PIXEL).mean() > 0.8
    np.testing.assert_array_equal(np.median(knots(motion), axis=(0, 1)), at_knots)
    # Nothing else moves.
    assert (motion.cells != 0).any(axis=2).mean() < 0.1


@settings(max_examples=12)
@given(st.lists(st.tuples(*[st.integers(-6, 6)] * 2), min_size=9, max_size=9))
def test_a_camera_that_shakes_is_found_exactly(shifts: list[tuple[int, int]]) -> None:
    """To and fro from one picture to the next, as no knot could follow."""
    before, *after = shifts
    pictures = shaken(np.array([before, (0, 0), *after]))
    motion = estimate_motion(pictures[1:], GRID, price=PRICE, before=pictures[0])
    # Backwards: the first picture shows at x what the one before showed at x + its shift.
    wanted = np.array([before, *(-np.array(after))]) * MOTION_STEPS_PER_PIXEL
    np.testing.assert_array_equal(motion.camera, wanted)
    assert (motion.cells != 0).any(axis=2).mean() < 0.15


def test_without_a_picture_before_the_camera_is_taken_to_have_moved_alike() -> None:
    pictures = shaken(np.array([(5, -3), (0, 0), *([2, 1] for _ in range(8))]))
    alone = estimate_motion(pictures[1:], GRID, price=PRICE)
    whole = estimate_motion(pictures[1:], GRID, price=PRICE, before=pictures[0])
    before, second = CAMERA_AT.index(-1), CAMERA_AT.index(1)
    assert whole.camera[before].tolist() == [20, -12]
    assert alone.camera[before].tolist() == alone.camera[second].tolist() == [-8, -4]
    # It says something of the picture before, and of no other.
    others = [number for number in range(len(CAMERA_AT)) if number != before]
    np.testing.assert_array_equal(whole.camera[others], alone.camera[others])
    np.testing.assert_array_equal(whole.cells, alone.cells)


def test_an_object_moves_before_a_camera_that_stands() -> None:
    motion = estimate_motion(with_object(gop(0, 0), gop(6, -4)), GRID, price=PRICE)
    assert not motion.camera.any()
    assert not motion.cells[OUTSIDE].any()
    wanted = np.array(KNOTS)[:, None] / 8 * [-6, 4]
    np.testing.assert_allclose(np.median(knots(motion)[INSIDE], axis=0), wanted, atol=0.25)


def test_an_object_stands_before_a_camera_that_shakes() -> None:
    """As in the crosshairs of a camera that follows it: its cells undo what the camera does."""
    shifts = np.array([(0, 0), (4, -1), (-2, 0), (3, 3), (5, -4), (0, 2), (-4, 4), (1, 1), (3, -5)])
    motion = estimate_motion(with_object(shaken(shifts), gop(0, 0)), GRID, price=PRICE)
    np.testing.assert_array_equal(motion.camera[1:], -shifts[1:] * MOTION_STEPS_PER_PIXEL)
    np.testing.assert_allclose(np.median(knots(motion)[INSIDE], axis=0), 0, atol=0.25)
    np.testing.assert_allclose(
        np.median(knots(motion)[OUTSIDE], axis=0), -shifts[list(KNOTS)], atol=0.25
    )


def test_each_half_of_the_picture_has_its_own_motion() -> None:
    pictures = np.concatenate(
        [gop(4, 0)[:, :, : WIDTH // 2], gop(-4, 2)[:, :, WIDTH // 2 :]], axis=2
    )
    found = knots(estimate_motion(pictures, GRID, price=PRICE))
    shares = np.array(KNOTS)[:, None] / 8
    np.testing.assert_allclose(np.median(found[:, :4], axis=(0, 1)), shares * [-4, 0], atol=0.25)
    np.testing.assert_allclose(np.median(found[:, 6:], axis=(0, 1)), shares * [4, -2], atol=0.25)


def test_a_static_scene_has_no_motion_even_with_noise() -> None:
    pictures = noisy(np.stack([texture()] * 10), 3)
    motion = estimate_motion(pictures[1:], GRID, price=PRICE, before=pictures[0])
    assert not motion.cells.any()
    assert not motion.camera.any()


def test_motion_of_cells_must_be_worth_its_bits() -> None:
    """The camera's is found for all of them and costs a few bytes: it is not weighed."""
    pictures = with_object(gop(3, -1.5), gop(-3, 3))
    dear = estimate_motion(pictures, GRID, price=1e9)
    assert not dear.cells.any()
    cheap = estimate_motion(pictures, GRID, price=PRICE)
    assert cheap.cells.any()
    np.testing.assert_array_equal(dear.camera, cheap.camera)


def test_a_vector_is_paid_for_once_along_a_row() -> None:
    """What repeats the cell before is free: noise does not make vectors change along a row."""
    pictures = noisy(gop(0, 0), 6)
    # Six cells of ten stand, so the camera does.
    pictures[:, :, 6 * 16 :] = noisy(gop(3, -1.5), 6)[:, :, 6 * 16 :]
    motion = estimate_motion(pictures, GRID, price=3000.0)
    assert not motion.camera.any()
    assert (motion.cells[:, 7:] != 0).any(axis=-1).mean() > 0.95
    assert not motion.cells[:, :5].any()
    assert (np.diff(motion.cells[:, 7:], axis=1) != 0).any(axis=-1).mean() < 0.08


def test_what_moves_straight_is_paid_for_at_one_knot() -> None:
    pictures = noisy(gop(0, 0), 6)
    pictures[:, :, 6 * 16 :] = noisy(gop(6, -4), 6)[:, :, 6 * 16 :]
    cells = estimate_motion(pictures, GRID, price=3000.0).cells
    vectors = cells.reshape(ROWS, COLS // 2, len(KNOTS), 2).astype(np.int64)
    new = [
        (choose(vectors[..., knot, :], lead_of(number, vectors)) == NEW).sum()
        for number, knot in enumerate(ORDER)
    ]
    assert new[0] >= 10
    assert sum(new[1:]) < 0.5 * new[0]


def test_a_knot_stands_for_two_pictures() -> None:
    """Twice the error at the knot must pay for a bit as one picture's does elsewhere."""
    for step in (1.0, 8.0, 215.0):
        assert 2 * motion_price(step) == pytest.approx(LAGRANGIAN * step**2)


@pytest.mark.parametrize(
    ("rows", "cols"), [(1, 2), (3, 8), (8, 2), (4, 4), (5, 6), (7, 20), (12, 6)]
)
def test_tiny_pictures_have_none(rows: int, cols: int) -> None:
    luma = np.ascontiguousarray(gop(3, 3)[:, : rows * 8, : cols * 8])
    for before in (None, luma[8]):
        motion = estimate_motion(luma, Grid(rows, cols), price=0.0, before=before)
        assert motion.cells.shape == (rows, cols // 2, MOTION_CHANNELS)
        assert motion.camera.shape == CAMERA_SHAPE
        assert not motion.cells.any()
        assert not motion.camera.any()


@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (8, 10), (9, 8), (11, 20), (12, 8)])
def test_small_pictures_are_estimated(rows: int, cols: int) -> None:
    luma = np.ascontiguousarray(gop(2, 0)[:, : rows * 8, : cols * 8])
    for before in (None, luma[0]):
        motion = estimate_motion(luma, Grid(rows, cols), price=0.0, before=before)
        assert motion.cells.shape == (rows, cols // 2, MOTION_CHANNELS)
        assert max(np.abs(motion.cells).max(), np.abs(motion.camera).max()) <= MOTION_MAX
        last = np.median(knots(motion)[..., -1, :], axis=(0, 1))
        np.testing.assert_allclose(last, [-2, 0], atol=0.25)


def test_unrelated_pictures_stay_within_what_can_be_sent() -> None:
    luma = np.random.default_rng(5).integers(0, 256, (10, HEIGHT, WIDTH), np.uint8)
    luma[6:] = 255 - gop(200, 100)[5:, ::-1, ::-1]
    motion = estimate_motion(luma[1:], GRID, price=0.0, before=luma[0])
    assert max(np.abs(motion.cells).max(), np.abs(motion.camera).max()) <= MOTION_MAX
