"""Bits that elements take, and the elements that a budget allows.

The analysis of a picture does not depend on the step that its elements are rounded with (only its
trunk is told the step that is expected), so the step that meets a budget is found by rounding and
counting, without running the network again.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from grace_style.activity import ClassMap, Elements, classes_of
from grace_style.tables import (
    ELEMENT_MAX,
    EntropyModel,
    contexts_of,
    map_contexts,
    number_symbols,
)
from morphe_core.vgc.quantiser import LAGRANGIAN
from morphe_core.vgc.range_coding import Table
from morphe_core.vgc.symbols import BUCKET_SIZES

Values = npt.NDArray[np.float32]

#: Values within this share of a step from the lower integer's edge are rounded down; rounding by
#: cost follows. As in the Morphe codec (`morphe_core.vgc.rounding`).
DEAD_ZONE: Final = 0.05
#: What a bit is worth, in units of `LAGRANGIAN` squared steps; and what it may be worth where the
#: next finer step takes too much and this one leaves room: once a still picture has been coded, all
#: that is left of it lies within the dead zone, and half a step finer nothing does.
PRICE: Final = 0.7
PRICES: Final = tuple(PRICE * 1.06**number for number in range(1, 16))


class ElementCosts:
    """Bits of one kind of elements.

    Args:
        table: of the elements.
        map_table: of their class map.
        channels: of a position.
    """

    def __init__(self, table: Table, map_table: Table, channels: int) -> None:
        magnitudes = np.arange(ELEMENT_MAX + 1)
        symbols = number_symbols(magnitudes)
        extra = np.log2(BUCKET_SIZES.astype(np.float32))[np.maximum(symbols - 2, 0)]
        more = np.where(symbols < 2, 0.0, extra) + (magnitudes > 0)  # place within, and sign
        self._bits: Values = (table.bits[:, symbols] + more).astype(np.float32)
        self._bits[:channels] = 0.0  # class 0: nothing is coded
        self._map_bits = map_table.bits
        self._channels = channels

    def elements(self, values: Elements, classes: ClassMap) -> Values:
        """Bits of each element, shaped as `values`."""
        contexts = contexts_of(classes, values.shape)
        taken: Values = self._bits[contexts, np.abs(values.reshape(-1))]
        return taken.reshape(values.shape)

    def savings(self, values: Elements, classes: ClassMap) -> Values:
        """Bits that each element would save as a zero, the class staying; shaped as `values`."""
        contexts = contexts_of(classes, values.shape)
        saved: Values = self._bits[contexts, np.abs(values.reshape(-1))] - self._bits[contexts, 0]
        return saved.reshape(values.shape)

    def map(self, classes: ClassMap) -> float:
        """Bits of the class map, which every packet has."""
        total = 0.0
        above = None
        for row in classes:
            total += float(self._map_bits[map_contexts(above, len(row)), row].sum())
            above = row
        return total


def costs_of(entropy: EntropyModel, motion_channels: int, channels: int) -> tuple[
    ElementCosts, ElementCosts
]:  # fmt: skip
    """Costs of motion and of residual elements."""
    return (
        ElementCosts(entropy.motion, entropy.motion_map, motion_channels),
        ElementCosts(entropy.residual, entropy.residual_map, channels),
    )


def rounded(
    values: Values, steps: Values, costs: ElementCosts, cells: tuple[int, int],
    price: float = PRICE,
) -> tuple[Elements, ClassMap]:  # fmt: skip
    """Elements: values in whole steps, those made zero that cost more than they are worth.

    Args:
        values: (channels, rows, cols).
        steps: (channels,).
        costs: of this kind of elements.
        cells: rows and columns of cells.
        price: squared error that a bit is worth, in units of `LAGRANGIAN` squared steps.
    """
    scaled = values / steps[:, None, None]
    size = np.floor(np.abs(scaled) + np.float32(0.5 - DEAD_ZONE))
    whole = np.copysign(np.minimum(size, ELEMENT_MAX), scaled).astype(np.int16)
    classes = classes_of(whole, cells)
    saved = costs.savings(whole, classes)
    added = np.square(scaled) - np.square(scaled - whole)
    dear = (saved > 0) & (added < np.float32(price * LAGRANGIAN) * saved)
    kept = np.where(dear, np.int16(0), whole)
    return kept, classes_of(kept, cells)
