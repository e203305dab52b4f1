"""Frequency tables from counts.

Tables are smoothed towards what all channels have in common, and those towards everything being
possible, so that every symbol stays codable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.range_coding import FREQUENCY_SUM, Index, Ints, Meter, Table

#: Counts that what channels have in common weighs in each context.
COMMON_COUNTS = 6.0
#: Counts that the uniform part weighs.
UNIFORM_COUNTS = 0.5


class Counter(Meter):
    """A coder that counts symbols in their contexts."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[int, npt.NDArray[np.float64]] = {}

    def categorical(
        self, table: Table, contexts: Index, bounds: Index, actual: Ints | None
    ) -> Ints:
        """See `Coder`."""
        assert actual is not None
        counts = self.counts(table)
        size = counts.shape[1]
        counts += np.bincount(contexts * size + actual, minlength=counts.size).reshape(-1, size)
        return super().categorical(table, contexts, bounds, actual)

    def counts(self, table: Table) -> npt.NDArray[np.float64]:
        """Counts of a table's contexts and symbols so far."""
        shape = table.probabilities.shape
        return self._counts.setdefault(id(table), np.zeros(shape))


def flat_table(contexts: int, symbols: int) -> Table:
    """A table of equally probable symbols."""
    return Table(np.full((contexts, symbols - 1), FREQUENCY_SUM // symbols, np.uint16))


def smoothed(counts: npt.NDArray[np.float64], channels: int) -> Table:
    """Counts (channels * contexts, symbols) smoothed: contexts lean on all channels' ones."""
    symbols = counts.shape[1]
    by_channel = counts.reshape(max(channels, 1), -1, symbols)
    common = by_channel.sum(axis=0)
    overall = common.sum(axis=0) + UNIFORM_COUNTS / symbols
    overall /= overall.sum()
    common = common + UNIFORM_COUNTS * overall
    common /= common.sum(axis=1, keepdims=True)
    return frequencies((by_channel + COMMON_COUNTS * common).reshape(-1, symbols))


def frequencies(weights: npt.NDArray[np.float64]) -> Table:
    """Frequencies in proportion to `weights` (contexts, symbols), each at least 1."""
    symbols = weights.shape[1]
    share = weights / weights.sum(axis=1, keepdims=True)
    exact = np.floor(share * (FREQUENCY_SUM - symbols)).astype(np.int64) + 1
    # The most frequent symbol takes what rounding left, so that the sum is right.
    largest = exact.argmax(axis=1)
    exact[np.arange(len(exact)), largest] += FREQUENCY_SUM - exact.sum(axis=1)
    return Table(exact[:, :-1].astype(np.uint16))
