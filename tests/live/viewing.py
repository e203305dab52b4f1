"""What tests of the view share."""

from __future__ import annotations

import numpy as np

from testbed.live.feed import Heading, Sample, Shown
from testbed.media.clips import Picture

HEADING = Heading(
    transport="h264", clip="a clip", trace="a trace", loss="bernoulli 5 %", control="bbr",
    world="simulator", width=32, height=16, fps=30.0, duration_s=4.0,
)  # fmt: skip


def sample(number: int, **changes: object) -> Sample:
    """The sample after `number` tenths of a second."""
    values: dict[str, object] = {
        "time_ns": number * 100_000_000, "capacity_kbps": 500.0, "sent_kbps": 240.0 + number,
        "delivered_kbps": 230.0, "target_kbps": 250.0, "estimate_kbps": 480.0, "mode": "2x",
        "state": "probing", "loss_share": 0.05, "queue_bytes": 3000, "coding_fps": 30.0,
        "rendered_fps": 29.0, "late_frames": 2, "frame_delay_ms": 80.5,
    }  # fmt: skip
    return Sample(**(values | changes))  # type: ignore[arg-type]


def flat(luma: int, width: int = 32, height: int = 16, u: int = 128, v: int = 128) -> Picture:
    """A picture of one colour."""
    quarter = width * height // 4
    return np.concatenate(
        [np.full(4 * quarter, luma, np.uint8), np.full(quarter, u, np.uint8),
         np.full(quarter, v, np.uint8)]
    )  # fmt: skip


def shown(slot: int, luma: int = 100) -> Shown:
    """Both screens in a slot: the viewer's is one frame behind, and darker by 40."""
    return Shown(slot, slot * 33_333_333, slot, slot - 1, flat(luma), flat(luma - 40), slot - 1)


def psnr(one: Picture, other: Picture) -> float:
    """Peak signal-to-noise ratio in dB."""
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))
