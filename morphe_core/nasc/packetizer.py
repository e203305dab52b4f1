"""From the units of a GoP to packets (paper, section 6.2, "Intelligent Packetization").

A packet carries one unit of the codec, which decodes by itself, behind a descriptor of four bytes.
The descriptor says where the packet stands among those of its GoP, so that any one that arrives
tells how many there are, which are missing, and what their sequence numbers were: a GoP's packets
are numbered without gaps. Big-endian:

==== =============================================================================================
Bits Field
==== =============================================================================================
10   position of the packet in its GoP, from 0
10   packets of the GoP, minus 1
10   packets of the GoP that carry tokens, minus 1; they come first
1    a unit begins here
1    a unit ends here
==== =============================================================================================

A unit that is larger than a packet is cut into consecutive packets; nearly all units are not. What
is lost first in a burst at the end, or asked for last, is what hurts least: units with I tokens go
first, units with P tokens alone next, residual units last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.bitstream import Kind, Part

#: Bytes before the unit, or the piece of one.
DESCRIPTOR_BYTES: Final = 4
#: Packets of a GoP.
MAX_PACKETS: Final = 1024

_WORD: Final = struct.Struct(">I")
_TEN_BITS: Final = 0x3FF


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a packet says of its GoP.

    Attributes:
        position: 0..packets - 1.
        packets: of the GoP, 1..`MAX_PACKETS`.
        tokens: packets with tokens, 1..packets; those at positions below.
        starts: a unit begins with this packet.
        ends: a unit ends with it.
    """

    position: int
    packets: int
    tokens: int
    starts: bool
    ends: bool

    @property
    def whole(self) -> bool:
        """The packet carries a whole unit."""
        return self.starts and self.ends


class GopPacket(NamedTuple):
    """A packet of a GoP.

    Attributes:
        payload: descriptor and unit, or piece of one.
        unit: which of the units it belongs to, in the order of `sending_order`.
        last: the GoP ends with it.
    """

    payload: bytes
    unit: int
    last: bool


def kind_and_part(unit: bytes) -> tuple[Kind, Part]:
    """What a unit of our own encoder carries, from its first byte (see `vgc.bitstream`)."""
    return Kind(unit[0] >> 3 & 1), Part(unit[0] >> 1 & 3)


def sending_order(units: Iterable[bytes]) -> list[bytes]:
    """Units with I tokens, then those with P tokens alone, then residuals; else as they come.

    Within a kind the encoder's order stays: it keeps neighbouring rows apart.
    """

    def rank(unit: bytes) -> int:
        kind, part = kind_and_part(unit)
        return 2 if kind is Kind.RESIDUAL else int(part is Part.P_ONLY)

    return sorted(units, key=rank)


def piece_sizes(size_bytes: int, *, most_bytes: int) -> list[int]:
    """How a unit is cut: pieces of nearly equal size, the larger ones first.

    Args:
        size_bytes: of the unit, >= 1.
        most_bytes: in one packet, >= 1, without the descriptor.
    """
    count = -(-size_bytes // most_bytes)
    each, more = divmod(size_bytes, count)
    return [each + 1] * more + [each] * (count - more)


def payload_sizes(unit_bytes: Iterable[int], *, most_bytes: int) -> list[int]:
    """Sizes of the payloads, descriptors included, that units of these sizes become."""
    return [
        piece + DESCRIPTOR_BYTES
        for size in unit_bytes
        for piece in piece_sizes(size, most_bytes=most_bytes - DESCRIPTOR_BYTES)
    ]


def packetize(units: Sequence[bytes], *, most_bytes: int) -> list[GopPacket]:
    """The packets of a GoP in sending order.

    Args:
        units: in sending order; at least one with tokens.
        most_bytes: of one payload, descriptor included, > `DESCRIPTOR_BYTES`.

    Raises:
        CodecConfigError: no tokens, or more packets than can be numbered.
    """
    pieces: list[tuple[int, bytes, bool, bool]] = []
    tokens = 0
    for number, unit in enumerate(units):
        at = 0
        for size in piece_sizes(len(unit), most_bytes=most_bytes - DESCRIPTOR_BYTES):
            end = at + size
            pieces.append((number, unit[at:end], at == 0, end == len(unit)))
            at = end
        if kind_and_part(unit)[0] is Kind.TOKENS:
            tokens = len(pieces)
    count = len(pieces)
    if not tokens or count > MAX_PACKETS:
        raise CodecConfigError(
            f"GoP of {count} packets, {tokens} with tokens: needs 1 to {MAX_PACKETS}"
        )
    return [
        GopPacket(
            pack_descriptor(Descriptor(position, count, tokens, starts, ends)) + piece,
            number,
            position == count - 1,
        )
        for position, (number, piece, starts, ends) in enumerate(pieces)
    ]


def pack_descriptor(descriptor: Descriptor) -> bytes:
    """Its four bytes."""
    return _WORD.pack(
        descriptor.position << 22
        | (descriptor.packets - 1) << 12
        | (descriptor.tokens - 1) << 2
        | descriptor.starts << 1
        | descriptor.ends
    )


def parse_descriptor(payload: bytes) -> Descriptor:
    """The descriptor in front of a payload.

    Raises:
        BitstreamError: too short, nothing behind it, or numbers that contradict each other.
    """
    if len(payload) <= DESCRIPTOR_BYTES:
        raise BitstreamError(
            f"packet of {len(payload)} bytes: a descriptor has {DESCRIPTOR_BYTES}, and a unit "
            "follows"
        )
    word = _WORD.unpack_from(payload)[0]
    position = word >> 22
    packets, tokens = (word >> 12 & _TEN_BITS) + 1, (word >> 2 & _TEN_BITS) + 1
    if position >= packets or tokens > packets:
        raise BitstreamError(
            f"packet {position} of {packets}, {tokens} with tokens: contradicts itself"
        )
    return Descriptor(position, packets, tokens, bool(word & 2), bool(word & 1))
