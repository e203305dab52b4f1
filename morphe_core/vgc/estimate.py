"""Motion estimation at the encoder: dense flow, made cheap to send.

OpenCV's DIS gives a dense field; a cell takes the mean of its own, of its smoothed surroundings,
the motion of the cell before it in the row, or none at all: whichever predicts best once the bits
that the choice costs are paid for.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from morphe_core.vgc.tokens import (
    MOTION_CHANNELS,
    MOTION_COLS,
    MOTION_MAX,
    MOTION_STEPS_PER_PIXEL,
    TOKEN_SIDE,
    Grid,
    Tokens,
)

#: Pictures of the GoP (0 = I) whose motion is estimated.
_AT = (4, 8)
#: Bits for a cell whose motion differs from that of the cell before it, beyond none. Measured on
#: fields of training clips with the shipped tables, to a bit or so.
_BITS_NEW = 7.0
_CELL = (TOKEN_SIDE, TOKEN_SIDE * MOTION_COLS)


def estimate_motion(luma: npt.NDArray[np.uint8], grid: Grid, *, price: float) -> Tokens:
    """The motion field of a GoP.

    Args:
        luma: (9, H, W) uint8, coded pictures.
        grid: their token grid.
        price: squared error that one bit is worth (Lagrangian times squared step).

    Returns:
        (rows, cols // 2, 4) int16 in motion steps.
    """
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    shape = (grid.rows, grid.cols // MOTION_COLS)
    field = np.zeros((*shape, MOTION_CHANNELS), np.int16)
    if min(luma.shape[1:]) < 32:
        return field  # smaller than the estimator's patches allow
    flow = None
    for knot, at in enumerate(_AT):
        start = None if flow is None else (flow * 2).astype(np.float32)
        flow = estimator.calc(luma[at], luma[0], start)
        chosen = _choose(luma[at], luma[0], flow, shape, price)
        field[..., 2 * knot : 2 * knot + 2] = chosen
    return field


def _choose(
    target: npt.NDArray[np.uint8],
    reference: npt.NDArray[np.uint8],
    flow: npt.NDArray[np.float32],
    shape: tuple[int, int],
    price: float,
) -> Tokens:
    """Per cell the candidate with the least cost, (rows, cells, 2)."""
    own = _steps(_mean(flow, shape))
    calm = _smoothed(own)
    none = np.zeros_like(own)
    errors = [_error(target, reference, field, shape) for field in (none, calm, own)]
    costs = np.stack([errors[0], errors[1] + price * _BITS_NEW / 2, errors[2] + price * _BITS_NEW])
    choice = costs.argmin(axis=0)[..., None]
    picked = np.where(choice == 0, none, np.where(choice == 1, calm, own))
    # A cell may also follow its left neighbour, which is nearly free.
    left = np.concatenate([picked[:, :1], picked[:, :-1]], axis=1)
    follow = _error(target, reference, left, shape) < costs.min(axis=0)
    return np.where(follow[..., None], left, picked).astype(np.int16)


def _mean(flow: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    rows, cells = shape
    blocks = flow.reshape(rows, _CELL[0], cells, _CELL[1], 2)
    mean: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3)).astype(np.float32)
    return mean


def _steps(field: npt.NDArray[np.float32]) -> Tokens:
    steps = np.rint(field * MOTION_STEPS_PER_PIXEL)
    return np.clip(steps, -MOTION_MAX, MOTION_MAX).astype(np.int16)


def _smoothed(field: Tokens) -> Tokens:
    """Median and mean of the 3x3 cells around each."""
    planes = []
    for axis in range(2):
        median = cv2.medianBlur(np.ascontiguousarray(field[..., axis]), 3)
        planes.append(cv2.blur(median.astype(np.float32), (3, 3)))
    smoothed: Tokens = np.rint(np.stack(planes, axis=-1)).astype(np.int16)
    return smoothed


def _error(
    target: npt.NDArray[np.uint8],
    reference: npt.NDArray[np.uint8],
    field: Tokens,
    shape: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Squared luma error of each cell when predicted along `field`."""
    height, width = target.shape
    dense = cv2.resize(
        field.astype(np.float32) / MOTION_STEPS_PER_PIXEL, (width, height),
        interpolation=cv2.INTER_LINEAR,
    )  # fmt: skip
    dense[..., 0] += np.arange(width, dtype=np.float32)
    dense[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.remap(reference, dense, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.absdiff(moved, target).astype(np.float32)
    cells = (difference * difference).reshape(shape[0], _CELL[0], shape[1], _CELL[1])
    summed: npt.NDArray[np.float32] = cells.sum(axis=(1, 3))
    return summed
