"""The motion field to symbols and back.

Motion is the same over whole objects, and an encoder that pays for bits makes it more so. The knots
(`vgc.tokens.KNOTS`) are coded from the last one inwards, so that each but the first has a *lead*:
where its cell would be if it moved straight between the knots that are known. Every vector is one
of three: the one of the cell to its left, its lead (for the first knot: none), or a new one. That
is coded column by column, as each choice leans on the one before; what differs in the new vectors,
from a prediction, follows. Two numbers a unit and knot say how restless its field is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.number_coding import code_numbers
from morphe_core.vgc.range_coding import Coder, Floats, Index, Ints, Meter, Reader, Table
from morphe_core.vgc.symbols import bounded
from morphe_core.vgc.tokens import KNOTS, MOTION_CHANNELS, MOTION_MAX

#: Choices of a vector.
SAME, LEAD, NEW = 0, 1, 2
CHOICES = 3
#: The octave of a unit's share of vectors that are not the same as left of them, and the octave of
#: the mean length of what differs.
LEVELS = 8
#: Knots in the order of coding, as places in `KNOTS`: at the last picture, and halfway into what is
#: known.
ORDER = (3, 1, 0, 2)
#: For each in `ORDER`, the one coded before whose choice in this cell its own leans on.
_LEANS_ON = (None, 0, 1, 1)
#: What the cell to the left chose: the same as its left (which moves or not), lead, a new vector.
LEFT_STATES = 4
#: The same of the knot that is leant on, apart for the second knot and for the last two; the first
#: one leans on none.
LEAD_STATES = 9
CHOICE_CONTEXTS = LEVELS * LEFT_STATES * LEAD_STATES
#: Contexts of a difference: knot and axis, level, and how large a related number is.
VALUE_SIZES = 8
VALUE_CONTEXTS = MOTION_CHANNELS * LEVELS * VALUE_SIZES
#: Inputs of a prediction: the last vector of the row that moved, its lead, and this cell's lead.
PREDICTION_INPUTS = 3
#: Predictions: knot, axis, and whether any vector of the row has moved before.
PREDICTIONS = 2 * MOTION_CHANNELS
PREDICTION_SHIFT = 8

_Wide = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MotionModel:
    """The model of a motion field.

    Attributes:
        choices: (CHOICE_CONTEXTS) contexts of a choice.
        values: (VALUE_CONTEXTS) contexts of a difference's magnitude.
        predictions: (PREDICTIONS, PREDICTION_INPUTS) weights in 1 / 256.
        camera: contexts of `vgc.camera_coding`.
    """

    choices: Table
    values: Table
    predictions: _Wide
    camera: Table


class MotionCoder:
    """Codes the motion fields of all units.

    Args:
        model: of the field.
        coder: writes, reads or measures.
        unit_rows: (units + 1), first row of each unit and the end.
        cells: of a row.
        actual: (rows, cells, 8), what to write; None to read.
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
        self._actual = None
        if actual is not None:
            self._actual = actual.astype(np.int64).reshape(*self._shape, len(KNOTS), 2)
        #: Bits of each cell; only where `coder` is a meter.
        self.bits: Floats = np.zeros(self._shape, np.float32)

    def run(self) -> Ints:
        """Code the field; returns it, (rows, cells, 8)."""
        out = np.zeros((*self._shape, len(KNOTS), 2), np.int64)
        states: list[npt.NDArray[np.intp]] = []
        for number, knot in enumerate(ORDER):
            lead = lead_of(number, out)
            actual = None if self._actual is None else self._actual[..., knot, :]
            choices = None if actual is None else choose(actual, lead)
            level = self._level(None if choices is None else _unrest(choices, self._unit_rows))
            leans = _LEANS_ON[number]
            state = np.zeros(self._shape, np.intp)
            if leans is not None:
                state = 1 + LEFT_STATES * (number > 1) + states[leans]
            found = self._choices(level, state, choices)
            out[..., knot, :] = self._vectors(number, found, lead, actual)
            states.append(_states(found))
        return out.reshape(*self._shape, MOTION_CHANNELS).astype(np.int32)

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

    def _vectors(self, number: int, choices: Ints, lead: _Wide, actual: _Wide | None) -> _Wide:
        """The vectors of a knot (rows, cells, 2), given their leads."""
        places = np.flatnonzero(choices == NEW)
        bounds = np.searchsorted(places, self._unit_rows * self._shape[1])
        wanted = None
        if actual is not None:
            wanted = self._differences(number, lead, actual)[places]
        level = self._level(None if wanted is None else _restlessness(wanted, bounds))
        at = level[places // self._shape[1]] * VALUE_SIZES
        leads = lead.reshape(-1, 2)
        before = places - (places % self._shape[1] > 0)
        turn = np.abs(leads[places] - leads[before]).sum(axis=1)
        found = np.zeros((len(places), 2), np.int64)
        for axis in (0, 1):
            related = np.maximum(turn, 2 * np.abs(found[:, 0])) if axis else turn
            contexts = (2 * number + axis) * LEVELS * VALUE_SIZES + at + _size(related)
            found[:, axis] = code_numbers(
                self._coder, self._model.values, contexts, bounds,
                None if wanted is None else wanted[:, axis],
                lambda which: self._note(places[which]),
            )  # fmt: skip
        if actual is not None:
            return actual
        return self._rebuilt(number, choices, lead, places, found)

    def _rebuilt(
        self, number: int, choices: Ints, lead: _Wide, places: Index, found: _Wide
    ) -> _Wide:
        added = np.zeros((*self._shape, 2), np.int64)
        added.reshape(-1, 2)[places] = found
        out = np.zeros((*self._shape, 2), np.int64)
        row = _Row(self._model, number, self._shape[0])
        for column in range(self._shape[1]):
            choice, here = choices[:, column, None], lead[:, column]
            new = row.predicted(here) + added[:, column]
            vector = np.where(choice == SAME, row.left, np.where(choice == NEW, new, here))
            out[:, column] = vector
            row.advance(vector, here)
        beyond = np.flatnonzero((np.abs(out) > MOTION_MAX).any(axis=(1, 2)))
        if beyond.size:
            assert isinstance(self._coder, Reader)
            self._coder.fail(self._unit_rows, beyond)
            np.clip(out, -MOTION_MAX, MOTION_MAX, out=out)
        return out

    def _differences(self, number: int, lead: _Wide, actual: _Wide) -> _Wide:
        """What differs in every cell from its prediction, (rows * cells, 2)."""
        inputs, moved = prediction_inputs(lead, actual)
        out = np.empty((*self._shape, 2), np.int64)
        for axis in (0, 1):
            weights = self._model.predictions[4 * number + 2 * axis + moved.astype(np.intp)]
            out[..., axis] = actual[..., axis] - _rounded((inputs[..., axis, :] * weights).sum(-1))
        return out.reshape(-1, 2)

    def _note(self, places: Index) -> None:
        if isinstance(self._coder, Meter):
            size = self.bits.size
            self.bits += np.bincount(places, self._coder.last, size).reshape(self._shape)


class _Row:
    """Follows all rows from left to right while they are decoded."""

    def __init__(self, model: MotionModel, number: int, rows: int) -> None:
        weights = model.predictions[4 * number : 4 * number + 4].reshape(2, 2, PREDICTION_INPUTS)
        self._weights = np.ascontiguousarray(weights.transpose(1, 0, 2))
        self._inputs = np.zeros((rows, 2, PREDICTION_INPUTS), np.int64)
        self._moved = np.zeros(rows, np.intp)
        self.left = np.zeros((rows, 2), np.int64)

    def predicted(self, lead: _Wide) -> _Wide:
        """Predictions of a new vector, (rows, 2)."""
        self._inputs[..., 2] = lead
        return _rounded((self._inputs * self._weights[self._moved]).sum(-1))

    def advance(self, here: _Wide, lead: _Wide) -> None:
        """Go on to the next column."""
        moves = (here != 0).any(axis=1)
        self.left = here
        np.copyto(self._inputs[..., 0], here, where=moves[:, None])
        np.copyto(self._inputs[..., 1], lead, where=moves[:, None])
        self._moved |= moves


def lead_of(number: int, known: npt.NDArray[np.integer]) -> _Wide:
    """Where the cells are at a knot if they move straight between the known knots around it.

    Args:
        number: of the knot in `ORDER`.
        known: (..., 4, 2), of which the knots earlier in the order are looked at.

    Returns:
        (..., 2) int64; zero for the first one.
    """
    wide = known.astype(np.int64)
    last, middle = wide[..., ORDER[0], :], wide[..., ORDER[1], :]
    both: _Wide = (np.zeros_like(last), last, middle, middle + last)[number]
    return (both + 1) >> 1


def choose(vectors: _Wide, lead: _Wide) -> Ints:
    """The choice of each vector, (rows, cells), of vectors and leads (rows, cells, 2)."""
    left = np.zeros_like(vectors)
    left[:, 1:] = vectors[:, :-1]
    same = (vectors == left).all(axis=2)
    straight = (vectors == lead).all(axis=2)
    return np.where(same, SAME, np.where(straight, LEAD, NEW)).astype(np.int32)


def prediction_inputs(lead: _Wide, vectors: _Wide) -> tuple[_Wide, npt.NDArray[np.bool_]]:
    """What predictions lean on: (rows, cells, 2, PREDICTION_INPUTS), and whether any moved before.

    Args:
        lead: of each cell, (rows, cells, 2).
        vectors: the same shape.
    """
    rows, cells = vectors.shape[:2]
    place = np.where(vectors.any(axis=2), np.arange(cells), -1)
    last = np.full((rows, cells), -1)
    last[:, 1:] = np.maximum.accumulate(place, axis=1)[:, :-1]
    moved = last >= 0
    at = np.arange(rows)[:, None], np.maximum(last, 0)
    known = np.where(moved[..., None], vectors[at], 0)
    known_lead = np.where(moved[..., None], lead[at], 0)
    return np.stack([known, known_lead, lead], axis=-1), moved


def _rounded(exact: _Wide) -> _Wide:
    half = 1 << PREDICTION_SHIFT - 1
    return bounded((exact + half) >> PREDICTION_SHIFT, MOTION_MAX)


def _next_state(state: Index, choice: npt.NDArray[np.integer]) -> Index:
    """State after a choice: 0 same and still, 1 same and moving, 2 lead, 3 new."""
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
