"""The residual layer in a GoP (paper, sections 4.3 and 6.1): what the tokens' bytes leave over.

The encoder shows itself what a receiver without losses will show, takes that from the source and
sends of the averaged difference what fits into the rest of the GoP's budget, as units of their own
behind those with tokens. A receiver adds what came; a unit that was lost is a place that is not
enhanced.

Residuals change what is shown and nothing else: the next GoP leans on the pictures of the tokens
alone (`vgc.state.Memory`). So a lost residual is forgotten with its GoP, and both ends stay in step
without knowing of it.

In the header of a residual unit the field of I's quality holds the number of pictures in a window
(1 to 9) and that of P's quality is 0; all else is in the payload (`vgc.residual`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from morphe_core.errors import BitstreamError
from morphe_core.vgc.bitstream import (
    HEADER_BYTES,
    MAX_UNITS,
    Kind,
    Part,
    Unit,
    UnitHeader,
    send_order,
    write_unit,
)
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.geometry import Packed
from morphe_core.vgc.packing import GopFacts
from morphe_core.vgc.residual import (
    Band,
    Planes,
    add_band,
    decode_residual_unit,
    encode_residual,
)
from morphe_core.vgc.residual_blocks import MACROBLOCK
from morphe_core.vgc.tokens import GOP_FRAMES

#: Fewer bytes are left alone: with the headers of a unit and of its packet (16 and 40 bytes) a
#: third of them would not be residual. Our choice.
LEAST_BYTES: Final = 150


class Enhancer:
    """Makes the residual units of one stream.

    Args:
        config: settings.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config
        self._start: float | None = None

    def tokens_bytes(self, budget_bytes: int) -> int:
        """What of a GoP's budget is for its tokens; the residual gets whatever they leave.

        All of it where the share is too little for a residual: it would be kept for nothing.
        """
        kept_bytes = round(budget_bytes * self._config.residual_share)
        return max(1, budget_bytes - kept_bytes) if self.wants(kept_bytes) else budget_bytes

    def wants(self, left_bytes: int) -> bool:
        """Whether a residual is asked for and this much is worth one."""
        return self._config.residual != "none" and left_bytes >= LEAST_BYTES

    def units(
        self, source: Sequence[Packed], shown: Sequence[Packed], facts: GopFacts, left_bytes: int
    ) -> list[bytes]:
        """Residual units in sending order, with their headers within `left_bytes`.

        Args:
            source: pictures of the GoP, packed yuv420p.
            shown: what a receiver without losses shows; more than those of `source` is padding.
            facts: for the headers.
            left_bytes: for all units.
        """
        length = self._config.residual_pictures
        payloads: list[bytes] = []
        starts = range(0, len(source), length)
        for number, start in enumerate(starts):
            some = slice(start, min(start + length, len(source)))
            size = facts.geometry.width, facts.geometry.height
            window = encode_residual(
                _planes(source[some], *size), _planes(shown[some], *size),
                left_bytes // (len(starts) - number), form=self._config.residual,
                unit_bytes=self._unit_bytes(left_bytes), header_bytes=HEADER_BYTES,
                window=number, start=self._start,
            )  # fmt: skip
            if window.units:
                self._start = window.coarseness
            left_bytes -= window.size_bytes + HEADER_BYTES * len(window.units)
            payloads += window.units
        del payloads[MAX_UNITS:]  # more cannot be numbered; `_unit_bytes` makes that rare
        return [
            write_unit(
                facts.header(Kind.RESIDUAL, Part.JOINT, unit, len(payloads), length, 0),
                payloads[unit],
            )
            for unit in send_order(len(payloads))
        ]

    def _unit_bytes(self, left_bytes: int) -> int:
        """Size of a unit without its header: as asked for, or larger if there were too many."""
        return max(self._config.unit_bytes - HEADER_BYTES, 4 * left_bytes // MAX_UNITS)


def enhance(pictures: Sequence[Packed], units: Sequence[Unit]) -> int:
    """Add to the pictures of a GoP, in place, what came of its residual.

    Args:
        pictures: all pictures of the GoP, packed yuv420p.
        units: residual units of this GoP; their order does not matter.

    Returns:
        How many units could not be used: damaged, or in contradiction to the others.
    """
    if not units:
        return 0
    first = units[0].header
    different = {unit.header.unit: unit for unit in reversed(units)}
    taken: set[tuple[int, int]] = set()
    refused = 0
    for _, unit in sorted(different.items()):
        try:
            band = _band(unit, first, len(pictures))
        except BitstreamError:
            refused += 1
            continue
        rows = {(band.window, row) for row in _rows(band)}
        if rows & taken:
            refused += 1
            continue
        taken |= rows
        length = first.i_quality
        for picture in pictures[band.window * length : (band.window + 1) * length]:
            add_band(_view(picture, first.width, first.height), band)
    return refused


def _band(unit: Unit, first: UnitHeader, frames: int) -> Band:
    """What a unit adds.

    Raises:
        BitstreamError: nothing that an encoder makes, or not what the first unit says.
    """
    header = unit.header
    if (header.i_quality, header.unit_count) != (first.i_quality, first.unit_count):
        raise BitstreamError("residual unit that contradicts another one of its GoP")
    if not 1 <= header.i_quality <= GOP_FRAMES:
        raise BitstreamError(f"residual window of {header.i_quality} pictures: must be 1 to 9")
    band = decode_residual_unit(unit.payload, width=header.width, height=header.height)
    if band.window * header.i_quality >= frames:
        raise BitstreamError(f"residual window {band.window}: beyond the {frames} pictures")
    return band


def _rows(band: Band) -> range:
    """Rows of macroblocks."""
    return range(band.first_row, band.first_row + len(band.correction.luma) // MACROBLOCK)


def _planes(pictures: Sequence[Packed], width: int, height: int) -> Planes:
    """Packed pictures as one array for each kind of plane."""
    stacked = np.stack([np.asarray(picture).reshape(-1) for picture in pictures])
    luma, chroma = np.split(stacked, [width * height], axis=1)
    return Planes(luma.reshape(-1, height, width), chroma.reshape(-1, 2, height // 2, width // 2))


def _view(picture: Packed, width: int, height: int) -> Planes:
    """One packed picture as planes that share its memory."""
    luma, chroma = np.split(picture, [width * height])
    return Planes(luma.reshape(1, height, width), chroma.reshape(1, 2, height // 2, width // 2))
