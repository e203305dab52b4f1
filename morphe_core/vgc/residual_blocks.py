"""Planes of a residual, its macroblocks, and what the forms of the residual layer share.

A macroblock is 16x16 luma samples and 8x8 samples of each chroma plane at the same place. Planes
are padded to whole macroblocks; a unit holds whole rows of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.residual_coder import ContextTables, Ints, SymbolCoder

#: Side of a macroblock in luma samples.
MACROBLOCK: Final = 16
#: Largest magnitude of a residual sample.
VALUE_MAX: Final = 255

Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[np.int16]
Sample = TypeVar("Sample", bound=np.generic)


class Average(NamedTuple):
    """A residual averaged over its window.

    Attributes:
        luma: (16 * rows, 16 * cols) float32.
        chroma: (2, 8 * rows, 8 * cols) float32.
    """

    luma: Floats
    chroma: Floats

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of macroblocks."""
        return self.luma.shape[0] // MACROBLOCK, self.luma.shape[1] // MACROBLOCK


class Correction(NamedTuple):
    """What is added to every picture of the window: integers within -255 and 255.

    Attributes:
        luma: (16 * rows, 16 * cols) int16.
        chroma: (2, 8 * rows, 8 * cols) int16.
    """

    luma: Samples
    chroma: Samples


class Choice(Protocol):
    """What a form sends of an average at some coarseness.

    Attributes:
        level: the form's setting that the decoder has to know, 0..255.
        row_bits: (rows,) about how many bits each row of macroblocks takes; 0 = nothing in it.
        gain: by how much the squared error of one picture goes down, summed over all samples.
    """

    level: int
    row_bits: npt.NDArray[np.float64]
    gain: float

    def walk(self, coder: SymbolCoder, rows: range) -> None:
        """Code the payload for these rows of macroblocks."""


class Plan(Protocol):
    """An average, made ready to be coded at any coarseness."""

    def choose(self, coarseness: float) -> Choice:
        """What is sent; a larger coarseness (0 or more) sends less."""


class Form(Protocol):
    """A way to code averaged residuals.

    Attributes:
        code: its number in a unit's header, 0..15.
        start: a coarseness to try first.
        coarsest: at this coarseness (almost) nothing is left to send.
    """

    code: int
    start: float
    coarsest: float

    def plan(self, average: Average) -> Plan:
        """Make an average ready."""

    def read(self, data: bytes, level: int, rows: int, cols: int) -> Correction:
        """What a unit of `rows` rows adds to the pictures.

        Raises:
            BitstreamError: the bytes are none that `Choice.walk` makes.
        """


def to_blocks(plane: npt.NDArray[Sample], side: int) -> npt.NDArray[Sample]:
    """(rows * side, cols * side) as (rows * cols, side, side)."""
    rows, cols = plane.shape[0] // side, plane.shape[1] // side
    split = plane.reshape(rows, side, cols, side).swapaxes(1, 2)
    return np.ascontiguousarray(split).reshape(rows * cols, side, side)


def from_blocks(blocks: npt.NDArray[Sample], cols: int) -> npt.NDArray[Sample]:
    """The reverse of `to_blocks`."""
    count, side = blocks.shape[:2]
    split = blocks.reshape(count // cols, cols, side, side).swapaxes(1, 2)
    return np.ascontiguousarray(split).reshape(count // cols * side, cols * side)


#: Values of `beside` in `code_classes`.
BESIDE: Final = 3
#: Order in which the four phases of a grid are coded: each knows the ones before it.
PHASES: Final = ((0, 0), (1, 1), (0, 1), (1, 0))


def neighbour_sum(values: Ints, straight: int, diagonal: int) -> npt.NDArray[np.int64]:
    """Weighted sum of the eight neighbours of each place of a grid; nothing lies outside it."""
    rows, cols = values.shape
    wide = np.zeros((rows + 2, cols + 2), np.int64)
    wide[1:-1, 1:-1] = values
    across = wide[:, :-2] + wide[:, 2:]
    total: npt.NDArray[np.int64] = straight * (across[1:-1] + wide[:-2, 1:-1] + wide[2:, 1:-1])
    total += diagonal * (across[:-2] + across[2:])
    return total


def neighbour_mean(classes: Ints, known: npt.NDArray[np.bool_], limit: int, scale: int = 2) -> Ints:
    """Context of a class from its known neighbours: 0 = none known, else 1 + their scaled mean.

    Args:
        classes: (rows, cols) classes, 0 or more; only the known ones count.
        known: (rows, cols) bool.
        limit: largest context.
        scale: what the mean is multiplied by.
    """
    total = neighbour_sum(classes * known, 2, 1)
    weight = neighbour_sum(known.astype(np.int64), 2, 1)
    mean = (scale * total + weight // 2) // np.maximum(weight, 1)
    result: Ints = np.where(weight > 0, 1 + np.minimum(mean, limit - 1), 0)
    return result


def code_classes(
    coder: SymbolCoder, tables: ContextTables, classes: Ints, limit: int, scale: int = 2,
    beside: Ints | None = None,
) -> None:  # fmt: skip
    """Code a class for each place of a grid, phase by phase; a reader fills `classes`.

    Args:
        coder: writer or reader.
        tables: contexts are `neighbour_mean` up to `limit`, times those of `beside`.
        classes: (rows, cols), written or filled in.
        limit: see `neighbour_mean`.
        scale: see `neighbour_mean`.
        beside: (rows, cols) 0..2, another context that both ends know; None = tables without it.
    """
    known = np.zeros(classes.shape, np.bool_)
    for row, col in PHASES:
        phase = np.s_[row::2, col::2]
        contexts = neighbour_mean(classes, known, limit, scale)[phase]
        if beside is not None:
            contexts = contexts * BESIDE + beside[phase]
        found = coder.code(tables, contexts.ravel(), classes[phase].ravel())
        classes[phase] = found.reshape(contexts.shape)
        known[phase] = True
