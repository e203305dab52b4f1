"""Motion estimation at the encoder: dense flow, made cheap to send.

OpenCV's DIS gives dense fields. What the whole picture does is the camera's: the median over the
picture. Beyond it a cell takes at each knot the mean of its own flow, the straight way between the
knots that are known, or the motion of the cell before it in the row (where there is no such way
yet, also the mean of its smoothed surroundings): whichever predicts best once the bits that the
choice costs are paid for.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from morphe_core.vgc.motion_coding import ORDER, lead_of
from morphe_core.vgc.quantiser import LAGRANGIAN
from morphe_core.vgc.tokens import (
    CAMERA_AT,
    CAMERA_SHAPE,
    KNOTS,
    MOTION_CHANNELS,
    MOTION_COLS,
    MOTION_MAX,
    MOTION_STEPS_PER_PIXEL,
    TOKEN_SIDE,
    Grid,
    Tokens,
)

Luma = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]

_CELL = (TOKEN_SIDE, TOKEN_SIDE * MOTION_COLS)
#: Distance of the estimator's patches, and its steps, at the knots. OpenCV's "medium" preset has 3,
#: 25 and 5; these took 60 per cent of its time and predicted up to 0.4 dB worse (two clips of
#: eight by more than 0.1) at half of the size of the development clips.
_PATCH_STRIDE, _GRADIENT_STEPS, _REFINEMENTS = 4, 12, 3
#: The camera is looked for in pictures this much smaller, at every so many pixels of these.
_CAMERA_SHRINK, _CAMERA_STRIDE = 2, 4
#: Pictures that a knot stands for.
_PER_KNOT = 2


class Motion(NamedTuple):
    """Motion of a GoP, in motion steps.

    Attributes:
        cells: (rows, cols // 2, 8) int16, beyond the camera's.
        camera: (9, 2) int16.
    """

    cells: Tokens
    camera: Tokens

    @classmethod
    def none(cls, grid: Grid) -> Motion:
        """Nothing moves."""
        cells = np.zeros((grid.rows, grid.cols // MOTION_COLS, MOTION_CHANNELS), np.int16)
        return cls(cells, np.zeros(CAMERA_SHAPE, np.int16))


def motion_price(step: float) -> float:
    """Squared error at a knot that one bit of motion is worth, beside P tokens of this step.

    Less than what it is worth elsewhere, as a cell's error at a knot stands for that of two
    pictures.
    """
    return LAGRANGIAN * step * step / _PER_KNOT


def estimate_motion(luma: Luma, grid: Grid, *, price: float, before: Luma | None = None) -> Motion:
    """The motion of a GoP.

    Args:
        luma: (9, H, W) uint8, coded pictures.
        grid: their token grid.
        price: squared error that one bit is worth; see `motion_price`.
        before: (H, W), the picture before the GoP; None at a start.
    """
    motion = Motion.none(grid)
    if min(luma.shape[1:]) < 64:
        return motion  # smaller than the estimator's patches allow
    rough = _rough_flow(luma, before)
    _set_camera(motion.camera, rough)
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setPatchStride(_PATCH_STRIDE)
    estimator.setGradientDescentIterations(_GRADIENT_STEPS)
    estimator.setVariationalRefinementIterations(_REFINEMENTS)
    shape = motion.cells.shape[:2]
    knots = motion.cells.reshape(*shape, len(KNOTS), 2)
    for number, knot in enumerate(ORDER):
        time = KNOTS[knot]
        start = cv2.resize(rough[time], luma.shape[:0:-1]) * np.float32(_CAMERA_SHRINK)
        flow = estimator.calc(luma[time], luma[0], start)
        camera = motion.camera[CAMERA_AT.index(time)]
        own = _steps(_mean(flow, shape), camera)
        lead = lead_of(number, knots).astype(np.int16)
        knots[..., knot, :] = _choose(luma[time], luma[0], own, lead, camera, price)
    return motion


def _rough_flow(luma: Luma, before: Luma | None) -> dict[int, Flow]:
    """Flow of each picture of `CAMERA_AT` to the first one, at a smaller size, in its pixels."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    small = [_halved(picture) for picture in luma]
    flows = {}
    flow = None
    for time in CAMERA_AT[1:]:
        flow = estimator.calc(small[time], small[0], None if flow is None else flow.copy())
        flows[time] = flow
    if before is not None:
        # Of the first picture to the one before: backward, as the other way round would be.
        flows[-1] = estimator.calc(small[0], _halved(before), None)
    return flows


def _halved(picture: Luma) -> Luma:
    size = (picture.shape[1] // _CAMERA_SHRINK, picture.shape[0] // _CAMERA_SHRINK)
    smaller: Luma = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return smaller


def _set_camera(camera: Tokens, rough: dict[int, Flow]) -> None:
    """The median of the flow at each picture, in motion steps."""
    for number, time in enumerate(CAMERA_AT):
        if time in rough:
            some = rough[time][::_CAMERA_STRIDE, ::_CAMERA_STRIDE].reshape(-1, 2)
            median = np.median(some, axis=0) * (_CAMERA_SHRINK * MOTION_STEPS_PER_PIXEL)
            camera[number] = np.clip(np.rint(median), -MOTION_MAX, MOTION_MAX)
    if -1 not in rough:
        camera[CAMERA_AT.index(-1)] = camera[CAMERA_AT.index(1)]


def _choose(
    target: Luma, reference: Luma, own: Tokens, lead: Tokens, camera: Tokens, price: float
) -> Tokens:
    """Per cell the candidate with the least cost, (rows, cells, 2).

    What a vector costs depends on the one before it in the row, so the choice goes along the rows.
    The error of the vector before, which no picture was predicted with, comes from the texture of
    the cell: a displacement d adds d' G d, with G the sum of the gradients' outer products.
    """
    candidates = np.stack([own, lead] if lead.any() else [own, lead, _smoothed(own)])
    errors = np.stack([_error(target, reference, field, camera) for field in candidates])
    texture, most = _texture(target, own.shape[:2])
    picked = np.empty_like(own)
    before = np.zeros_like(own[:, 0])
    for cell in range(own.shape[1]):
        away = (before - own[:, cell]).astype(np.float32) / MOTION_STEPS_PER_PIXEL
        added = np.einsum("ra,rab,rb->r", away, texture[:, cell], away)
        follow = errors[0, :, cell] + np.minimum(added, most[:, cell])
        vectors = np.concatenate([candidates[:, :, cell], before[None]])
        costs = np.concatenate([errors[:, :, cell], follow[None]])
        costs += price * _bits(vectors, before, lead[:, cell])
        best = costs.argmin(axis=0)
        before = vectors[best, np.arange(len(best))]
        picked[:, cell] = before
    return picked


def _texture(luma: Luma, shape: tuple[int, int]) -> tuple[Flow, Flow]:
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


def _sum(plane: Flow, shape: tuple[int, int]) -> Flow:
    """Sum over the pixels of each cell."""
    cells = plane.reshape(shape[0], _CELL[0], shape[1], _CELL[1])
    summed: Flow = cells.sum(axis=(1, 3))
    return summed


def _bits(vectors: Tokens, before: Tokens, lead: Tokens) -> Flow:
    """About what vectors cost after the one `before` and with this lead: (..., 2) to (...)."""
    new = np.minimum(_length(vectors - before), _length(vectors - lead)) + 3
    straight = (vectors == lead).all(axis=-1)
    same = (vectors == before).all(axis=-1)
    bits: Flow = np.where(same, 0.5, np.where(straight, 1.5, new)).astype(np.float32)
    return bits


def _length(change: Tokens) -> Flow:
    """About the bits of a difference of vectors."""
    bits: Flow = (2 * np.log2(1 + np.abs(change.astype(np.float32)))).sum(axis=-1)
    return bits


def _mean(flow: Flow, shape: tuple[int, int]) -> Flow:
    rows, cells = shape
    blocks = flow.reshape(rows, _CELL[0], cells, _CELL[1], 2)
    mean: Flow = blocks.mean(axis=(1, 3)).astype(np.float32)
    return mean


def _steps(field: Flow, camera: Tokens) -> Tokens:
    steps = np.rint(field * MOTION_STEPS_PER_PIXEL) - camera
    return np.clip(steps, -MOTION_MAX, MOTION_MAX).astype(np.int16)


def _smoothed(field: Tokens) -> Tokens:
    """Median and mean of the 3x3 cells around each."""
    planes = []
    for axis in range(2):
        median = cv2.medianBlur(np.ascontiguousarray(field[..., axis]), 3)
        planes.append(cv2.blur(median.astype(np.float32), (3, 3)))
    smoothed: Tokens = np.rint(np.stack(planes, axis=-1)).astype(np.int16)
    return smoothed


def _error(target: Luma, reference: Luma, field: Tokens, camera: Tokens) -> Flow:
    """Squared luma error of each cell when predicted along `field` beyond the camera's motion."""
    height, width = target.shape
    dense = cv2.resize(
        (field + camera).astype(np.float32) / MOTION_STEPS_PER_PIXEL, (width, height),
        interpolation=cv2.INTER_LINEAR,
    )  # fmt: skip
    dense[..., 0] += np.arange(width, dtype=np.float32)
    dense[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.remap(reference, dense, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.absdiff(moved, target).astype(np.float32)
    return _sum(difference * difference, field.shape[:2])
