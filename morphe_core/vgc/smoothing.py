"""Temporal smoothing at GoP boundaries, at the receiver (paper, section 4.2, Eq. 2).

The first pictures of a GoP are blended with the last ones of the GoP before. As these show different
instants, plain blending leaves ghosts where something moves; the gate confines it to places where
the two pictures are nearly the same, which is where a step in brightness or texture is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from morphe_core.errors import CodecConfigError

Packed = npt.NDArray[np.uint8]
#: Side of the blocks in which the gate decides, in luma pixels: a macroblock.
BLOCK = 16
#: Mean absolute luma difference of a block up to which all, and from which nothing is blended.
#: Coding noise at low rates is about 3; a moving edge is 10 and more.
STILL, MOVING = 4.0, 9.0
#: Mean absolute luma difference of whole pictures from which the boundary is a cut.
CUT = 24.0


def smooth_boundary(
    before: Sequence[Packed], pictures: Sequence[Packed], *, frames: int, width: int, height: int,
    gate: bool = True,
) -> list[Packed]:  # fmt: skip
    """The pictures of a GoP, the first `frames` of them blended with the end of the GoP before.

    Args:
        before: at least the last `frames` pictures of the GoP before (fewer: the first of them
            stands for the missing), packed yuv420p.
        pictures: the GoP.
        frames: n of Eq. 2, 0 or more; picture i (from 1) keeps (n - i) / n of the one before, so
            the n-th is left as it is.
        width: luma width.
        height: luma height.
        gate: blend only where the two pictures are nearly equal, and never across a cut.

    Raises:
        CodecConfigError: `frames` is negative or more than the pictures, or there is none before.
    """
    if not 0 <= frames <= len(pictures) or (frames and not before):
        raise CodecConfigError(
            f"smoothing over {frames} pictures: there are {len(before)} before and "
            f"{len(pictures)} in the GoP"
        )
    result = list(pictures)
    tail = list(before[-frames:]) if frames else []
    tail = [tail[0]] * (frames - len(tail)) + tail if tail else tail
    for index in range(frames - 1):
        alpha = (frames - 1 - index) / frames
        result[index] = _blend(tail[index], pictures[index], alpha, width, height, gate=gate)
    return result


def _blend(
    old: Packed, new: Packed, alpha: float, width: int, height: int, *, gate: bool
) -> Packed:
    """Alpha * old + (1 - alpha) * new, to the nearest; where the gate allows it."""
    pixels = width * height
    planes = []
    weight = np.full((1, 1), alpha, np.float32)
    if gate:
        luma = np.abs(old[:pixels].astype(np.int16) - new[:pixels]).reshape(height, width)
        if luma.mean() >= CUT:
            return new
        small = cv2.resize(
            luma.astype(np.float32), (-(-width // BLOCK), -(-height // BLOCK)),
            interpolation=cv2.INTER_AREA,
        )  # fmt: skip
        # The largest difference of the blocks around decides: an edge moves into its neighbours.
        worst = cv2.dilate(small, np.ones((3, 3), np.uint8))
        weight = alpha * np.clip((MOVING - worst) / (MOVING - STILL), 0, 1).astype(np.float32)
    start = 0
    for wide, high in ((width, height), (width // 2, height // 2), (width // 2, height // 2)):
        end = start + wide * high
        share = cv2.resize(weight, (wide, high), interpolation=cv2.INTER_LINEAR).reshape(-1)
        mixed = new[start:end] + share * (old[start:end].astype(np.float32) - new[start:end])
        planes.append((mixed + np.float32(0.5)).astype(np.uint8))
        start = end
    return np.concatenate(planes)
