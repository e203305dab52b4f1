"""RTP packets as bytes: RFC 3550 section 5.1, retransmission payload RFC 4588, demux RFC 5761.

`pack_rtp` and `parse_rtp` are on the path of every packet, so they keep to one `struct` call and
one object.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import Final

from testbed.errors import LocalProtocolError, RemoteProtocolError

#: Bytes of an RTP header without CSRC list and extension (RFC 3550 section 5.1).
RTP_HEADER_BYTES: Final = 12
#: Bytes of the original sequence number before a retransmitted payload (RFC 4588 section 4).
RTX_HEADER_BYTES: Final = 2
#: Most padding in one packet: its count is one byte (RFC 3550 section 5.1).
MAX_PADDING_BYTES: Final = 255
#: RTP clock of all our video payloads (RFC 6184, 7798 and 9328 require 90 kHz).
VIDEO_CLOCK_HZ: Final = 90_000

_HEADER: Final = Struct("!BBHII")
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack_from
_EXTENSION: Final = Struct("!HH")
_VERSION_BITS: Final = 0x80


class RtpPacket:
    """One parsed RTP packet.

    Attributes:
        payload_type: 0 to 127.
        marker: for video, the last packet of a frame.
        sequence: 0 to 65535.
        timestamp: 0 to 2**32 - 1, units of the payload's clock (90 kHz for video).
        ssrc: 0 to 2**32 - 1.
        payload: bytes after the header, without padding.
        csrc: contributing sources, at most 15.
        extension_profile: the 16 bits "defined by profile", or -1 without a header extension.
        extension: body of the header extension, a multiple of 4 bytes.
        padding_bytes: padding that was removed, its count byte included.
    """

    __slots__ = (
        "csrc",
        "extension",
        "extension_profile",
        "marker",
        "padding_bytes",
        "payload",
        "payload_type",
        "sequence",
        "ssrc",
        "timestamp",
    )

    def __init__(
        self,
        payload_type: int,
        marker: bool,
        sequence: int,
        timestamp: int,
        ssrc: int,
        payload: bytes,
        csrc: tuple[int, ...] = (),
        extension_profile: int = -1,
        extension: bytes = b"",
        padding_bytes: int = 0,
    ) -> None:
        self.payload_type = payload_type
        self.marker = marker
        self.sequence = sequence
        self.timestamp = timestamp
        self.ssrc = ssrc
        self.payload = payload
        self.csrc = csrc
        self.extension_profile = extension_profile
        self.extension = extension
        self.padding_bytes = padding_bytes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RtpPacket):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"RtpPacket(payload_type={self.payload_type}, marker={self.marker}, "
            f"sequence={self.sequence}, timestamp={self.timestamp}, ssrc={self.ssrc:#x}, "
            f"payload={len(self.payload)} bytes)"
        )


def pack_rtp(
    payload: bytes,
    *,
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
) -> bytes:
    """The bytes of a packet without CSRC list, extension and padding.

    `sequence` and `timestamp` may be extended numbers; their low 16 and 32 bits go out.

    Args:
        payload: any bytes.
        payload_type: 0 to 127; our streams use the dynamic range 96 to 127.
        marker: last packet of a frame.
        sequence: any integer (wrapped).
        timestamp: 90 kHz units, wrapped.
        ssrc: 0 to 2**32 - 1.

    Raises:
        LocalProtocolError: `payload_type` or `ssrc` is out of range.
    """
    try:
        return (
            _pack_header(
                _VERSION_BITS,
                payload_type | 0x80 if marker else payload_type,
                sequence & 0xFFFF,
                timestamp & 0xFFFFFFFF,
                ssrc,
            )
            + payload
        )
    except struct.error as error:
        raise LocalProtocolError(f"RTP header field out of range: {error}") from None


def pack_padding(
    padding_bytes: int, *, payload_type: int, sequence: int, timestamp: int, ssrc: int
) -> bytes:
    """The bytes of a packet that holds nothing but padding (RFC 3550 section 5.1).

    Args:
        padding_bytes: 1 to 255, the count byte included.
        payload_type: 0 to 127.
        sequence: any integer (wrapped).
        timestamp: 90 kHz units, wrapped.
        ssrc: 0 to 2**32 - 1.

    Raises:
        LocalProtocolError: a value is out of range.
    """
    if not 1 <= padding_bytes <= MAX_PADDING_BYTES:
        raise LocalProtocolError(f"RTP padding of {padding_bytes} bytes, not 1..255")
    try:
        header = _pack_header(
            _VERSION_BITS | 0x20,
            payload_type,
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
    except struct.error as error:
        raise LocalProtocolError(f"RTP header field out of range: {error}") from None
    return header + bytes(padding_bytes - 1) + bytes([padding_bytes])


def parse_rtp(data: bytes) -> RtpPacket:
    """Read a packet.

    Raises:
        RemoteProtocolError: too short, not version 2, or lengths that contradict each other.
    """
    try:
        first, second, sequence, timestamp, ssrc = _unpack_header(data)
    except struct.error:
        raise RemoteProtocolError(f"an RTP packet cannot have {len(data)} bytes") from None
    marker = second > 0x7F
    payload_type = second & 0x7F
    if first == _VERSION_BITS:
        return RtpPacket(payload_type, marker, sequence, timestamp, ssrc, data[RTP_HEADER_BYTES:])
    packet = RtpPacket(payload_type, marker, sequence, timestamp, ssrc, b"")
    _parse_options(data, packet)
    return packet


def _parse_options(data: bytes, packet: RtpPacket) -> None:
    """Fill in what follows the fixed header: contributing sources, extension and padding."""
    first = data[0]
    if first >> 6 != 2:
        raise RemoteProtocolError(f"RTP version {first >> 6}, not 2")
    start = RTP_HEADER_BYTES + 4 * (first & 0x0F)
    end = len(data)
    if start > end:
        raise RemoteProtocolError("RTP packet ends inside its CSRC list")
    packet.csrc = tuple(
        int.from_bytes(data[at : at + 4], "big") for at in range(RTP_HEADER_BYTES, start, 4)
    )
    if first & 0x10:
        if start + 4 > end:
            raise RemoteProtocolError("RTP packet ends inside its header extension")
        packet.extension_profile, words = _EXTENSION.unpack_from(data, start)
        body = start + 4
        start = body + 4 * words
        if start > end:
            raise RemoteProtocolError("RTP packet ends inside its header extension")
        packet.extension = data[body:start]
    if first & 0x20:
        # The last byte counts the padding, itself included (RFC 3550 section 5.1).
        padding = data[-1] if end > start else 0
        if padding == 0 or start + padding > end:
            raise RemoteProtocolError(f"RTP padding of {padding} bytes does not fit")
        packet.padding_bytes = padding
        end -= padding
    packet.payload = data[start:end]


def pack_rtx(
    payload: bytes,
    *,
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    original_sequence: int,
) -> bytes:
    """The bytes of a retransmission (RFC 4588 section 4).

    It has its own payload type, SSRC and sequence numbers, but the timestamp and marker of the
    packet it repeats; the payload starts with the original sequence number.
    """
    return pack_rtp(
        (original_sequence & 0xFFFF).to_bytes(RTX_HEADER_BYTES, "big") + payload,
        payload_type=payload_type,
        marker=marker,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
    )


def parse_rtx(packet: RtpPacket) -> tuple[int, bytes]:
    """Original 16-bit sequence number and original payload of a retransmission.

    Raises:
        RemoteProtocolError: no room for the original sequence number.
    """
    payload = packet.payload
    if len(payload) < RTX_HEADER_BYTES:
        raise RemoteProtocolError(f"a retransmission cannot have {len(payload)} payload bytes")
    return int.from_bytes(payload[:RTX_HEADER_BYTES], "big"), payload[RTX_HEADER_BYTES:]


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram on a shared port is RTCP: second byte 192 to 223 (RFC 5761 section 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


def timestamp_of_frame(index: int, *, fps: float) -> int:
    """RTP timestamp (extended, from 0) of frame `index` at a constant `fps` > 0."""
    return round(index * VIDEO_CLOCK_HZ / fps)


def frame_of_timestamp(timestamp: int, *, fps: float) -> int:
    """Inverse of `timestamp_of_frame`, rounding to the nearest frame."""
    return round(timestamp * fps / VIDEO_CLOCK_HZ)
