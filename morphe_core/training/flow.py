"""Dense optical flow of the source for the flow-consistency loss, by OpenCV's DIS estimator.

Kroeger, Timofte, Dai, Van Gool: Fast optical flow using dense inverse search. ECCV 2016.

The flow is found once on the source, with no gradient: the loss asks whether the reconstruction
moves as the source does, not whether an estimator likes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from morphe_core.errors import TrainingError

#: DIS presets by name; `medium` takes three times as long as `fast` and finds finer motion.
PRESETS: Final = ("ultrafast", "fast", "medium")
#: Smallest side that DIS takes at its coarsest scale.
SMALLEST: Final = 16


def backward_flow(
    luma: npt.NDArray[np.uint8],
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    preset: str = "fast",
) -> npt.NDArray[np.float32]:
    """Flow from pictures back to others of the same window.

    Args:
        luma: (N, T, H, W), windows of T pictures.
        pairs: (picture, picture that it is traced back to) for each flow wanted; by default each
            picture to the one before: (1, 0), (2, 1), ...
        preset: one of `PRESETS`.

    Returns:
        (N, len(pairs), 2, H, W) float32, x and y in pixels: what is at p in the picture was at
        p + flow in the other.

    Raises:
        TrainingError: `luma` is no such array, a pair leaves the window, or no such preset.
    """
    import cv2

    if preset not in PRESETS:
        raise TrainingError(f"flow preset {preset!r}: allowed are {', '.join(PRESETS)}")
    if luma.ndim != 4 or luma.dtype != np.uint8 or min(luma.shape[2:], default=0) < SMALLEST:
        raise TrainingError(
            f"luma {luma.shape} {luma.dtype}: allowed is (N, T, H, W) uint8, "
            f"at least {SMALLEST}x{SMALLEST}"
        )
    count, frames, height, width = luma.shape
    wanted = [(at, at - 1) for at in range(1, frames)] if pairs is None else list(pairs)
    for pair in wanted:
        if not all(0 <= at < frames for at in pair):
            raise TrainingError(f"pair {pair}: allowed are pictures 0..{frames - 1}")
    estimator = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    found = np.empty((count, len(wanted), 2, height, width), np.float32)
    for window, flows in zip(luma, found, strict=True):
        for flow, (now, then) in zip(flows, wanted, strict=True):
            flow[:] = estimator.calc(window[now], window[then], None).transpose(2, 0, 1)
    return found


def flow_batch(
    luma: npt.NDArray[np.uint8],
    device: torch.device,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    preset: str = "fast",
) -> Tensor:
    """`backward_flow` as a tensor on the training's device.

    Args:
        luma: as for `backward_flow`.
        device: where the step runs.
        pairs: as for `backward_flow`.
        preset: as for `backward_flow`.

    Returns:
        (N, len(pairs), 2, H, W) float32.

    Raises:
        TrainingError: as for `backward_flow`.
    """
    return torch.from_numpy(backward_flow(luma, pairs=pairs, preset=preset)).to(device)
