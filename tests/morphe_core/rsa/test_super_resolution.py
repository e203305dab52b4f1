from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from morphe_core.rsa.super_resolution import SCALES, SuperResolution, enlarge, interpolate
from morphe_core.vgc import bitstream
from morphe_core.vgc.pictures import Picture

ROWS, COLS, FEATURES = 4, 4, 8


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(6)


def network(scale: int) -> SuperResolution:
    return SuperResolution(scale, width=8, blocks=1, features=FEATURES).requires_grad_(False)


def picture(count: int = 2) -> Picture:
    values = np.random.default_rng(1).normal(size=(count, 1, ROWS * 8, COLS * 8))
    luma = 200 * gaussian_filter(values, (0, 0, 1, 1))
    return Picture(
        torch.from_numpy(luma.astype(np.float32)), torch.randn(count, 2, ROWS * 4, COLS * 4)
    )


def features(count: int = 2) -> torch.Tensor:
    return torch.randn(count, FEATURES, ROWS, COLS)


def test_the_bitstream_names_the_same_factors() -> None:
    assert SCALES == bitstream.SCALES


@pytest.mark.parametrize("scale", [2, 3])
def test_interpolation_is_opencvs_bicubic(scale: int) -> None:
    luma = picture().luma
    got = interpolate(luma, scale)
    for number in range(2):
        wanted = cv2.resize(
            luma[number, 0].numpy(), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
        )
        np.testing.assert_allclose(got[number, 0], wanted, atol=0.01)


def test_a_factor_of_one_interpolates_nothing() -> None:
    luma = picture().luma
    assert interpolate(luma, 1) is luma


@pytest.mark.parametrize("scale", SCALES)
def test_it_starts_by_adding_nothing(scale: int) -> None:
    shown, seen = picture(), features()
    added = network(scale)(shown, seen)
    assert added.shape == (2, 1, ROWS * 8 * scale, COLS * 8 * scale)
    assert not added.any()
    got = enlarge(network(scale), shown, seen)
    assert torch.equal(got, interpolate(shown.luma, scale))


@pytest.mark.parametrize("scale", SCALES)
def test_it_leans_on_pictures_chroma_and_features(scale: int) -> None:
    grown = network(scale)
    nn.init.normal_(grown.head.weight)
    shown, seen = picture(), features()
    added = grown(shown, seen)
    assert added.shape == (2, 1, ROWS * 8 * scale, COLS * 8 * scale)
    torch.testing.assert_close(enlarge(grown, shown, seen), interpolate(shown.luma, scale) + added)
    assert not torch.equal(grown(Picture(shown.luma + 1, shown.chroma), seen), added)
    assert not torch.equal(grown(Picture(shown.luma, shown.chroma + 1), seen), added)
    assert not torch.equal(grown(shown, seen + 1), added)


def test_a_token_is_enlarged_where_it_lies() -> None:
    grown = network(3)
    nn.init.normal_(grown.head.weight)
    shown, seen = picture(1), features(1)
    other = seen.clone()
    other[..., 0, 0] += 1
    changed = (grown(shown, seen) - grown(shown, other))[0, 0] != 0
    # One block of 3x3 convolution: the token and its neighbours, 24 pixels each.
    assert changed[:48, :48].any(dim=1).all()
    changed[:48, :48] = False
    assert not changed.any()


def test_half_precision_changes_little() -> None:
    grown = network(2)
    nn.init.normal_(grown.head.weight)
    shown, seen = picture(), features()
    exact = grown(shown, seen)
    grown.reduced = True
    rounded = grown(shown, seen)
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).std() / exact.std() < 0.03
