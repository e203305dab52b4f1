"""Quantised coefficients of the residual layer: contexts, and a walk that writes or reads them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.residual_coder import ContextTables, Ints, SymbolCoder
from morphe_core.vgc.residual_dct import Scan
from morphe_core.vgc.residual_tables import ACTIVITIES, ESCAPE

#: Magnitudes from `ESCAPE` on are sent as what exceeds it, one of this many.
ESCAPED: Final = 4096
#: Activity class from the weighted sum of magnitudes near by (at most 125).
_ACTIVITY: Final = np.repeat(
    np.arange(ACTIVITIES, dtype=np.uint8), [1, 1, 1, 1, 2, 2, 3, 5, 8, 102]
)
#: By group: the weight of the magnitudes of the group before, and the class of the group.
_BEFORE: Final = np.array([0, 0, 1, 1, 1, 1, 2, 2, 2], np.uint8)
_GROUP_CLASS: Final = np.array([0, 1, 2, 2, 3, 3, 4, 4, 5], np.uint8)
_BEFORE_MAX: Final = 10


class LevelContexts:
    """Contexts of coefficients, group by group; each group is seen only after it is stored.

    Args:
        scan: the blocks' form.
        blocks: how many.
    """

    def __init__(self, scan: Scan, blocks: int) -> None:
        self._scan = scan
        # One row more, always zero: the neighbour of a coefficient that has none.
        self._magnitudes = np.zeros((scan.order.size + 1, blocks), np.uint8)
        self._before = np.zeros(blocks, np.uint8)

    def of_group(self, group: int, last: npt.NDArray[np.bool_], chosen: Ints | slice) -> Ints:
        """Contexts of a group, (coefficients, chosen blocks).

        Args:
            group: its number.
            last: (chosen blocks,) whether it is the last group within the block's extent.
            chosen: which blocks.
        """
        ends = self._scan.ends
        places = self._scan.near[:, ends[group] : ends[group + 1]]
        known = self._magnitudes[:, chosen]
        activity = known[places[0]] + known[places[1]]
        activity += activity
        for row in places[2:]:
            activity += known[row]
        activity += _BEFORE[group] * self._before[chosen]
        contexts: npt.NDArray[np.uint8] = _ACTIVITY[activity]
        contexts += np.uint8(ACTIVITIES) * (last + np.uint8(2) * _GROUP_CLASS[group])
        return contexts

    def store(self, group: int, levels: Ints, chosen: Ints | slice) -> None:
        """Take in a group, (coefficients, chosen blocks)."""
        ends = self._scan.ends
        found = np.minimum(np.abs(levels), ESCAPE).astype(np.uint8)
        self._magnitudes[ends[group] : ends[group + 1], chosen] = found
        total = found.sum(axis=0, dtype=np.int64)
        self._before[chosen] = np.minimum(total, _BEFORE_MAX).astype(np.uint8)

    def of_all(self, levels: Ints, extents: Ints) -> Ints:
        """Contexts of all coefficients in the first rows of `order`, as if all were coded.

        Args:
            levels: (ends[k], blocks) for some k.
            extents: (blocks,).
        """
        contexts = np.empty(levels.shape, np.uint8)
        everything = slice(None)
        for group in range(self._scan.groups):
            part = slice(self._scan.ends[group], self._scan.ends[group + 1])
            if part.start >= len(levels):
                break
            contexts[part] = self.of_group(group, extents == group + 1, everything)
            self.store(group, levels[part], everything)
        return contexts


def code_levels(
    coder: SymbolCoder, tables: ContextTables, scan: Scan, extents: Ints, levels: Ints
) -> None:
    """Code all coefficients within the extents; a reader fills `levels`.

    Args:
        coder: writer or reader.
        tables: of magnitudes.
        scan: the blocks' form.
        extents: (blocks,).
        levels: (n, blocks), zero outside the extents.
    """
    state = LevelContexts(scan, extents.size)
    for group in range(int(extents.max(initial=0))):
        chosen = np.flatnonzero(extents > group)
        part = slice(scan.ends[group], scan.ends[group + 1])
        contexts = state.of_group(group, extents[chosen] == group + 1, chosen)
        values = code_signed(coder, tables, contexts.ravel(), levels[part, chosen].ravel())
        values = values.reshape(contexts.shape)
        levels[part, chosen] = values
        state.store(group, values, chosen)


def code_signed(coder: SymbolCoder, tables: ContextTables, contexts: Ints, values: Ints) -> Ints:
    """Code magnitudes by context, then what exceeds `ESCAPE`, then signs of what is not zero."""
    magnitudes = np.abs(values)
    sizes = coder.code(tables, contexts, np.minimum(magnitudes, ESCAPE)).astype(np.int32)
    large = sizes == ESCAPE
    sizes[large] += coder.code_uniform(ESCAPED, magnitudes[large] - ESCAPE).astype(np.int32)
    present = sizes > 0
    negative = coder.code_uniform(2, (values[present] < 0).astype(np.int32))
    sizes[present] *= 1 - 2 * negative.astype(np.int32)
    return sizes
