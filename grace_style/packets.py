"""Packets: each holds a share of a picture's elements, and decodes with nothing but itself.

    header | intra patch | range-coded: motion map, residual map, motion, residual

The header is `grace_style.header`'s. Both class maps are in every packet: they are what its
elements are coded with. The intra patch is in one packet of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grace_style.activity import CLASSES, ClassMap, Elements, classes_of
from grace_style.errors import BitstreamError, CodecConfigError
from grace_style.geometry import MOTION_CHANNELS, MOTION_SIDE, RESIDUAL_SIDE, Geometry
from grace_style.header import FRAME_MODULO, HEADER_BYTES, Header
from grace_style.mapping import shares
from grace_style.tables import ELEMENT_MAX, EntropyModel, contexts_of, map_contexts
from morphe_core.threads import one_blas_thread
from morphe_core.vgc.number_coding import code_numbers
from morphe_core.vgc.range_coding import Coder, Ints, Reader, Table, Writer


@dataclass(frozen=True, slots=True)
class PictureElements:
    """All elements of a P picture as whole numbers.

    Attributes:
        motion: (32, rows, cols) int16 at 1/32.
        residual: (channels, rows, cols) int16 at 1/16.
        motion_quality, residual_quality: quality indices, see `grace_style.quality`.
    """

    motion: Elements
    residual: Elements
    motion_quality: int
    residual_quality: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one packet of a P picture holds.

    Attributes:
        header: which packet of which picture, and its steps.
        patch: bytes of the intra patch, or none.
        motion, residual: its elements, in the order of `mapping.shares`.
    """

    header: Header
    patch: bytes
    motion: Ints
    residual: Ints


