"""What tokens will cost, without writing them: the same walk with a meter for a coder."""

from __future__ import annotations

from typing import TypedDict, Unpack

import numpy as np

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.bitstream import Part
from morphe_core.vgc.camera_coding import code_camera
from morphe_core.vgc.contexts import Contexts
from morphe_core.vgc.matrix_coding import MatrixCoder, zeroing_savings
from morphe_core.vgc.motion_coding import MotionCoder, MotionModel
from morphe_core.vgc.range_coding import Floats, Meter
from morphe_core.vgc.tables import EntropyModel
from morphe_core.vgc.tokens import MOTION_COLS, GopTokens, Mask, Tokens
from morphe_core.vgc.unit_coding import (
    RowTokens,
    UnitCoder,
    check_tokens,
    i_extras,
    motion_extras,
)


class Beside(TypedDict, total=False):
    """What goes with a matrix that is measured.

    Attributes:
        sent: (rows, cols), all if not given; other tokens cost nothing.
        i_tokens: the GoP's I tokens; "p" leans on them and cannot do without.
        i_sent: which of them are sent, all if not given.
        motion: (rows, cols // 2, 8), for "p" and "p_alone"; no motion if not given.
    """

    sent: Mask
    i_tokens: Tokens
    i_sent: Mask
    motion: Tokens


def token_bits(
    model: EntropyModel, values: Tokens, quality: int, matrix: str, **beside: Unpack[Beside]
) -> Floats:
    """Bits of each token of a matrix.

    Args:
        model: of the tokens' backend.
        values: (rows, cols, channels).
        quality: of the matrix.
        matrix: "i", "p" (in the joint form), "p_alone" or "motion".
        beside: see `Beside`.

    Returns:
        (rows, cols) float32, for motion (rows, cols // 2). Their sum is within 1 to 2 per cent of
        the real size of a GoP, whose masks, unit ends and headers come on top.

    Raises:
        CodecConfigError: no such matrix in this model, or "p" without I tokens.
    """
    if matrix == "motion" and model.motion is not None:
        return _motion_bits(model.motion, values)
    return _by_token(*_measured(model, values, quality, matrix, beside), values)


def measured_bits(
    model: EntropyModel, values: Tokens, quality: int, matrix: str, **beside: Unpack[Beside]
) -> tuple[Floats, Floats]:
    """Bits of each token, and the bits that each of its values costs beyond a zero in its place.

    For rounding by rate and distortion: what a value does to the contexts of others is left out
    (it saves more than this says). Zero for the predicted channels, whose zeros are not cheap.

    Args:
        model: of the tokens' backend.
        values: (rows, cols, channels).
        quality: of the matrix.
        matrix: "i", "p" or "p_alone".
        beside: see `Beside`.

    Returns:
        (rows, cols) as `token_bits` has it, and (rows, cols, channels), float32; zero where a value
        is zero or not sent.

    Raises:
        CodecConfigError: no such matrix in this model, or "p" without I tokens.
    """
    contexts, coder = _measured(model, values, quality, matrix, beside)
    found = coder.model
    saved = np.zeros(values.shape, np.float32)
    for odd, group, classes in coder.classes:
        columns = contexts.columns[odd]
        low, high = found.layout.groups[group]
        own = columns.pick(values[:, odd::2, low:high]).astype(np.int32)
        saved[:, odd::2, low:high] = columns.spread(zeroing_savings(found, own, group, classes))
    return _by_token(contexts, coder, values), saved


def _by_token(contexts: Contexts, coder: MatrixCoder, values: Tokens) -> Floats:
    out = np.zeros(values.shape[:2], np.float32)
    for columns, bits in zip(contexts.columns, coder.bits, strict=True):
        out[:, columns.odd :: 2].flat[columns.where] = bits
    return out


def _measured(
    model: EntropyModel, values: Tokens, quality: int, matrix: str, beside: Beside
) -> tuple[Contexts, MatrixCoder]:
    """A matrix as one unit, measured."""
    if matrix not in model.matrices:
        known = [*model.matrices, *(["motion"] if model.motion else [])]
        raise CodecConfigError(f"matrix {matrix!r}: the model has {', '.join(known)}")
    rows, cols = values.shape[:2]
    everything = np.ones((rows, cols), np.bool_)
    extras = np.zeros((rows, cols, 0), np.float32)
    if matrix in ("p", "p_alone"):
        still = np.zeros((rows, cols // MOTION_COLS, model.motion_channels), np.int16)
        extras = motion_extras(beside.get("motion", still))
    if matrix == "p":
        if "i_tokens" not in beside:
            raise CodecConfigError("matrix 'p': needs i_tokens; without them it is 'p_alone'")
        lead = i_extras(beside["i_tokens"], beside.get("i_sent", everything))
        extras = np.concatenate([extras, lead], axis=2)
    found = model.matrices[matrix]
    sent = beside.get("sent", everything)
    contexts = Contexts(found.layout, sent, np.array([0, rows]), quality, extras)
    coder = MatrixCoder(found, Meter(), contexts, actual=values)
    coder.run()
    return contexts, coder


def _motion_bits(model: MotionModel, motion: Tokens) -> Floats:
    rows, cells = motion.shape[:2]
    coder = MotionCoder(model, Meter(), np.array([0, rows]), cells, motion)
    coder.run()
    return coder.bits


def camera_bits(model: EntropyModel, camera: Tokens) -> float:
    """Bits of the camera's motion (9, 2) in each unit; 0 for a backend without motion."""
    if model.motion is None:
        return 0.0
    meter = Meter()
    code_camera(meter, model.motion.camera, 1, camera[None])
    return meter.total


def total_bits(model: EntropyModel, tokens: GopTokens, *, part: Part = Part.JOINT) -> float:
    """Bits of a GoP, masks and motion included, headers and unit ends not.

    Raises:
        CodecConfigError: the tokens do not fit the model.
    """
    check_tokens(model, tokens)
    meter = Meter()
    rows = range(tokens.grid.rows)
    walk = UnitCoder(model, meter, [rows], tokens.grid, (tokens.i_quality, tokens.p_quality))
    chosen = RowTokens(
        tokens.i, tokens.p, tokens.i_sent, tokens.p_sent, tokens.motion, tokens.camera[None]
    )
    walk.run(part, chosen)
    return meter.total
