from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.pictures import Picture

CPU = torch.device("cpu")
SIZES = [(426, 240), (1278, 718), (16, 16), (2, 2), (50, 98)]


def pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    generator = np.random.default_rng(width)
    return [
        generator.integers(0, 256, width * height * 3 // 2, dtype=np.uint8) for _ in range(count)
    ]


def planes_of(packed: np.ndarray, width: int, height: int) -> list[np.ndarray]:
    luma, chroma = np.split(packed.astype(np.float32) - 128, [width * height])
    return [luma.reshape(height, width), *chroma.reshape(2, height // 2, width // 2)]


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_sizes_are_whole_cells_and_no_cell_is_too_much(width: int, height: int, scale: int) -> None:
    geometry = Geometry.of(width, height, scale)
    wide, tall = geometry.coded_width * scale, geometry.coded_height * scale
    assert wide % (16 * scale) == 0
    assert tall % (8 * scale) == 0
    assert 0 <= wide - width < 16 * scale
    assert 0 <= tall - height < 8 * scale


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_coded_pictures_are_padded_and_averaged(width: int, height: int, scale: int) -> None:
    geometry = Geometry.of(width, height, scale)
    (packed,) = pictures(1, width, height)
    coded = geometry.coded([packed], CPU)
    right, below = (
        geometry.coded_width * scale - width,
        geometry.coded_height * scale - height,
    )
    got = [coded.luma[0, 0], coded.chroma[0, 0], coded.chroma[0, 1]]
    for plane, source, half in zip(got, planes_of(packed, width, height), (1, 2, 2), strict=True):
        padded = np.pad(source, ((0, below // half), (0, right // half)), mode="edge")
        size = (geometry.coded_width // half, geometry.coded_height // half)
        wanted = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(plane, wanted, atol=1e-3)


def test_a_gop_that_is_not_full_repeats_its_last_picture() -> None:
    geometry = Geometry.of(48, 32, 1)
    three = pictures(3, 48, 32)
    coded = geometry.coded(three, CPU)
    full = geometry.coded([*three, *[three[-1]] * 6], CPU)
    for got, wanted in zip(coded, full, strict=True):
        assert got.shape[0] == 9
        assert torch.equal(got, wanted)
    assert not torch.equal(coded.luma[1], coded.luma[2])


def test_pictures_may_come_as_rows() -> None:
    geometry = Geometry.of(48, 32, 2)
    (flat,) = pictures(1, 48, 32)
    wanted = geometry.coded([flat], CPU)
    assert torch.equal(geometry.coded([flat.reshape(48, 48)], CPU).luma, wanted.luma)


def test_what_is_no_gop_is_refused_in_one_line() -> None:
    geometry = Geometry.of(48, 32, 1)
    one = pictures(1, 48, 32)
    for wrong in ([], one * 10):
        with pytest.raises(CodecConfigError, match=rf"1 to 9 pictures, not {len(wrong)}$"):
            geometry.coded(wrong, CPU)
    with pytest.raises(CodecConfigError, match=r"2303 bytes where 48x32 \(yuv420p\) needs 2304$"):
        geometry.coded([one[0], one[0][:-1]], CPU)


@pytest.mark.parametrize("size", [(427, 240), (426, 239)])
def test_odd_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CodecConfigError, match=f"{size[0]}x{size[1]}: both sides must be even$"):
        Geometry.of(*size, 1)


@pytest.mark.parametrize(
    "size", [(0, 16, 1), (16, 0, 1), (8192, 16, 1), (16, 2048, 1), (16, 16, 4)]
)
def test_what_the_bitstream_cannot_name_is_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(CodecConfigError):
        Geometry.of(*size)


def ramp(geometry: Geometry, across: float, down: float) -> Picture:
    """A ramp over the source, as a picture of `geometry`: the mean over each pixel's area."""
    planes = []
    for half, count in ((1, 1), (2, 2)):
        pixel = geometry.scale * half
        x = (np.arange(geometry.coded_width // half) + 0.5) * pixel * across
        y = (np.arange(geometry.coded_height // half) + 0.5) * pixel * down
        plane = torch.from_numpy((x + y[:, None]).astype(np.float32))
        planes.append(plane.expand(1, count, *plane.shape))
    return Picture(*planes)


@pytest.mark.parametrize("size", [(426, 240), (96, 48), (1278, 718)])
@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)])
def test_another_factor_keeps_every_place(size: tuple[int, int], old: int, new: int) -> None:
    before, after = Geometry.of(*size, old), Geometry.of(*size, new)
    got = after.adopt(ramp(before, 0.1, -0.15), old)
    wanted = ramp(after, 0.1, -0.15)
    edge = 4
    for plane, other, half in zip(got, wanted, (1, 2), strict=True):
        assert plane.shape == other.shape
        # Interpolation repeats edges: only the inside of the source is a ramp.
        inside = (
            ...,
            slice(edge, size[1] // new // half - edge),
            slice(edge, size[0] // new // half - edge),
        )
        torch.testing.assert_close(plane[inside], other[inside], rtol=1e-4, atol=0.01)


def test_another_factor_keeps_a_flat_picture_everywhere() -> None:
    before, after = Geometry.of(426, 240, 3), Geometry.of(426, 240, 2)
    flat = Picture(
        torch.full((1, 1, before.coded_height, before.coded_width), 33.0),
        torch.full((1, 2, before.coded_height // 2, before.coded_width // 2), -7.0),
    )
    got = after.adopt(flat, 3)
    torch.testing.assert_close(got.luma, torch.full_like(got.luma, 33.0))
    torch.testing.assert_close(got.chroma, torch.full_like(got.chroma, -7.0))
    assert after.adopt(flat, 2) is flat
