"""Fitting the motion coder's model: weights by least squares, tables by counting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.camera_coding import CAMERA_CONTEXTS, code_camera
from morphe_core.vgc.counting import Counter, flat_table, frequencies, smoothed
from morphe_core.vgc.motion_coding import (
    CHOICE_CONTEXTS,
    CHOICES,
    LEVELS,
    NEW,
    ORDER,
    PREDICTION_INPUTS,
    PREDICTION_SHIFT,
    PREDICTIONS,
    VALUE_CONTEXTS,
    MotionCoder,
    MotionModel,
    choose,
    lead_of,
    prediction_inputs,
)
from morphe_core.vgc.number_coding import NUMBER_SYMBOLS
from morphe_core.vgc.tokens import KNOTS, MOTION_CHANNELS, Tokens

#: Squared motion steps that keep the weights near what an unseen field would want.
_RIDGE = 100.0
_ROUNDS = 3
#: Weight of what is expected of a choice before any was seen.
_EXPECTED_COUNTS = 2.0


def fit_motion(fields: Sequence[Tokens], cameras: Sequence[Tokens]) -> MotionModel:
    """The model of motion fields (rows, cells, 8) and camera motions (9, 2)."""
    model = MotionModel(
        flat_table(CHOICE_CONTEXTS, CHOICES),
        flat_table(VALUE_CONTEXTS, NUMBER_SYMBOLS),
        np.stack([_weights(fields, number) for number in range(PREDICTIONS)]),
        flat_table(CAMERA_CONTEXTS, NUMBER_SYMBOLS),
    )
    counter = Counter()
    for field in fields:
        rows = np.array([0, len(field)])
        MotionCoder(model, counter, rows, field.shape[1], field).run()
    code_camera(counter, model.camera, len(cameras), np.stack(cameras))
    # A level has nothing in common with the others: it leans on what is expected of it alone.
    choices = frequencies(counter.counts(model.choices) + _expected_choices())
    values = smoothed(counter.counts(model.values), MOTION_CHANNELS)
    camera = smoothed(counter.counts(model.camera), CAMERA_CONTEXTS)
    return MotionModel(choices, values, model.predictions, camera)


def _expected_choices() -> npt.NDArray[np.float64]:
    """Counts of choices before any was seen: by what a unit's level of unrest says."""
    out = np.zeros((LEVELS, CHOICE_CONTEXTS // LEVELS, CHOICES))
    for level in range(LEVELS):
        other = 0.75 * 2.0 ** (level - LEVELS + 1)
        out[level] = [1 - other, other / 3, other * 2 / 3]
    return _EXPECTED_COUNTS * out.reshape(CHOICE_CONTEXTS, CHOICES)


def _weights(fields: Sequence[Tokens], number: int) -> npt.NDArray[np.int64]:
    """Weights of one prediction, in its fixed point.

    Each vector weighs less the longer it is, and again the worse it is predicted, so that what
    counts is the length in bits of what differs, more than its square.
    """
    position, axis, moved = number // 4, number // 2 % 2, number % 2
    parts = []
    for field in fields:
        knots = field.astype(np.int64).reshape(*field.shape[:2], len(KNOTS), 2)
        vectors, lead = knots[..., ORDER[position], :], lead_of(position, knots)
        inputs, known = prediction_inputs(lead, vectors)
        chosen = (choose(vectors, lead) == NEW) & (known == bool(moved))
        target = vectors[chosen][:, axis, None]
        parts.append(np.concatenate([inputs[chosen][:, axis], target], axis=1))
    data = np.concatenate(parts).astype(np.float64)
    known_part, target_part = data[:, :-1], data[:, -1]
    # Without anything seen: the lead, off by as much as the last vector was off its own.
    start = np.array([[0.0, 0, 1], [1.0, -1, 1]][moved])
    weights = start
    for _ in range(_ROUNDS):
        error = np.abs(target_part - known_part @ weights)
        trust = 1 / (1 + error)
        gram = (known_part * trust[:, None]).T @ known_part + _RIDGE * np.eye(PREDICTION_INPUTS)
        pull = (known_part * trust[:, None]).T @ target_part + _RIDGE * start
        weights = np.linalg.solve(gram, pull)
    fixed = np.round(weights * (1 << PREDICTION_SHIFT))
    return np.clip(fixed, -32767, 32767).astype(np.int64)
