"""Clips: a catalogue name, a file or a test pattern becomes yuv420p pictures of one form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from testbed.errors import ClipError
from testbed.media.catalogue import CATALOGUE, PATTERN_PREFIX, pattern_name
from testbed.media.prepared import Prepared, prepare
from testbed.media.sources import FileSource, PatternSource, Picture, Source, Y4mSource
from testbed.media.spec import ClipSpec

__all__ = ["Clip", "Picture", "open_clip"]

#: Sides beyond this are a typing error, not a clip; also the limit of the H.264 levels in use.
MAX_SIDE = 8192
MAX_FPS = 240
MAX_DURATION_S = 24 * 3600


class Clip:
    """A clip in the form in which a session plays it.

    Opening costs reading the file once for its hash; pictures are decoded, scaled and converted on
    first use into a memory-mapped file in the cache, which all processes share.

    Attributes:
        spec: what was asked for.
        width, height: luma size, even.
        fps: frame rate.
        frame_count: round(duration * fps).
        sha256: hash of the content and the form; equal hashes mean equal pictures.
        pictures_sha256: the same without the duration: frame i is equal where both have it.
    """

    def __init__(self, spec: ClipSpec, source: Source, fps: Fraction) -> None:
        self.spec = spec
        self._source = source
        self.width = spec.width or source.facts.width & ~1
        self.height = spec.height or source.facts.height & ~1
        check_size(spec.source, self.width, self.height)
        self.fps = fps
        self.frame_count = round(Fraction(spec.duration_s).limit_denominator(10**6) * fps)
        if self.frame_count < 1:
            raise ClipError(
                f"clip {spec.source!r}: duration_s {spec.duration_s:g} is shorter than one frame"
            )
        form = f"{source.facts.sha256} {self.width}x{self.height} {fps}"
        self.pictures_sha256 = hashlib.sha256(form.encode()).hexdigest()
        self.sha256 = hashlib.sha256(f"{form} {self.frame_count}".encode()).hexdigest()

    @cached_property
    def _prepared(self) -> Prepared:
        return prepare(
            self._source,
            key=self.sha256,
            width=self.width,
            height=self.height,
            fps=self.fps,
            frame_count=self.frame_count,
        )

    @property
    def looped(self) -> bool:
        """The source is shorter than the stated duration and starts again."""
        return self._prepared.looped

    @property
    def source_frames(self) -> int:
        """Frame slots until the source starts again."""
        return self._prepared.period

    def frame(self, index: int) -> Picture:
        """Picture `index`, 0 <= index < frame_count (packed planes, read-only).

        Raises:
            ClipError: no such picture, or the file is damaged.
        """
        if not 0 <= index < self.frame_count:
            raise ClipError(
                f"clip {self.spec.source!r}: no picture {index}, it has {self.frame_count}"
            )
        return self._prepared.picture(index)

    def frames(self) -> Iterator[Picture]:
        """All pictures in order."""
        return map(self.frame, range(self.frame_count))

    def detail(self, index: int) -> float:
        """Spatial detail of picture `index`: mean abs difference of luma two columns apart."""
        return float(self._prepared.detail[index % self._prepared.period])

    def motion(self, index: int) -> float:
        """Mean absolute luma difference of picture `index` from the one before."""
        return float(self._prepared.motion[index % self._prepared.period])

    def luma(self, index: int) -> Picture:
        """The Y plane of picture `index`, shape (height, width)."""
        return self.frame(index)[: self.width * self.height].reshape(self.height, self.width)

    def facts(self) -> dict[str, Any]:
        """What the manifest says about the clip (JSON values)."""
        entry = None
        if self.spec.source in CATALOGUE.names():
            entry = CATALOGUE.get(self.spec.source)
        return {
            "source": self.spec.source,
            "source_sha256": self._source.facts.sha256,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "fps": str(self.fps),
            "frame_count": self.frame_count,
            "looped": self.looped,
            "source_frames": self.source_frames,
            "licence": entry.licence if entry else "",
            "citation": entry.citation if entry else "",
        }


def exact_fps(fps: float) -> Fraction:
    """The frame rate meant by a decimal number: 29.97 is 30000/1001.

    Raises:
        ClipError: not within 0 (exclusive) and `MAX_FPS`.
    """
    if not 0 < fps <= MAX_FPS:
        raise ClipError(f"fps {fps:g} is not within 0 (exclusive) and {MAX_FPS}")
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    # Two decimals are how such rates are written; a whole number is meant as it stands.
    if ntsc > 0 and abs(float(ntsc) - fps) < 0.005 and fps != round(fps):
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def check_size(source: str, width: int, height: int) -> None:
    """Refuse pictures that are no clip's.

    Raises:
        ClipError: not within 16x16 and `MAX_SIDE` x `MAX_SIDE`.
    """
    if not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise ClipError(
            f"clip {source!r}: size {width}x{height} is not within 16x16 and {MAX_SIDE}x{MAX_SIDE}"
        )


def open_source(spec: ClipSpec, fps: Fraction, base: Path) -> Source:
    """The source that `spec` names, in its own form.

    Args:
        spec: name of the source; of the rest, only patterns take their size.
        fps: frame rate of a pattern; 0 = its own.
        base: folder that relative paths start from.

    Raises:
        ClipError: no such clip, unreadable, or without pictures.
    """
    if spec.source.startswith(PATTERN_PREFIX):
        name = pattern_name(spec.source)
        return PatternSource(name, width=spec.width, height=spec.height, fps=fps)
    if spec.source in CATALOGUE.names():
        path = CATALOGUE.get(spec.source).path()
    else:
        path = base / spec.source
        if not path.exists():
            known = ", ".join(CATALOGUE.names())
            raise ClipError(
                f"clip {spec.source!r}: no such file ({path}) and not in the catalogue ({known})"
            )
    return Y4mSource(path) if path.suffix == ".y4m" else FileSource(path)


def open_clip(spec: ClipSpec, *, base: Path) -> Clip:
    """Open the clip that `spec` names; a relative path is looked up from `base`.

    Raises:
        ClipError: no such clip, unreadable, without pictures, or an impossible form.
    """
    for name in ("width", "height"):
        value = getattr(spec, name)
        if value < 0 or value % 2:
            raise ClipError(f"clip {spec.source!r}: {name} {value} must be even and not negative")
    if not 0 < spec.duration_s <= MAX_DURATION_S:
        raise ClipError(
            f"clip {spec.source!r}: duration_s {spec.duration_s:g} is not within 0 (exclusive) "
            f"and {MAX_DURATION_S}"
        )
    if not np.isfinite(spec.fps) or spec.fps < 0:
        raise ClipError(f"clip {spec.source!r}: fps {spec.fps:g} must not be negative")
    fps = exact_fps(spec.fps) if spec.fps else Fraction(0)
    source = open_source(spec, fps, base)
    return Clip(spec, source, fps or source.facts.fps)
