"""The entropy coder's model: small integer networks, prediction weights and frequency tables.

A step's context is a *class* from a network of one hidden layer over the small integers of
`vgc.contexts`; the class selects the frequencies of the symbol. The network's numbers are integers
and its sums stay below 2 ** 24, so float32 arithmetic gives them exactly, in any order and on any
number of threads: a decoder on another machine gets the same class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from morphe_core.errors import WeightsError
from morphe_core.vgc.camera_coding import CAMERA_CONTEXTS
from morphe_core.vgc.contexts import INPUT_MAX, PREDICTION_SHIFT, SIGN_CONTEXTS, Layout
from morphe_core.vgc.motion_coding import (
    CHOICE_CONTEXTS,
    CHOICES,
    PREDICTION_INPUTS,
    PREDICTIONS,
    VALUE_CONTEXTS,
    MotionModel,
)
from morphe_core.vgc.number_coding import NUMBER_SYMBOLS
from morphe_core.vgc.range_coding import FREQUENCY_SUM, Floats, Index, Table
from morphe_core.vgc.symbols import LARGE_BUCKETS
from morphe_core.vgc.tokens import MOTION_CHANNELS, GopTokens

Arrays = dict[str, npt.NDArray[np.generic]]

#: Classes of contexts; one is half a unit of the logarithm of the odds that a value is not zero.
CLASSES = 40
#: Classes that share a table of large magnitudes.
CLASSES_PER_LARGE = 4
LARGE_CLASSES = CLASSES // CLASSES_PER_LARGE
#: First symbols: zero, one, more.
FIRST_SYMBOLS = 3
#: Hidden units of a step's network, their largest value and fixed points.
HIDDEN = 24
HIDDEN_MAX = 255
HIDDEN_SHIFT = 6
CLASS_SHIFT = 12
#: Integers below this are exact in float32.
EXACT = 1 << 24
#: Numbers of its cell's motion that a P token knows: those of the middle knot and of the last one.
MOTION_KNOWN = (2, 3, 6, 7)
#: I channels whose sum over both neighbours a P token of the same unit knows.
I_AROUND = 8


@dataclass(frozen=True)
class Net:
    """The network of one step.

    Attributes:
        first: (inputs, hidden) integers as float32.
        first_bias: (hidden,).
        second: (hidden, channels).
        second_bias: (channels,).
    """

    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats

    def classes(self, inputs: Floats) -> Index:
        """Context classes, (tokens, channels), of inputs (tokens, inputs)."""
        first, first_bias, second, second_bias = self._scaled
        hidden = inputs @ first
        hidden += first_bias
        np.floor(hidden, out=hidden)
        np.maximum(hidden, 0, out=hidden)
        np.minimum(hidden, HIDDEN_MAX, out=hidden)
        out = hidden @ second
        out += second_bias
        np.maximum(out, 0, out=out)
        np.minimum(out, CLASSES - 1, out=out)
        return out.astype(np.intp)

    @cached_property
    def _scaled(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The numbers with the fixed points' powers of two taken out, which is exact too."""
        hidden, out = np.float32(2.0**-HIDDEN_SHIFT), np.float32(2.0**-CLASS_SHIFT)
        return (
            self.first * hidden,
            self.first_bias * hidden,
            self.second * out,
            self.second_bias * out,
        )

    @property
    def is_exact(self) -> bool:
        """No sum can leave what float32 holds exactly."""
        hidden = np.abs(self.first).sum(0) * INPUT_MAX + np.abs(self.first_bias)
        out = np.abs(self.second).sum(0) * HIDDEN_MAX + np.abs(self.second_bias)
        return bool((hidden < EXACT).all() and (out < EXACT).all())


