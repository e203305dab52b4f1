"""Picture quality of what was displayed: VMAF, SSIM, PSNR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from testbed.media.clips import Clip
from testbed.media.types import ReceivedFrame

#: Metrics that `measure_displayed` knows.
METRICS = ("vmaf", "ssim", "psnr")


def measure_displayed(
    clip: Clip,
    codec: str,
    received: Sequence[ReceivedFrame],
    displayed: Sequence[int],
    *,
    metrics: Sequence[str],
    conceal: bool,
) -> dict[str, npt.NDArray[np.float64]]:
    """Quality of the screen, slot by slot, against the source at the clip's resolution.

    Args:
        clip: the source.
        codec: decoder of `received`.
        received: what arrived, one entry a source frame.
        displayed: for each source-frame slot the index of the frame on the screen; -1 = black.
        metrics: any of `METRICS`.
        conceal: as in `testbed.media.decoding.decode`.

    Returns:
        For each metric an array of len(displayed) values.
    """
    raise NotImplementedError
