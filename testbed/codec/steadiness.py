"""Does the picture pump at GoP boundaries, and do its colours drift?

VMAF looks at luma and hardly at time: a picture that jumps every nine frames, or turns green, can
score well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.codec.core import GOP_FRAMES
from testbed.media.sources import Picture


@dataclass(frozen=True, slots=True)
class Steadiness:
    """In grey levels (of 255); near 0 is good.

    Attributes:
        flicker: mean absolute luma change into the first picture of a GoP minus that into its
            others, less the same of the source.
        luma_shift, u_shift, v_shift: mean difference from the source.
    """

    flicker: float
    luma_shift: float
    u_shift: float
    v_shift: float


class SteadinessMeter:
    """Watches pictures go by, beside their source.

    Args:
        width: luma width.
        height: luma height.
    """

    def __init__(self, width: int, height: int) -> None:
        self._luma = width * height
        self._shape = (height, width)
        self._before: list[npt.NDArray[np.int16]] = []
        # Of the pictures and of the source: sum of changes at the boundary and elsewhere.
        self._changes = np.zeros((2, 2))
        self._counts = np.zeros(2)
        self._shifts = np.zeros(3)
        self._pictures = 0

    def watch(
        self, pictures: Iterable[Picture], references: Iterable[Picture]
    ) -> Iterator[Picture]:
        """The same pictures, measured on the way."""
        for index, (picture, reference) in enumerate(zip(pictures, references, strict=False)):
            self._add(index, picture, reference)
            yield picture

    def _add(self, index: int, picture: Picture, reference: Picture) -> None:
        luma, chroma = self._luma, self._luma // 4
        planes = np.split(picture, [luma, luma + chroma])
        sources = np.split(reference, [luma, luma + chroma])
        self._pictures += 1
        for at, (plane, source) in enumerate(zip(planes, sources, strict=True)):
            self._shifts[at] += float(plane.mean()) - float(source.mean())
        # Every second row says enough about motion.
        now = [part.reshape(self._shape)[::2].astype(np.int16) for part in (planes[0], sources[0])]
        if self._before:
            phase = 0 if index % GOP_FRAMES == 0 else 1
            self._counts[phase] += 1
            for at, (new, old) in enumerate(zip(now, self._before, strict=True)):
                self._changes[at, phase] += float(np.abs(new - old).mean())
        self._before = now

    def result(self) -> Steadiness:
        """Over all pictures so far; flicker is 0 while no boundary was crossed."""
        flicker = 0.0
        if self._counts.all():
            means = self._changes / self._counts
            jumps = means[:, 0] - means[:, 1]
            flicker = float(jumps[0] - jumps[1])
        luma, u, v = (self._shifts / max(1, self._pictures)).tolist()
        return Steadiness(flicker, luma, u, v)
