"""What stands in for lost rows when there is no earlier picture to take them from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import TOKEN_SIDE, Mask


def fill_rows_from_neighbours(picture: Picture, known: Mask) -> Picture:
    """Token rows that are not known, interpolated between the edges of the nearest known ones.

    Args:
        picture: (1, C, H, W) planes; unknown rows hold anything.
        known: (rows,) bool; with none known the picture comes back as it is.
    """
    if known.all() or not known.any():
        return picture
    return Picture(
        _filled(picture.luma, known, TOKEN_SIDE), _filled(picture.chroma, known, TOKEN_SIDE // 2)
    )


def _filled(plane: Tensor, known: Mask, side: int) -> Tensor:
    height = plane.shape[-2]
    have = np.flatnonzero(np.repeat(known, side)[:height])
    lines = np.arange(height)
    last = len(have) - 1
    above = have[np.clip(np.searchsorted(have, lines, side="right") - 1, 0, last)]
    below = have[np.clip(np.searchsorted(have, lines), 0, last)]
    share = np.clip((lines - above) / np.maximum(below - above, 1), 0, 1).astype(np.float32)
    weight = torch.from_numpy(share).to(plane.device)[:, None]
    upper = plane[..., torch.from_numpy(above).to(plane.device), :]
    lower = plane[..., torch.from_numpy(below).to(plane.device), :]
    return upper * (1 - weight) + lower * weight
