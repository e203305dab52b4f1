"""Blending at GoP boundaries: Eq. 2 as it is written, and what the gate keeps from happening."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.smoothing import smooth_boundary

W, H = 96, 64
SIZE = W * H * 3 // 2


def picture(luma: np.ndarray, blue: int = 128, red: int = 128) -> np.ndarray:
    """A packed picture with flat chroma."""
    height, width = luma.shape
    planes = [np.full(width * height // 4, value) for value in (blue, red)]
    return np.concatenate([np.clip(luma, 0, 255).ravel(), *planes]).astype(np.uint8)


def texture(seed: int, width: int = W, height: int = H) -> np.ndarray:
    """Something like a photograph: contrast at all scales."""
    generator = np.random.default_rng(seed)
    luma = np.full((height, width), 120.0)
    for side in (4, 8, 16, 32):
        coarse = generator.normal(0, 12, (height // side + 1, width // side + 1))
        luma += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return luma


def smooth(previous: list, current: list, frames: int = 3, **options: object) -> list:
    return smooth_boundary(previous, current, frames=frames, width=W, height=H, **options)


@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_ungated_is_equation_2(seed: int, frames: int) -> None:
    generator = np.random.default_rng(seed)
    previous = list(generator.integers(0, 256, (9, SIZE), dtype=np.uint8))
    current = list(generator.integers(0, 256, (9, SIZE), dtype=np.uint8))
    result = smooth(previous, current, frames, gate=False)
    for i in range(1, 10):
        expected = current[i - 1].astype(float)
        if i <= frames:
            alpha = (frames - i) / frames
            expected = alpha * previous[9 - frames + i - 1] + (1 - alpha) * current[i - 1]
        assert (result[i - 1] == np.floor(expected + 0.5 + 1e-9)).all()


@pytest.mark.parametrize("gate", [True, False])
def test_fewer_pictures_blend_fewer(gate: bool) -> None:
    old, new = picture(texture(1)), picture(texture(1) + 6)
    two = smooth([old, old], [new, new], 2, gate=gate)
    assert (smooth([old, old], [new, new, new], 8, gate=gate)[0] == two[0]).all()
    for previous, frames in (([], 3), ([old], 3), ([old, old], 1), ([old, old], 0)):
        current = [new, new]
        result = smooth(previous, current, frames, gate=gate)
        assert all(one is other for one, other in zip(result, current, strict=True))


@pytest.mark.parametrize("step", [-14, 3, 6, 14])
def test_still_content_with_a_step_in_luminance_is_smoothed(step: int) -> None:
    old = [picture(texture(1))] * 9
    new = [picture(texture(1) + step)] * 9
    result = smooth(old, new, 4)
    start = old[-1][: W * H].mean()
    levels = [float(one[: W * H].mean() - start) for one in result[:4]]
    assert levels == pytest.approx(step * np.arange(1, 5) / 4, abs=0.51)  # whole levels
    assert all(one is other for one, other in zip(result[3:], new[3:], strict=True))


def test_coding_noise_of_still_content_is_smoothed() -> None:
    generator = np.random.default_rng(2)
    old = [picture(texture(1) + generator.normal(0, 4, (H, W)))] * 2
    new = [picture(texture(1) + generator.normal(0, 4, (H, W)))] * 2
    truth = picture(texture(1)).astype(float)
    result = smooth(old, new, 2)
    before, after = (np.mean((one - truth) ** 2) for one in (new[0], result[0]))
    assert after < 0.65 * before  # half, if it were blended everywhere


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_is_left_alone(seed: int) -> None:
    old = [picture(texture(10 + seed), 110, 140)] * 3
    new = [picture(texture(20 + seed), 130, 120)] * 9
    result = smooth(old, new, 3)
    assert all(one is other for one, other in zip(result, new, strict=True))
    plain = smooth(old, new, 3, gate=False)
    assert np.abs(plain[0].astype(int) - new[0]).mean() > 5  # the test would notice


def square(left: int) -> np.ndarray:
    """A bright square on a still background."""
    luma = texture(3, 320, 192)
    luma[64:112, left : left + 48] = 235
    return luma


def test_a_moving_edge_leaves_no_ghost() -> None:
    old = [picture(square(100)), picture(square(108)), picture(square(116))]
    new = [picture(square(124)), picture(square(132)), picture(square(140))]
    options = {"frames": 3, "width": 320, "height": 192}
    gated = smooth_boundary(old, new, **options)
    plain = smooth_boundary(old, new, gate=False, **options)
    moved = np.abs(new[0].astype(int) - old[0]) > 20
    assert moved.sum() > 1000
    assert np.abs(gated[0].astype(int) - new[0])[moved].max() == 0
    assert np.abs(plain[0].astype(int) - new[0])[moved].max() > 50


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([2, 3, 4]))
def test_any_change_is_bounded(seed: int, strength: int, frames: int) -> None:
    """The gate g falls from 1 at a cell's difference m = 8 to 0 at 20; m * g is at most 25/3."""
    generator = np.random.default_rng(seed)
    base = texture(seed % 7, 64, 64)
    change = cv2.resize(generator.normal(0, strength, (8, 8)), (64, 64))
    change -= change.mean()  # no step of the whole picture: that is pumping
    old, new = [picture(base)] * frames, [picture(base + change)] * frames
    result = smooth_boundary(old, new, frames=frames, width=64, height=64)
    for i, (one, other) in enumerate(zip(result, new, strict=True), start=1):
        done = np.abs(one[: 64 * 64].astype(int) - other[: 64 * 64]).reshape(16, 4, 16, 4)
        alpha = (frames - i) / frames
        # A unit for rounding in cells and samples, another for a mean that is not quite zero.
        assert done.mean(axis=(1, 3)).max() <= alpha * 25 / 3 + 2


def test_colour_alone_closes_the_gate() -> None:
    luma = texture(4)
    old, new = [picture(luma, 90, 128)] * 2, [picture(luma, 160, 128)] * 2
    assert smooth(old, new, 2)[0] is new[0]


def test_weights_have_no_edges_between_blocks() -> None:
    """One block differs: around it the weight of the old picture falls gradually."""
    flat = np.full((160, 160), 100.0)
    other = flat + 6.0
    other[64:80, 64:80] = 200
    options = {"frames": 2, "width": 160, "height": 160}
    result = smooth_boundary([picture(flat)] * 2, [picture(other)] * 2, **options)[0]
    moved = result[: 160 * 160].reshape(160, 160).astype(int)[:40] - 106
    assert moved[:, 72].tolist() == sorted(moved[:, 72].tolist())
    assert np.abs(np.diff(moved, axis=0)).max() <= 1
    assert moved.min() == -3


@pytest.mark.parametrize(("width", "height"), [(34, 18), (64, 50), (16, 16), (2, 2)])
def test_any_even_size(width: int, height: int) -> None:
    base = texture(5, 64, 64)[:height, :width]
    old, new = picture(base), picture(base + 4)
    result = smooth_boundary([old] * 2, [new] * 2, frames=2, width=width, height=height)
    assert np.abs(result[0].astype(float)[: width * height] - base.ravel() - 2).max() <= 1.5


def test_wrong_arguments_name_the_field() -> None:
    good = np.zeros(SIZE, np.uint8)
    with pytest.raises(CodecConfigError, match=f"96x64.* needs {SIZE}"):
        smooth([good[:-1], good], [good, good], 3)
    with pytest.raises(CodecConfigError, match="frames -1"):
        smooth([good], [good], -1)
