from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.pictures import (
    CHROMA_GAIN,
    PATCH_CHANNELS,
    Picture,
    from_patches,
    pack,
    shrink,
    to_bytes,
    to_patches,
    unpack,
)


def noise(count: int, height: int, width: int, seed: int = 1) -> np.ndarray:
    """Packed yuv420p pictures of every byte value, (N, H * 3 // 2, W)."""
    return np.random.default_rng(seed).integers(
        0, 256, (count, height * 3 // 2, width), dtype=np.uint8
    )


def picture(count: int, height: int, width: int, seed: int = 1) -> Picture:
    return unpack(torch.from_numpy(noise(count, height, width, seed)), height, width)


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_packing_gives_back_every_byte(count: int, down: int, across: int, seed: int) -> None:
    packed = noise(count, 2 * down, 2 * across, seed)
    again = pack(unpack(torch.from_numpy(packed), 2 * down, 2 * across))
    assert again.dtype == torch.uint8
    np.testing.assert_array_equal(again.numpy(), packed.reshape(count, -1))


def test_planes_lie_as_in_yuv420p() -> None:
    packed = noise(2, 6, 10)
    got = unpack(torch.from_numpy(packed), 6, 10)
    flat = packed.reshape(2, -1).astype(np.float32) - 128
    np.testing.assert_array_equal(got.luma[:, 0], flat[:, :60].reshape(2, 6, 10))
    np.testing.assert_array_equal(got.chroma[:, 0], flat[:, 60:75].reshape(2, 3, 5))
    np.testing.assert_array_equal(got.chroma[:, 1], flat[:, 75:].reshape(2, 3, 5))


def test_packing_rounds_to_the_nearest_and_clips() -> None:
    values = torch.tensor([-400.0, -128.4, -127.6, -0.4, 0.4, 126.6, 127.4, 400.0]).reshape(
        1, 1, 2, 4
    )
    packed = pack(Picture(values, torch.zeros(1, 2, 1, 2)))
    assert packed[0, :8].tolist() == [0, 0, 0, 128, 128, 255, 255, 255]
    assert packed[0, 8:].tolist() == [128] * 4


@given(st.lists(st.floats(-300, 300, width=32), min_size=1))
def test_bytes_are_the_nearest_in_range(values: list[float]) -> None:
    got = to_bytes(torch.tensor(values))
    assert got.dtype == torch.uint8
    wanted = np.clip(np.array(values, np.float64) + 128, 0, 255)
    assert np.abs(got.numpy() - wanted).max() <= 0.5 + 1e-4


def test_pictures_are_taken_and_joined_with_both_planes() -> None:
    source = picture(5, 8, 16)
    kept = torch.tensor([True, False, False, True, False])
    choices = ((slice(1, 3), [1, 2]), ([4, -1, 0], [4, 4, 0]), (kept, [0, 3]))
    for which, numbers in choices:
        taken = source.take(which)
        for got, plane in zip(taken, source, strict=True):
            assert torch.equal(got, torch.stack([plane[n] for n in numbers]))
    again = source.take(slice(2)).joined(source.take(slice(2, None)))
    assert all(torch.equal(got, plane) for got, plane in zip(again, source, strict=True))


def test_a_patch_is_its_block_row_by_row() -> None:
    source = picture(2, 24, 32)
    patches = to_patches(source)
    assert patches.shape == (2, PATCH_CHANNELS, 3, 4)
    luma = source.luma.numpy().reshape(2, 3, 8, 4, 8).transpose(0, 2, 4, 1, 3).reshape(2, 64, 3, 4)
    np.testing.assert_array_equal(patches[:, :64], luma)
    for plane in range(2):
        chroma = source.chroma.numpy()[:, plane].reshape(2, 3, 4, 4, 4)
        chroma = chroma.transpose(0, 2, 4, 1, 3).reshape(2, 16, 3, 4)
        part = patches[:, 64 + 16 * plane : 80 + 16 * plane]
        np.testing.assert_allclose(part, CHROMA_GAIN * chroma, rtol=1e-6)


def test_patches_and_pictures_are_inverse() -> None:
    source = picture(3, 16, 48)
    again = from_patches(to_patches(source))
    assert torch.equal(again.luma, source.luma)
    torch.testing.assert_close(again.chroma, source.chroma, rtol=1e-6, atol=1e-5)
    assert torch.equal(pack(again), pack(source))
    patches = torch.randn(2, PATCH_CHANNELS, 2, 3, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(to_patches(from_patches(patches)), patches, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_shrinking_is_the_mean_over_areas(factor: int) -> None:
    source = picture(2, 48, 96)
    small = shrink(source, factor)
    for got, plane in zip(small, source, strict=True):
        size = (plane.shape[-1] // factor, plane.shape[-2] // factor)
        assert got.shape[-2:] == size[::-1]
        for number, channel in np.ndindex(*plane.shape[:2]):
            wanted = cv2.resize(plane[number, channel].numpy(), size, interpolation=cv2.INTER_AREA)
            np.testing.assert_allclose(got[number, channel], wanted, atol=1e-3)


def test_a_factor_of_one_changes_nothing() -> None:
    source = picture(1, 8, 8)
    assert shrink(source, 1) is source
