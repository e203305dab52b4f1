"""One walk through a matrix, for writing it, reading it and counting its bits.

Each value is coded as a first symbol (zero, one, more), a bucket and a place in it for larger
magnitudes, and a sign. Values of the first channels are differences to a prediction, with a sign
that leans on what rounding cut off; the signs of the others are coins, tossed at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.contexts import PREDICTION_SHIFT, Contexts, level
from morphe_core.vgc.range_coding import Coder, Floats, Index, Ints, Meter, Reader
from morphe_core.vgc.symbols import BUCKET_SIZES, BUCKET_STARTS, bounded, bucket_of
from morphe_core.vgc.tables import (
    CLASSES,
    CLASSES_PER_LARGE,
    FIRST_SYMBOLS,
    LARGE_CLASSES,
    MatrixModel,
    Predictor,
    round_prediction,
)
from morphe_core.vgc.tokens import TOKEN_MAX

_SIGN_FRACTIONS = 8
_FRACTION_SHIFT = 5
_LEVEL_OF_FRACTION_SHIFT = 3


@dataclass(frozen=True)
class Prediction:
    """What a step's values are expected to be.

    Attributes:
        base: (tokens, channels) int32, the nearest integers.
        inputs: (tokens, 2 * channels) float32, for the step's network.
        signs: (tokens, channels), sign context of each value within its channel.
    """

    base: Ints
    inputs: Floats
    signs: Index


def predict_odd(predictor: Predictor, signed: npt.NDArray[np.float64]) -> Prediction:
    """The prediction of odd columns, which know both neighbours."""
    exact = bounded(predictor.known_part(signed), TOKEN_MAX << PREDICTION_SHIFT)
    base = round_prediction(exact)
    fraction = exact - (base << PREDICTION_SHIFT)
    near = (np.abs(fraction) >> _LEVEL_OF_FRACTION_SHIFT).astype(np.float32)
    inputs = np.concatenate([near, level(base)], axis=1)
    half = 1 << PREDICTION_SHIFT - 1
    signs = (np.sign(base) + 1) * _SIGN_FRACTIONS + ((fraction + half) >> _FRACTION_SHIFT)
    return Prediction(base.astype(np.int32), inputs, signs.astype(np.intp))


def even_bases(
    predictor: Predictor, contexts: Contexts, group: int, coded: Ints, *, coded_are_values: bool
) -> Ints:
    """Predictions of even columns, which also lean on the last token sent before in the row.

    Args:
        predictor: of the step.
        contexts: what is known.
        group: of the step.
        coded: (tokens, channels), the values or what was coded of them.
        coded_are_values: which of the two.

    Returns:
        (tokens, channels) int32.
    """
    columns = contexts.columns[0]
    known = predictor.known_part(contexts.signed_known(group, 0))
    part = columns.spread(bounded(known, TOKEN_MAX << PREDICTION_SHIFT))
    plane = columns.spread(coded.astype(np.int64))
    bases = np.zeros(plane.shape, np.int32)
    before = np.zeros((plane.shape[0], plane.shape[2]), np.int64)
    complete, sent = columns.complete, columns.sent[..., None]
    for column in range(plane.shape[1]):
        exact = part[:, column] + predictor.left * before
        base = bounded(round_prediction(exact), TOKEN_MAX)
        bases[:, column] = base
        value = plane[:, column] if coded_are_values else base + plane[:, column]
        before = value if complete else np.where(sent[:, column], value, before)
    out: Ints = columns.pick(bases)
    return out


class MatrixCoder:
    """Codes one matrix of all units.

    Args:
        model: of the matrix.
        coder: writes, reads or measures.
        contexts: nothing known yet.
        actual: (rows, cols, channels), what to write; None to read.
    """

    def __init__(
        self,
        model: MatrixModel,
        coder: Coder,
        contexts: Contexts,
        *,
        actual: npt.NDArray[np.integer] | None,
    ) -> None:
        self.model = model
        self._coder = coder
        self._contexts = contexts
        self._actual: list[Ints] | None = None
        if actual is not None:
            self._actual = [
                columns.pick(actual[:, columns.odd :: 2]).astype(np.int32)
                for columns in contexts.columns
            ]
        self._where: tuple[int, Index | None] = (0, None)
        #: Parity, group and classes (tokens, channels) of the steps that were measured.
        self.classes: list[tuple[int, int, Index]] = []
        #: Bits of each token by parity; only where `coder` is a meter.
        self.bits = [np.zeros(len(columns.where), np.float32) for columns in contexts.columns]

    def run(self) -> Ints:
        """Code the matrix; returns it, (rows, cols, channels), zero where nothing is sent."""
        used = self._code_used()
        layout = self.model.layout
        for group in range(len(layout.groups)):
            if not layout.leading(group) and not (used > group).any():
                break
            for odd in (0, 1):
                self._step(group, odd, used > group)
        self._signs_at_the_end()
        even, odd_plane = self._contexts.values
        out = np.empty((even.shape[0], even.shape[1] + odd_plane.shape[1], even.shape[2]), np.int32)
        out[:, ::2], out[:, 1::2] = even, odd_plane
        return out

    def _code_used(self) -> npt.NDArray[np.integer]:
        """How many groups each unit uses; the others are zero and cost nothing.

        The predicted groups are always coded: zero is not what is expected of them.
        """
        units = len(self._contexts.columns[0].bounds) - 1
        ends = self.model.layout.ends
        sizes = np.full(units, len(ends) + 1, np.int32)
        used: Ints | None = None
        if self._actual is not None:
            last = np.zeros(units, np.int64)
            for columns, values in zip(self._contexts.columns, self._actual, strict=True):
                for unit, (low, high) in enumerate(pairwise(columns.bounds)):
                    some = np.flatnonzero(values[low:high].any(axis=0))
                    last[unit] = max(last[unit], some[-1] + 1 if some.size else 0)
            groups = np.searchsorted(ends, last, side="left") + (last > 0)
            used = groups.astype(np.int32)
        return self._coder.uniform(sizes, np.arange(units + 1), used)

    def _step(self, group: int, odd: int, active: npt.NDArray[np.bool_]) -> None:
        contexts, net = self._contexts, self.model.nets[group][odd]
        columns = contexts.columns[odd]
        low, high = self.model.layout.groups[group]
        self._where = odd, None
        values = None
        if self._actual is not None:
            values = np.ascontiguousarray(self._actual[odd][:, low:high])
        if self.model.layout.leading(group):
            found = self._predicted(group, odd, values)
        else:
            tokens, bounds = _only(active, columns.bounds)
            inputs = contexts.known(group, odd)
            if tokens is None:
                classes = net.classes(inputs)
                if isinstance(self._coder, Meter):
                    self.classes.append((odd, group, classes))
                found = self._symbols(classes, low, bounds, None, values)
            else:
                self._where = odd, tokens
                found = np.zeros((len(columns.where), high - low), np.int32)
                some = None if values is None else values[tokens]
                classes = net.classes(inputs[tokens])
                found[tokens] = self._symbols(classes, low, bounds, None, some)
        contexts.publish(
            group, odd, self._checked(found, columns.bounds) if values is None else values
        )

    def _predicted(self, group: int, odd: int, values: Ints | None) -> Ints:
        """Code a step of a predicted group; returns the values."""
        contexts = self._contexts
        columns, low = contexts.columns[odd], self.model.layout.groups[group][0]
        predictor, net = self.model.predictors[group][odd], self.model.nets[group][odd]
        inputs = contexts.known(group, odd)
        if odd:
            guess = predict_odd(predictor, contexts.signed_known(group, 1))
            classes = net.classes(np.concatenate([inputs, guess.inputs], axis=1))
            coded = None if values is None else values - guess.base
            return guess.base + self._symbols(classes, low, columns.bounds, guess.signs, coded)
        classes = net.classes(inputs)
        unsigned = np.zeros_like(classes)
        if values is not None:
            coded = values - even_bases(predictor, contexts, group, values, coded_are_values=True)
            self._symbols(classes, low, columns.bounds, unsigned, coded)
            return values
        coded = self._symbols(classes, low, columns.bounds, unsigned, None)
        return coded + even_bases(predictor, contexts, group, coded, coded_are_values=False)

    def _checked(self, values: Ints, bounds: Index) -> Ints:
        """Values that no encoder writes mean that the bytes are not ours."""
        if self._actual is None and (np.abs(values) > TOKEN_MAX).any():
            tokens = np.flatnonzero((np.abs(values) > TOKEN_MAX).any(axis=1))
            assert isinstance(self._coder, Reader)
            self._coder.fail(bounds, tokens)
            np.clip(values, -TOKEN_MAX, TOKEN_MAX, out=values)
        return values

    def _symbols(
        self, classes: Index, low: int, bounds: Index, signs: Index | None, actual: Ints | None
    ) -> Ints:
        """Code a step's numbers (tokens, channels); without `signs` only their magnitudes."""
        count, size = classes.shape
        channels = np.arange(low, low + size)
        rows = (classes + channels * CLASSES).ravel()
        flat = None if actual is None else np.abs(actual).ravel()
        first = self._coder.categorical(
            self.model.first, rows, bounds * size, None if flat is None else np.minimum(flat, 2)
        )
        self._note(None, size)
        magnitudes = first.copy() if flat is None else flat
        big = np.flatnonzero(first == 2)
        if big.size:
            magnitudes[big] = self._large(
                classes.ravel()[big] // CLASSES_PER_LARGE + (low + big % size) * LARGE_CLASSES,
                np.searchsorted(big, bounds * size), big // size,
                None if flat is None else flat[big],
            )  # fmt: skip
        if signs is not None:
            which = np.flatnonzero(magnitudes)
            negative = None if actual is None else (actual.ravel()[which] < 0).astype(np.int32)
            context = (signs + channels * 3 * _SIGN_FRACTIONS).ravel()[which]
            found = self._coder.categorical(
                self.model.signs, context, np.searchsorted(which, bounds * size), negative
            )
            self._note(which // size)
            magnitudes = magnitudes.copy()
            magnitudes[which] *= 1 - 2 * found
        return magnitudes.reshape(count, size)

    def _large(self, rows: Index, bounds: Index, tokens: Index, actual: Ints | None) -> Ints:
        """Magnitudes from 2 on."""
        bucket = self._coder.categorical(
            self.model.large, rows, bounds, None if actual is None else bucket_of(actual)
        )
        self._note(tokens)
        out: Ints = BUCKET_STARTS[bucket]
        sizes = BUCKET_SIZES[bucket]
        wide = np.flatnonzero(sizes > 1)
        if wide.size:
            out[wide] += self._coder.uniform(
                sizes[wide], np.searchsorted(wide, bounds),
                None if actual is None else actual[wide] - out[wide],
            )  # fmt: skip
            self._note(tokens[wide])
        return out

    def _signs_at_the_end(self) -> None:
        """Signs of the channels that are not predicted."""
        contexts, first = self._contexts, self.model.layout.predicted
        for odd, columns in enumerate(contexts.columns):
            plane = contexts.values[odd]
            values = columns.pick(plane)[:, first:]
            if isinstance(self._coder, Meter):
                signs = np.count_nonzero(values, axis=1).astype(np.float32)
                self._coder.add(signs)
                self.bits[odd] += signs
                continue
            token, channel = np.nonzero(values)
            if not token.size:
                continue
            actual = None
            if self._actual is not None:
                actual = (self._actual[odd][token, channel + first] < 0).astype(np.int32)
            found = self._coder.coins(np.searchsorted(token, columns.bounds), actual)
            if self._actual is None:
                flat = plane.reshape(-1, plane.shape[2])
                flat[columns.where[token], channel + first] *= 1 - 2 * found

    def _note(self, tokens: Index | None, size: int = 1) -> None:
        """Give the bits of the latest symbols to their tokens (None: `size` of every token)."""
        if not isinstance(self._coder, Meter):
            return
        odd, chosen = self._where
        bits = self.bits[odd]
        if tokens is None:
            added = self._coder.last.reshape(-1, size).sum(axis=1)
        else:
            count = len(bits) if chosen is None else len(chosen)
            added = np.bincount(tokens, self._coder.last, count).astype(np.float32)
        if chosen is None:
            bits += added
        else:
            bits[chosen] += added


def _only(active: npt.NDArray[np.bool_], bounds: Index) -> tuple[Index | None, Index]:
    """Tokens of the active units (None: all) and their bounds."""
    if active.all():
        return None, bounds
    lengths = np.diff(bounds) * active
    tokens = np.flatnonzero(np.repeat(active, np.diff(bounds)))
    return tokens, np.concatenate([[0], np.cumsum(lengths)])


def zeroing_savings(model: MatrixModel, values: Ints, group: int, classes: Index) -> Floats:
    """Bits that each value of a measured step costs beyond a zero in its place.

    Args:
        model: of the matrix.
        values: (tokens, channels of the group).
        group: not a predicted one.
        classes: of the step.
    """
    low, high = model.layout.groups[group]
    channels = np.arange(low, high)
    size = np.abs(values)
    bits = model.first.bits[classes + channels * CLASSES]
    symbol = np.minimum(size, FIRST_SYMBOLS - 1)
    out: Floats = np.take_along_axis(bits, symbol[..., None].astype(np.intp), axis=2)[..., 0]
    # A sign is a bit.
    out = out - bits[..., 0] + (size > 0).astype(np.float32)
    big = size >= FIRST_SYMBOLS - 1
    bucket = bucket_of(size[big])
    context = (classes // CLASSES_PER_LARGE + channels * LARGE_CLASSES)[big]
    out[big] += model.large.bits[context, bucket] + np.log2(BUCKET_SIZES[bucket])
    return out
