"""Motion estimation at the encoder: dense flow, made cheap to send.

OpenCV's DIS gives a dense field; a cell takes the mean of its own, of its smoothed surroundings,
the motion of the cell before it in the row, or none at all: whichever predicts best once the bits
that the choice costs are paid for.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from morphe_core.vgc.quantiser import LAGRANGIAN
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
_CELL = (TOKEN_SIDE, TOKEN_SIDE * MOTION_COLS)


def motion_price(step: float) -> float:
    """Squared error at a knot that one bit of motion is worth, beside P tokens of this step.

    A quarter of what it is worth elsewhere, as a cell's error at a knot stands for that of four
    pictures.
    """
    return LAGRANGIAN * step * step / 4


def estimate_motion(luma: npt.NDArray[np.uint8], grid: Grid, *, price: float) -> Tokens:
    """The motion field of a GoP.

    Args:
        luma: (9, H, W) uint8, coded pictures.
        grid: their token grid.
        price: squared error that one bit is worth; see `motion_price`.

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
    """Per cell the candidate with the least cost, (rows, cells, 2).

    What a vector costs depends on the one before it in the row, so the choice goes along the rows.
    The error of the vector before, which no picture was predicted with, comes from the texture of
    the cell: a displacement d adds d' G d, with G the sum of the gradients' outer products.
    """
    own = _steps(_mean(flow, shape))
    candidates = np.stack([own, _smoothed(own), np.zeros_like(own)])
    errors = np.stack([_error(target, reference, field, shape) for field in candidates])
    texture, most = _texture(target, shape)
    picked = np.empty_like(own)
    before = np.zeros_like(own[:, 0])
    for cell in range(shape[1]):
        away = (before - own[:, cell]).astype(np.float32) / MOTION_STEPS_PER_PIXEL
        added = np.einsum("ra,rab,rb->r", away, texture[:, cell], away)
        follow = errors[0, :, cell] + np.minimum(added, most[:, cell])
        vectors = np.concatenate([candidates[:, :, cell], before[None]])
        costs = np.concatenate([errors[:, :, cell], follow[None]])
        costs += price * _bits(vectors - before)
        best = costs.argmin(axis=0)
        before = vectors[best, np.arange(len(best))]
        picked[:, cell] = before
    return picked


def _texture(
    luma: npt.NDArray[np.uint8], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Per cell the gradients' outer products (rows, cells, 2, 2), and the most a vector can cost.

    Two unrelated pictures of the same texture differ by twice its variance.
    """
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    crossed = across * down
    sums = [_sum(plane, shape) for plane in (across * across, crossed, down * down)]
    tensor = np.stack([sums[0], sums[1], sums[1], sums[2]], axis=-1).reshape(*shape, 2, 2)
    pixels = luma.astype(np.float32)
    mean = _sum(pixels, shape)
    most = 2 * (_sum(pixels * pixels, shape) - mean * mean / (_CELL[0] * _CELL[1]))
    return tensor.astype(np.float32), most.astype(np.float32)


def _sum(plane: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Sum over the pixels of each cell."""
    cells = plane.reshape(shape[0], _CELL[0], shape[1], _CELL[1])
    summed: npt.NDArray[np.float32] = cells.sum(axis=(1, 3))
    return summed


def _bits(change: Tokens) -> npt.NDArray[np.float32]:
    """About what a vector costs that differs by `change` from the one before: (..., 2) to (...)."""
    size = np.log2(1 + np.abs(change.astype(np.float32)))
    bits: npt.NDArray[np.float32] = (2 * size + (change != 0)).sum(axis=-1)
    return bits


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
    return _sum(difference * difference, shape)
