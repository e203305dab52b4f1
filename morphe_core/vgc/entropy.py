"""Tokens of some rows to bytes and back (paper, section 6.2; the paper leaves the coding open).

Rows of one unit are coded with nothing but the unit itself and the shipped model, so every unit
decodes alone. `Part.JOINT` codes I, motion and P of its rows together, and P leans on I.

Encoder and decoder do the work for all units of a GoP at once (`encode_units`, `decode_units`):
that is several times faster than one by one and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.bitstream import Part
from morphe_core.vgc.contexts import Contexts, level
from morphe_core.vgc.mask_coding import code_mask
from morphe_core.vgc.matrix_coding import MatrixCoder
from morphe_core.vgc.motion_coding import MotionCoder, MotionModel
from morphe_core.vgc.range_coding import Coder, Floats, Index, Meter, Reader, Writer
from morphe_core.vgc.tables import I_AROUND, EntropyModel
from morphe_core.vgc.tokens import (
    MOTION_COLS,
    MOTION_MAX,
    TOKEN_MAX,
    GopTokens,
    Grid,
    Mask,
    Tokens,
)

__all__ = [
    "EntropyModel",
    "Part",
    "RowTokens",
    "decode_rows",
    "decode_units",
    "encode_rows",
    "encode_units",
    "token_bits",
    "total_bits",
]


@dataclass(frozen=True, slots=True)
class RowTokens:
    """Some rows of a GoP; what the part does not hold is zero and not sent.

    Attributes:
        i: (rows, cols, i_channels) int16.
        p: (rows, cols, p_channels) int16.
        i_sent: (rows, cols) bool.
        p_sent: (rows, cols) bool.
        motion: (rows, cols // 2, motion_channels) int16.
    """

    i: Tokens
    p: Tokens
    i_sent: Mask
    p_sent: Mask
    motion: Tokens


def encode_rows(
    model: EntropyModel, tokens: GopTokens, rows: Sequence[int], *, part: Part
) -> bytes:
    """The payload of one unit: these rows of a GoP.

    Raises:
        CodecConfigError: the tokens do not fit the model, or a row is outside the GoP.
    """
    return encode_units(model, tokens, [rows], part=part)[0]


def encode_units(
    model: EntropyModel, tokens: GopTokens, units: Sequence[Sequence[int]], *, part: Part
) -> list[bytes]:
    """The payloads of several units of a GoP.

    Args:
        model: of the tokens' backend.
        tokens: the GoP.
        units: rows of each unit.
        part: what the units hold.

    Raises:
        CodecConfigError: the tokens do not fit the model, or a row is outside the GoP.
    """
    _check_tokens(model, tokens)
    rows = _all_rows(units, tokens.grid)
    chosen = RowTokens(
        tokens.i[rows], tokens.p[rows], tokens.i_sent[rows], tokens.p_sent[rows],
        tokens.motion[rows],
    )  # fmt: skip
    writer = Writer(len(units))
    walk = _Walk(model, writer, units, tokens.grid, (tokens.i_quality, tokens.p_quality))
    walk.run(part, chosen)
    return writer.finish()


def decode_rows(
    model: EntropyModel,
    data: bytes,
    *,
    grid: Grid,
    rows: Sequence[int],
    part: Part,
    i_quality: int,
    p_quality: int,
) -> RowTokens:
    """The rows in one unit's payload; arguments as for `decode_units`.

    Raises:
        BitstreamError: the payload cannot be decoded.
    """
    found = decode_units(
        model, [data], grid=grid, units=[rows], part=part, i_quality=i_quality,
        p_quality=p_quality,
    )[0]  # fmt: skip
    if isinstance(found, BitstreamError):
        raise found
    return found


def decode_units(
    model: EntropyModel,
    payloads: Sequence[bytes],
    *,
    grid: Grid,
    units: Sequence[Sequence[int]],
    part: Part,
    i_quality: int,
    p_quality: int,
) -> list[RowTokens | BitstreamError]:
    """The rows in the payloads of several units of a GoP.

    Any bytes give either tokens within their range or an error for their unit.

    Args:
        model: of the tokens' backend.
        payloads: as `encode_units` gave them.
        grid: size of the GoP's matrices.
        units: rows of each unit.
        part: what the units hold.
        i_quality: of the GoP.
        p_quality: of the GoP.

    Raises:
        CodecConfigError: a row is outside the GoP, or not as many payloads as units.
    """
    if len(payloads) != len(units):
        raise CodecConfigError(f"{len(payloads)} payloads for {len(units)} units")
    rows = _all_rows(units, grid)
    reader = Reader(payloads)
    found = _Walk(model, reader, units, grid, (i_quality, p_quality)).run(part, None)
    out: list[RowTokens | BitstreamError] = []
    start = 0
    for unit, own in enumerate(units):
        span = slice(start, start + len(own))
        start = span.stop
        try:
            reader.check(unit)
        except BitstreamError as error:
            out.append(error)
        else:
            out.append(
                RowTokens(
                    found.i[span],
                    found.p[span],
                    found.i_sent[span],
                    found.p_sent[span],
                    found.motion[span],
                )
            )
    assert start == len(rows)
    return out


def token_bits(
    model: EntropyModel,
    values: Tokens,
    quality: int,
    matrix: str,
    *,
    sent: Mask | None = None,
    i_tokens: Tokens | None = None,
    i_sent: Mask | None = None,
    motion: Tokens | None = None,
) -> Floats:
    """Bits of each token of a matrix.

    Args:
        model: of the tokens' backend.
        values: (rows, cols, channels).
        quality: of the matrix.
        matrix: "i", "p" (in the joint form), "p_alone" or "motion". Without `i_tokens`, "p" is
            estimated as "p_alone", which is a little more.
        sent: (rows, cols), None for all; others cost nothing.
        i_tokens: the GoP's I tokens.
        i_sent: None for all.
        motion: (rows, cols // 2, 4); None counts as no motion.

    Returns:
        (rows, cols) float32, for motion (rows, cols // 2). Their sum is within 1 to 2 per cent of
        the real size of a GoP, whose masks, unit ends and headers come on top.

    Raises:
        CodecConfigError: no such matrix in this model.
    """
    rows, cols = values.shape[:2]
    if matrix == "motion" and model.motion is not None:
        return _motion_bits(model.motion, values)
    if matrix not in model.matrices:
        known = [*model.matrices, *(["motion"] if model.motion else [])]
        raise CodecConfigError(f"matrix {matrix!r}: the model has {', '.join(known)}")
    sent = np.ones((rows, cols), np.bool_) if sent is None else sent
    extras = np.zeros((rows, cols, 0), np.float32)
    if matrix in ("p", "p_alone"):
        if motion is None:
            motion = np.zeros((rows, cols // MOTION_COLS, model.motion_channels), np.int16)
        extras = motion_extras(motion)
    if matrix == "p" and i_tokens is None:
        matrix = "p_alone"
    if matrix == "p" and i_tokens is not None:
        i_sent = np.ones((rows, cols), np.bool_) if i_sent is None else i_sent
        extras = np.concatenate([extras, i_extras(i_tokens, i_sent)], axis=2)
    found = model.matrices[matrix]
    contexts = Contexts(found.layout, sent, np.array([0, rows]), quality, extras)
    coder = MatrixCoder(found, Meter(), contexts, actual=values)
    coder.run()
    out = np.zeros((rows, cols), np.float32)
    for columns, bits in zip(contexts.columns, coder.bits, strict=True):
        out[:, columns.odd :: 2].flat[columns.where] = bits
    return out


def _motion_bits(model: MotionModel, motion: Tokens) -> Floats:
    rows, cells = motion.shape[:2]
    coder = MotionCoder(model, Meter(), np.array([0, rows]), cells, motion)
    coder.run()
    return coder.bits


def total_bits(model: EntropyModel, tokens: GopTokens, *, part: Part = Part.JOINT) -> float:
    """Bits of a GoP, masks and motion included, headers and unit ends not.

    Raises:
        CodecConfigError: the tokens do not fit the model.
    """
    _check_tokens(model, tokens)
    meter = Meter()
    rows = range(tokens.grid.rows)
    walk = _Walk(model, meter, [rows], tokens.grid, (tokens.i_quality, tokens.p_quality))
    walk.run(part, RowTokens(tokens.i, tokens.p, tokens.i_sent, tokens.p_sent, tokens.motion))
    return meter.total


class _Walk:
    """Codes the rows of all units; what is written and what is read take the same way."""

    def __init__(
        self,
        model: EntropyModel,
        coder: Coder,
        units: Sequence[Sequence[int]],
        grid: Grid,
        qualities: tuple[int, int],
    ) -> None:
        self._model = model
        self._coder = coder
        self._unit_rows: Index = np.concatenate(
            [[0], np.cumsum([len(rows) for rows in units], dtype=np.intp)]
        )
        self._cols = grid.cols
        self._i_quality, self._p_quality = qualities

    def run(self, part: Part, actual: RowTokens | None) -> RowTokens:
        """Code `part` of the rows."""
        model, count, cols = self._model, int(self._unit_rows[-1]), self._cols
        i_sent = p_sent = np.zeros((count, cols), np.bool_)
        i = np.zeros((count, cols, model.i_channels), np.int16)
        p = np.zeros((count, cols, model.p_channels), np.int16)
        motion = np.zeros((count, cols // MOTION_COLS, model.motion_channels), np.int16)
        if part is not Part.P_ONLY:
            i_sent = self._mask(None if actual is None else actual.i_sent, None)
            i = self._matrix(
                "i", i_sent, self._i_quality, np.zeros((count, cols, 0), np.float32),
                None if actual is None else actual.i,
            )  # fmt: skip
        if part is not Part.I_ONLY:
            if model.motion_channels:
                motion = self._motion(None if actual is None else actual.motion)
            extras, name = motion_extras(motion), "p_alone"
            if part is Part.JOINT:
                extras = np.concatenate([extras, i_extras(i, i_sent)], axis=2)
                name = "p"
            p_sent = self._mask(
                None if actual is None else actual.p_sent, i_sent if part is Part.JOINT else None
            )
            p = self._matrix(
                name, p_sent, self._p_quality, extras, None if actual is None else actual.p
            )
        return RowTokens(i, p, i_sent, p_sent, motion)

    def _mask(self, actual: Mask | None, lead: Mask | None) -> Mask:
        return code_mask(
            self._coder, self._model.masks, self._unit_rows, self._cols, actual=actual, lead=lead
        )

    def _matrix(
        self, name: str, sent: Mask, quality: int, extras: Floats, actual: Tokens | None
    ) -> Tokens:
        model = self._model.matrices[name]
        contexts = Contexts(model.layout, sent, self._unit_rows, quality, extras)
        coder = MatrixCoder(model, self._coder, contexts, actual=actual)
        return coder.run().astype(np.int16)

    def _motion(self, actual: Tokens | None) -> Tokens:
        assert self._model.motion is not None
        coder = MotionCoder(
            self._model.motion, self._coder, self._unit_rows, self._cols // MOTION_COLS, actual
        )
        return coder.run().astype(np.int16)


def motion_extras(motion: Tokens) -> Floats:
    """What a P token knows of its cell's motion, (rows, cols, channels)."""
    return level(motion).repeat(MOTION_COLS, axis=1)


def i_extras(i: npt.NDArray[np.integer], i_sent: Mask) -> Floats:
    """What a P token of the joint form knows of I: its own token, its neighbours, was it sent."""
    own = level(i)
    lead = own[:, :, :I_AROUND]
    around = np.zeros_like(lead)
    around[:, 1:] += lead[:, :-1]
    around[:, :-1] += lead[:, 1:]
    flag = i_sent[..., None].astype(np.float32)
    return np.concatenate([own, around, flag], axis=2)


def _all_rows(units: Sequence[Sequence[int]], grid: Grid) -> Index:
    rows = np.array([row for unit in units for row in unit], np.intp)
    if rows.size and not (rows.min() >= 0 and rows.max() < grid.rows):
        raise CodecConfigError(
            f"rows {rows.min()}..{rows.max()}: must be within 0 and {grid.rows - 1}"
        )
    return rows


def _check_tokens(model: EntropyModel, tokens: GopTokens) -> None:
    rows, cols = tokens.grid.rows, tokens.grid.cols
    shapes = {
        "i": (rows, cols, model.i_channels),
        "p": (rows, cols, model.p_channels),
        "i_sent": (rows, cols),
        "p_sent": (rows, cols),
        "motion": (rows, cols // MOTION_COLS, model.motion_channels),
    }
    for name, shape in shapes.items():
        if getattr(tokens, name).shape != shape:
            raise CodecConfigError(
                f"tokens {name} of shape {getattr(tokens, name).shape}: the model codes {shape}"
            )
    for name, limit in (("i", TOKEN_MAX), ("p", TOKEN_MAX), ("motion", MOTION_MAX)):
        largest = int(np.abs(getattr(tokens, name).astype(np.int32)).max(initial=0))
        if largest > limit:
            raise CodecConfigError(f"tokens {name}: magnitude {largest} is beyond {limit}")
