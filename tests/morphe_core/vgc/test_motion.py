from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.vgc.motion import at_knots, carry_on, field_of, predict, sample
from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import (
    CAMERA_AT,
    KNOTS,
    MOTION_CHANNELS,
    MOTION_MAX,
    MOTION_STEPS_PER_PIXEL,
)

ROWS, CELLS = 4, 3
HEIGHT, WIDTH = ROWS * 8, CELLS * 16


def texture(seed: int, *shape: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=shape)
    smooth = gaussian_filter(values, (0,) * (len(shape) - 2) + (1.5, 1.5))
    return (60 * smooth / smooth.std()).astype(np.float32)


def picture(seed: int, count: int = 1) -> Picture:
    return Picture(
        torch.from_numpy(texture(seed, count, 1, HEIGHT, WIDTH)),
        torch.from_numpy(texture(seed + 1, count, 2, HEIGHT // 2, WIDTH // 2)),
    )


#: How far what moves steadily has got, backwards before the GoP as well.
DISTANCES = torch.tensor(CAMERA_AT).abs().float()
STILL = torch.zeros(1, MOTION_CHANNELS, ROWS, CELLS)
FIXED = torch.zeros(1, len(CAMERA_AT), 2)


def cells_at(x_pixels: float, y_pixels: float) -> torch.Tensor:
    """The cells' motion of a constant velocity, in coded pixels a picture."""
    velocity = torch.tensor([x_pixels, y_pixels]) * MOTION_STEPS_PER_PIXEL
    motion = torch.cat([knot * velocity for knot in KNOTS]).reshape(1, -1, 1, 1)
    return motion.expand(1, MOTION_CHANNELS, ROWS, CELLS)


def camera_at(x_pixels: float, y_pixels: float) -> torch.Tensor:
    """The same velocity, of the camera."""
    velocity = torch.tensor([x_pixels, y_pixels]) * MOTION_STEPS_PER_PIXEL
    return (DISTANCES[:, None] * velocity)[None]


def steady(x_pixels: float, y_pixels: float) -> torch.Tensor:
    """The field of a constant velocity."""
    return field_of(cells_at(x_pixels, y_pixels), FIXED)


def moved(plane: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """plane[line + y, column + x], edges repeated."""
    lines = (torch.arange(plane.shape[-2]) + y).clamp(0, plane.shape[-2] - 1)
    columns = (torch.arange(plane.shape[-1]) + x).clamp(0, plane.shape[-1] - 1)
    return plane[..., lines, :][..., columns]


def random_motion(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    limit = MOTION_MAX
    cells = generator.integers(-limit, limit, (count, MOTION_CHANNELS, ROWS, CELLS), endpoint=True)
    camera = generator.integers(-limit, limit, (count, len(CAMERA_AT), 2), endpoint=True)
    return torch.from_numpy(cells).float(), torch.from_numpy(camera).float()


@given(st.integers(0, 2**32 - 1))
def test_between_its_knots_the_field_is_linear(seed: int) -> None:
    """From no motion at the I picture on, and the same way on before it."""
    motion, camera = random_motion(seed, 2)
    field = field_of(motion, camera)
    assert field.shape == (2, len(CAMERA_AT), 2, ROWS, CELLS)
    own = motion.numpy().reshape(2, len(KNOTS), 2, ROWS, CELLS)
    for place in np.ndindex(2, 2, ROWS, CELLS):
        window, axis, row, cell = place
        values = [0.0, *own[window, :, axis, row, cell]]
        wanted = np.interp(DISTANCES, [0, *KNOTS], values) + camera[window, :, axis].numpy()
        np.testing.assert_array_equal(field[window, :, axis, row, cell], wanted)


def test_the_field_at_the_knots_is_what_was_given() -> None:
    motion, camera = random_motion(1, 2)
    assert torch.equal(at_knots(field_of(motion, 0 * camera)), motion)
    whole = at_knots(field_of(motion, camera)).unflatten(1, (len(KNOTS), 2))
    places = [CAMERA_AT.index(knot) for knot in KNOTS]
    its = camera[:, places, :, None, None].expand_as(whole)
    assert torch.equal(whole, motion.unflatten(1, (len(KNOTS), 2)) + its)


def test_the_camera_moves_all_cells_at_its_picture_alone() -> None:
    motion, _ = random_motion(2, 1)
    alone = field_of(motion, FIXED)
    for number in range(len(CAMERA_AT)):
        camera = FIXED.clone()
        camera[:, number] = torch.tensor([5.0, -7.0])
        added = field_of(motion, camera) - alone
        wanted = torch.zeros_like(added)
        wanted[:, number, 0], wanted[:, number, 1] = 5, -7
        assert torch.equal(added, wanted)


@given(st.integers(-7, 7), st.integers(-7, 7))
def test_a_constant_velocity_is_a_straight_line(x: int, y: int) -> None:
    """Whoever moves, cells or camera."""
    wanted = torch.tensor([x, y]) * DISTANCES[:, None] * MOTION_STEPS_PER_PIXEL
    wanted = wanted[None, :, :, None, None].expand(1, -1, 2, ROWS, CELLS)
    assert torch.equal(steady(x, y), wanted)
    assert torch.equal(field_of(STILL, camera_at(x, y)), wanted)
    # Both together add up.
    assert torch.equal(field_of(cells_at(x, y), camera_at(-x, -y)), 0 * wanted)


@pytest.mark.parametrize("shrink", [1.0, 0.5])
def test_sampling_is_bilinear_with_repeated_edges(shrink: float) -> None:
    generator = np.random.default_rng(2)
    height, width = int(HEIGHT * shrink), int(WIDTH * shrink)
    plane = texture(3, 2, 2, height, width)
    field = generator.uniform(-60, 60, (2, 2, ROWS, CELLS)).astype(np.float32)
    got = sample(torch.from_numpy(plane), torch.from_numpy(field), shrink).numpy()
    down, across = np.mgrid[:height, :width].astype(np.float32)
    for number in range(2):
        dense = [
            cv2.resize(axis, (width, height), interpolation=cv2.INTER_LINEAR) * shrink / 4
            for axis in field[number]
        ]
        x, y = across + dense[0], down + dense[1]
        for channel in range(2):
            wanted = map_coordinates(plane[number, channel], [y, x], order=1, mode="nearest")
            np.testing.assert_allclose(got[number, channel], wanted, atol=0.02)
            # OpenCV's own, on which the encoder's motion search counts, in 1/32 pixels.
            other = cv2.remap(
                plane[number, channel], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            steepest = np.abs(np.diff(plane[number, channel])).max()
            np.testing.assert_allclose(got[number, channel], other, atol=steepest / 32)


def test_bicubic_sampling_is_opencvs_and_keeps_more_detail() -> None:
    plane = texture(4, 1, 1, HEIGHT, WIDTH)
    field = np.random.default_rng(5).uniform(-9, 9, (1, 2, ROWS, CELLS)).astype(np.float32)
    got = sample(torch.from_numpy(plane), torch.from_numpy(field), 1.0, mode="bicubic").numpy()
    down, across = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    dense = [
        cv2.resize(axis, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) / 4 for axis in field[0]
    ]
    wanted = cv2.remap(
        plane[0, 0], across + dense[0], down + dense[1], cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    steepest = np.abs(np.diff(plane[0, 0])).max()
    np.testing.assert_allclose(got[0, 0], wanted, atol=steepest / 16)
    half = torch.full((1, 2, ROWS, CELLS), 2.0)  # half a pixel both ways: where detail goes
    kept = [
        sample(torch.from_numpy(plane), half, 1.0, mode=mode).std()
        for mode in ("bicubic", "bilinear")
    ]
    assert kept[0] > kept[1]


@pytest.mark.parametrize("by", ["cells", "camera", "both"])
def test_a_translation_is_predicted_exactly(by: str) -> None:
    reference = picture(5)
    cells, camera = {
        "cells": (cells_at(2, -4), FIXED),
        "camera": (STILL, camera_at(2, -4)),
        "both": (cells_at(4, -2), camera_at(-2, -2)),
    }[by]
    got = predict(reference, field_of(cells, camera))
    assert got.luma.shape == (8, 1, HEIGHT, WIDTH)
    for time in range(1, 9):
        luma = moved(reference.luma, 2 * time, -4 * time)
        chroma = moved(reference.chroma, time, -2 * time)
        torch.testing.assert_close(got.luma[time - 1 : time], luma, rtol=0, atol=0.01)
        torch.testing.assert_close(got.chroma[time - 1 : time], chroma, rtol=0, atol=0.01)


def test_the_gops_of_a_batch_follow_each_other() -> None:
    reference = picture(6, count=2)
    motion = torch.cat([steady(0, 0), steady(2, 2)])
    got = predict(reference, motion)
    assert got.luma.shape[0] == 16
    still = reference.luma[:1].expand(8, -1, -1, -1)
    torch.testing.assert_close(got.luma[:8], still, rtol=0, atol=0.01)
    alone = predict(Picture(*(plane[1:] for plane in reference)), motion[1:])
    torch.testing.assert_close(got.luma[8:], alone.luma)
    torch.testing.assert_close(got.chroma[8:], alone.chroma)


def test_shake_is_followed_picture_by_picture() -> None:
    """Faster than knots could: to and fro between them."""
    reference, camera = picture(7), FIXED.clone()
    shifts = np.random.default_rng(3).integers(-3, 4, (len(CAMERA_AT), 2)) * 2
    camera[0] = torch.from_numpy(shifts * MOTION_STEPS_PER_PIXEL).float()
    got = predict(reference, field_of(STILL, camera))
    for time in range(1, 9):
        x, y = shifts[CAMERA_AT.index(time)].tolist()
        wanted = moved(reference.luma, x, y)
        torch.testing.assert_close(got.luma[time - 1 : time], wanted, rtol=0, atol=0.01)
        wanted = moved(reference.chroma, x // 2, y // 2)
        torch.testing.assert_close(got.chroma[time - 1 : time], wanted, rtol=0, atol=0.01)


def test_the_picture_before_is_moved_on_by_one_picture() -> None:
    last = picture(7)
    for field in (steady(-2, 4), field_of(STILL, camera_at(-2, 4))):
        got = carry_on(last, field)
        torch.testing.assert_close(got.luma, moved(last.luma, -2, 4), rtol=0, atol=0.01)
        torch.testing.assert_close(got.chroma, moved(last.chroma, -1, 2), rtol=0, atol=0.01)


def test_what_the_picture_before_shows_depends_on_no_later_camera() -> None:
    last, motion = picture(8), random_motion(4, 1)[0] / 8
    before = CAMERA_AT.index(-1)
    camera = FIXED.clone()
    camera[:, before] = torch.tensor([-8.0, 16.0])
    one = carry_on(last, field_of(motion, camera))
    later = torch.arange(len(CAMERA_AT))[:, None] != before
    other = carry_on(last, field_of(motion, camera + 40 * later))
    assert torch.equal(one.luma, other.luma)
    # The cells' own motion before is that up to the first knot, by half.
    half = motion[:, :2] / 2 + camera[:, before, :, None, None]
    assert torch.equal(one.luma, sample(last.luma, half, 1.0, mode="bicubic"))
    assert torch.equal(one.chroma, sample(last.chroma, half, 0.5))


def test_what_moves_steadily_is_found_where_it_was_before() -> None:
    """The GoP before and this one agree on one motion: its last picture, moved on, is the I."""
    world = picture(9)
    step = (2, -2)  # forward
    last, first = (
        Picture(
            moved(world.luma, -n * step[0], -n * step[1]),
            moved(world.chroma, -n * step[0] // 2, -n * step[1] // 2),
        )
        for n in (1, 2)
    )
    inside = (..., slice(8, -8), slice(8, -8))
    got = carry_on(last, steady(-step[0], -step[1]))
    torch.testing.assert_close(got.luma[inside], first.luma[inside], rtol=0, atol=0.01)
    # And the second picture is where the same field sees it from the I picture.
    second = predict(first, steady(-step[0], -step[1])).luma[:1]
    wanted = moved(world.luma, -3 * step[0], -3 * step[1])
    torch.testing.assert_close(second[inside], wanted[inside], rtol=0, atol=0.01)
