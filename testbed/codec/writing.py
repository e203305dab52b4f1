"""Playable files and single pictures out.

`.mp4` and `.mkv` are H.264 at a quality where its own loss is invisible; `.y4m` is exact. Files
are written under a temporary name and renamed, so that an interrupted one leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from testbed.codec.colour import (
    BT470BG,
    BT709,
    FULL_RANGE,
    LIMITED_RANGE,
    SMPTE170M,
    UNTAGGED,
    Colour,
)
from testbed.errors import InputError, OutputError, ToolFailedError
from testbed.media.sources import Picture
from testbed.media.y4m import write_pictures

#: Container formats of FFmpeg by file ending.
FORMATS: Final = {".mp4": "mp4", ".mkv": "matroska", ".y4m": "yuv4mpegpipe"}
#: x264's quality: at 10 its luma is about 50 dB, far beyond any codec that we look at.
CRF: Final = 10
#: swscale's numbers of the matrices (SWS_CS_ITU709 and SWS_CS_ITU601).
SWS_BT709, SWS_BT601 = 1, 5
#: Untagged video of at least this height is taken for BT.709, as players do.
_HD_HEIGHT: Final = 720


@dataclass(frozen=True, slots=True)
class Form:
    """What all pictures of a video share.

    Attributes:
        width, height: luma size in pixels, even.
        fps: frame rate.
        colour: see `Colour`.
    """

    width: int
    height: int
    fps: Fraction
    colour: Colour = UNTAGGED


def format_of(path: Path) -> str:
    """FFmpeg's name of the container that a file's ending asks for.

    Raises:
        InputError: no ending of ours.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: unknown ending; allowed: {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when the block ends well.

    Raises:
        OutputError: the place cannot be written, at the block's begin if that can be told.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_video(path: Path, pictures: Iterable[Picture], form: Form) -> int:
    """Write packed yuv420p pictures, one after the other.

    Args:
        path: with an ending of `FORMATS`; its folder is made.
        pictures: packed yuv420p, 8 bit, limited range.
        form: what they share. `.y4m` has no full range: there it is limited always.

    Returns:
        Number of pictures.

    Raises:
        InputError: another ending.
        OutputError: the file cannot be written.
        ToolFailedError: the encoder failed.
    """
    container = format_of(path)
    with whole_or_nothing(path) as temporary:
        if container == "yuv4mpegpipe":
            return write_pictures(
                temporary, pictures, width=form.width, height=form.height, fps=form.fps
            )
        return _write_h264(temporary, pictures, form, container)


def _write_h264(path: Path, pictures: Iterable[Picture], form: Form, container: str) -> int:
    import av

    count = 0
    try:
        with av.open(str(path), "w", format=container) as file:
            stream: Any = file.add_stream("libx264", rate=form.fps)
            stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
            stream.options = {"crf": str(CRF), "preset": "veryfast"}
            context = stream.codec_context
            context.color_range = FULL_RANGE if form.colour.full_range else LIMITED_RANGE
            context.color_primaries = form.colour.primaries
            context.color_trc = form.colour.transfer
            context.colorspace = form.colour.matrix
            for count, picture in enumerate(pictures, start=1):
                frame = _frame(picture, form)
                if form.colour.full_range:
                    frame = _widened(frame)
                frame.pts, frame.time_base = count - 1, 1 / form.fps
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    except av.FFmpegError as error:
        if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            raise OSError(error.errno, error.strerror) from None
        raise ToolFailedError(f"libx264 failed ({error})") from None
    return count


def _frame(picture: Picture, form: Form) -> Any:
    import av

    rows = np.ascontiguousarray(picture).reshape(-1, form.width)
    frame: Any = av.VideoFrame.from_ndarray(rows, format="yuv420p")
    frame.color_range = LIMITED_RANGE
    return frame


def _widened(frame: Any) -> Any:
    """The frame in full range."""
    return frame.reformat(src_color_range=LIMITED_RANGE, dst_color_range=FULL_RANGE)


def to_rgb(picture: Picture, form: Form) -> npt.NDArray[np.uint8]:
    """A picture as RGB, shape (height, width, 3)."""
    matrix = form.colour.matrix
    if matrix not in (BT709, SMPTE170M, BT470BG):
        matrix = BT709 if form.height >= _HD_HEIGHT else SMPTE170M
    frame = _frame(picture, form)
    shown = frame.reformat(
        format="rgb24", src_colorspace=SWS_BT709 if matrix == BT709 else SWS_BT601,
        src_color_range=LIMITED_RANGE, dst_color_range=FULL_RANGE,
    )  # fmt: skip
    rgb: npt.NDArray[np.uint8] = shown.to_ndarray()
    return rgb


def write_png(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    """Write an RGB picture, shape (height, width, 3).

    Raises:
        OutputError: the file cannot be written.
    """
    from PIL import Image

    with whole_or_nothing(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="png")
