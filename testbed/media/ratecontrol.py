"""Our own frame-level rate control, which drives x264 and x265 by their quantiser.

Why not the encoders' own: none of them follows a changing target through a public interface.
libx265 takes no new bitrate once open, libx264 only below the peak it was opened with, VVenC none
(`testbed.media.vvenc` says what is done about that). A quantiser can be set for every frame, live,
through FFmpeg's region-of-interest metadata (see `testbed.media.lavc`). docs/guides/encoders.md has
the comparison.

The idea is the old one of TM5 and its successors. The size of a picture is predicted from what is
easy to see in the source,

    log2(bits) = constant + exponent * log2(feature * pixels) - slope * qp,

where the feature is spatial detail for a key frame and motion for the others. The error of the last
predictions corrects the next. A leaky bucket holds what was sent beyond the target; the next
frame's budget is its share of the target less a part of that debt, and the quantiser is the one
that is predicted to meet the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Quantisers of H.264, H.265 at 8 bits; below 12 nothing more is to be seen at these rates.
QP_MIN, QP_MAX = 12.0, 51.0
#: A key frame may take this share of the bucket: with 500 ms, what the target carries in 200 ms.
KEY_SHARE = 0.4
#: The debt is paid back over this share of the bucket's time.
PAYBACK_SHARE = 0.6
#: Saved bits are forgotten beyond this share of the bucket: a still scene earns no long burst.
CREDIT_SHARE = 0.15
#: A frame gets at least and at most this multiple of its share of the target.
FRAME_MIN, FRAME_MAX = 0.2, 4.0
#: Largest steps of the quantiser from one frame to the next. Down is slow, since a picture much
#: finer than the one that it refers to has to code anew even what stands still; up is quick, as
#: debt hurts more.
STEP_DOWN, STEP_UP = 2.0, 6.0
#: Weight of the newest prediction error.
LEARN = 0.6
#: Motion below this is noise; keeps repeated frames (motion 0) within the model.
MOTION_FLOOR = 0.3
#: Debt handed to a fresh encoder is rounded to this share of the bucket, so that encodes are found
#: again in the cache although the debt differs by a little.
DEBT_STEP = 0.25


@dataclass(frozen=True, slots=True)
class SizeModel:
    """log2(bits) = constant + exponent * log2(feature * pixels) - slope * qp.

    Attributes:
        constant, exponent, slope: fitted per codec and frame kind, see docs/guides/encoders.md.
    """

    constant: float
    exponent: float
    slope: float

    def log2_bits(self, feature: float, pixels: int, qp: float) -> float:
        """Predicted log2 of the size in bits."""
        return self.log2_at_zero(feature, pixels) - self.slope * qp

    def log2_at_zero(self, feature: float, pixels: int) -> float:
        """The part that the picture decides (the prediction at qp 0)."""
        return self.constant + self.exponent * math.log2(max(feature, 1e-3) * pixels)


class LeakyBucket:
    """What was sent beyond the target, in bits.

    Attributes:
        debt_bits: >= -CREDIT_SHARE of the bucket.
    """

    def __init__(self, *, fps: float, vbv_ms: int) -> None:
        self._fps = fps
        self._vbv_s = vbv_ms / 1000
        self.debt_bits = 0.0

    def capacity_bits(self, target_kbps: float) -> float:
        """Size of the bucket at this target."""
        return target_kbps * 1000 * self._vbv_s

    def frame_bits(self, target_kbps: float) -> float:
        """A frame's share of the target."""
        return target_kbps * 1000 / self._fps

    def add(self, bits: float, target_kbps: float) -> None:
        """A frame of `bits` was encoded at `target_kbps`."""
        floor = -CREDIT_SHARE * self.capacity_bits(target_kbps)
        self.debt_bits = max(self.debt_bits + bits - self.frame_bits(target_kbps), floor)

    def rounded_debt_ms(self, target_kbps: float) -> int:
        """The debt as time at the target, in steps of `DEBT_STEP` of the bucket, at most one."""
        share = self.debt_bits / self.capacity_bits(target_kbps)
        steps = min(max(round(share / DEBT_STEP), 0), round(1 / DEBT_STEP))
        return round(steps * DEBT_STEP * self._vbv_s * 1000)


class FrameControl:
    """Chooses the quantiser of each frame of one segment (a key frame and what follows it).

    Its choices depend only on the arguments of its calls, so a segment can be made again.

    Args:
        intra: size model of key frames (feature: detail).
        inter: size model of other frames (feature: motion).
        pixels: luma samples a picture.
        fps: frame rate.
        vbv_ms: bucket size as time at the target.
        debt_bits: what earlier segments left.
    """

    def __init__(
        self,
        intra: SizeModel,
        inter: SizeModel,
        *,
        pixels: int,
        fps: float,
        vbv_ms: int,
        debt_bits: float,
    ) -> None:
        self._intra, self._inter = intra, inter
        self._pixels = pixels
        self._bucket = LeakyBucket(fps=fps, vbv_ms=vbv_ms)
        self._bucket.debt_bits = debt_bits
        self._payback_frames = max(1.0, PAYBACK_SHARE * vbv_ms / 1000 * fps)
        self._error = 0.0  # log2(seen / predicted) of inter frames, smoothed
        self._qp: float | None = None
        self._predicted = 0.0
        self._learns = self._still = False
        self._passed_on = 0.0  # what repeated pictures left of their shares

    def choose(self, target_kbps: float, *, key: bool, feature: float) -> float:
        """The quantiser for the next frame, `QP_MIN` .. `QP_MAX`.

        Args:
            target_kbps: > 0.
            key: the frame is the segment's key frame.
            feature: detail of a key frame, motion of another.
        """
        self._learns = not key and feature > 0
        self._still = not key and feature == 0 and self._qp is not None
        if self._still and self._qp is not None:
            # The same picture again (a lower frame rate brought up, say): next to nothing is coded
            # whatever the quantiser, and the size tells nothing of the frames that move. Its share
            # goes to the next of those.
            return self._qp
        share = self._bucket.frame_bits(target_kbps)
        room = self._bucket.capacity_bits(target_kbps) - self._bucket.debt_bits
        if key:
            budget = max(min(KEY_SHARE * self._bucket.capacity_bits(target_kbps), room), share)
            model, feature, error = self._intra, feature, 0.0
        else:
            budget = share + self._passed_on - self._bucket.debt_bits / self._payback_frames
            budget = min(max(budget, FRAME_MIN * share), FRAME_MAX * share)
            budget = min(budget, max(room, FRAME_MIN * share))
            model, feature, error = self._inter, feature + MOTION_FLOOR, self._error
        at_zero = model.log2_at_zero(feature, self._pixels) + error
        qp = (at_zero - math.log2(budget)) / model.slope
        if self._qp is not None:
            qp = min(max(qp, self._qp - STEP_DOWN), self._qp + STEP_UP)
        self._qp = min(max(qp, QP_MIN), QP_MAX)
        self._predicted = at_zero - model.slope * self._qp
        return self._qp

    def record(self, bits: int, target_kbps: float) -> None:
        """The frame just chosen for came out with `bits`."""
        if self._learns:
            self._error += LEARN * (math.log2(bits) - self._predicted)
        if self._still:
            share = self._bucket.frame_bits(target_kbps)
            self._passed_on = min(self._passed_on + share - bits, (FRAME_MAX - 1) * share)
        else:
            self._bucket.add(bits - self._passed_on, target_kbps)
            self._passed_on = 0.0
