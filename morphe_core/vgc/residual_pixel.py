"""The residual layer as the paper has it: thresholded samples, losslessly coded (section 4.3).

Which 8x8 blocks hold anything is sent first, then every sample of these blocks: zero or a
magnitude with a context from its neighbours, and a sign likewise.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError
from morphe_core.vgc.residual_blocks import (
    MACROBLOCK,
    PHASES,
    VALUE_MAX,
    Average,
    Choice,
    Correction,
    Floats,
    Plan,
    Samples,
    code_classes,
    neighbour_mean,
    neighbour_sum,
)
from morphe_core.vgc.residual_coder import (
    ContextTables,
    Ints,
    SymbolCoder,
    UnitReader,
)
from morphe_core.vgc.residual_tables import ESCAPE, PIXEL_BLOCKS, PIXEL_SIGNS, PIXEL_VALUES

#: Side of a block that is sent or not.
_SIDE: Final = 8
#: Contexts of blocks and of samples from those around them.
_BLOCK_LIMIT: Final = len(PIXEL_BLOCKS) - 1
_BLOCK_SCALE: Final = 6
_VALUE_LIMIT: Final = len(PIXEL_VALUES) - 1
#: A magnitude counts at most this much in its neighbours' contexts.
_CLASS_MAX: Final = 3
#: The threshold doubles every so many steps of coarseness, from `_LEAST` on.
_STEPS_PER_OCTAVE: Final = 8
_LEAST: Final = 0.5
#: About what a sample costs that is sent, in bits; decides where units are cut, nothing else.
_SAMPLE_BITS: Final = 6.0
_TABLES: Final = (
    ("pixel_blocks", PIXEL_BLOCKS),
    ("pixel_values", PIXEL_VALUES),
    ("pixel_signs", PIXEL_SIGNS),
)
#: As in `vgc.selection`: spreads evenly.
_SPREAD: Final = 2654435769


class _Choice:
    """See `Choice`; the level is the smallest magnitude."""

    def __init__(self, level: int, planes: list[Samples], gain: float) -> None:
        self.level = level
        self.gain = gain
        self._planes = planes
        counts = [
            np.count_nonzero(plane.reshape(planes[1].shape[0] // _SIDE, -1), axis=1)
            for plane in planes
        ]
        self.row_bits: npt.NDArray[np.float64] = _SAMPLE_BITS * np.sum(counts, axis=0)

    def walk(self, coder: SymbolCoder, rows: range) -> None:
        """See `Choice`."""
        parts: list[Ints] = [
            plane[rows.start * side : rows.stop * side].astype(np.int32)
            for plane, side in zip(self._planes, (MACROBLOCK, _SIDE, _SIDE), strict=True)
        ]
        _walk(coder, parts, self.level)


class _Plan:
    """See `Plan`."""

    def __init__(self, average: Average) -> None:
        self._planes: list[Floats] = [average.luma, *average.chroma]

    def choose(self, coarseness: float) -> Choice:
        """See `Plan`."""
        threshold = min(_LEAST * 2 ** (coarseness / _STEPS_PER_OCTAVE), float(VALUE_MAX))
        planes, gain = [], 0.0
        for plane in self._planes:
            magnitude = np.abs(plane)
            # Averages of few pictures have few values, and with one threshold bytes would jump
            # from one to the next: thresholds of blocks are spread over one step of the scale.
            sent = magnitude >= threshold + _spread(plane.shape)
            value = np.where(sent, np.sign(plane) * np.floor(magnitude + 0.5), 0.0)
            gain += float((value * (2 * plane - value)).sum())
            planes.append(value.astype(np.int16))
        return _Choice(max(1, int(threshold + 0.5)), planes, gain)


def _spread(shape: tuple[int, ...]) -> Floats:
    """0 to 1, the same within a block, evenly spread over blocks."""
    rows, cols = shape[0] // _SIDE, shape[1] // _SIDE
    number = np.arange(rows * cols, dtype=np.uint64) * np.uint64(_SPREAD) % np.uint64(1 << 32)
    share = (number / 2**32).astype(np.float32).reshape(rows, cols)
    return share.repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)


def _walk(coder: SymbolCoder, planes: list[Ints], least: int) -> None:
    """Code a unit; a reader fills `planes`."""
    for planes_of_kind in (planes[:1], planes[1:]):
        tables = [ContextTables(name, start) for name, start in _TABLES]
        for plane in planes_of_kind:
            _code_plane(coder, tables, plane, least)


def _code_plane(coder: SymbolCoder, tables: list[ContextTables], plane: Ints, least: int) -> None:
    rows, cols = plane.shape[0] // _SIDE, plane.shape[1] // _SIDE
    split = plane.reshape(rows, _SIDE, cols, _SIDE)
    blocks: Ints = np.abs(split).max(axis=(1, 3), initial=0).astype(np.bool_).astype(np.int32)
    code_classes(coder, tables[0], blocks, _BLOCK_LIMIT, _BLOCK_SCALE)
    inside = blocks.astype(np.bool_).repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)
    known = ~inside
    classes = np.zeros(plane.shape, np.int32)
    signs = np.zeros(plane.shape, np.int32)
    for row, col in PHASES:
        phase = np.s_[row::2, col::2]
        chosen = inside[phase]
        around = neighbour_mean(classes, known, _VALUE_LIMIT)[phase][chosen]
        leaning = np.sign(neighbour_sum(signs, 2, 1))[phase][chosen]
        values = _code_values(coder, tables, (around, leaning), plane[phase][chosen], least)
        plane[phase][chosen] = values
        classes[phase][chosen] = np.minimum(np.abs(values), _CLASS_MAX)
        signs[phase][chosen] = np.sign(values)
        known[phase] = True


def _code_values(
    coder: SymbolCoder, tables: list[ContextTables], contexts: tuple[Ints, Ints], values: Ints,
    least: int,
) -> Ints:  # fmt: skip
    """Code samples: 0, or a magnitude of `least` or more with its sign."""
    around, leaning = contexts
    magnitudes = np.maximum(np.abs(values) - (least - 1), 0)
    sizes = coder.code(tables[1], around, np.minimum(magnitudes, ESCAPE)).astype(np.int32)
    large = sizes == ESCAPE
    sizes[large] += coder.code_uniform(VALUE_MAX + 1, magnitudes[large] - ESCAPE).astype(np.int32)
    present = sizes > 0
    negative = coder.code(tables[2], leaning[present] + 1, (values[present] < 0).astype(np.int32))
    sizes[present] = np.minimum(sizes[present] + (least - 1), VALUE_MAX)
    sizes[present] *= 1 - 2 * negative.astype(np.int32)
    return sizes


class PixelForm:
    """The form called "pixel"; see `Form`."""

    code = 0
    start = 36.0
    coarsest = _STEPS_PER_OCTAVE * float(np.log2(VALUE_MAX / _LEAST))

    def plan(self, average: Average) -> Plan:
        """See `Form`."""
        return _Plan(average)

    def read(self, data: bytes, level: int, rows: int, cols: int) -> Correction:
        """See `Form`."""
        if level < 1:
            raise BitstreamError("residual level 0: the smallest magnitude must be at least 1")
        reader = UnitReader(data)
        sides = (MACROBLOCK, _SIDE, _SIDE)
        planes: list[Ints] = [np.zeros((rows * side, cols * side), np.int32) for side in sides]
        _walk(reader, planes, level)
        reader.finish()
        luma, *chroma = (plane.astype(np.int16) for plane in planes)
        return Correction(luma, np.stack(chroma))
