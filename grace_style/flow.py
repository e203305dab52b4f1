"""Motion estimation: dense flow from OpenCV's DIS (Kroeger et al., ECCV 2016), a mean a patch.

GRACE has a network for it (SpyNet). From the picture before as captured, not as decoded: the flow
is truer, and what the reference lacks does not lead it astray.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from morphe_core.vgc.tokens import TOKEN_SIDE

#: Distance of the estimator's patches and its steps: of OpenCV's presets and this, this predicts
#: best for its time (bbb-720p at 640x360: 39.8 dB in 18 ms, against 39.5 in 27 of "medium" and 37.9
#: in 9 of "fast"; `python benchmarks/flow.py`).
PATCH_STRIDE: Final = 4
GRADIENT_STEPS: Final = 12
REFINEMENTS: Final = 3

Luma = npt.NDArray[np.uint8]


class FlowEstimator:
    """Backward flow between pictures."""

    def __init__(self) -> None:
        self._dis: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._dis.setPatchStride(PATCH_STRIDE)
        self._dis.setGradientDescentIterations(GRADIENT_STEPS)
        self._dis.setVariationalRefinementIterations(REFINEMENTS)

    def __call__(self, here: Luma, before: Luma) -> npt.NDArray[np.float32]:
        """Where each 8x8 patch of `here` was in `before`.

        Args:
            here: (H, W), multiples of 8.
            before: the same.

        Returns:
            (2, H / 8, W / 8), x and y in pixels.
        """
        rows, cols = (side // TOKEN_SIDE for side in here.shape)
        flow = self._dis.calc(here, before, None)
        mean = flow.reshape(rows, TOKEN_SIDE, cols, TOKEN_SIDE, 2).mean(axis=(1, 3))
        return np.ascontiguousarray(mean.transpose(2, 0, 1))
