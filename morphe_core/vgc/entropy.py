"""Tokens of some rows to bytes and back (paper, section 6.2; the paper leaves the coding open).

Rows of one unit are coded with nothing but the unit itself and the shipped model, so every unit
decodes alone. `Part.JOINT` codes I, motion and P of its rows together, and P leans on I.

Encoder and decoder do the work for all units of a GoP at once (`encode_units`, `decode_units`):
that is several times faster than one by one and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.bitstream import Part
from morphe_core.vgc.measuring import (
    Beside,
    camera_bits,
    measured_bits,
    token_bits,
    total_bits,
)
from morphe_core.vgc.range_coding import Index, Reader, Writer
from morphe_core.vgc.tables import EntropyModel
from morphe_core.vgc.tokens import GopTokens, Grid
from morphe_core.vgc.unit_coding import RowTokens, UnitCoder, check_tokens

__all__ = [
    "Beside",
    "EntropyModel",
    "Part",
    "RowTokens",
    "camera_bits",
    "decode_rows",
    "decode_units",
    "encode_rows",
    "encode_units",
    "measured_bits",
    "token_bits",
    "total_bits",
]


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
    check_tokens(model, tokens)
    rows = _all_rows(units, tokens.grid)
    chosen = RowTokens(
        tokens.i[rows], tokens.p[rows], tokens.i_sent[rows], tokens.p_sent[rows],
        tokens.motion[rows], np.repeat(tokens.camera[None], len(units), axis=0),
    )  # fmt: skip
    writer = Writer(len(units))
    walk = UnitCoder(model, writer, units, tokens.grid, (tokens.i_quality, tokens.p_quality))
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
    found = UnitCoder(model, reader, units, grid, (i_quality, p_quality)).run(part, None)
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
                    found.camera[unit : unit + 1],
                )
            )
    assert start == len(rows)
    return out


def _all_rows(units: Sequence[Sequence[int]], grid: Grid) -> Index:
    rows = np.array([row for unit in units for row in unit], np.intp)
    if rows.size and not (rows.min() >= 0 and rows.max() < grid.rows):
        raise CodecConfigError(
            f"rows {rows.min()}..{rows.max()}: must be within 0 and {grid.rows - 1}"
        )
    return rows