class Layout:
    """The shapes of a picture's elements, and the packets' coder for them.

    Args:
        geometry: of the pictures.
        channels: elements of a residual position.
        entropy: tables.
    """

    def __init__(self, geometry: Geometry, channels: int, entropy: EntropyModel) -> None:
        if len(entropy.residual.frequencies) != CLASSES * channels:
            raise CodecConfigError("the entropy tables are of another network")
        self.cells = geometry.cells
        self.motion_shape = (MOTION_CHANNELS, *geometry.positions(MOTION_SIDE))
        self.residual_shape = (channels, *geometry.positions(RESIDUAL_SIDE))
        self._entropy = entropy

    def pack(
        self, elements: PictureElements, *, frame: int, packets: int, patch: bytes = b"",
        patch_in: int = 0,
    ) -> list[bytes]:  # fmt: skip
        """All packets of a P picture.

        Args:
            elements: of the picture, within +-ELEMENT_MAX.
            frame: its number, any.
            packets: 1..MOST_PACKETS.
            patch: bytes of the intra patch.
            patch_in: packet that carries it.
        """
        maps = self.maps(elements)
        writer = Writer(packets)
        self._code(writer, packets, list(range(packets)), maps, elements)
        out = []
        for number, coded in enumerate(writer.finish()):
            own = patch if number == patch_in else b""
            header = Header(
                frame % FRAME_MODULO, number, packets, elements.motion_quality,
                elements.residual_quality, len(own),
            )  # fmt: skip
            out.append(header.pack() + own + coded)
        return out

    def maps(self, elements: PictureElements) -> tuple[ClassMap, ClassMap]:
        """Class maps of motion and residual."""
        return classes_of(elements.motion, self.cells), classes_of(elements.residual, self.cells)

    def unpack(self, data: bytes) -> Share:
        """What a packet of a P picture holds; any bytes give a share or an error.

        Raises:
            BitstreamError: they are no such packet.
        """
        header = Header.parse(data)
        if header.is_piece:
            raise BitstreamError("a piece of an intra picture where a P picture's packet should be")
        coded = HEADER_BYTES + header.size
        if coded > len(data):
            raise BitstreamError("the intra patch breaks off")
        reader = Reader([data[coded:]])
        motion, residual = self._code(reader, header.packets, [header.number], None, None)
        reader.check(0)
        if max(np.abs(motion).max(initial=0), np.abs(residual).max(initial=0)) > ELEMENT_MAX:
            raise BitstreamError("an element is out of range")
        return Share(header, data[HEADER_BYTES:coded], motion, residual)

    def place(self, shares_here: Sequence[Share]) -> tuple[Elements, Elements, Elements, Elements]:
        """Elements from the shares of one picture that arrived.

        Returns:
            Motion and residual, zero where missing; and the same shapes, 1 where an element is.
        """
        out = []
        for kind, shape in (("motion", self.motion_shape), ("residual", self.residual_shape)):
            values = np.zeros(int(np.prod(shape)), np.int16)
            here = np.zeros_like(values)
            for share in shares_here:
                at = shares(shape, share.header.packets)[share.header.number]
                values[at] = getattr(share, kind)
                here[at] = 1
            out += [values.reshape(shape), here.reshape(shape)]
        return out[0], out[2], out[1], out[3]

    def here(self, packets: int, arrived: Sequence[bool]) -> tuple[Elements, Elements]:
        """1 where an element of motion, and of residual, is in a packet that arrived, else 0."""
        out = []
        for shape in (self.motion_shape, self.residual_shape):
            flags = np.zeros(int(np.prod(shape)), np.int16)
            for number, at in enumerate(shares(shape, packets)):
                flags[at] = arrived[number]
            out.append(flags.reshape(shape))
        return out[0], out[1]

    # -- coding ----------------------------------------------------------------------------------

    @one_blas_thread
    def _code(
        self, coder: Coder, packets: int, own: Sequence[int],
        maps: tuple[ClassMap, ClassMap] | None, elements: PictureElements | None,
    ) -> tuple[Ints, Ints]:  # fmt: skip
        """Write or read the packets `own` of `packets`; returns their elements, joined."""
        units = len(own)
        tables = (self._entropy.motion_map, self._entropy.residual_map)
        known = [
            _code_map(coder, table, self.cells, units, None if maps is None else maps[number])
            for number, table in enumerate(tables)
        ]
        actual = (None, None) if elements is None else (elements.motion, elements.residual)
        kinds = (
            (self._entropy.motion, self.motion_shape, actual[0]),
            (self._entropy.residual, self.residual_shape, actual[1]),
        )
        motion, residual = (
            _code_elements(coder, table, shape, packets, own, classes, values)
            for (table, shape, values), classes in zip(kinds, known, strict=True)
        )
        return motion, residual


def _code_map(
    coder: Coder, table: Table, cells: tuple[int, int], units: int, actual: ClassMap | None
) -> ClassMap:
    """The same map in every unit, row by row; a reader has one unit."""
    rows, cols = cells
    out = np.zeros(cells, np.int64)
    bounds = np.arange(units + 1) * cols
    above = None
    for row in range(rows):
        contexts = np.tile(map_contexts(above, cols), units)
        symbols = None
        if actual is not None:
            symbols = np.tile(actual[row], units).astype(np.int32)
        out[row] = coder.categorical(table, contexts, bounds, symbols)[:cols]
        above = out[row]
    return out


def _code_elements(
    coder: Coder, table: Table, shape: tuple[int, int, int], packets: int, own: Sequence[int],
    classes: ClassMap, values: Elements | None,
) -> Ints:  # fmt: skip
    """Elements of the packets `own`; those of cells of class 0 are not coded."""
    contexts = contexts_of(classes, shape)
    parts = shares(shape, packets)
    at: npt.NDArray[np.int64] = np.concatenate([parts[number] for number in own])
    ends = np.cumsum([0, *(len(parts[number]) for number in own)])
    busy = np.flatnonzero(contexts[at] >= shape[0])
    bounds = np.searchsorted(busy, ends)
    actual = None if values is None else values.reshape(-1)[at[busy]]
    out = np.zeros(len(at), np.int32)
    out[busy] = code_numbers(coder, table, contexts[at[busy]], bounds, actual)
    return out
