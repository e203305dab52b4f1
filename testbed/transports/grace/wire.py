"""What both ends of the GRACE-style transport agree on: numbers, and the loss report.

The receiver says with which packets it decoded a picture: all that the sender needs to decode it in
the same way. Pictures decoded whole are not mentioned. An RTCP APP message (RFC 3550 section 6.7)
named `GRAC` holds, for each picture: its number modulo 2**16 (2 bytes), its packets (1 byte; 0: it
was skipped, since nothing of it came), 0 (1 byte), and a bit for each packet, the first in the
highest bit, filled up to 4 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from testbed.errors import RemoteProtocolError
from testbed.protocol.payload.types import GRACE_MEDIA, GRACE_RTX
from testbed.protocol.rtcp import ApplicationDefined

#: Payload types of the media and of its RFC 4588 retransmissions.
MEDIA_PAYLOAD_TYPE: Final = GRACE_MEDIA
RTX_PAYLOAD_TYPE: Final = GRACE_RTX
REPORT_NAME: Final = b"GRAC"
#: Each damaged picture is in so many reports, so that two in a row may be lost.
REPORTED_TIMES: Final = 3
#: Pictures in one report, at most.
MOST_PICTURES: Final = 64
_PICTURE: Final = Struct("!HBx")
_WORD_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Damage:
    """A picture that was decoded with some of its packets, or skipped.

    Attributes:
        frame: its number; modulo 2**16 where it came over the wire.
        arrived: which packets were decoded, up to 255 of them; empty: it was skipped, of which
            nobody knows how many packets it had.
    """

    frame: int
    arrived: tuple[bool, ...]


def pack_damages(ssrc: int, damages: Iterable[Damage]) -> ApplicationDefined:
    """A loss report."""
    data = b"".join(
        _PICTURE.pack(damage.frame & 0xFFFF, len(damage.arrived)) + _bits(damage.arrived)
        for damage in damages
    )
    return ApplicationDefined(ssrc, REPORT_NAME, data)


def parse_damages(message: ApplicationDefined) -> list[Damage]:
    """The pictures of a loss report.

    Raises:
        RemoteProtocolError: it is none.
    """
    if message.name != REPORT_NAME:
        raise RemoteProtocolError(f"RTCP APP of the name {message.name!r}")
    found: list[Damage] = []
    at, data = 0, message.data
    while at < len(data):
        if at + _PICTURE.size > len(data) or len(found) == MOST_PICTURES:
            raise RemoteProtocolError("a loss report of an impossible size")
        frame, packets = _PICTURE.unpack_from(data, at)
        at += _PICTURE.size
        size = _size(packets)
        if at + size > len(data):
            raise RemoteProtocolError(f"a loss report of a picture of {packets} packets breaks off")
        bits = int.from_bytes(data[at : at + size], "big")
        top = 8 * size - 1
        found.append(Damage(frame, tuple(bool(bits >> (top - n) & 1) for n in range(packets))))
        at += size
    return found


def _bits(arrived: tuple[bool, ...]) -> bytes:
    size = _size(len(arrived))
    value = sum(1 << (8 * size - 1 - n) for n, here in enumerate(arrived) if here)
    return value.to_bytes(size, "big")


def _size(packets: int) -> int:
    return -(-packets // (8 * _WORD_BYTES)) * _WORD_BYTES
