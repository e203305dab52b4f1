from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.vgc.motion import advance, field_at, predict, sample
from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import MOTION_STEPS_PER_PIXEL

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


def steady(x_pixels: float, y_pixels: float) -> torch.Tensor:
    """The field of a constant velocity, in coded pixels a picture."""
    velocity = torch.tensor([x_pixels, y_pixels]) * MOTION_STEPS_PER_PIXEL
    return torch.cat([4 * velocity, 8 * velocity]).reshape(1, 4, 1, 1).expand(1, 4, ROWS, CELLS)


def moved(plane: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """plane[line + y, column + x], edges repeated."""
    lines = (torch.arange(plane.shape[-2]) + y).clamp(0, plane.shape[-2] - 1)
    columns = (torch.arange(plane.shape[-1]) + x).clamp(0, plane.shape[-1] - 1)
    return plane[..., lines, :][..., columns]


def test_the_field_passes_through_its_knots() -> None:
    motion = torch.from_numpy(np.random.default_rng(1).integers(-255, 256, (2, 4, ROWS, CELLS)))
    motion = motion.float()
    assert not field_at(motion, 0).any()
    assert torch.equal(field_at(motion, 4), motion[:, :2])
    assert torch.equal(field_at(motion, 8), motion[:, 2:])
    torch.testing.assert_close(field_at(motion, 6), (motion[:, :2] + motion[:, 2:]) / 2)
    torch.testing.assert_close(field_at(motion, 12), 2 * motion[:, 2:] - motion[:, :2])
    torch.testing.assert_close(field_at(motion, -4), -motion[:, :2])


@given(st.floats(-8, 24), st.integers(-8, 8), st.integers(-8, 8))
def test_a_constant_velocity_is_a_straight_line(time: float, x: int, y: int) -> None:
    got = field_at(steady(x, y), time)
    wanted = torch.tensor([x, y]).reshape(1, 2, 1, 1) * (time * MOTION_STEPS_PER_PIXEL)
    torch.testing.assert_close(got, wanted.float().expand_as(got), rtol=1e-5, atol=1e-4)


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


def test_a_translation_is_predicted_exactly() -> None:
    reference = picture(5)
    got = predict(reference, steady(2, -4))
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


def test_the_motion_goes_on_after_the_last_picture() -> None:
    last = picture(7)
    got = advance(last, steady(-2, 4))
    torch.testing.assert_close(got.luma, moved(last.luma, -2, 4), rtol=0, atol=0.01)
    torch.testing.assert_close(got.chroma, moved(last.chroma, -1, 2), rtol=0, atol=0.01)
    # What moved in the first half only stands still.
    stopped = steady(3, 3).clone()
    stopped[:, 2:] = stopped[:, :2]
    torch.testing.assert_close(advance(last, stopped).luma, last.luma, rtol=0, atol=0.01)
