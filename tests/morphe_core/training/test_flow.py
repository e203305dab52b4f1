from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.errors import TrainingError
from morphe_core.training.flow import PRESETS, backward_flow, flow_batch
from morphe_core.training.losses import warp

SIZE = 128
INNER = (..., slice(24, -24), slice(24, -24))


def window(x: float, y: float, frames: int = 3) -> np.ndarray:
    """A texture that moves by (x, y) pixels a picture, right and down."""
    values = gaussian_filter(np.random.default_rng(8).normal(size=(SIZE, SIZE)), 2.0, mode="wrap")
    texture = 128 + 45 * values / values.std()
    down, across = np.mgrid[:SIZE, :SIZE].astype(float)
    pictures = [
        map_coordinates(texture, [down - y * n, across - x * n], order=3, mode="grid-wrap")
        for n in range(frames)
    ]
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("preset", PRESETS)
def test_finds_known_motion_backwards(preset: str) -> None:
    flow = backward_flow(window(3.0, -1.5)[None], preset=preset)
    assert flow.shape == (1, 2, 2, SIZE, SIZE)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[0, :, 0][INNER], axis=(1, 2)), -3.0, atol=0.3)
    np.testing.assert_allclose(np.median(flow[0, :, 1][INNER], axis=(1, 2)), 1.5, atol=0.3)


def test_any_pairs_of_a_window_can_be_asked_for() -> None:
    flow = backward_flow(window(2.0, 0.0)[None], pairs=[(2, 0), (0, 1)])
    found = np.median(flow[0, :, 0][INNER], axis=(1, 2))
    np.testing.assert_allclose(found, [-4.0, 2.0], atol=0.3)


def test_each_window_has_its_own_flow() -> None:
    luma = np.stack([window(2.0, 0.0), window(-2.0, 0.0)])
    flow = backward_flow(luma)
    assert np.median(flow[0, :, 0]) < -1.5
    assert np.median(flow[1, :, 0]) > 1.5
    np.testing.assert_array_equal(flow[1], backward_flow(luma[1:])[0])


def test_warping_along_it_gives_the_picture() -> None:
    luma = window(2.5, 1.25)
    flow = flow_batch(luma[None], torch.device("cpu"))
    before, now = (torch.from_numpy(luma[n]).float()[None, None] for n in (0, 1))
    error = (warp(before, flow[:, 0]) - now)[INNER].abs().mean()
    assert error < 0.1 * (before - now)[INNER].abs().mean()


def test_what_cannot_be_traced_is_refused() -> None:
    luma = window(0, 0)[None]
    with pytest.raises(TrainingError, match="'slow': allowed are ultrafast, fast, medium"):
        backward_flow(luma, preset="slow")
    with pytest.raises(TrainingError, match=r"pair \(3, 2\): allowed are pictures 0\.\.2"):
        backward_flow(luma, pairs=[(3, 2)])
    with pytest.raises(TrainingError, match=r"allowed is \(N, T, H, W\) uint8"):
        backward_flow(luma[0])
    with pytest.raises(TrainingError, match="float32: allowed is"):
        backward_flow(luma.astype(np.float32))
    with pytest.raises(TrainingError, match="at least 16x16"):
        backward_flow(luma[..., :8])
