"""What the tables of the residual layer start with, counted over pictures and what became of them.

`residual_tables` holds the result as plain numbers. They decide only how soon the tables know what
they would learn anyway; but encoder and decoder must start with the same ones, so new numbers make
a new bitstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.residual import FORMS, Planes, average_residual
from morphe_core.vgc.residual_coder import ContextTables, Counts, Ints
from morphe_core.vgc.residual_tables import ACTIVITIES, SHARES

#: What a context's own counts compete with: so many symbols of its family's average.
_FAMILY_WEIGHT: Final = 20
#: Coarseness in each form at which symbols are counted: about 50 and 150 kbps at 640x360.
_COARSENESS: Final[Mapping[str, tuple[float, ...]]] = {
    "transform": (29.0, 37.0),
    "pixel": (33.0, 38.0),
}


class SymbolCounter:
    """A `SymbolCoder` that counts.

    Attributes:
        counts: by name of the tables, (contexts, symbols).
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counts] = {}

    def code(self, tables: ContextTables, contexts: Ints, values: Ints) -> Ints:
        """See `SymbolCoder`."""
        shape = tables.contexts, tables.symbols
        counts = self.counts.setdefault(tables.name, np.zeros(shape, np.int64))
        np.add.at(counts, (contexts, values), 1)
        return values

    def code_uniform(self, size: int, values: Ints) -> Ints:
        """See `SymbolCoder`; nothing to count, as these have no table."""
        del size
        return values


def count_symbols(windows: Iterable[tuple[Planes, Planes]]) -> dict[str, Counts]:
    """Symbols that both forms would send.

    Args:
        windows: source and reconstruction of each.
    """
    counter = SymbolCounter()
    for source, reconstruction in windows:
        average = average_residual(source, reconstruction)
        for name, form in FORMS.items():
            plan = form.plan(average)
            for coarseness in _COARSENESS[name]:
                plan.choose(coarseness).walk(counter, range(average.grid[0]))
    return counter.counts


def zero_shares(counts: Counts) -> npt.NDArray[np.int64]:
    """Share of zeros in each context, in parts of `SHARES`.

    The contexts of one activity are a family: a rare one leans on the others.
    """
    zeros, totals = counts[:, 0], counts.sum(axis=1)
    family = np.arange(len(counts)) % ACTIVITIES
    family_zeros = np.bincount(family, zeros)[family]
    family_totals = np.maximum(np.bincount(family, totals)[family], 1)
    lent = _FAMILY_WEIGHT * family_zeros / family_totals
    share = (zeros + lent) / (totals + _FAMILY_WEIGHT)
    result: npt.NDArray[np.int64] = np.clip(np.rint(SHARES * share), 1, SHARES - 1).astype(np.int64)
    return result


def decay_shares(counts: Counts) -> npt.NDArray[np.int64]:
    """Of the magnitudes beyond 0, the share that goes on to the next one, by activity.

    Magnitudes are taken as geometric; this is the maximum-likelihood estimate, in parts of
    `SHARES`.
    """
    result = []
    for activity in range(min(ACTIVITIES, len(counts))):
        beyond = counts[activity::ACTIVITIES, 1:].sum(axis=0)
        steps = float((beyond * np.arange(len(beyond))).sum())
        share = (steps + 1) / (steps + float(beyond.sum()) + 5)
        result.append(round(SHARES * share))
    return np.clip(np.array(result, np.int64), 1, SHARES - 1)


def smoothed(counts: Counts) -> Counts:
    """Counts for a literal table: each row adds up to about 200, nothing is 0."""
    average = (counts.sum(axis=0) + 1) / (counts.sum() + counts.shape[1])
    mixed = counts + _FAMILY_WEIGHT * average
    scaled: Counts = np.rint(200 * mixed / mixed.sum(axis=1, keepdims=True)).astype(np.int64)
    result: Counts = np.maximum(scaled, 1)
    return result
