"""The map from elements to packets: reversible, even, and spread over the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grace_style.mapping import elements, multiplier, places, shares

SHAPES = [(32, 6, 10), (32, 12, 20), (128, 24, 40), (128, 48, 80), (16, 3, 5)]


@given(st.integers(1, 3000), st.integers(1, 60))
def test_places_are_a_permutation_and_elements_invert_it(length: int, stride: int) -> None:
    order = places(length, (1, stride))
    assert sorted(order.tolist()) == list(range(length))
    assert elements(order, length, (1, stride)).tolist() == list(range(length))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packets", [1, 2, 3, 4, 7, 20])
def test_packets_share_the_elements_equally(shape: tuple[int, int, int], packets: int) -> None:
    parts = shares(shape, packets)
    joined = np.concatenate(parts)
    assert sorted(joined.tolist()) == list(range(int(np.prod(shape))))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("packets", [2, 3, 4, 5])
def test_a_lost_packet_is_a_share_of_every_channel_and_of_every_part_of_the_picture(
    shape: tuple[int, int, int], packets: int
) -> None:
    for part in shares(shape, packets):
        lost = np.zeros(int(np.prod(shape)))
        lost[part] = 1
        lost = lost.reshape(shape)
        assert np.abs(lost.mean(axis=(1, 2)) - 1 / packets).max() < 0.1
        rows, cols = shape[1] // 3, shape[2] // 5
        blocks = lost[:, : rows * 3, : cols * 5].reshape(shape[0], 3, rows, 5, cols)
        assert np.abs(blocks.mean(axis=(0, 2, 4)) - 1 / packets).max() < 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbours_are_far_apart_in_the_order(shape: tuple[int, int, int]) -> None:
    length = int(np.prod(shape))
    strides = (1, shape[2], shape[1] * shape[2])
    prime = multiplier(length, strides)
    for stride in strides:
        share = prime * stride % length / length
        assert min(share, 1 - share) > 0.1
