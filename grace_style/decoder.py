"""The decoder: packets that arrived in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from grace_style.errors import BitstreamError
from grace_style.geometry import Geometry
from grace_style.header import Header, joined_pieces
from grace_style.intra import decode_still, split_start
from grace_style.models import Model
from grace_style.packets import Share
from grace_style.state import Reconstructor, State, decode_patch


class Decoder:
    """Decodes the pictures of one stream, in order.

    Args:
        model: network and tables.
        width, height: of the pictures.
    """

    def __init__(self, model: Model, *, width: int, height: int) -> None:
        self._geometry = Geometry(width, height)
        self._reconstructor = Reconstructor(model, self._geometry)
        self._state: State | None = None
        self._patch_sets = b""

    def decode(self, packets: Sequence[bytes], *, frame: int) -> npt.NDArray[np.uint8] | None:
        """The picture made of what arrived of it.

        Args:
            packets: payloads of one picture, in any order; damaged ones are left out.
            frame: number of the picture, from 0.

        Returns:
            Packed yuv420p, flat; None: nothing that can be shown (no packet that decodes, an intra
            picture with a piece missing, or no picture to refer to), and the reference stays.
        """
        pieces = [data for data in packets if _is_piece(data)]
        if pieces:
            self._begin(pieces)
        elif not self._continue(packets, frame):
            return None
        return None if self._state is None else self._reconstructor.shown(self._state)

    def _begin(self, pieces: list[bytes]) -> None:
        try:
            whole = joined_pieces(pieces)
            if whole is None:
                return
            still, sets, patch_sets = split_start(whole)
            size = self._geometry
            picture = decode_still(still, sets, size.width, size.height)
        except BitstreamError:
            return
        self._patch_sets = patch_sets
        self._state = self._reconstructor.begin(picture)

    def _continue(self, packets: Sequence[bytes], frame: int) -> bool:
        if self._state is None:
            return False
        shares = self._shares(packets)
        if not shares:
            return False
        patch = decode_patch(shares, frame, self._geometry, self._patch_sets)
        self._state = self._reconstructor.next(self._state, shares, patch)
        return True

    def _shares(self, packets: Sequence[bytes]) -> list[Share]:
        """Those packets that decode and are of one picture."""
        shares: list[Share] = []
        for data in packets:
            try:
                share = self._reconstructor.layout.unpack(data)
            except BitstreamError:
                continue
            if not shares or _alike(share.header, shares[0].header):
                shares.append(share)
        return shares


def _alike(one: Header, other: Header) -> bool:
    return (one.frame, one.packets, one.motion_quality, one.residual_quality) == (
        other.frame, other.packets, other.motion_quality, other.residual_quality,
    )  # fmt: skip


def _is_piece(data: bytes) -> bool:
    try:
        return Header.parse(data).is_piece
    except BitstreamError:
        return False
