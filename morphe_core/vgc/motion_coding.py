"""The motion field to symbols and back.

Motion is the same over whole objects, and an encoder that pays for bits makes it more so. So every
vector of a knot (`vgc.motion.KNOTS`) is one of three: the one of the cell to its left, none, or a
new one. That is coded column by column, as each choice leans on the one before; what differs in the
new vectors, from a prediction, follows. Two numbers a unit and knot say how restless its field is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.range_coding import Coder, Floats, Index, Ints, Meter, Reader, Table
from morphe_core.vgc.symbols import BUCKET_SIZES, BUCKET_STARTS, bounded, bucket_of
from morphe_core.vgc.tokens import MOTION_MAX

#: Choices of a vector.
SAME, NONE, NEW = 0, 1, 2
CHOICES = 3
#: The octave of a unit's share of vectors that are not the same as left of them, and the octave of
#: the mean length of what differs.
LEVELS = 8
#: What the cell to the left chose: the same as its left (which moves or not), none, a new vector.
LEFT_STATES = 4
#: The same of the first knot in this cell; the first knot itself has none.
LEAD_STATES = 5
CHOICE_CONTEXTS = LEVELS * LEFT_STATES * LEAD_STATES
#: Differences: zero, one, and the buckets of `vgc.symbols` up to what two vectors can differ by.
VALUE_SYMBOLS = 2 + int(np.searchsorted(BUCKET_STARTS, 2 * MOTION_MAX, side="right"))
#: Contexts of a difference: knot and axis, level, and how large a related number is.
VALUE_SIZES = 8
VALUE_CONTEXTS = 4 * LEVELS * VALUE_SIZES
#: Inputs of a prediction: the last vector of the row that moved, in this knot and in the first one,
#: and this cell's vector in the first knot.
PREDICTION_INPUTS = 3
#: Predictions: knot, axis, and whether any vector of the row has moved before.
PREDICTIONS = 8
PREDICTION_SHIFT = 8

_Wide = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MotionModel:
    """The model of a motion field.

    Attributes:
        choices: (CHOICE_CONTEXTS) contexts of a choice.
        values: (VALUE_CONTEXTS) contexts of a difference's magnitude.
        predictions: (PREDICTIONS, PREDICTION_INPUTS) weights in 1 / 256.
    """

    choices: Table
    values: Table
    predictions: _Wide


class MotionCoder:
    """Codes the motion fields of all units.

    Args:
        model: of the field.
        coder: writes, reads or measures.
        unit_rows: (units + 1), first row of each unit and the end.
        cells: of a row.
        actual: (rows, cells, 4), what to write; None to read.
    """

    def __init__(
        self,
        model: MotionModel,
        coder: Coder,
        unit_rows: Index,
        cells: int,
        actual: npt.NDArray[np.integer] | None,
    ) -> None:
        self._model = model
        self._coder = coder
        self._unit_rows = unit_rows
        self._shape = int(unit_rows[-1]), cells
        self._actual = None if actual is None else actual.astype(np.int64)
        #: Bits of each cell; only where `coder` is a meter.
        self.bits: Floats = np.zeros(self._shape, np.float32)

    def run(self) -> Ints:
        """Code the field; returns it, (rows, cells, 4)."""
        out = np.zeros((*self._shape, 4), np.int64)
        lead = np.zeros(self._shape, np.intp)
        for knot in (0, 1):
            span = slice(2 * knot, 2 * knot + 2)
            actual = None if self._actual is None else self._actual[..., span]
            choices = None if actual is None else choose(actual)
            level = self._level(None if choices is None else _unrest(choices, self._unit_rows))
            found = self._choices(level, lead, choices)
            out[..., span] = self._vectors(knot, found, out[..., :2], actual)
            lead = 1 + _states(found)
        return out.astype(np.int32)

    def _level(self, actual: Ints | None) -> npt.NDArray[np.intp]:
        """A number of each unit, given to its rows, (rows,)."""
        units = len(self._unit_rows) - 1
        sizes = np.full(units, LEVELS, np.int32)
        found = self._coder.uniform(sizes, np.arange(units + 1), actual)
        return np.repeat(found, np.diff(self._unit_rows)).astype(np.intp)

    def _choices(self, level: Index, lead: Index, actual: Ints | None) -> Ints:
        base = (level[:, None] * LEAD_STATES + lead) * LEFT_STATES
        if actual is not None:
            contexts = base + _left_states(actual)
            order = self._column_order()
            bounds = self._unit_rows * self._shape[1]
            self._coder.categorical(
                self._model.choices, contexts.ravel()[order], bounds, actual.ravel()[order]
            )
            self._note(order)
            return actual
        out = np.zeros(self._shape, np.int32)
        state = np.zeros(self._shape[0], np.intp)
        for column in range(self._shape[1]):
            found = self._coder.categorical(
                self._model.choices, base[:, column] + state, self._unit_rows, None
            )
            out[:, column] = found
            state = _next_state(state, found)
        return out

    def _column_order(self) -> Index:
        """Flat places in the order of coding: unit, column, row."""
        rows, cells = self._shape
        places = np.arange(rows * cells).reshape(rows, cells)
        spans = zip(self._unit_rows[:-1], self._unit_rows[1:], strict=True)
        return np.concatenate([places[low:high].T.ravel() for low, high in spans])

    def _vectors(self, knot: int, choices: Ints, first: _Wide, actual: _Wide | None) -> _Wide:
        """The vectors of a knot (rows, cells, 2), given those of the first one."""
        places = np.flatnonzero(choices == NEW)
        bounds = np.searchsorted(places, self._unit_rows * self._shape[1])
        wanted = None
        if actual is not None:
            wanted = self._differences(knot, first, actual)[places]
        level = self._level(None if wanted is None else _restlessness(wanted, bounds))
        at = level[places // self._shape[1]] * VALUE_SIZES
        related = np.zeros(len(places), np.int64)
        if knot:
            known = first.reshape(-1, 2)
            before = places - (places % self._shape[1] > 0)
            related = np.abs(known[places] - known[before]).sum(axis=1)
        found = np.zeros((len(places), 2), np.int64)
        for axis in (0, 1):
            if axis:
                related = np.maximum(related if knot else 0, 2 * np.abs(found[:, 0]))
            contexts = (2 * knot + axis) * LEVELS * VALUE_SIZES + at + _size(related)
            part = None if wanted is None else wanted[:, axis]
            found[:, axis] = self._numbers(contexts, bounds, places, part)
        if actual is not None:
            return actual
        return self._rebuilt(knot, choices, first, places, found)

    def _numbers(self, contexts: Index, bounds: Index, places: Index, actual: _Wide | None) -> Ints:
        """Signed numbers in their contexts."""
        size = None if actual is None else np.abs(actual).astype(np.int32)
        symbols = None
        if size is not None:
            symbols = np.where(size < 2, size, 2 + bucket_of(size))
        symbols = self._coder.categorical(self._model.values, contexts, bounds, symbols)
        self._note(places)
        out = np.where(symbols < 2, symbols, BUCKET_STARTS[np.maximum(symbols - 2, 0)])
        wide = np.flatnonzero((symbols >= 2) & (BUCKET_SIZES[np.maximum(symbols - 2, 0)] > 1))
        if wide.size:
            more = self._coder.uniform(
                BUCKET_SIZES[symbols[wide] - 2],
                np.searchsorted(wide, bounds),
                None if size is None else size[wide] - out[wide],
            )
            self._note(places[wide])
            out[wide] += more
        which = np.flatnonzero(out)
        negative = None if actual is None else (actual[which] < 0).astype(np.int32)
        found = self._coder.coins(np.searchsorted(which, bounds), negative)
        self._note(places[which])
        out[which] *= 1 - 2 * found
        return out.astype(np.int32)

    def _rebuilt(
        self, knot: int, choices: Ints, first: _Wide, places: Index, found: _Wide
    ) -> _Wide:
        added = np.zeros((*self._shape, 2), np.int64)
        added.reshape(-1, 2)[places] = found
        out = np.zeros((*self._shape, 2), np.int64)
        row = _Row(self._model, knot, self._shape[0])
        for column in range(self._shape[1]):
            choice = choices[:, column, None]
            new = row.predicted(first[:, column]) + added[:, column]
            here = np.where(choice == SAME, row.left, np.where(choice == NEW, new, 0))
            out[:, column] = here
            row.advance(here, first[:, column])
        beyond = np.flatnonzero((np.abs(out) > MOTION_MAX).any(axis=(1, 2)))
        if beyond.size:
            assert isinstance(self._coder, Reader)
            self._coder.fail(self._unit_rows, beyond)
            np.clip(out, -MOTION_MAX, MOTION_MAX, out=out)
        return out

    def _differences(self, knot: int, first: _Wide, actual: _Wide) -> _Wide:
        """What differs in every cell from its prediction, (rows * cells, 2)."""
        inputs, moved = prediction_inputs(knot, first, actual)
        out = np.empty((*self._shape, 2), np.int64)
        for axis in (0, 1):
            weights = self._model.predictions[4 * knot + 2 * axis + moved.astype(np.intp)]
            out[..., axis] = actual[..., axis] - _rounded((inputs[..., axis, :] * weights).sum(-1))
        return out.reshape(-1, 2)

    def _note(self, places: Index) -> None:
        if isinstance(self._coder, Meter):
            size = self.bits.size
            self.bits += np.bincount(places, self._coder.last, size).reshape(self._shape)


class _Row:
    """Follows all rows from left to right while they are decoded."""

    def __init__(self, model: MotionModel, knot: int, rows: int) -> None:
        weights = model.predictions[4 * knot : 4 * knot + 4].reshape(2, 2, PREDICTION_INPUTS)
        self._weights = np.ascontiguousarray(weights.transpose(1, 0, 2))
        self._inputs = np.zeros((rows, 2, PREDICTION_INPUTS), np.int64)
        self._moved = np.zeros(rows, np.intp)
        self._knot = knot
        self.left = np.zeros((rows, 2), np.int64)

    def predicted(self, first: _Wide) -> _Wide:
        """Predictions of a new vector, (rows, 2)."""
        if self._knot:
            self._inputs[..., 2] = first
        return _rounded((self._inputs * self._weights[self._moved]).sum(-1))

    def advance(self, here: _Wide, first: _Wide) -> None:
        """Go on to the next column."""
        moves = (here != 0).any(axis=1)
        self.left = here
        np.copyto(self._inputs[..., 0], here, where=moves[:, None])
        if self._knot:
            np.copyto(self._inputs[..., 1], first, where=moves[:, None])
        self._moved |= moves


def choose(vectors: _Wide) -> Ints:
    """The choice of each vector, (rows, cells), of vectors (rows, cells, 2)."""
    left = np.zeros_like(vectors)
    left[:, 1:] = vectors[:, :-1]
    same = (vectors == left).all(axis=2)
    none = ~vectors.any(axis=2)
    return np.where(same, SAME, np.where(none, NONE, NEW)).astype(np.int32)


def prediction_inputs(
    knot: int, first: _Wide, vectors: _Wide
) -> tuple[_Wide, npt.NDArray[np.bool_]]:
    """What predictions lean on: (rows, cells, 2, PREDICTION_INPUTS), and whether any moved before.

    Args:
        knot: 0 or 1.
        first: vectors of the first knot, (rows, cells, 2); not looked at for itself.
        vectors: of this knot.
    """
    rows, cells = vectors.shape[:2]
    place = np.where(vectors.any(axis=2), np.arange(cells), -1)
    last = np.full((rows, cells), -1)
    last[:, 1:] = np.maximum.accumulate(place, axis=1)[:, :-1]
    moved = last >= 0
    at = np.arange(rows)[:, None], np.maximum(last, 0)
    known = np.where(moved[..., None], vectors[at], 0)
    if not knot:
        blank = np.zeros_like(vectors)
        return np.stack([known, blank, blank], axis=-1), moved
    known_first = np.where(moved[..., None], first[at], 0)
    return np.stack([known, known_first, first], axis=-1), moved


def _rounded(exact: _Wide) -> _Wide:
    half = 1 << PREDICTION_SHIFT - 1
    return bounded((exact + half) >> PREDICTION_SHIFT, MOTION_MAX)


def _next_state(state: Index, choice: npt.NDArray[np.integer]) -> Index:
    """State after a choice: 0 same and still, 1 same and moving, 2 none, 3 new."""
    moving = (state & 1).astype(np.intp)
    out: Index = np.where(choice == SAME, moving, choice + 1).astype(np.intp)
    return out


def _states(choices: Ints) -> Index:
    """State after each choice, (rows, cells)."""
    out = np.zeros(choices.shape, np.intp)
    state = np.zeros(len(choices), np.intp)
    for column in range(choices.shape[1]):
        state = out[:, column] = _next_state(state, choices[:, column])
    return out


def _left_states(choices: Ints) -> Index:
    out = np.zeros(choices.shape, np.intp)
    out[:, 1:] = _states(choices)[:, :-1]
    return out


def _size(numbers: _Wide) -> Index:
    """Octave of a number, 0..VALUE_SIZES - 1."""
    found = np.searchsorted(1 << np.arange(VALUE_SIZES - 1), numbers, side="right")
    return found.astype(np.intp)


def _unrest(choices: Ints, unit_rows: Index) -> Ints:
    """Level of each unit's share of vectors that are not the same as left of them."""
    other = np.concatenate([[0], np.cumsum((choices != SAME).sum(axis=1))])
    counts = np.maximum(np.diff(unit_rows) * choices.shape[1], 1)
    share: _Wide = ((other[unit_rows[1:]] - other[unit_rows[:-1]]) << LEVELS) // counts
    # 0: fewer than one in 128; 7: more than half.
    return np.minimum(_size(share >> 1), LEVELS - 1).astype(np.int32)


def _restlessness(differences: _Wide, bounds: Index) -> Ints:
    """Level of each unit's mean length of differences, in octaves."""
    total = np.concatenate([[0], np.cumsum(np.abs(differences).sum(axis=1))])
    counts = np.maximum(np.diff(bounds), 1)
    mean = (total[bounds[1:]] - total[bounds[:-1]]) // counts
    return _size(mean).astype(np.int32)
