"""The residual layer (paper, section 4.3, Eq. 4): what the tokens lost, averaged over a window.

The encoder has the receiver's pictures before it (losses aside), takes them from the source,
averages the difference over the pictures of a window and sends of it what the bytes allow; the
receiver adds it to every picture of the window. A moving picture has little in common with its
average residual; a still one has nearly all.

This is the code of one window; `vgc.enhancement` makes packets of it and adds them to pictures.

Two forms, by name:

* "pixel", the paper's: samples below a threshold become zero, the rest is sent as it is.
* "transform": block transform, quantisation and skipped blocks by rate and distortion.

Measured on eight test clips at 640x360 and 30 fps against their x264 decodes (crf 38, keyint 9),
mean gain in PSNR over luma and chroma: 1.05, 1.46 and 1.90 dB for "transform" at 50, 100 and 200
kbps, 0.29, 0.48 and 0.75 dB for "pixel". Three windows of three pictures instead of one a GoP give
"transform" 0.17 dB less at 50 kbps and 0.06 dB more at 200.

A unit is a band of rows of macroblocks and decodes by itself: four bytes of header (form and
window, level, first row, rows), then the form's own payload.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.residual_blocks import (
    MACROBLOCK,
    Average,
    Choice,
    Correction,
    Floats,
    Form,
    Plan,
)
from morphe_core.vgc.residual_coder import UnitWriter
from morphe_core.vgc.residual_pixel import PixelForm
from morphe_core.vgc.residual_transform import TransformForm

#: Forms by name, as `encode_residual` takes them.
FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {"pixel": PixelForm(), "transform": TransformForm()}
)
#: Bytes of a unit's header.
HEADER_BYTES: Final = 4
#: Windows of a GoP that a header can number.
MAX_WINDOWS: Final = 16
#: Rows of macroblocks that a header can number.
MAX_ROWS: Final = 255
#: Stop looking for a better fit when this share of the budget is used.
_ENOUGH: Final = 0.97
_TRIALS: Final = 16

Numbers = npt.NDArray[Any]


class Planes(NamedTuple):
    """Pictures as arrays, uint8 or float on the 8-bit scale.

    Attributes:
        luma: (pictures, height, width).
        chroma: (pictures, 2, height / 2, width / 2).
    """

    luma: Numbers
    chroma: Numbers


class Band(NamedTuple):
    """What a unit holds.

    Attributes:
        window: number of the window within its GoP.
        first_row: first row of macroblocks (16 luma rows each).
        correction: what is added to the pictures of the window, for whole macroblocks.
    """

    window: int
    first_row: int
    correction: Correction


@dataclass(frozen=True, slots=True)
class EncodedResidual:
    """A window's residual as units.

    Attributes:
        units: bytes of each, headers included; none if nothing fits or pays.
        gain: by how much the squared error of the whole window goes down if all units arrive,
            summed over all samples and pictures (clipping at 0 and 255 makes it no smaller).
        coarseness: of the form that was used; a good `start` for the next window.
    """

    units: tuple[bytes, ...]
    gain: float
    coarseness: float

    @property
    def size_bytes(self) -> int:
        """Bytes of all units."""
        return sum(map(len, self.units))


def encode_residual(
    source: Planes,
    reconstruction: Planes,
    budget_bytes: int,
    *,
    form: str = "transform",
    unit_bytes: int = 1100,
    header_bytes: int = 0,
    window: int = 0,
    start: float | None = None,
) -> EncodedResidual:
    """Code what `reconstruction` lacks, averaged over the pictures given.

    Args:
        source: the pictures of the window.
        reconstruction: what the receiver has of them, same shapes.
        budget_bytes: for all units; never exceeded.
        form: a key of `FORMS`.
        unit_bytes: a unit of more than one row of macroblocks is not larger than this.
        header_bytes: what each unit takes of the budget beside its own bytes.
        window: number of the window in its GoP, 0..15.
        start: `coarseness` of the window before; saves trials.

    Raises:
        CodecConfigError: unknown form, shapes that do not fit each other, too many rows or a wrong
            window.
    """
    if form not in FORMS:
        raise CodecConfigError(f"residual form {form!r}: known are {', '.join(sorted(FORMS))}")
    if not 0 <= window < MAX_WINDOWS:
        raise CodecConfigError(f"residual window {window}: must be within 0 and {MAX_WINDOWS - 1}")
    coder = FORMS[form]
    average = average_residual(source, reconstruction)
    if average.grid[0] > MAX_ROWS:
        raise CodecConfigError(f"residual of {average.grid[0]} rows: at most {MAX_ROWS}")
    trials = _Trials(coder, coder.plan(average), window, (unit_bytes, header_bytes))
    best = trials.search(budget_bytes, coder.start if start is None else start)
    return EncodedResidual(best.units, best.gain * len(source.luma), best.coarseness)


def average_residual(source: Planes, reconstruction: Planes) -> Average:
    """Eq. 4: mean of source minus reconstruction, padded with zeros to whole macroblocks.

    Raises:
        CodecConfigError: other shapes than `Planes` says, or no picture.
    """
    count, height, width = source.luma.shape
    wanted = ((count, height, width), (count, 2, height // 2, width // 2))
    for name, planes in (("source", source), ("reconstruction", reconstruction)):
        if (planes.luma.shape, planes.chroma.shape) != wanted or not count:
            raise CodecConfigError(
                f"residual {name} planes {planes.luma.shape} and {planes.chroma.shape}: must be "
                f"{wanted[0]} and {wanted[1]}, at least one picture"
            )
    down, right = -height % MACROBLOCK, -width % MACROBLOCK
    luma = _mean_difference(source.luma, reconstruction.luma)
    chroma = _mean_difference(source.chroma, reconstruction.chroma)
    return Average(
        np.pad(luma, ((0, down), (0, right))),
        np.pad(chroma, ((0, 0), (0, down // 2), (0, right // 2))),
    )


def _mean_difference(source: Numbers, reconstruction: Numbers) -> Floats:
    dtype = np.int32 if source.dtype == reconstruction.dtype == np.uint8 else np.float32
    total = source.sum(axis=0, dtype=dtype) - reconstruction.sum(axis=0, dtype=dtype)
    mean: Floats = total.astype(np.float32) / np.float32(len(source))
    return mean


class _Trial(NamedTuple):
    """What one coarseness gives; the size counts what each unit takes beside its bytes."""

    coarseness: float
    units: tuple[bytes, ...]
    gain: float
    size: int


class _Trials:
    """Looks for the coarseness that fills a budget."""

    def __init__(self, form: Form, plan: Plan, window: int, sizes: tuple[int, int]) -> None:
        self._form, self._plan, self._window = form, plan, window
        self._unit_bytes, self._header_bytes = sizes

    def search(self, budget: int, start: float) -> _Trial:
        """The largest trial found that fits; stops when it is large enough or nothing is left."""
        best = _Trial(self._form.coarsest, (), 0.0, 0)
        finer: _Trial | None = None  # too large
        coarser: _Trial | None = None  # fits
        at = min(max(start, 0.0), self._form.coarsest)
        for _ in range(_TRIALS):
            trial = self._at(at)
            if trial.size <= budget:
                coarser = trial
                best = max(best, trial, key=lambda one: one.gain)
                if trial.size >= _ENOUGH * budget or at == 0.0:
                    break
            elif at == self._form.coarsest:
                break
            else:
                finer = trial
            at = self._next(finer, coarser, budget)
        return best

    def _next(self, finer: _Trial | None, coarser: _Trial | None, budget: int) -> float:
        """Where the size should be just below the budget: its logarithm is about a line."""
        target = math.log(max(1.0, budget * (1 + _ENOUGH) / 2))
        if finer is not None and coarser is not None:
            above, below = math.log(finer.size), math.log(max(1, coarser.size))
            share = (above - target) / max(above - below, 1e-9)
            share = min(max(share, 0.1), 0.9)
            return finer.coarseness + share * (coarser.coarseness - finer.coarseness)
        known = finer or coarser
        assert known is not None
        # An octave of bytes takes 4 to 6 steps in either form.
        steps = 5 * (math.log(max(1, known.size)) - target) / math.log(2)
        steps = math.copysign(min(max(abs(steps), 0.3), 16.0), 1.0 if finer else -1.0)
        return min(max(known.coarseness + steps, 0.0), self._form.coarsest)

    def _at(self, coarseness: float) -> _Trial:
        choice = self._plan.choose(coarseness)
        units: list[bytes] = []
        for rows in _bands(choice.row_bits, 8.0 * self._unit_bytes):
            units += self._write(choice, rows)
        size = sum(map(len, units)) + self._header_bytes * len(units)
        return _Trial(coarseness, tuple(units), choice.gain, size)

    def _write(self, choice: Choice, rows: range) -> list[bytes]:
        """Units of some rows: one, or several if it would be too large."""
        used = rows.start + np.flatnonzero(choice.row_bits[rows.start : rows.stop])
        if not used.size:
            return []
        rows = range(int(used[0]), int(used[-1]) + 1)
        first = self._form.code << 4 | self._window
        writer = UnitWriter()
        choice.walk(writer, rows)
        unit = bytes([first, choice.level, rows.start, len(rows)]) + writer.finish()
        if len(unit) <= self._unit_bytes or len(rows) == 1:
            return [unit]
        middle = len(rows) // 2
        return self._write(choice, rows[:middle]) + self._write(choice, rows[middle:])


def _bands(row_bits: npt.NDArray[np.float64], unit_bits: float) -> list[range]:
    """Bands of rows of about equal bits, none of more than `unit_bits` if the bits are right."""
    total = float(row_bits.sum())
    count = max(1, math.ceil(total / (0.9 * unit_bits)))
    number = (
        np.minimum(np.cumsum(row_bits) - row_bits / 2, total * 0.999999) * count // max(total, 1)
    )
    ends = np.searchsorted(number, np.arange(1, count + 1))
    starts = (0, *ends[:-1])
    return [range(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b > a]


def decode_residual_unit(data: bytes, *, width: int, height: int) -> Band:
    """What a unit adds.

    Args:
        data: the unit, all of it.
        width: luma width of the pictures it belongs to, even.
        height: their luma height, even.

    Raises:
        BitstreamError: no unit of ours, or one of pictures of another size.
    """
    if len(data) < HEADER_BYTES:
        raise BitstreamError(f"residual unit of {len(data)} bytes: a header has {HEADER_BYTES}")
    first, level, first_row, rows = data[:HEADER_BYTES]
    total = -(-height // MACROBLOCK)
    if not (rows >= 1 and first_row + rows <= total):
        raise BitstreamError(
            f"residual unit of rows {first_row} to {first_row + rows - 1}: there are {total}"
        )
    for form in FORMS.values():
        if form.code == first >> 4:
            correction = form.read(data[HEADER_BYTES:], level, rows, -(-width // MACROBLOCK))
            return Band(first & 15, first_row, correction)
    raise BitstreamError(f"residual unit of form {first >> 4}: known are 0 and 1")


def add_residual(pictures: Planes, bands: Sequence[Band]) -> Planes:
    """Pictures of one window with what arrived of its residual; where nothing did they are equal.

    Args:
        pictures: uint8 (then clipped to it) or float (not clipped).
        bands: decoded units of this window, each at most once.
    """
    result = Planes(pictures.luma.copy(), pictures.chroma.copy())
    for band in bands:
        add_band(result, band)
    return result


def add_band(pictures: Planes, band: Band) -> None:
    """Add a band to the pictures of its window in place; see `add_residual`."""
    for plane, correction, side in (
        (pictures.luma, band.correction.luma, MACROBLOCK),
        (pictures.chroma, band.correction.chroma, MACROBLOCK // 2),
    ):
        top = band.first_row * side
        part = plane[..., top : top + correction.shape[-2], :]
        _add(part, correction[..., : part.shape[-2], : part.shape[-1]])


def _add(part: Numbers, correction: npt.NDArray[np.int16]) -> None:
    """Add in place; saturate uint8, without a wider copy of all pictures."""
    if part.dtype != np.uint8:
        part += correction.astype(part.dtype)
        return
    up = np.maximum(correction, 0).astype(np.uint8)
    down = np.maximum(-correction, 0).astype(np.uint8)
    np.minimum(part, 255 - up, out=part)
    part += up
    np.maximum(part, down, out=part)
    part -= down
