"""The closed-form start: Karhunen-Loeve transforms of training windows.

It is already a codec, deterministic and made in seconds, and worth some three decibels over a
random start after the first minutes of training.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Covariance:
    """Second moments of vectors, gathered batch by batch."""

    def __init__(self, size: int) -> None:
        self._sum = torch.zeros(size, size, dtype=torch.float64)
        self._count = 0

    def add(self, values: Tensor) -> None:
        """Add the vectors of (N, size, h, w).

        Args:
            values: their mean is taken to be zero.
        """
        rows = values.permute(0, 2, 3, 1).reshape(-1, values.shape[1]).double()
        self._sum += rows.T @ rows
        self._count += len(rows)

    def basis(self, channels: int) -> Tensor:
        """The `channels` strongest directions as orthonormal rows, (channels, size) float32.

        The sign is fixed (the largest entry of a row is positive): eigenvectors have none.
        """
        _, vectors = torch.linalg.eigh(self._sum / max(1, self._count))
        rows = vectors.flip(1).T[:channels]
        largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
        basis: Tensor = (rows * largest.sign()).float().contiguous()
        return basis
