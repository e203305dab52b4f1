"""An estimate of the bits of elements that a training step can differentiate.

As the packets code them: a Laplace model whose width is learned for each activity class of the cell
and each channel. It is used in training only; bits that are reported are those of real packets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from grace_style.activity import CLASSES, EDGES

#: Probability below which the gradient of the logarithm is of no use.
FLOOR = 1e-7
LOG_WIDTH_LEAST, LOG_WIDTH_MOST = math.log(0.02), math.log(300.0)


class ElementRate(nn.Module):
    """Bits of one kind of elements."""

    edges: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(EDGES, dtype=torch.float32))
        by_class = torch.linspace(-3.0, 1.0, CLASSES)[:, None]
        by_channel = torch.linspace(1.0, -1.5, channels)[None, :]
        self.log_width = nn.Parameter(by_class + by_channel)

    def forward(self, elements: Tensor, cell: int) -> Tensor:
        """Bits of each picture, (N,).

        Args:
            elements: (N, channels, h, w), rounded (with a gradient).
            cell: positions each way in a cell.
        """
        magnitude = elements.abs()
        down, across = (-side % cell for side in elements.shape[-2:])
        # Training windows need not be whole cells.
        sums = functional.pad(magnitude.detach().sum(1, keepdim=True), (0, across, 0, down))
        sums = functional.avg_pool2d(sums, cell) * cell**2
        classes = torch.bucketize(sums.round()[:, 0], self.edges, right=True)  # (N, rows, cols)
        log_width = self.log_width.clamp(LOG_WIDTH_LEAST, LOG_WIDTH_MOST)
        width = _spread(log_width.exp()[classes].permute(0, 3, 1, 2), cell, elements)
        inside = 1 - torch.exp(-0.5 / width)
        beyond = (magnitude - 0.5).clamp_min(0)
        outside = 0.5 * torch.exp(-beyond / width) * (1 - torch.exp(-1 / width))
        probability = torch.where(magnitude < 0.5, inside, outside)
        bits = -torch.log2(probability.clamp_min(FLOOR)).sum(1)
        busy = _spread((classes > 0).float()[:, None], cell, elements)[:, 0]
        total: Tensor = (bits * busy).sum((1, 2))
        return total


def _spread(of_cells: Tensor, cell: int, like: Tensor) -> Tensor:
    """What holds for cells, at each of their positions."""
    wide = functional.interpolate(of_cells, scale_factor=cell, mode="nearest")
    return wide[..., : like.shape[-2], : like.shape[-1]]
