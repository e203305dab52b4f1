"""Integer frequency tables of the packets' entropy coder, and how they are fitted.

All entropy decoding rests on these numbers and on what the packet itself says: never on what a
network gives, which differs between machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from grace_style.activity import CLASSES, ClassMap
from grace_style.errors import WeightsError
from morphe_core.vgc.number_coding import NUMBER_SYMBOLS
from morphe_core.vgc.range_coding import FREQUENCY_SUM, Table
from morphe_core.vgc.symbols import bucket_of

#: Contexts of a class map: the largest class of the three cells above, or the first row.
MAP_CONTEXTS: Final = CLASSES + 1
#: Largest magnitude of an element; anything larger is clipped by the encoder.
ELEMENT_MAX: Final = 255
#: Counts that the neighbouring class, and everything being possible, are worth beside real ones.
_NEIGHBOUR_COUNTS, _ANYTHING_COUNTS = 20.0, 1.0

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EntropyModel:
    """Tables of both kinds of elements and of their class maps.

    Attributes:
        motion: (CLASSES * 32 contexts, NUMBER_SYMBOLS); context = class * channels + channel.
        residual: (CLASSES * channels contexts, NUMBER_SYMBOLS).
        motion_map, residual_map: (MAP_CONTEXTS, CLASSES).
    """

    motion: Table
    residual: Table
    motion_map: Table
    residual_map: Table

    def arrays(self) -> dict[str, npt.NDArray[np.uint16]]:
        """For a weights file."""
        return {name: getattr(self, name).frequencies for name in _NAMES}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[np.uint16]]) -> EntropyModel:
        """The inverse of `arrays`.

        Raises:
            WeightsError: a table is missing or no table.
        """
        tables = {}
        for name in _NAMES:
            if name not in arrays:
                raise WeightsError(f"the entropy table {name} is missing")
            table = Table(arrays[name])
            if table.frequencies.ndim != 2 or not table.is_valid:
                raise WeightsError(f"the entropy table {name} is damaged")
            tables[name] = table
        return cls(**tables)


_NAMES: Final = ("motion", "residual", "motion_map", "residual_map")


def map_contexts(above: npt.NDArray[np.integer] | None, columns: int) -> npt.NDArray[np.intp]:
    """Context of each cell of a row, from the row above (None: there is none)."""
    if above is None:
        return np.full(columns, CLASSES, np.intp)
    padded = np.pad(above, 1)
    return np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:]).astype(np.intp)


def number_symbols(values: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """What `number_coding` codes first of each value."""
    size = np.abs(values).astype(np.int32)
    return np.where(size < 2, size, 2 + bucket_of(size)).astype(np.intp)


def fit(
    samples: Iterable[tuple[npt.NDArray[np.int16], ClassMap, npt.NDArray[np.int16], ClassMap]],
) -> EntropyModel:
    """Count symbols: motion elements and their class map, residual elements and theirs."""
    totals: dict[str, Counts] = {}
    for motion, motion_map, residual, residual_map in samples:
        for name, elements, classes in (
            ("motion", motion, motion_map), ("residual", residual, residual_map),
        ):  # fmt: skip
            _add(totals, name, _element_counts(elements, classes))
            _add(totals, name + "_map", _map_counts(classes))
    return EntropyModel(**{name: _table(name, totals[name]) for name in _NAMES})


def contexts_of(classes: ClassMap, shape: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    """Class of the cell of each element, times channels, plus its channel; flat."""
    channels, rows, cols = shape
    down, across = rows // classes.shape[0], cols // classes.shape[1]
    wide = np.repeat(np.repeat(classes, down, axis=0), across, axis=1)
    every = wide[None] * channels + np.arange(channels)[:, None, None]
    return every.reshape(-1).astype(np.intp)


def _element_counts(elements: npt.NDArray[np.int16], classes: ClassMap) -> Counts:
    channels = elements.shape[0]
    contexts = contexts_of(classes, elements.shape)
    flat = contexts * NUMBER_SYMBOLS + number_symbols(elements.reshape(-1))
    counts = np.bincount(flat, minlength=CLASSES * channels * NUMBER_SYMBOLS)
    return counts.reshape(CLASSES * channels, NUMBER_SYMBOLS).astype(np.float64)


def _map_counts(classes: ClassMap) -> Counts:
    counts = np.zeros((MAP_CONTEXTS, CLASSES))
    above = None
    for row in classes:
        np.add.at(counts, (map_contexts(above, len(row)), row), 1)
        above = row
    return counts


def _add(totals: dict[str, Counts], name: str, counts: Counts) -> None:
    totals[name] = totals[name] + counts if name in totals else counts


def _table(name: str, counts: Counts) -> Table:
    """Frequencies that add up to `FREQUENCY_SUM`, none of them zero."""
    if not name.endswith("_map"):
        per_class = counts.reshape(CLASSES, -1, counts.shape[1])
        pooled = per_class.sum(axis=1, keepdims=True) + _falling(counts.shape[1])
        pooled = pooled / pooled.sum(axis=2, keepdims=True)
        counts = (per_class + _NEIGHBOUR_COUNTS * pooled).reshape(counts.shape)
    counts = counts + _ANYTHING_COUNTS * _falling(counts.shape[1])
    shares = counts / counts.sum(axis=1, keepdims=True)
    room = FREQUENCY_SUM - counts.shape[1]
    whole = 1 + np.floor(shares * room).astype(np.int64)
    whole[np.arange(len(whole)), shares.argmax(axis=1)] += FREQUENCY_SUM - whole.sum(axis=1)
    return Table(whole[:, :-1].astype(np.uint16))


def _falling(symbols: int) -> Counts:
    """A little of everything, less of what is large."""
    falling: Counts = np.power(0.5, np.arange(symbols), dtype=np.float64)
    falling /= falling.sum()
    return falling
