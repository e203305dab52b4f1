"""Sizes of the frames of a segment, told to VVenC's rate control as statistics of a first pass.

VVenC's rate control wants look-ahead, or a file that says what each frame took in a first pass.
With such a file it gives every frame its part of the target, and corrects it by what it has really
spent so far. The file need not come from a first pass: ours is written before any frame is seen and
says that all frames took the same, after a key frame and some that make up for it. What is left of
the two passes is a control loop that knows the past only.

The format is that of VVenC 1.15 (one JSON object a line: a header, then the frames).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

#: Lagrangian multiplier over 2^(qp / 3), as it stands in statistics that VVenC 1.15 wrote at 10
#: bits with this configuration.
LAMBDA: Final = 0.57
#: Activity and fidelity are the same in all frames: then no scene changes, and no frame is dark
#: or still, for all of which VVenC has rules of their own. The values are those of any clip.
ACTIVITY: Final = 200
PSNR_DB: Final = 34.0
HEADER: Final = {
    "version": "1.15.0-dev",
    "CTUSize": 64,
    "GOPSize": 8,
    "IntraPeriod": -1,
    "PQPA": False,
    "QP": 35,
    "RCInitialQP": 0,
}


#: The file names a target of this multiple of the first one, and its tail the sizes that bring the
#: mean there. So VVenC's scale stays 1, and the first frames stay the same, when later ones get
#: more, up to half of this multiple.
HEADROOM: Final = 4
#: Lines beyond the frames that are encoded, at least: VVenC spends what is left over in the last 32
#: frames, which so never come.
TAIL: Final = 64
#: Quantiser steps for twice the bits, from the first to the later sizes of a plan (VVC: about 6).
STEPS_AN_OCTAVE: Final = 6.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the frames of a segment may take.

    Attributes:
        key_qp: quantiser of the key frame.
        key_bits: its size at that quantiser.
        settling: frames after it that make up for it.
        payback_bits: what each of these gives of its share of the target.
        qp: first quantiser of a frame that gets a whole share.
        bits: a share of the first target.
    """

    key_qp: int
    key_bits: int
    settling: int
    payback_bits: int
    qp: int
    bits: int

    def frame(self, number: int, share_bits: float) -> tuple[int, int]:
        """Quantiser and bits of a frame, counted from the key frame, at its share of its target."""
        if number == 0:
            return self.key_qp, self.key_bits
        payback = self.payback_bits if number <= self.settling else 0
        bits = max(1, round(share_bits) - payback)
        coarser = STEPS_AN_OCTAVE * math.log2(self.bits / bits)
        return min(max(self.qp + round(coarser), 1), 63), bits

    def rate_bps(self, fps: Fraction) -> int:
        """The target that the file is written for."""
        return round(HEADROOM * self.bits * fps)


def write_statistics(
    path: Path, plan: Plan, shares_bits: Sequence[float], *, count: int, size: tuple[int, int]
) -> None:
    """Write the file for a segment.

    Args:
        path: of the file.
        plan: what the frames may take.
        shares_bits: the first frames' shares of their targets; the last one holds on.
        count: frames that may be encoded.
        size: width and height.
    """
    last = len(shares_bits) - 1
    frames = [plan.frame(number, shares_bits[min(number, last)]) for number in range(count)]
    mean = HEADROOM * plan.bits
    beyond = sum(bits for _, bits in frames) - count * mean
    # Where the key frame alone is far beyond, more lines bring the mean down.
    tail = max(count, TAIL, math.ceil(beyond / (mean - 1)))
    owed = tail * mean - beyond
    frames += [(plan.qp, owed // tail + (number < owed % tail)) for number in range(tail)]
    header = {**HEADER, "SourceWidth": size[0], "SourceHeight": size[1]}
    lines = [header, *(_line(number, *frame) for number, frame in enumerate(frames))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _line(number: int, qp: int, bits: int) -> dict[str, object]:
    """A frame of the file; each is a group of its own, so that debts are paid back at once."""
    return {
        "poc": number,
        "qp": qp,
        "lambda": LAMBDA * 2 ** (qp / 3),
        "visActY": ACTIVITY,
        "numBits": max(1, bits),
        "psnrY": PSNR_DB,
        "isIntra": number == 0,
        "tempLayer": int(number > 0),
        "isStartOfIntra": number == 0,
        "isStartOfGop": True,
        "gopNum": max(0, number - 1),
        "scType": 0,
    }
