"""An estimate of the bits of elements that a training step can differentiate.

As the packets code them: in each activity class of the cell and each channel, an element is zero
with some probability, and its magnitude is geometric where it is not. (A Laplace model, which has
one number for both, takes half as many bits again: elements are few, and not small.) It is used in
training only; bits that are reported are those of real packets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from grace_style.activity import CLASSES, EDGES

#: Bounds of the logits, so that no symbol costs more than some 17 bits.
LOGIT_MOST = 12.0
_BITS = 1.4426950408889634  # a nat


class ElementRate(nn.Module):
    """Bits of one kind of elements."""

    edges: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(EDGES, dtype=torch.float32))
        #: Of an element not being zero, and of a magnitude going on.
        self.some = nn.Parameter(torch.full((CLASSES, channels), -4.0))
        self.more = nn.Parameter(torch.full((CLASSES, channels), -1.0))

    def start(self, moments: Tensor) -> None:
        """Both probabilities from what elements are like.

        Args:
            moments: (3, CLASSES, channels), as `moments` gives them, summed.
        """
        count, coded, sums = moments
        some = (coded + 0.5) / (count + 50.0)
        more = (sums - coded + 0.5) / (sums + 1.5)
        with torch.no_grad():
            self.some.copy_(torch.logit(some).clamp(-LOGIT_MOST, LOGIT_MOST))
            self.more.copy_(torch.logit(more).clamp(-LOGIT_MOST, LOGIT_MOST))

    def classes(self, elements: Tensor, cell: int) -> Tensor:
        """Activity classes of cells, (N, rows, columns); as `forward` takes its arguments."""
        magnitude = elements.detach().abs()
        down, across = (-side % cell for side in elements.shape[-2:])
        # Training windows need not be whole cells.
        sums = functional.pad(magnitude.sum(1, keepdim=True), (0, across, 0, down))
        sums = functional.avg_pool2d(sums, cell) * cell**2
        return torch.bucketize(sums.round()[:, 0], self.edges, right=True)

    def moments(self, elements: Tensor, cell: int) -> Tensor:
        """(3, CLASSES, channels): elements, those of them not zero, sums of magnitudes."""
        wide = _spread(self.classes(elements, cell)[:, None].float(), cell, elements)[:, 0].long()
        one_hot = functional.one_hot(wide, CLASSES).float()
        magnitude = elements.detach().abs()
        kinds = torch.stack([torch.ones_like(magnitude), (magnitude > 0).float(), magnitude])
        return torch.einsum("nhwk,snchw->skc", one_hot, kinds)

    def forward(self, elements: Tensor, exact: Tensor, cell: int) -> Tensor:
        """Bits of each picture, (N,).

        The bits are those of the rounded elements; their gradient is taken at the exact ones. At
        the rounded ones a zero would have none, and nothing would hold against an error that wants
        it to grow: elements would creep up to the edge of the dead zone, and then cost their seven
        bits all at once.

        Args:
            elements: (N, channels, h, w), rounded.
            exact: the same before they were rounded, with a gradient.
            cell: positions each way in a cell.
        """
        classes = self.classes(elements, cell)
        some = self.some.clamp(-LOGIT_MOST, LOGIT_MOST)
        more = self.more.clamp(-LOGIT_MOST, LOGIT_MOST)
        zero = functional.softplus(some) * _BITS
        one = (functional.softplus(-some) + functional.softplus(more)) * _BITS + 1  # and a sign
        each = functional.softplus(-more) * _BITS
        table = torch.stack([zero, one - zero, each])  # (3, CLASSES, channels)
        wide = _spread(
            table[:, classes].permute(1, 0, 4, 2, 3).flatten(1, 2), cell, elements
        ).unflatten(1, (3, -1))
        told, slope = _bits(wide, elements.detach().abs()), _bits(wide.detach(), exact.abs())
        bits = (told + (slope - slope.detach())).sum(1)
        busy = _spread((classes > 0).float()[:, None], cell, elements)[:, 0]
        total: Tensor = (bits * busy).sum((1, 2))
        return total


def _bits(models: Tensor, magnitude: Tensor) -> Tensor:
    """Bits of each element: linear between zero and one, and from there on."""
    first, beyond = magnitude.clamp_max(1.0), (magnitude - 1.0).clamp_min(0.0)
    return models[:, 0] + first * models[:, 1] + beyond * models[:, 2]


def _spread(of_cells: Tensor, cell: int, like: Tensor) -> Tensor:
    """What holds for cells, at each of their positions."""
    wide = functional.interpolate(of_cells, scale_factor=cell, mode="nearest")
    return wide[..., : like.shape[-2], : like.shape[-1]]
