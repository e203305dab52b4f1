"""Clips: a catalogue name, a file or a test pattern becomes yuv420p pictures of one form."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.media.spec import ClipSpec

#: One picture: Y, then U, then V, each row by row; uint8, width * height * 3 // 2 values.
Picture = npt.NDArray[np.uint8]


class Clip:
    """A clip in the form in which a session plays it.

    Attributes:
        width, height: luma size, even.
        fps: frame rate.
        frame_count: round(duration * fps).
        sha256: hash of the content and the form; equal hashes mean equal pictures.
        looped: the source is shorter than the stated duration and starts again.
    """

    width: int
    height: int
    fps: Fraction
    frame_count: int
    sha256: str
    looped: bool

    def frame(self, index: int) -> Picture:
        """Picture `index`, 0 <= index < frame_count (packed planes, read-only)."""
        raise NotImplementedError

    def frames(self) -> Iterator[Picture]:
        """All pictures in order."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """What the manifest says about the clip (JSON values)."""
        raise NotImplementedError


def open_clip(spec: ClipSpec, *, base: Path) -> Clip:
    """Open the clip that `spec` names; a relative path is looked up from `base`.

    Raises:
        ClipError: no such clip, unreadable, without pictures, or an impossible form.
    """
    raise NotImplementedError
