"""Training the small network of one step, and rounding it to integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.contexts import INPUT_MAX
from morphe_core.vgc.range_coding import Floats, Ints
from morphe_core.vgc.tables import (
    CLASS_SHIFT,
    EXACT,
    HIDDEN,
    HIDDEN_MAX,
    HIDDEN_SHIFT,
    Net,
)

BATCH = 2048
LEARNING_RATE = 0.01
#: Magnitudes whose being reached is modelled: the ordinal model of `_bits`.
STEPS_OF_MAGNITUDE = (1, 2, 4, 8, 16)
#: Classes per unit of the logarithm of the odds, and the class of even odds.
CLASSES_PER_LOGIT = 2.0
CLASS_OF_ZERO = 18.0
#: One unit of a hidden activation is this many integers.
HIDDEN_UNIT = 16.0

_Doubles = npt.NDArray[np.float64]


@dataclass
class Pool:
    """Samples of one step: inputs (n, inputs) uint8 and magnitudes (n, channels)."""

    inputs: npt.NDArray[np.uint8]
    magnitudes: Ints


def fit_net(pool: Pool, steps: int, seed: int) -> Net:
    """Train the network of one step and round it to integers."""
    inputs, channels = pool.inputs.shape[1], pool.magnitudes.shape[1]
    mean = pool.inputs.mean(axis=0, dtype=np.float64) if len(pool.inputs) else np.zeros(inputs)
    spread = 0.5 + (pool.inputs.std(axis=0, dtype=np.float64) if len(pool.inputs) else mean)
    generator = np.random.default_rng(seed)
    start = (pool.magnitudes > 0).mean(axis=0) if len(pool.inputs) else np.full(channels, 0.5)
    start = np.clip(start, 1e-3, 1 - 1e-3)
    limit = inputs**-0.5
    weights = {
        "first": generator.uniform(-limit, limit, (inputs, HIDDEN)),
        "first_bias": generator.uniform(-limit, limit, HIDDEN),
        "second": np.zeros((HIDDEN, channels)),
        "second_bias": np.log(start / (1 - start)),
        "slopes": np.full((len(STEPS_OF_MAGNITUDE), channels), 0.7),
        "offsets": np.full((len(STEPS_OF_MAGNITUDE), channels), -1.0),
    }
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    weights["slopes"][0], weights["offsets"][0] = 1.0, 0.0
    scale, shift = (1 / spread).astype(np.float32), (mean / spread).astype(np.float32)
    adam = _Adam(weights)
    for step in range(steps if len(pool.inputs) else 0):
        chosen = generator.integers(0, len(pool.inputs), BATCH)
        seen = pool.inputs[chosen] * scale - shift
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-5
        adam.step(_gradients(weights, seen, pool.magnitudes[chosen]), rate)
    first = weights["first"].astype(np.float64) / spread[:, None]
    bias = weights["first_bias"] - mean @ first
    return _rounded(first, bias, weights["second"], weights["second_bias"])


def _gradients(weights: dict[str, Floats], seen: Floats, magnitudes: Ints) -> dict[str, Floats]:
    """Gradient of the mean bits (in nats) of a batch.

    The code is ordinal: is the first of `STEPS_OF_MAGNITUDE` reached, if so the second, and so on,
    each with odds that are linear in the network's output.
    """
    hidden = seen @ weights["first"] + weights["first_bias"]
    active = (hidden > 0) & (hidden < HIDDEN_MAX / HIDDEN_UNIT)
    hidden = np.clip(hidden, 0, HIDDEN_MAX / HIDDEN_UNIT)
    logit = hidden @ weights["second"] + weights["second_bias"]
    pull = np.zeros_like(logit)
    slopes, offsets = np.zeros_like(weights["slopes"]), np.zeros_like(weights["offsets"])
    below = 0
    for number, reached in enumerate(STEPS_OF_MAGNITUDE):
        odds = logit * weights["slopes"][number] + weights["offsets"][number]
        wrong = np.where(magnitudes >= below, _chance(odds) - (magnitudes >= reached), 0.0)
        wrong = wrong.astype(np.float32) / np.float32(len(seen))
        pull += wrong * weights["slopes"][number]
        if number:
            slopes[number], offsets[number] = (wrong * logit).sum(axis=0), wrong.sum(axis=0)
        below = reached
    back = (pull @ weights["second"].T) * active
    return {
        "first": seen.T @ back,
        "first_bias": back.sum(axis=0),
        "second": hidden.T @ pull,
        "second_bias": pull.sum(axis=0),
        "slopes": slopes,
        "offsets": offsets,
    }


def _chance(odds: Floats) -> Floats:
    """Probability of a logarithm of odds."""
    chance: Floats = 0.5 + 0.5 * np.tanh(0.5 * odds)
    return chance


class _Adam:
    """Adam (Kingma and Ba, ICLR 2015), in place."""

    def __init__(self, weights: dict[str, Floats]) -> None:
        self._weights = weights
        self._mean = {name: np.zeros_like(array) for name, array in weights.items()}
        self._square = {name: np.zeros_like(array) for name, array in weights.items()}
        self._steps = 0

    def step(self, gradients: dict[str, Floats], rate: float) -> None:
        """One step down the gradients."""
        self._steps += 1
        for name, gradient in gradients.items():
            mean, square = self._mean[name], self._square[name]
            mean += (1 - 0.9) * (gradient - mean)
            square += (1 - 0.999) * (gradient * gradient - square)
            size = np.sqrt(square / (1 - 0.999**self._steps)) + 1e-8
            self._weights[name] -= (rate / (1 - 0.9**self._steps) * mean / size).astype(np.float32)


def _rounded(weight: _Doubles, bias: _Doubles, weight2: Floats, bias2: Floats) -> Net:
    """The network in integers; weights are made smaller where sums could become inexact."""
    unit = HIDDEN_UNIT * (1 << HIDDEN_SHIFT)
    first, first_bias = np.round(weight * unit), np.round(bias * unit)
    first = np.clip(first, -32767, 32767)
    reach = np.abs(first).sum(0) * INPUT_MAX + np.abs(first_bias)
    shrink = np.minimum(1.0, (EXACT - 1) / np.maximum(reach, 1))
    first, first_bias = np.trunc(first * shrink), np.trunc(first_bias * shrink)
    scale = CLASSES_PER_LOGIT * (1 << CLASS_SHIFT)
    second = np.clip(np.round(weight2.astype(np.float64) * (scale / HIDDEN_UNIT)), -32767, 32767)
    start = np.round(bias2.astype(np.float64) * scale + CLASS_OF_ZERO * (1 << CLASS_SHIFT))
    reach = np.abs(second).sum(0) * HIDDEN_MAX + np.abs(start)
    shrink = np.minimum(1.0, (EXACT - 1) / np.maximum(reach, 1))
    second, start = np.trunc(second * shrink), np.trunc(start * shrink)
    parts = (first, first_bias, second, start)
    return Net(*(part.astype(np.float32) for part in parts))
