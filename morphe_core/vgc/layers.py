"""Layers of the small tokenizer: everything runs at an eighth of the coded size."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Residual block: depthwise 3x3, then a 1x1 feed-forward of twice the width."""

    def __init__(self, width: int, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.widen = nn.Conv2d(width, width * expansion, 1)
        self.narrow = nn.Conv2d(width * expansion, width, 1)
        assert self.narrow.bias is not None
        nn.init.zeros_(self.narrow.bias)
        with torch.no_grad():
            self.narrow.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) to the same."""
        result: Tensor = x + self.narrow(nn.functional.gelu(self.widen(self.spatial(x))))
        return result


class Trunk(nn.Module):
    """Projection, blocks, and a head that starts at zero: what a linear codec lacks."""

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, outputs, 1)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        #: Run in bfloat16; what comes out is float32 again, and pixels never pass through it.
        self.reduced = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, inputs, h, w) to (N, outputs, h, w) and the features (N, width, h, w)."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.reduced):
            features = self.blocks(self.enter(x))
            added = self.head(features)
        return added.float(), features.float()
