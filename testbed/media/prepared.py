"""Pictures of a clip in their final form, in one memory-mapped file that all processes share.

Decoding and scaling a clip costs as much as encoding it; a sweep reads it hundreds of times. The
file holds every distinct picture once; `slots` says which of them is on screen in each frame slot
of one period, so that repeated frames and loops cost nothing.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from testbed.errors import ClipError, OutputError
from testbed.media.sources import Picture, Source
from testbed.paths import cache_dir

#: Changes when the content of these files changes.
FORM = 2
#: Prepared clips beyond this are removed, the longest unused first (10 s of 720p30 is 415 MB).
LIMIT_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """The pictures of one period.

    Attributes:
        pictures: all distinct pictures, shape (n, bytes), memory-mapped.
        slots: picture of each frame slot, shape (period,).
        detail, motion: see `testbed.media.clips.Clip`, shape (period,).
        looped: the clip goes on after the period by starting again.
    """

    pictures: npt.NDArray[np.uint8]
    slots: npt.NDArray[np.int32]
    detail: npt.NDArray[np.float32]
    motion: npt.NDArray[np.float32]
    looped: bool

    @property
    def period(self) -> int:
        """Frame slots until the source starts again."""
        return len(self.slots)

    def picture(self, index: int) -> Picture:
        """The picture in frame slot `index`."""
        picture: Picture = self.pictures[self.slots[index % self.period]]
        return picture


def folder() -> Path:
    """Where prepared clips lie."""
    return cache_dir() / "clips"


def fill_slots(
    source: Iterator[tuple[Fraction, Picture]], *, fps: Fraction, frame_count: int
) -> Iterator[tuple[Picture, int]]:
    """Frame-rate conversion by timestamps: each picture with the number of slots it fills.

    A picture at time t takes the slot round(t * fps) and stays until the next one; of several for
    the same slot the last wins (as in FFmpeg's `fps` filter). Stops at `frame_count` slots.
    """
    held: Picture | None = None
    last_time = Fraction(0)
    step = 1 / fps
    first_slot = 0
    for time, picture in source:
        slot = int(time * fps + Fraction(1, 2))
        if held is not None and slot > first_slot:
            yield held, min(slot, frame_count) - first_slot
            first_slot = slot
            if first_slot >= frame_count:
                return
        if time > last_time:
            step = time - last_time
        held, last_time = picture, time
    if held is not None:
        end = min(int((last_time + step) * fps + Fraction(1, 2)), frame_count)
        if end > first_slot or first_slot == 0:
            yield held, max(end - first_slot, 1)


class _Measure:
    """Detail and motion of a stream of pictures, on every second row of luma."""

    def __init__(self, width: int, height: int) -> None:
        self._shape = (height, width)
        self._first: npt.NDArray[np.int16] | None = None
        self._previous: npt.NDArray[np.int16] | None = None

    def __call__(self, picture: Picture) -> tuple[float, float]:
        height, width = self._shape
        rows = picture[: height * width].reshape(self._shape)[::2].astype(np.int16)
        detail = float(np.abs(np.diff(rows[:, ::2], axis=1)).mean())
        before, self._previous = self._previous, rows
        if before is None:
            self._first = rows
            return detail, 0.0
        return detail, float(np.abs(rows - before).mean())

    def seam(self) -> float:
        """Motion from the last picture back to the first."""
        if self._first is None or self._previous is None:
            return 0.0
        return float(np.abs(self._previous - self._first).mean())


def prepare(
    source: Source, *, key: str, width: int, height: int, fps: Fraction, frame_count: int
) -> Prepared:
    """The pictures of `source` in the form asked for, from the cache or made now.

    Raises:
        ClipError: the source has no pictures or is damaged.
        OutputError: the cache cannot be written.
    """
    import av

    version = "-".join(str(part) for part in av.library_versions["libswscale"])
    stem = folder() / f"{key[:32]}-{FORM}-{version}"
    found = _load(stem, width * height * 3 // 2)
    if found is not None:
        return found
    try:
        folder().mkdir(parents=True, exist_ok=True)
        _make(stem, source, width=width, height=height, fps=fps, frame_count=frame_count)
        _shrink(keep=stem)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise
        raise OutputError(f"{folder()}: cannot keep prepared clips ({error.strerror})") from None
    made = _load(stem, width * height * 3 // 2)
    if made is None:
        raise OutputError(f"{stem}.yuv: vanished while it was made")
    return made


def _load(stem: Path, picture_bytes: int) -> Prepared | None:
    """What is in the cache; None when it is not there or not whole."""
    try:
        facts = json.loads(stem.with_suffix(".json").read_bytes())
        pictures = np.memmap(stem.with_suffix(".yuv"), np.uint8, "r").reshape(-1, picture_bytes)
        slots = np.asarray(facts["slots"], np.int32)
        if len(slots) == 0 or slots.max() >= len(pictures) or facts["pictures"] != len(pictures):
            return None
        os.utime(stem.with_suffix(".json"))
        return Prepared(
            pictures,
            slots,
            np.asarray(facts["detail"], np.float32),
            np.asarray(facts["motion"], np.float32),
            bool(facts["looped"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(
    stem: Path, source: Source, *, width: int, height: int, fps: Fraction, frame_count: int
) -> None:
    """Write both files under temporary names; the .json comes last and makes them whole."""
    mark = f".{os.getpid()}.part"
    raw, note = stem.with_suffix(".yuv" + mark), stem.with_suffix(".json" + mark)
    try:
        with raw.open("wb") as file:
            facts = _write_pictures(file, source, width, height, fps, frame_count)
        if not facts["pictures"]:
            raise ClipError("the clip has no pictures")
        note.write_text(json.dumps(facts))
        raw.replace(stem.with_suffix(".yuv"))
        note.replace(stem.with_suffix(".json"))
    finally:
        raw.unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def _write_pictures(
    file: BinaryIO, source: Source, width: int, height: int, fps: Fraction, frame_count: int
) -> dict[str, object]:
    slots: list[int] = []
    detail: list[float] = []
    motion: list[float] = []
    measure = _Measure(width, height)
    number = 0
    pictures = fill_slots(source.pictures(width, height), fps=fps, frame_count=frame_count)
    for number, (picture, count) in enumerate(pictures, start=1):
        file.write(picture.tobytes())
        here, moved = measure(picture)
        slots += [number - 1] * count
        detail += [round(here, 4)] * count
        motion += [round(moved, 4)] + [0.0] * (count - 1)
    if motion:
        motion[0] = round(measure.seam(), 4)
    return {
        "pictures": number,
        "slots": slots,
        "detail": detail,
        "motion": motion,
        "looped": len(slots) < frame_count,
    }


def _shrink(*, keep: Path) -> None:
    """Remove the longest unused clips until the rest is within `LIMIT_BYTES`."""
    notes = sorted(folder().glob("*.json"), key=lambda note: -note.stat().st_mtime)
    total = 0
    for note in notes:
        raw = note.with_suffix(".yuv")
        total += raw.stat().st_size if raw.exists() else 0
        if total > LIMIT_BYTES and note.with_suffix("") != keep:
            note.unlink(missing_ok=True)
            raw.unlink(missing_ok=True)
