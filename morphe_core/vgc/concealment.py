"""What stands in for lost rows: their motion, and pictures that no earlier one tells of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import TOKEN_SIDE, Mask, Tokens


def fill_motion(motion: Tokens, known: Mask) -> Tokens:
    """Motion rows that are not known: the mean of the nearest known ones above and below.

    Args:
        motion: (rows, cells, channels) int16; unknown rows hold anything.
        known: (rows,) bool; with none known the field comes back as it is.
    """
    if known.all() or not known.any():
        return motion
    above, below = _nearest(known)
    mean = (motion[above].astype(np.float32) + motion[below]) / 2
    filled: Tokens = np.rint(mean).astype(np.int16)
    return filled


def fill_from_neighbours(picture: Picture, known: Mask) -> Picture:
    """Tokens that are not known, interpolated from the edges of the nearest known ones.

    First along the rows of which something is known, then whole rows from those above and below.

    Args:
        picture: (1, C, H, W) planes; places that are not known hold anything.
        known: (rows, cols) bool; with none known the picture comes back as it is.
    """
    along = Picture(
        _filled_along(picture.luma, known, TOKEN_SIDE),
        _filled_along(picture.chroma, known, TOKEN_SIDE // 2),
    )
    return fill_rows_from_neighbours(along, np.asarray(known.any(axis=1), np.bool_))


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
    above, below = _nearest(np.repeat(known, side)[:height])
    lines = np.arange(height)
    share = np.clip((lines - above) / np.maximum(below - above, 1), 0, 1).astype(np.float32)
    weight = torch.from_numpy(share).to(plane.device)[:, None]
    upper = plane[..., torch.from_numpy(above).to(plane.device), :]
    lower = plane[..., torch.from_numpy(below).to(plane.device), :]
    return upper * (1 - weight) + lower * weight


def _filled_along(plane: Tensor, known: Mask, side: int) -> Tensor:
    width = plane.shape[-1]
    places = np.arange(width)
    left, right = np.tile(places, (len(known), 1)), np.tile(places, (len(known), 1))
    for row in np.flatnonzero(known.any(axis=1) & ~known.all(axis=1)):
        left[row], right[row] = _nearest(np.repeat(known[row], side)[:width])
    share = np.clip((places - left) / np.maximum(right - left, 1), 0, 1).astype(np.float32)
    if not share.any() and (left == places).all():
        return plane  # every row is known whole or not at all

    def spread(values: npt.NDArray[np.generic]) -> Tensor:
        lines = torch.from_numpy(values.repeat(side, axis=0)[: plane.shape[-2]])
        return lines.to(plane.device).expand(plane.shape)

    weight = spread(share)
    return plane.gather(-1, spread(left)) * (1 - weight) + plane.gather(-1, spread(right)) * weight


def _nearest(known: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each place the nearest known one at or above it, and at or below it.

    Where there is none on one side, the other side's; a known place is its own. At least one is
    known.
    """
    have = np.flatnonzero(known)
    places, last = np.arange(len(known)), len(have) - 1
    above = have[np.clip(np.searchsorted(have, places, side="right") - 1, 0, last)]
    below = have[np.clip(np.searchsorted(have, places), 0, last)]
    return above, below
