"""Where pictures come from: files that PyAV reads, .y4m files, generated patterns.

Every source yields (time, picture): the time in seconds since its first picture, and the packed
yuv420p planes (limited range, 8 bit) at the size that was asked for. Scaling is swscale's bicubic
with accurate rounding, through an FFmpeg filter graph, so that it does not depend on the CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from testbed.errors import ClipError
from testbed.media import y4m

if TYPE_CHECKING:
    import av
    from av.filter import Graph

#: One picture: Y, then U, then V, each row by row; uint8, width * height * 3 // 2 values.
Picture = npt.NDArray[np.uint8]

PATTERN_SIZE = (640, 360)
PATTERN_FPS = Fraction(30)
#: swscale flags: bicubic, and the same result on every CPU.
SCALE_FLAGS = "bicubic+accurate_rnd+bitexact"
#: FFmpeg's AVCOL_SPC_UNSPECIFIED.
MATRIX_UNSPECIFIED = 2


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of a source before it is decoded.

    Attributes:
        width, height: luma size, may be odd.
        fps: nominal frame rate.
        sha256: of the file's bytes, or of the pattern's name and generator.
    """

    width: int
    height: int
    fps: Fraction
    sha256: str


class Source(Protocol):
    """A source of pictures."""

    facts: SourceFacts

    def pictures(self, width: int, height: int) -> Iterator[tuple[Fraction, Picture]]:
        """Time in seconds and picture, in order of time."""


class Shaper:
    """Brings decoded frames of any size and format to packed yuv420p of one size.

    A source that is only one column or row too large (odd sizes) is cropped, not scaled. The colour
    matrix stays as it is, named or not; RGB becomes BT.601.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._graphs: dict[tuple[int, int, str], Graph] = {}

    def __call__(self, frame: av.VideoFrame) -> Picture:
        """The frame's picture in the form asked for."""
        key = (frame.width, frame.height, frame.format.name)
        if key not in self._graphs:
            self._graphs[key] = self._graph(frame)
        graph = self._graphs[key]
        # swscale would convert a matrix that the frame names to the one that the graph does not.
        frame.colorspace = MATRIX_UNSPECIFIED
        graph.push(frame)
        shaped: Any = graph.pull()
        return np.ascontiguousarray(shaped.to_ndarray()).reshape(-1)

    def _graph(self, frame: av.VideoFrame) -> Graph:
        from av.filter import Graph

        width, height = self._size
        graph = Graph()
        chain = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=Fraction(1, 1000),
            )
        ]
        if (frame.width & ~1, frame.height & ~1) == self._size != (frame.width, frame.height):
            chain.append(graph.add("crop", f"{width}:{height}:0:0:exact=1"))
        chain.append(graph.add("scale", f"{width}:{height}:flags={SCALE_FLAGS}:out_range=tv"))
        chain.append(graph.add("format", "yuv420p"))
        chain.append(graph.add("buffersink"))
        graph.link_nodes(*chain).configure()
        return graph


@cache
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 (cache keys)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _probe(path: Path, size: int, mtime_ns: int) -> tuple[int, int, Fraction]:  # noqa: ARG001
    """Size and rate, after the first picture has been decoded to see that it can be."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ClipError(f"{path}: has no video stream")
        stream = container.streams.video[0]
        first = next(iter(container.decode(stream)), None)
        if first is None:
            raise ClipError(f"{path}: has no pictures")
        fps = stream.average_rate or stream.guessed_rate or Fraction(25)
        return first.width, first.height, Fraction(fps)


class FileSource:
    """A file that PyAV reads.

    Raises:
        ClipError: missing, empty, unreadable, or without video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size, mtime_ns = _stat(path)
        import av

        try:
            width, height, fps = _probe(path, size, mtime_ns)
            sha256 = _file_sha256(path, size, mtime_ns)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ClipError(f"{path}: cannot be read as video ({_reason(error)})") from None
        self.facts = SourceFacts(width, height, fps, sha256)

    def pictures(self, width: int, height: int) -> Iterator[tuple[Fraction, Picture]]:
        """Decode the first video stream; times come from the timestamps.

        Raises:
            ClipError: the file breaks off or is damaged.
        """
        import av

        shaper = Shaper(width, height)
        start: Fraction | None = None
        index = 0
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_count = 1
                for frame in container.decode(stream):
                    if frame.pts is None or frame.time_base is None:
                        time = Fraction(index) / self.facts.fps
                    else:
                        time = frame.pts * frame.time_base
                    start = time if start is None else start
                    yield time - start, shaper(frame)
                    index += 1
        except (av.FFmpegError, OSError) as error:
            raise ClipError(
                f"{self.path}: cannot be decoded after picture {index} ({_reason(error)})"
            ) from None


class Y4mSource:
    """A .y4m file, read by `testbed.media.y4m`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size, mtime_ns = _stat(path)
        self.header = y4m.read_header(path)
        if next(y4m.read_pictures(path), None) is None:
            raise ClipError(f"{path}: has no pictures")
        self.facts = SourceFacts(
            self.header.width,
            self.header.height,
            self.header.fps,
            _file_sha256(path, size, mtime_ns),
        )

    def pictures(self, width: int, height: int) -> Iterator[tuple[Fraction, Picture]]:
        """The pictures at the header's constant rate."""
        same = (width, height) == (self.header.width, self.header.height)
        shaper = None if same else Shaper(width, height)
        for index, picture in enumerate(y4m.read_pictures(self.path)):
            time = Fraction(index) / self.header.fps
            yield time, picture if shaper is None else shaper(self._frame(picture))

    def _frame(self, picture: Picture) -> av.VideoFrame:
        import av

        width, height = self.header.width, self.header.height
        frame = av.VideoFrame(width, height, "yuv420p")
        offset = 0
        for plane, (w, h) in zip(
            frame.planes,
            [(width, height), *2 * [(-(-width // 2), -(-height // 2))]],
            strict=True,
        ):
            rows = np.zeros((plane.height, plane.line_size), np.uint8)
            rows[:h, :w] = picture[offset : offset + w * h].reshape(h, w)
            plane.update(rows)  # type: ignore[arg-type]  # any buffer will do
            offset += w * h
        return frame


class PatternSource:
    """A generated test pattern; a function of name, size, rate and time, without end."""

    def __init__(self, name: str, *, width: int, height: int, fps: Fraction) -> None:
        import av

        self.name = name
        version = av.library_versions["libavfilter"]
        digest = hashlib.sha256(f"test:{name} {version}".encode()).hexdigest()
        self.facts = SourceFacts(
            width or PATTERN_SIZE[0], height or PATTERN_SIZE[1], fps or PATTERN_FPS, digest
        )

    def pictures(self, width: int, height: int) -> Iterator[tuple[Fraction, Picture]]:
        """Pictures at the source's own rate, for ever."""
        from av.filter import Graph

        graph = Graph()
        fps = self.facts.fps
        options = f"size={width}x{height}:rate={fps.numerator}/{fps.denominator}"
        nodes = [
            graph.add(self.name, options),
            graph.add("scale", f"flags={SCALE_FLAGS}:out_range=tv"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        index = 0
        while True:
            frame: Any = graph.pull()
            yield Fraction(index) / fps, np.ascontiguousarray(frame.to_ndarray()).reshape(-1)
            index += 1


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ClipError(f"{path}: {error.strerror}") from None
    if path.is_dir():
        raise ClipError(f"{path}: is a folder, not a clip")
    if status.st_size == 0:
        raise ClipError(f"{path}: is empty")
    return status.st_size, status.st_mtime_ns


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