@dataclass(frozen=True)
class Predictor:
    """Predicts the signed values of a step, in 1 / 256.

    Attributes:
        weights: (signed numbers, channels) integers as float64.
        left: (channels,) weight of the value two columns to the left; even columns only.
    """

    weights: npt.NDArray[np.float64]
    left: npt.NDArray[np.int64]

    def known_part(self, signed: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """What the signed numbers (tokens, n) predict, (tokens, channels)."""
        return (signed @ self.weights).astype(np.int64)


def round_prediction(exact: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A prediction to the nearest integer."""
    return (exact + (1 << PREDICTION_SHIFT - 1)) >> PREDICTION_SHIFT


@dataclass(frozen=True)
class MatrixModel:
    """The model of one matrix.

    Attributes:
        layout: its groups.
        nets: by group, for even and odd columns.
        predictors: the same for the predicted groups.
        first: (channels * CLASSES) contexts of the symbols zero, one, more.
        large: (channels * LARGE_CLASSES) contexts of the bucket of magnitudes from 2 on.
        signs: (predicted channels * SIGN_CONTEXTS) contexts of the sign.
    """

    layout: Layout
    nets: tuple[tuple[Net, Net], ...]
    predictors: tuple[tuple[Predictor, Predictor], ...]
    first: Table
    large: Table
    signs: Table


#: Levels of raggedness of a mask, and contexts at each: even columns, then odd ones by neighbours;
#: all twice, by what the I mask does.
MASK_LEVELS = 8
MASK_CONTEXTS = 10


@dataclass(frozen=True)
class EntropyModel:
    """Everything that coding a `GopTokens` needs besides the tokens.

    Attributes:
        i_channels: numbers of an I token.
        p_channels: numbers of a P token.
        motion_channels: 8, or 0 for a backend without motion.
        matrices: "i"; "p", which knows I; "p_alone".
        motion: None without motion.
        masks: (MASK_LEVELS * MASK_CONTEXTS) contexts of a bit of a mask.
    """

    i_channels: int
    p_channels: int
    motion_channels: int
    matrices: Mapping[str, MatrixModel]
    motion: MotionModel | None
    masks: Table

    @classmethod
    def fit(cls, gops: Iterable[GopTokens], *, steps: int = 600, seed: int = 1) -> EntropyModel:
        """The model of what `gops` show; every value stays codable.

        Args:
            gops: of one backend, at all qualities that will be used.
            steps: training steps of each network; 0 gives untrained ones.
            seed: of the networks' start and the order of samples.

        Raises:
            TrainingError: no GoP, or GoPs of different backends.
        """
        from morphe_core.vgc.entropy_fit import fit

        return fit(gops, steps=steps, seed=seed)

    def arrays(self) -> Arrays:
        """The model as named integer arrays, for a weights file."""
        sizes = [self.i_channels, self.p_channels, self.motion_channels]
        out: Arrays = {"sizes": np.array(sizes, np.int32), "masks": self.masks.frequencies}
        if self.motion is not None:
            out["motion.choices"] = self.motion.choices.frequencies
            out["motion.values"] = self.motion.values.frequencies
            out["motion.predictions"] = self.motion.predictions.astype(np.int16)
            out["motion.camera"] = self.motion.camera.frequencies
        for name, model in self.matrices.items():
            for key in ("first", "large", "signs"):
                out[f"{name}.{key}"] = getattr(model, key).frequencies
            for group, nets in enumerate(model.nets):
                for odd, net in enumerate(nets):
                    at = f"{name}.{group}.{odd}"
                    out[f"{at}.w1"] = net.first.astype(np.int16)
                    out[f"{at}.b1"] = net.first_bias.astype(np.int32)
                    out[f"{at}.w2"] = net.second.astype(np.int16)
                    out[f"{at}.b2"] = net.second_bias.astype(np.int32)
            for group, predictors in enumerate(model.predictors):
                for odd, predictor in enumerate(predictors):
                    out[f"{name}.{group}.{odd}.p"] = predictor.weights.astype(np.int16)
                    out[f"{name}.{group}.{odd}.l"] = predictor.left.astype(np.int16)
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> EntropyModel:
        """The inverse of `arrays`.

        Raises:
            WeightsError: an array is missing, of another shape, or outside its range.
        """
        reader = _ArrayReader(arrays)
        sizes = reader.take("sizes", (3,))
        i_channels, p_channels, motion_channels = (int(size) for size in sizes)
        if min(i_channels, p_channels) < 1 or motion_channels not in (0, MOTION_CHANNELS):
            raise WeightsError(f"entropy model sizes {sizes.tolist()}: channels must be positive")
        layouts = layouts_of(i_channels, p_channels, motion_channels)
        matrices = {name: reader.matrix(name, layout) for name, layout in layouts.items()}
        masks = reader.table("masks", MASK_LEVELS * MASK_CONTEXTS, 2)
        motion = reader.motion() if motion_channels else None
        return cls(i_channels, p_channels, motion_channels, matrices, motion, masks)


def layouts_of(i_channels: int, p_channels: int, motion_channels: int) -> dict[str, Layout]:
    """Layouts of the matrices that a backend has."""
    motion = len(MOTION_KNOWN) if motion_channels else 0
    return {
        "i": Layout.of_tokens(i_channels, 0),
        "p": Layout.of_tokens(p_channels, motion + i_channels + min(I_AROUND, i_channels) + 1),
        "p_alone": Layout.of_tokens(p_channels, motion),
    }


class _ArrayReader:
    """Takes arrays by name and checks them."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        self._arrays = arrays

    def take(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        if name not in self._arrays:
            raise WeightsError(f"entropy model: array {name} is missing")
        array = self._arrays[name]
        if array.shape != shape or array.dtype.kind not in "iu":
            raise WeightsError(
                f"entropy model: array {name} is {array.dtype} {array.shape}; "
                f"it must be integers of shape {shape}"
            )
        return array.astype(np.int64)

    def table(self, name: str, contexts: int, symbols: int) -> Table:
        found = self.take(name, (contexts, symbols - 1))
        if found.size and not (found.min() >= 0 and found.max() < FREQUENCY_SUM):
            raise WeightsError(f"entropy model: {name} holds frequencies beyond 16 bits")
        table = Table(found.astype(np.uint16))
        if not table.is_valid:
            raise WeightsError(f"entropy model: {name} gives a symbol no frequency")
        return table

    def motion(self) -> MotionModel:
        return MotionModel(
            self.table("motion.choices", CHOICE_CONTEXTS, CHOICES),
            self.table("motion.values", VALUE_CONTEXTS, NUMBER_SYMBOLS),
            self.take("motion.predictions", (PREDICTIONS, PREDICTION_INPUTS)),
            self.table("motion.camera", CAMERA_CONTEXTS, NUMBER_SYMBOLS),
        )

    def matrix(self, name: str, layout: Layout) -> MatrixModel:
        nets, predictors = [], []
        for group, (low, high) in enumerate(layout.groups):
            nets.append((self._net(name, layout, group, 0), self._net(name, layout, group, 1)))
            if layout.leading(group):
                both = [
                    Predictor(
                        self.take(
                            f"{name}.{group}.{odd}.p",
                            (layout.signed_known(group, odd), high - low),
                        ).astype(np.float64),
                        self.take(f"{name}.{group}.{odd}.l", (high - low,)),
                    )
                    for odd in (0, 1)
                ]
                predictors.append((both[0], both[1]))
        return MatrixModel(
            layout,
            tuple(nets),
            tuple(predictors),
            self.table(f"{name}.first", layout.channels * CLASSES, FIRST_SYMBOLS),
            self.table(f"{name}.large", layout.channels * LARGE_CLASSES, LARGE_BUCKETS),
            self.table(f"{name}.signs", layout.predicted * SIGN_CONTEXTS, 2),
        )

    def _net(self, name: str, layout: Layout, group: int, odd: int) -> Net:
        low, high = layout.groups[group]
        at, inputs = f"{name}.{group}.{odd}", layout.inputs(group, odd)
        shapes = {"w1": (inputs, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, high - low),
                  "b2": (high - low,)}  # fmt: skip
        net = Net(
            *(self.take(f"{at}.{key}", shape).astype(np.float32) for key, shape in shapes.items())
        )
        if not net.is_exact:
            raise WeightsError(f"entropy model: network {at} has weights too large to be exact")
        return net
