"""How well motion predicts, by the settings of the estimator and the kernel that samples.

    python benchmarks/flow.py [CLIP...]

Prints, for each clip at 640x360: PSNR of every second picture as predicted from the source picture
before it along patch-averaged flow, with the estimator's time; and PSNR of a picture that was
predicted from the first one through all between, which is what resampling again and again leaves.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from grace_style.flow import FlowEstimator
from grace_style.geometry import Geometry
from grace_style.network import _bicubic, warp
from morphe_core.vgc.pictures import Picture, unpack
from testbed.media.clips import open_clip
from testbed.media.spec import ClipSpec

WIDTH, HEIGHT, SECONDS, CHAIN = 640, 360, 1.5, 30


def preset(name: str) -> Callable[[Any, Any], Any]:
    estimator = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{name}"))

    def averaged(here: Any, before: Any) -> Any:
        rows, cols = (side // 8 for side in here.shape)
        flow = estimator.calc(here, before, None).reshape(rows, 8, cols, 8, 2)
        return np.ascontiguousarray(flow.mean(axis=(1, 3)).transpose(2, 0, 1))

    return averaged


def bicubic(picture: Picture, flow: torch.Tensor) -> Picture:
    def sampled(plane: torch.Tensor, shrink: float) -> torch.Tensor:
        size = plane.shape[-2:]
        dense = functional.interpolate(flow, size, mode="bilinear", align_corners=False)
        return _bicubic(plane, dense * shrink)

    return Picture(sampled(picture.luma, 1.0), sampled(picture.chroma, 0.5))


def psnr(one: Picture, other: Picture) -> float:
    return float(10 * torch.log10(255**2 / (one.luma - other.luma).square().mean()))


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    geometry = Geometry(WIDTH, HEIGHT)
    height, width = geometry.padded
    for name in names:
        clip = open_clip(ClipSpec(name, WIDTH, HEIGHT, 30.0, SECONDS), base=Path.cwd())
        packed = [geometry.pad(clip.frame(index)) for index in range(clip.frame_count)]
        luma = [one[: height * width].reshape(height, width) for one in packed]
        pictures = [unpack(torch.from_numpy(one)[None], height, width) for one in packed]
        for label, estimate in (
            ("ultrafast", preset("ULTRAFAST")), ("fast", preset("FAST")),
            ("medium", preset("MEDIUM")), ("ours", FlowEstimator()),
        ):  # fmt: skip
            took, errors = 0.0, []
            for index in range(1, len(luma), 2):
                began = time.perf_counter()
                flow = torch.from_numpy(estimate(luma[index], luma[index - 1]))[None]
                took += time.perf_counter() - began
                moved = warp(pictures[index - 1], flow)
                errors.append(float((moved.luma - pictures[index].luma).square().mean()))
            mean = 10 * np.log10(255**2 / np.mean(errors))
            print(f"{name} {label:<9} {mean:5.2f} dB {1000 * took / len(errors):5.1f} ms")
        estimate = FlowEstimator()
        last = min(CHAIN, len(luma) - 1)
        flows = [
            torch.from_numpy(estimate(luma[index], luma[index - 1]))[None]
            for index in range(1, last + 1)
        ]
        for label, kernel in (("bicubic", bicubic), ("Lanczos", warp)):
            picture = pictures[0]
            for flow in flows:
                picture = kernel(picture, flow)
            print(f"{name} after {last} pictures, {label}: {psnr(picture, pictures[last]):.2f} dB")


if __name__ == "__main__":
    main(sys.argv[1:] or ["bbb-720p"])
