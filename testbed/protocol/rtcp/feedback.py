"""Feedback messages: generic NACK, PLI (RFC 4585), FIR (RFC 5104) and REMB."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final

from testbed.errors import LocalProtocolError, RemoteProtocolError

#: Packet types of transport-layer and payload-specific feedback (RFC 4585 section 6.1).
RTPFB: Final = 205
PSFB: Final = 206
#: REMB: mantissa bits, exponent bits and the name that marks it
#: (draft-alvestrand-rmcat-remb-03 section 2.2).
REMB_NAME: Final = b"REMB"
REMB_MANTISSA_BITS: Final = 18
REMB_MAX_EXPONENT: Final = 63

_SOURCES: Final = Struct("!II")
_PAIR: Final = Struct("!HH")
_FIR_ENTRY: Final = Struct("!IB3x")
_WORD: Final = Struct("!I")
_MASK16: Final = 0xFFFF


def parse_sources(body: bytes) -> tuple[int, int]:
    """SSRC of the reporter and of the media, which begin every feedback message."""
    if len(body) < _SOURCES.size:
        raise RemoteProtocolError("RTCP feedback too short")
    sender_ssrc, media_ssrc = _SOURCES.unpack_from(body)
    return sender_ssrc, media_ssrc


@dataclass(frozen=True, slots=True)
class GenericNack:
    """RTPFB format 1: 16-bit sequence numbers asked for again (RFC 4585 section 6.2.1).

    On the wire they are pairs of a number (PID) and a bitmask of the 16 after it (BLP), so
    consecutive ones share a pair. Packing keeps the order of the first of each pair; give them in
    ascending order (modulo 2**16) to get the same tuple back.
    """

    packet_type: ClassVar[int] = RTPFB
    format: ClassVar[int] = 1

    sender_ssrc: int
    media_ssrc: int
    lost: tuple[int, ...]

    def pack_body(self) -> tuple[int, bytes]:
        """Format field and body."""
        pairs: list[list[int]] = []
        for sequence in self.lost:
            offset = (sequence - pairs[-1][0]) & _MASK16 if pairs else _MASK16
            if 1 <= offset <= 16:
                pairs[-1][1] |= 1 << (offset - 1)
            elif offset:
                pairs.append([sequence & _MASK16, 0])
        head = _SOURCES.pack(self.sender_ssrc, self.media_ssrc)
        return self.format, head + b"".join(_PAIR.pack(*pair) for pair in pairs)

    @classmethod
    def parse_body(cls, body: bytes) -> GenericNack:
        """Read a body; raises `RemoteProtocolError`."""
        sender_ssrc, media_ssrc = parse_sources(body)
        lost = []
        for at in range(_SOURCES.size, len(body), _PAIR.size):
            first, mask = _PAIR.unpack_from(body, at)
            lost.append(first)
            lost += [(first + 1 + bit) & _MASK16 for bit in range(16) if mask >> bit & 1]
        return cls(sender_ssrc, media_ssrc, tuple(lost))


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """PSFB format 1: the decoder lost a picture, send a key frame (RFC 4585 section 6.3.1)."""

    packet_type: ClassVar[int] = PSFB
    format: ClassVar[int] = 1

    sender_ssrc: int
    media_ssrc: int

    def pack_body(self) -> tuple[int, bytes]:
        """Format field and body."""
        return self.format, _SOURCES.pack(self.sender_ssrc, self.media_ssrc)

    @classmethod
    def parse_body(cls, body: bytes) -> PictureLossIndication:
        """Read a body; raises `RemoteProtocolError`."""
        return cls(*parse_sources(body))


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """PSFB format 4: `requests` holds (ssrc, command number 0..255) (RFC 5104 section 4.3.1)."""

    packet_type: ClassVar[int] = PSFB
    format: ClassVar[int] = 4

    sender_ssrc: int
    requests: tuple[tuple[int, int], ...]

    def pack_body(self) -> tuple[int, bytes]:
        """Format field and body; the media source of the header is 0, as RFC 5104 wants."""
        head = _SOURCES.pack(self.sender_ssrc, 0)
        return self.format, head + b"".join(
            _FIR_ENTRY.pack(ssrc, number & 0xFF) for ssrc, number in self.requests
        )

    @classmethod
    def parse_body(cls, body: bytes) -> FullIntraRequest:
        """Read a body; raises `RemoteProtocolError`."""
        sender_ssrc, _ = parse_sources(body)
        if (len(body) - _SOURCES.size) % _FIR_ENTRY.size:
            raise RemoteProtocolError("RTCP FIR ends inside an entry")
        entries = range(_SOURCES.size, len(body), _FIR_ENTRY.size)
        requests = []
        for at in entries:
            ssrc, number = _FIR_ENTRY.unpack_from(body, at)
            requests.append((ssrc, number))
        return cls(sender_ssrc, tuple(requests))


@dataclass(frozen=True, slots=True)
class Remb:
    """Receiver's estimate of what may be sent (draft-alvestrand-rmcat-remb-03), PSFB format 15.

    Attributes:
        sender_ssrc: who reports.
        bitrate_bps: estimate in bit/s, >= 0; 18 bits of it survive the wire, rounded down.
        ssrcs: streams it is about, at most 255.
    """

    packet_type: ClassVar[int] = PSFB
    format: ClassVar[int] = 15

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...] = ()

    def pack_body(self) -> tuple[int, bytes]:
        """Format field and body."""
        exponent = max(0, self.bitrate_bps.bit_length() - REMB_MANTISSA_BITS)
        if self.bitrate_bps < 0 or exponent > REMB_MAX_EXPONENT or len(self.ssrcs) > 255:
            raise LocalProtocolError(f"REMB of {self.bitrate_bps} bit/s, {len(self.ssrcs)} sources")
        mantissa = self.bitrate_bps >> exponent
        word = len(self.ssrcs) << 24 | exponent << REMB_MANTISSA_BITS | mantissa
        head = _SOURCES.pack(self.sender_ssrc, 0) + REMB_NAME + _WORD.pack(word)
        return self.format, head + b"".join(_WORD.pack(ssrc) for ssrc in self.ssrcs)

    @classmethod
    def parse_body(cls, body: bytes) -> Remb | None:
        """Read a body; None for application feedback of another name.

        Raises:
            RemoteProtocolError: it says REMB but is not one.
        """
        sender_ssrc, _ = parse_sources(body)
        at = _SOURCES.size
        if body[at : at + 4] != REMB_NAME:
            return None
        at += len(REMB_NAME)
        if len(body) < at + _WORD.size:
            raise RemoteProtocolError("RTCP REMB too short")
        (word,) = _WORD.unpack_from(body, at)
        at += _WORD.size
        if len(body) != at + _WORD.size * (word >> 24):
            raise RemoteProtocolError(f"RTCP REMB length does not fit {word >> 24} sources")
        mantissa = word & ((1 << REMB_MANTISSA_BITS) - 1)
        exponent = word >> REMB_MANTISSA_BITS & REMB_MAX_EXPONENT
        ssrcs = tuple(_WORD.unpack_from(body, i)[0] for i in range(at, len(body), _WORD.size))
        return cls(sender_ssrc, mantissa << exponent, ssrcs)
