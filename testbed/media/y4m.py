"""YUV4MPEG2 (.y4m), strict: 8-bit 4:2:0, progressive, constant frame size.

A file is one header line `YUV4MPEG2 W.. H.. F..:.. ...`, then for every picture a line `FRAME`
and the Y, U and V planes. Chroma planes of odd sizes are rounded up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from testbed.errors import ClipError

MAGIC = b"YUV4MPEG2"
#: A header longer than this is garbage, not a header.
MAX_HEADER_BYTES = 4096
#: Siting of the chroma samples differs between these; the sample layout does not.
COLOURS = ("420jpeg", "420paldv", "420mpeg2", "420")
MAX_SIDE = 16384


@dataclass(frozen=True, slots=True)
class Y4mHeader:
    """What the first line says.

    Attributes:
        width, height: luma size, may be odd.
        fps: frame rate.
    """

    width: int
    height: int
    fps: Fraction

    @property
    def picture_bytes(self) -> int:
        """Bytes of one picture: Y plus two chroma planes rounded up."""
        chroma = -(-self.width // 2) * -(-self.height // 2)
        return self.width * self.height + 2 * chroma


def _line(file: BinaryIO, path: Path, what: str) -> bytes | None:
    """The next line without its end; None at the end of the file."""
    line = file.readline(MAX_HEADER_BYTES)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise ClipError(f"{path}: {what} has no end of line within {MAX_HEADER_BYTES} bytes")
    return line[:-1]


def parse_header(line: bytes, path: Path) -> Y4mHeader:
    """Read the header line (without its end).

    Raises:
        ClipError: it is no such header, or a form that we do not take.
    """
    words = line.split(b" ")
    if words[0] != MAGIC:
        raise ClipError(f"{path}: not a YUV4MPEG2 file")
    fields: dict[str, str] = {}
    for word in words[1:]:
        if not word:
            continue
        tag, value = chr(word[0]), word[1:].decode("ascii", errors="replace")
        if tag != "X" and tag in fields:
            raise ClipError(f"{path}: header field {tag} appears twice")
        fields[tag] = value
    try:
        width, height = int(fields["W"]), int(fields["H"])
        numerator, denominator = (int(part) for part in fields["F"].split(":"))
        fps = Fraction(numerator, denominator)
    except (KeyError, ValueError, ZeroDivisionError):
        raise ClipError(f"{path}: header needs W, H and F as in 'W640 H360 F30:1'") from None
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE) or fps <= 0:
        raise ClipError(f"{path}: size {width}x{height} at {fps} fps is impossible")
    if fields.get("C", "420jpeg") not in COLOURS:
        raise ClipError(f"{path}: colour space C{fields['C']}; allowed: {', '.join(COLOURS)}")
    if fields.get("I", "p") not in ("p", "?"):
        raise ClipError(f"{path}: interlaced (I{fields['I']}); only progressive (Ip)")
    return Y4mHeader(width, height, fps)


def read_header(path: Path) -> Y4mHeader:
    """The header of the file at `path`.

    Raises:
        ClipError: unreadable or no such header.
    """
    try:
        with path.open("rb") as file:
            return parse_header(_line(file, path, "the header") or b"", path)
    except OSError as error:
        raise ClipError(f"{path}: {error.strerror}") from None


def read_pictures(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """The pictures of the file, each as packed planes (chroma rounded up for odd sizes).

    Raises:
        ClipError: a picture is cut short or lacks its FRAME line.
    """
    with path.open("rb") as file:
        header = parse_header(_line(file, path, "the header") or b"", path)
        index = 0
        while (line := _line(file, path, f"the line before picture {index}")) is not None:
            if line.split(b" ")[0] != b"FRAME":
                raise ClipError(f"{path}: picture {index} does not begin with FRAME")
            data = file.read(header.picture_bytes)
            if len(data) != header.picture_bytes:
                raise ClipError(
                    f"{path}: picture {index} is cut short ({len(data)} of "
                    f"{header.picture_bytes} bytes)"
                )
            yield np.frombuffer(data, np.uint8)
            index += 1


def write_pictures(
    path: Path,
    pictures: Iterable[npt.NDArray[np.uint8]],
    *,
    width: int,
    height: int,
    fps: Fraction,
) -> int:
    """Write packed pictures as .y4m under a temporary name, then rename.

    Returns:
        Number of pictures written.
    """
    header = Y4mHeader(width, height, fps)
    line = f"YUV4MPEG2 W{width} H{height} F{fps.numerator}:{fps.denominator} Ip A1:1 C420jpeg\n"
    temporary = path.with_name(path.name + ".part")
    count = 0
    try:
        with temporary.open("wb") as file:
            file.write(line.encode("ascii"))
            for picture in pictures:
                if picture.size != header.picture_bytes:
                    raise ClipError(
                        f"{path}: picture {count} has {picture.size} bytes, "
                        f"{width}x{height} needs {header.picture_bytes}"
                    )
                file.write(b"FRAME\n")
                file.write(picture.tobytes())
                count += 1
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count
