"""Sizes from the user's own encodes: a CSV file with a header and one row a unit."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from testbed.errors import InputError

#: A larger unit than this is a mistake in the file: 4000 times a frame at 50 kbit/s.
MAX_UNIT_BYTES: Final = 1 << 20
#: A longer file than this is no list of a clip's frames.
MAX_ROWS: Final = 1_000_000


class SizeTable:
    """Bytes by frame and kind of unit.

    Args:
        path: of the file, for messages.
        sizes: (frame, kind) to bytes.

    Attributes:
        path: see above.
    """

    def __init__(self, path: str, sizes: dict[tuple[int, str], int]) -> None:
        self.path = path
        self._sizes = sizes

    def bytes_of(self, frame: int, kind: str) -> int:
        """Size of a unit.

        Raises:
            InputError: the file has none.
        """
        try:
            return self._sizes[frame, kind]
        except KeyError:
            of = f" and unit {kind}" if kind else ""
            raise InputError(
                f"{self.path}: column frame: no row for frame {frame}{of}; the clip and the "
                "transport's options ask for one"
            ) from None

    def require(self, wanted: Sequence[tuple[int, str]]) -> None:
        """Refuse the file unless it has all of these.

        Raises:
            InputError: names the first that is missing.
        """
        for frame, kind in wanted:
            self.bytes_of(frame, kind)


def sha256_of(path: str, *, kinds: Sequence[str] = ("",)) -> str:
    """Of a file that can be read, for a run's name.

    Raises:
        InputError: it cannot be read, or is wrong in itself, whatever the clip.
    """
    read_sizes(path, kinds=kinds)
    return hashlib.sha256(_read(path)).hexdigest()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no path at all (a NUL)
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"sizes_from: {path}: cannot be read ({why})") from None


def read_sizes(path: str, *, kinds: Sequence[str] = ("",)) -> SizeTable:
    """Read a file of sizes.

    Args:
        path: of the file.
        kinds: values that column unit may have, the first being meant where there is none; with
            the one kind "" the file has no such column.

    Raises:
        InputError: one line that names file, row (the header is row 1) and column.
    """
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no text in UTF-8") from None
    sizes: dict[tuple[int, str], int] = {}
    for row, frame, kind, size in _rows(path, text, kinds):
        if (frame, kind) in sizes:
            of = f", unit {kind}" if kind else ""
            raise InputError(f"{path}: row {row}, column frame: frame {frame}{of} is there twice")
        sizes[frame, kind] = size
    if not sizes:
        raise InputError(f"{path}: has no rows below its header")
    return SizeTable(path, sizes)


def _rows(path: str, text: str, kinds: Sequence[str]) -> Iterator[tuple[int, int, str, int]]:
    """Row number, frame, kind and bytes of each row."""
    reader = csv.reader(text.splitlines(), strict=True)
    allowed = ["frame", "bytes", *(["unit"] if len(kinds) > 1 else [])]
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in ("frame", "bytes"):
            if name not in header:
                raise InputError(f"{path}: row 1: no column {name}; columns: {', '.join(allowed)}")
        for name in header:
            if name not in allowed or header.count(name) > 1:
                raise InputError(
                    f"{path}: row 1: column {name!r} is not known or is there twice; columns: "
                    f"{', '.join(allowed)}"
                )
        for row, cells in enumerate(reader, start=2):
            if not cells:
                continue
            if row > MAX_ROWS:
                raise InputError(f"{path}: has more than {MAX_ROWS} rows")
            if len(cells) != len(header):
                raise InputError(
                    f"{path}: row {row}: {len(cells)} cells where the header has {len(header)}"
                )
            cell = dict(zip(header, map(str.strip, cells), strict=True))
            kind = cell.get("unit", kinds[0])
            if kind not in kinds:
                raise InputError(
                    f"{path}: row {row}, column unit: must be one of {', '.join(kinds)} "
                    f"(got {kind!r})"
                )
            frame = _whole(path, row, "frame", cell["frame"], 0, MAX_ROWS)
            yield row, frame, kind, _whole(path, row, "bytes", cell["bytes"], 1, MAX_UNIT_BYTES)
    except csv.Error as error:
        raise InputError(f"{path}: row {reader.line_num}: {error}") from None


def _whole(path: str, row: int, column: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise InputError(
            f"{path}: row {row}, column {column}: must be a whole number in {low}..{high} "
            f"(got {text!r})"
        )
    return int(text)
