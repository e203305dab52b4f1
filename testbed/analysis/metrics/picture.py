"""Picture quality of what was displayed, frozen frames included."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from testbed.analysis.metrics.columns import Frames
from testbed.errors import BrokenLogError

#: Identical pictures have infinite PSNR; libvmaf caps it at 6·bits + 12 dB, and so do we.
MAX_DB: Final = 60.0
_RANGES: Final = {"vmaf": (0.0, 100.0), "ssim": (-1.0, 1.0), "psnr": (0.0, np.inf)}


def ssim_db(mean_ssim: float) -> float:
    """−10·log10(1 − mean SSIM), at most `MAX_DB`.

    SSIM is averaged linearly and only then put into decibels, as Salsify and GRACE do.
    """
    gap = 1.0 - mean_ssim
    if gap <= 10 ** (-MAX_DB / 10):
        return MAX_DB
    return float(-10.0 * np.log10(gap))


def quality_metrics(frames: Frames) -> dict[str, Any]:
    """Means over every frame slot that was measured; None where nothing was.

    Raises:
        BrokenLogError: a value outside the metric's range.
    """
    values = {}
    for name, (low, high) in _RANGES.items():
        column = frames.quality.get(name, np.empty(0))
        measured = column[~np.isnan(column)]
        wrong = np.flatnonzero((measured < low - 1e-6) | (measured > high + 1e-6))
        if wrong.size:
            raise BrokenLogError(
                f"frames: {name} is {measured[wrong[0]]}; must lie in {low:g}..{high:g}"
            )
        values[name] = measured
    vmaf, ssim, psnr = values["vmaf"], values["ssim"], values["psnr"]
    mean_ssim = float(np.mean(ssim)) if ssim.size else None
    return {
        "vmaf_mean": float(np.mean(vmaf)) if vmaf.size else None,
        "vmaf_p5": float(np.percentile(vmaf, 5, method="linear")) if vmaf.size else None,
        "ssim_mean": mean_ssim,
        "ssim_db": None if mean_ssim is None else ssim_db(mean_ssim),
        "psnr_mean": float(np.mean(np.minimum(psnr, MAX_DB))) if psnr.size else None,
    }
