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

    def start(self, sums: Tensor, counts: Tensor) -> None:
        """Widths from what elements are like, in closed form.

        Args:
            sums: (CLASSES, channels), of magnitudes.
            counts: (CLASSES, channels), of elements.
        """
        log_width = torch.linspace(LOG_WIDTH_LEAST, LOG_WIDTH_MOST, 400, dtype=torch.float64)
        width = log_width.exp()
        mean = torch.exp(-0.5 / width) / (1 - torch.exp(-1 / width))  # rises with the width
        seen = (sums.double() + 1e-3) / (counts.double() + 1.0)
        at = torch.searchsorted(mean, seen.contiguous()).clamp_max(len(mean) - 1)
        with torch.no_grad():
            self.log_width.copy_(log_width[at].float())

    def classes(self, elements: Tensor, cell: int) -> Tensor:
        """Activity classes of cells, (N, rows, columns); as `forward` takes its arguments."""
        magnitude = elements.detach().abs()
        down, across = (-side % cell for side in elements.shape[-2:])
        # Training windows need not be whole cells.
        sums = functional.pad(magnitude.sum(1, keepdim=True), (0, across, 0, down))
        sums = functional.avg_pool2d(sums, cell) * cell**2
        return torch.bucketize(sums.round()[:, 0], self.edges, right=True)

    def moments(self, elements: Tensor, cell: int) -> tuple[Tensor, Tensor]:
        """Sums of magnitudes and counts of elements, (CLASSES, channels) each, for `start`."""
        wide = _spread(self.classes(elements, cell)[:, None].float(), cell, elements)[:, 0].long()
        one_hot = functional.one_hot(wide, CLASSES).float()
        sums = torch.einsum("nhwk,nchw->kc", one_hot, elements.detach().abs())
        counts = one_hot.sum((0, 1, 2))[:, None].expand_as(sums)
        return sums, counts

    def forward(self, elements: Tensor, cell: int) -> Tensor:
        """Bits of each picture, (N,).

        Args:
            elements: (N, channels, h, w), rounded (with a gradient).
            cell: positions each way in a cell.
        """
        magnitude = elements.abs()
        classes = self.classes(elements, cell)
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
