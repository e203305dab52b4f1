"""Signed numbers to symbols and back: zero, one, a bucket of magnitudes, a place, a sign."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.range_coding import Coder, Index, Ints, Table
from morphe_core.vgc.symbols import BUCKET_SIZES, BUCKET_STARTS, bucket_of
from morphe_core.vgc.tokens import MOTION_MAX

#: Zero, one, and the buckets of `vgc.symbols` up to what two vectors can differ by.
NUMBER_SYMBOLS = 2 + int(np.searchsorted(BUCKET_STARTS, 2 * MOTION_MAX, side="right"))


def code_numbers(
    coder: Coder, table: Table, contexts: Index, bounds: Index,
    actual: npt.NDArray[np.integer] | None, note: Callable[[Index], None] | None = None,
) -> Ints:  # fmt: skip
    """Code signed numbers, each in its context.

    Args:
        coder: writes, reads or measures.
        table: (contexts, NUMBER_SYMBOLS).
        contexts: of each number.
        bounds: (units + 1), which numbers belong to which unit.
        actual: the numbers to write; None to read.
        note: told after each step which of the numbers it was about.

    Returns:
        The numbers.
    """
    every = np.arange(len(contexts))
    size = None if actual is None else np.abs(actual).astype(np.int32)
    symbols = None
    if size is not None:
        symbols = np.where(size < 2, size, 2 + bucket_of(size)).astype(np.int32)
    symbols = coder.categorical(table, contexts, bounds, symbols)
    if note:
        note(every)
    out = np.where(symbols < 2, symbols, BUCKET_STARTS[np.maximum(symbols - 2, 0)])
    wide = np.flatnonzero((symbols >= 2) & (BUCKET_SIZES[np.maximum(symbols - 2, 0)] > 1))
    if wide.size:
        out[wide] += coder.uniform(
            BUCKET_SIZES[symbols[wide] - 2],
            np.searchsorted(wide, bounds),
            None if size is None else size[wide] - out[wide],
        )
        if note:
            note(wide)
    which = np.flatnonzero(out)
    negative = None if actual is None else (actual[which] < 0).astype(np.int32)
    found = coder.coins(np.searchsorted(which, bounds), negative)
    if note:
        note(which)
    out[which] *= 1 - 2 * found
    return out.astype(np.int32)
