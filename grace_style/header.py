"""The header of every packet, and the pieces of intra pictures.

    frame (2 bytes) | number (1) | packets (1) | motion quality (1)
    | residual quality (1) | size (2)

All numbers are big-endian. `frame` counts modulo 2**16, from the first picture on. In a packet of
a P picture `number` is below `packets`, and `size` bytes of intra patch follow the header. In a
piece of an intra picture `packets` is 0, and `size` says how many pieces there are, `number` which
this is.

Nothing here needs the network or the entropy coder: a receiver on the way looks at headers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from grace_style.errors import BitstreamError, CodecConfigError
from grace_style.quality import QUALITIES

_FORM: Final = Struct(">HBBBBH")
HEADER_BYTES: Final = _FORM.size
FRAME_MODULO: Final = 1 << 16
#: Packets of a P picture, and pieces of an intra picture, at most.
MOST_PACKETS: Final = 255


@dataclass(frozen=True, slots=True)
class Header:
    """See the module's text.

    Attributes:
        frame: number of the picture, modulo `FRAME_MODULO`.
        number: which packet.
        packets: of how many; 0: a piece of an intra picture.
        motion_quality, residual_quality: see `grace_style.quality`.
        size: bytes of intra patch, or pieces of the intra picture.
    """

    frame: int
    number: int
    packets: int
    motion_quality: int
    residual_quality: int
    size: int

    @property
    def is_piece(self) -> bool:
        """Of an intra picture."""
        return self.packets == 0

    @property
    def count(self) -> int:
        """Packets or pieces of the picture."""
        return self.packets or self.size

    def pack(self) -> bytes:
        """The bytes."""
        return _FORM.pack(
            self.frame, self.number, self.packets, self.motion_quality, self.residual_quality,
            self.size,
        )  # fmt: skip

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """The header of a packet; any bytes give one or an error.

        Raises:
            BitstreamError: it is none.
        """
        if len(data) < HEADER_BYTES:
            raise BitstreamError(f"a packet of {len(data)} bytes has no header")
        header = cls(*_FORM.unpack_from(data))
        if not header.number < header.count <= MOST_PACKETS:
            raise BitstreamError(f"packet {header.number} of {header.count}")
        if max(header.motion_quality, header.residual_quality) >= QUALITIES:
            raise BitstreamError("a quality beyond the last one")
        return header


def pieces_of(data: bytes, *, frame: int, most_bytes: int) -> list[bytes]:
    """An intra picture in pieces of at most `most_bytes` (more than the header).

    Raises:
        CodecConfigError: it would take more than `MOST_PACKETS` pieces.
    """
    room = most_bytes - HEADER_BYTES
    count = max(1, -(-len(data) // room))
    if count > MOST_PACKETS:
        raise CodecConfigError(f"an intra picture of {len(data)} bytes in pieces of {room}")
    return [
        Header(frame % FRAME_MODULO, number, 0, 0, 0, count).pack()
        + data[number * room : (number + 1) * room]
        for number in range(count)
    ]


def joined_pieces(packets: list[bytes]) -> bytes | None:
    """The intra picture of these packets, in any order; None: a piece is missing.

    Raises:
        BitstreamError: they are not pieces of one picture.
    """
    found: dict[int, bytes] = {}
    frames = set()
    count = 0
    for data in packets:
        header = Header.parse(data)
        if not header.is_piece or (count and header.size != count):
            raise BitstreamError("pieces of different pictures")
        count = header.size
        frames.add(header.frame)
        found[header.number] = data[HEADER_BYTES:]
    if len(frames) > 1:
        raise BitstreamError("pieces of different pictures")
    if not count or len(found) < count:
        return None
    return b"".join(found[number] for number in range(count))
