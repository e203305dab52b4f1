"""From the tokens of a GoP to units (paper, section 6.2 and Figure 6), and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError
from morphe_core.vgc.allocation import expected_units
from morphe_core.vgc.bitstream import (
    HEADER_BYTES,
    Kind,
    Part,
    Unit,
    UnitHeader,
    send_order,
    unit_rows,
    write_unit,
)
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.entropy import EntropyModel, decode_units, encode_units
from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.tokens import CAMERA_SHAPE, MOTION_CHANNELS, MOTION_COLS, GopTokens, Grid, Mask

#: A unit may be this much larger than asked for before the GoP is split into more.
_TOLERANCE = 1.15


@dataclass(frozen=True, slots=True)
class GopFacts:
    """What every unit of a GoP says of it."""

    index: int
    geometry: Geometry
    frames: int
    intra: bool
    backend: int

    def header(
        self, kind: Kind, part: Part, unit: int, count: int, i_quality: int, p_quality: int
    ) -> UnitHeader:
        """A unit's header."""
        return UnitHeader(
            kind=kind, part=part, gop=self.index, unit=unit, unit_count=count,
            scale=self.geometry.scale, frames=self.frames, width=self.geometry.width,
            height=self.geometry.height, i_quality=i_quality, p_quality=p_quality,
            intra=self.intra, backend=self.backend,
        )  # fmt: skip


def pack_units(
    entropy: EntropyModel, tokens: GopTokens, facts: GopFacts, config: EncoderConfig,
    budget_bytes: int, row_bits: npt.NDArray[np.float32] | None = None,
) -> list[bytes]:  # fmt: skip
    """The units of a GoP in sending order.

    Args:
        entropy: tables.
        tokens: what is sent.
        facts: for the headers.
        config: settings.
        budget_bytes: about the size; it decides how many units are tried first.
        row_bits: (rows,), about the bits of each row: spares the trials that would be too large.
    """
    grid = tokens.grid
    if config.packing == "rows":
        return _row_units(entropy, tokens, facts)
    count = expected_units(config, budget_bytes, grid)
    largest = _TOLERANCE * config.unit_bytes
    if row_bits is not None:
        while count < grid.rows and _largest_unit(row_bits, count) > largest:
            count += 1
    while True:
        units = _units(entropy, tokens, facts, Part.JOINT, count, send_order(count))
        if count >= grid.rows or max(map(len, units)) <= largest:
            return units
        count += 1


def _largest_unit(row_bits: npt.NDArray[np.float32], count: int) -> float:
    """About the bytes of the largest of `count` interleaved units."""
    payload = np.bincount(np.arange(len(row_bits)) % count, row_bits)
    return HEADER_BYTES + float(payload.max()) / 8


def _row_units(entropy: EntropyModel, tokens: GopTokens, facts: GopFacts) -> list[bytes]:
    """The paper's plain form: each row of each matrix a packet; a row with nothing sends none."""
    rows = tokens.grid.rows
    order = send_order(rows)
    # Motion travels with P: where there is any, a row without it would be given its neighbours'.
    moves = bool(tokens.motion.any() or tokens.camera.any())
    i_rows = [row for row in order if tokens.i_sent[row].any()]
    p_rows = [row for row in order if moves or tokens.p_sent[row].any()]
    if not i_rows and not p_rows:
        i_rows = order[:1]  # a GoP of no units would look like a lost one
    return [
        *_units(entropy, tokens, facts, Part.I_ONLY, rows, i_rows),
        *_units(entropy, tokens, facts, Part.P_ONLY, rows, p_rows),
    ]


def _units(
    entropy: EntropyModel, tokens: GopTokens, facts: GopFacts, part: Part, count: int,
    chosen: Sequence[int],
) -> list[bytes]:  # fmt: skip
    """The units `chosen` of `count`, in that order."""
    if not chosen:
        return []
    rows = [unit_rows(tokens.grid.rows, count, unit) for unit in chosen]
    payloads = encode_units(entropy, tokens, rows, part=part)
    qualities = (tokens.i_quality, tokens.p_quality)
    return [
        write_unit(facts.header(Kind.TOKENS, part, unit, count, *qualities), payload)
        for unit, payload in zip(chosen, payloads, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Received:
    """What came of a GoP.

    Attributes:
        tokens: holes are zero and not sent.
        motion_known: (rows,) bool, rows whose motion came.
        i_known: (rows,) bool, rows whose I tokens came, or what was left out of them.
        units: units that could be used.
        damaged: units that said something else than the first one, or could not be read.
    """

    tokens: GopTokens
    motion_known: Mask
    i_known: Mask
    units: int
    damaged: int

    @property
    def missing_rows(self) -> Mask:
        """(rows,) bool, rows of which a unit is missing."""
        missing: Mask = ~(self.motion_known & self.i_known)
        return missing


def empty_tokens(entropy: EntropyModel, grid: Grid, i_quality: int, p_quality: int) -> GopTokens:
    """A GoP of holes."""
    shape = (grid.rows, grid.cols)
    return GopTokens(
        np.zeros((*shape, entropy.i_channels), np.int16),
        np.zeros((*shape, entropy.p_channels), np.int16),
        np.zeros(shape, np.bool_),
        np.zeros(shape, np.bool_),
        np.zeros((grid.rows, grid.cols // MOTION_COLS, MOTION_CHANNELS), np.int16),
        np.zeros(CAMERA_SHAPE, np.int16),
        i_quality,
        p_quality,
    )


def unpack_units(entropy: EntropyModel, units: Sequence[Unit], grid: Grid) -> Received:
    """The tokens of the units of one GoP.

    Args:
        entropy: tables.
        units: at least one, with equal facts.
        grid: of the GoP.
    """
    first = units[0].header
    tokens = empty_tokens(entropy, grid, first.i_quality, first.p_quality)
    motion_known, i_known = np.zeros((2, grid.rows), np.bool_)
    used = damaged = 0
    for part in Part:
        mine = {unit.header.unit: unit for unit in units if unit.header.part is part}
        if not mine:
            continue
        rows = [unit.header.rows for unit in mine.values()]
        found = decode_units(
            entropy, [unit.payload for unit in mine.values()], grid=grid, units=rows, part=part,
            i_quality=first.i_quality, p_quality=first.p_quality,
        )  # fmt: skip
        for at, came in zip(rows, found, strict=True):
            if isinstance(came, BitstreamError):
                damaged += 1
                continue
            used += 1
            if part is not Part.P_ONLY:
                tokens.i[at], tokens.i_sent[at] = came.i, came.i_sent
                i_known[at] = True
            if part is not Part.I_ONLY:
                tokens.p[at], tokens.p_sent[at] = came.p, came.p_sent
                tokens.motion[at], tokens.camera[:] = came.motion, came.camera[0]
                motion_known[at] = True
    return Received(tokens, motion_known, i_known, used, damaged)
