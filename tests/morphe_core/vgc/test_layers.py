from __future__ import annotations

import pytest
import torch
from torch import nn

from morphe_core.vgc.layers import Block, Trunk


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def test_a_block_has_the_weights_of_its_three_layers() -> None:
    width = 12
    spatial, widen, narrow = 9 * width + width, 2 * width**2 + 2 * width, 2 * width**2 + width
    assert sum(p.numel() for p in Block(width).parameters()) == spatial + widen + narrow


def test_a_block_sees_its_neighbours_and_no_further() -> None:
    block = Block(4)
    x = torch.randn(1, 4, 7, 9)
    touched = x.clone()
    touched[0, :, 3, 4] += 1
    with torch.no_grad():
        changed = (block(touched) - block(x)).abs().sum(1)[0] > 0
    wanted = torch.zeros(7, 9, dtype=torch.bool)
    wanted[2:5, 3:6] = True
    assert torch.equal(changed, wanted)


def test_a_block_only_adds() -> None:
    block = Block(4)
    nn.init.zeros_(block.narrow.weight)
    x = torch.randn(2, 4, 5, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 4)])
def test_a_trunk_starts_by_adding_nothing(size: tuple[int, int]) -> None:
    trunk = Trunk(6, 8, blocks=2, outputs=3)
    with torch.no_grad():
        added, features = trunk(torch.randn(2, 6, *size))
        assert added.shape == (2, 3, *size)
        assert not added.any()
        assert features.shape == (2, 8, *size)
        assert features.std() > 0.05
        nn.init.normal_(trunk.head.weight)
        assert trunk(torch.randn(2, 6, *size))[0].any()


def test_half_precision_changes_little_and_gives_float32() -> None:
    trunk = Trunk(6, 16, blocks=2, outputs=3)
    nn.init.normal_(trunk.head.weight)
    x = torch.randn(1, 6, 8, 8)
    with torch.no_grad():
        full = trunk(x)
        trunk.reduced = True
        half = trunk(x)
    for exact, rounded in zip(full, half, strict=True):
        assert rounded.dtype == torch.float32
        difference = (exact - rounded).std() / exact.std()
        assert 0 < difference < 0.03
