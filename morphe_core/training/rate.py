"""An estimate of the bits of token values that a training step can differentiate.

A Laplace model whose width follows what the real entropy coder's contexts know: the step, the
magnitudes of the token's own first channels and of its neighbours in the row. It is used in
training only; bits that are reported are those of real units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: The first channels of a token, which the later ones may lean on.
LEADING = 8
#: Probability below which the gradient of the logarithm is of no use.
FLOOR = 1e-7
#: Largest magnitude of the logarithm of a width: 0.001 to 1000 steps.
LOG_WIDTH_MOST = math.log(1e3)


class RateModel(nn.Module):
    """Bits of one token matrix."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        start = torch.linspace(1.0, -2.0, channels)
        self.bias = nn.Parameter(start[:, None, None].clone())
        self.by_step = nn.Parameter(torch.zeros(channels, 1, 1))
        self.by_neighbours = nn.Parameter(torch.full((channels, 1, 1), 0.5))
        self.by_leading = nn.Parameter(torch.full((channels, 1, 1), 0.3))

    def forward(self, scaled: Tensor, step: Tensor, sent: Tensor) -> Tensor:
        """Bits per token place.

        Args:
            scaled: (N, channels, h, w), token values in steps, as rounded.
            step: (N, 1, 1, 1).
            sent: (N, 1, h, w); holes cost nothing.

        Returns:
            (N, 1, h, w).
        """
        known = (scaled * sent).detach().abs()
        mean = known.mean(dim=1, keepdim=True)
        around = nn.functional.avg_pool2d(mean, (1, 3), stride=1, padding=(0, 1)) * 3 - mean
        leading = known[:, :LEADING].mean(dim=1, keepdim=True).repeat(1, scaled.shape[1], 1, 1)
        leading[:, :LEADING] = around
        log_width = (
            self.bias
            + self.by_step * step.log2()
            + self.by_neighbours * torch.log(around + 0.02)
            + self.by_leading * torch.log(leading + 0.05)
        )
        # Clamped before: an exponential that overflows has no gradient, not even one of zero.
        width = torch.exp(log_width.clamp(-LOG_WIDTH_MOST, LOG_WIDTH_MOST))
        magnitude = scaled.abs()
        inside = 1 - torch.exp(-0.5 / width)
        # Clamped: the branch that is not taken must stay finite, or its gradient is not a number.
        beyond = (magnitude - 0.5).clamp_min(0)
        outside = 0.5 * torch.exp(-beyond / width) * (1 - torch.exp(-1 / width))
        # Between 0 and 1 the two branches meet smoothly enough for a gradient.
        zero = magnitude < 0.5
        probability = torch.where(zero, inside, outside)
        bits = -torch.log2(probability.clamp_min(FLOOR))
        return (bits.sum(dim=1, keepdim=True)) * sent
