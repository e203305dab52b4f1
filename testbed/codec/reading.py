"""Any video in: pictures one after the other for encoding, a prepared clip for measuring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final

from testbed.codec.colour import FULL_RANGE, SMPTE170M, UNSPECIFIED, UNTAGGED, Colour
from testbed.errors import ClipError
from testbed.media.catalogue import PATTERN_PREFIX
from testbed.media.clips import MAX_DURATION_S, Clip, check_size, exact_fps, open_clip, open_source
from testbed.media.prepared import fill_slots
from testbed.media.sources import FileSource, Picture, Source
from testbed.media.spec import ClipSpec

#: A pattern has no end of its own.
PATTERN_DURATION_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Video:
    """A video that is read from front to back, at a constant frame rate.

    Attributes:
        width, height: luma size in pixels, even; an odd source loses its last column or row.
        fps: frame rate; pictures are repeated or left out where the source's own varies.
        limit: most pictures to read.
        expected: how many there will be, 0 if the file does not say.
        colour: what the source says of its colours.
        bit_depth: of the source's samples; pictures have 8.
    """

    width: int
    height: int
    fps: Fraction
    limit: int
    expected: int
    colour: Colour
    bit_depth: int
    _source: Source

    def pictures(self) -> Iterator[Picture]:
        """Packed yuv420p pictures, 8 bit, limited range.

        Raises:
            ClipError: the file breaks off or is damaged.
        """
        source = self._source.pictures(self.width, self.height)
        for picture, count in fill_slots(source, fps=self.fps, frame_count=self.limit):
            for _ in range(count):
                yield picture


def open_video(name: str, *, duration_s: float = 0.0, base: Path | None = None) -> Video:
    """Open a file, a catalogue name or a test pattern for one pass.

    Args:
        name: as in `ClipSpec.source`.
        duration_s: stop after this time; 0 = at the end (a pattern: after 10 s).
        base: folder that relative paths start from; None = the current one.

    Raises:
        ClipError: no such clip, unreadable, without pictures, or an impossible duration.
    """
    if not 0 <= duration_s <= MAX_DURATION_S:
        raise ClipError(f"{name}: duration {duration_s:g} is not within 0 and {MAX_DURATION_S} s")
    if not duration_s and name.startswith(PATTERN_PREFIX):
        duration_s = PATTERN_DURATION_S
    source = open_source(ClipSpec(name), Fraction(0), base or Path())
    fps = exact_fps(float(source.facts.fps))
    width, height = source.facts.width & ~1, source.facts.height & ~1
    check_size(name, width, height)
    limit = round(Fraction(duration_s or MAX_DURATION_S).limit_denominator(10**6) * fps)
    if limit < 1:
        raise ClipError(f"{name}: duration {duration_s:g} s is shorter than one picture")
    expected, colour, bit_depth = limit if duration_s else 0, UNTAGGED, 8
    if isinstance(source, FileSource):
        told_s, colour, bit_depth = _told(source.path)
        expected = min(round(told_s * fps), limit) or expected
    return Video(width, height, fps, limit, expected, colour, bit_depth, source)


def _told(path: Path) -> tuple[Fraction, Colour, int]:
    """What a file says of its duration in seconds (0: nothing), its colours and its bit depth."""
    import av

    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        duration_s = Fraction(container.duration or 0, av.time_base)
        if stream.duration and stream.time_base:
            duration_s = stream.duration * stream.time_base
        context = stream.codec_context
        form = context.format
        depth = max((part.bits for part in form.components), default=8) if form else 8
        # "yuvj" formats are full range by name. swscale makes BT.601 of RGB, whose own matrix is 0.
        full = int(context.color_range) == FULL_RANGE or (form and form.name.startswith("yuvj"))
        numbers = [int(context.color_primaries), int(context.color_trc), int(context.colorspace)]
        primaries, transfer, matrix = (n if 0 <= n <= 255 else UNSPECIFIED for n in numbers)
        return (
            duration_s,
            Colour(primaries, transfer, matrix or SMPTE170M, bool(full)),
            min(max(depth, 8), 16),
        )


def in_gops(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Lists of `size` pictures (>= 1); the last one may be shorter."""
    source = iter(pictures)
    while gop := list(islice(source, size)):
        yield gop


@dataclass(frozen=True, slots=True)
class Reference:
    """A clip to measure with.

    Attributes:
        name: for tables: the file's name without its folder and ending, or the name given.
        clip: its pictures; may be asked for in any order, by several processes.
        frames: how many of them count.
    """

    name: str
    clip: Clip
    frames: int


def open_reference(name: str, *, height: int, frames: int, base: Path | None = None) -> Reference:
    """Open a clip for measuring.

    Args:
        name: as in `ClipSpec.source`.
        height: a taller source is scaled down to this many rows, keeping its shape; even, >= 16.
        frames: most pictures to use, >= 1.
        base: folder that relative paths start from; None = the current one.

    Raises:
        ClipError: no such clip, unreadable, without pictures, or an impossible form.
    """
    base = base or Path()
    facts = open_source(ClipSpec(name), Fraction(0), base).facts
    width = 0
    if facts.height > height:
        width = max(2 * round(facts.width * height / facts.height / 2), 16)
    size = (width, height) if width else (0, 0)
    duration_s = float(Fraction(frames) / facts.fps)
    clip = open_clip(ClipSpec(name, *size, duration_s=duration_s), base=base)
    short = name if name.startswith(PATTERN_PREFIX) else Path(name).stem
    return Reference(short, clip, min(clip.frame_count, clip.source_frames))
