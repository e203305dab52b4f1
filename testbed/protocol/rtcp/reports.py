"""Sender and receiver reports, source descriptions and goodbyes (RFC 3550 section 6).

Each message class has `packet_type`, `pack_body() -> (count, body)` and a parser of the same two
things; framing is in `testbed.protocol.rtcp.compound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final

from testbed.errors import LocalProtocolError, RemoteProtocolError

#: The report count has 5 bits (RFC 3550 section 6.4.1).
MAX_COUNT: Final = 31
#: SDES item types (RFC 3550 section 6.5).
SDES_END: Final = 0
SDES_CNAME: Final = 1

_WORD: Final = Struct("!I")
_SENDER_INFO: Final = Struct("!IQIII")
_BLOCK: Final = Struct("!IIIIII")
_MASK32: Final = 0xFFFFFFFF
_CUMULATIVE_LIMIT: Final = 1 << 23


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver saw of one source (RFC 3550 section 6.4.1).

    Attributes:
        ssrc: the source reported on.
        fraction_lost: share lost since the previous report, in 1/256, 0 to 255.
        cumulative_lost: packets lost since the start, signed 24 bit; duplicates make it smaller.
        highest_sequence: extended highest sequence number, low 32 bits.
        jitter: interarrival jitter in RTP clock units.
        last_sr: middle 32 bits of the NTP time of the last SR; 0 without one.
        delay_since_last_sr: in 1/65536 s; 0 without an SR.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int = 0
    delay_since_last_sr: int = 0

    def pack(self) -> bytes:
        """The 24 bytes."""
        if not 0 <= self.fraction_lost <= 255:
            raise LocalProtocolError(f"fraction lost {self.fraction_lost} is not in 0..255")
        if not -_CUMULATIVE_LIMIT <= self.cumulative_lost < _CUMULATIVE_LIMIT:
            raise LocalProtocolError(f"cumulative lost {self.cumulative_lost} needs over 24 bits")
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | self.cumulative_lost & 0xFFFFFF,
            self.highest_sequence & _MASK32,
            self.jitter & _MASK32,
            self.last_sr,
            self.delay_since_last_sr,
        )


def _parse_blocks(count: int, data: bytes, start: int) -> tuple[ReportBlock, ...]:
    # Bytes after the last block are a profile-specific extension (RFC 3550 section 6.4.3).
    if start + count * _BLOCK.size > len(data):
        raise RemoteProtocolError(f"RTCP report too short for {count} blocks")
    blocks = []
    for at in range(start, start + count * _BLOCK.size, _BLOCK.size):
        ssrc, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(data, at)
        lost = loss & 0xFFFFFF
        if lost >= _CUMULATIVE_LIMIT:
            lost -= 1 << 24
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _check_count(what: str, count: int) -> None:
    if count > MAX_COUNT:
        raise LocalProtocolError(f"{count} {what} in one RTCP packet, at most {MAX_COUNT}")


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR, packet type 200.

    Attributes:
        ssrc: the sender.
        ntp: 64-bit NTP time of sending (see `testbed.protocol.ntp.ntp_of`).
        rtp_timestamp: the same instant on the RTP clock, low 32 bits.
        packet_count: RTP packets sent so far, modulo 2**32.
        octet_count: RTP payload bytes sent so far, modulo 2**32.
        reports: at most 31 report blocks.
    """

    packet_type: ClassVar[int] = 200

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()

    def pack_body(self) -> tuple[int, bytes]:
        """Count field and body."""
        _check_count("report blocks", len(self.reports))
        info = _SENDER_INFO.pack(
            self.ssrc,
            self.ntp,
            self.rtp_timestamp & _MASK32,
            self.packet_count & _MASK32,
            self.octet_count & _MASK32,
        )
        return len(self.reports), info + b"".join(block.pack() for block in self.reports)

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> SenderReport:
        """Read a body; raises `RemoteProtocolError`."""
        if len(body) < _SENDER_INFO.size:
            raise RemoteProtocolError("RTCP sender report too short")
        ssrc, ntp, rtp_timestamp, packets, octets = _SENDER_INFO.unpack_from(body)
        blocks = _parse_blocks(count, body, _SENDER_INFO.size)
        return cls(ssrc, ntp, rtp_timestamp, packets, octets, blocks)


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR, packet type 201; at most 31 report blocks."""

    packet_type: ClassVar[int] = 201

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    def pack_body(self) -> tuple[int, bytes]:
        """Count field and body."""
        _check_count("report blocks", len(self.reports))
        head = _WORD.pack(self.ssrc)
        return len(self.reports), head + b"".join(block.pack() for block in self.reports)

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> ReceiverReport:
        """Read a body; raises `RemoteProtocolError`."""
        if len(body) < _WORD.size:
            raise RemoteProtocolError("RTCP receiver report too short")
        return cls(_WORD.unpack_from(body)[0], _parse_blocks(count, body, _WORD.size))


@dataclass(frozen=True, slots=True)
class SdesChunk:
    """Items of one source; an item is (type 1..255, at most 255 bytes); type 1 is CNAME."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...]

    def pack(self) -> bytes:
        """SSRC, items, and one to four zero bytes up to a 32-bit boundary."""
        parts = [_WORD.pack(self.ssrc)]
        for kind, text in self.items:
            if not SDES_END < kind <= 255 or len(text) > 255:
                raise LocalProtocolError(f"SDES item of type {kind} with {len(text)} bytes")
            parts += [bytes((kind, len(text))), text]
        chunk = b"".join(parts)
        return chunk + bytes(4 - len(chunk) % 4)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES, packet type 202; at most 31 chunks."""

    packet_type: ClassVar[int] = 202

    chunks: tuple[SdesChunk, ...]

    @classmethod
    def of_cname(cls, ssrc: int, cname: str) -> SourceDescription:
        """The usual SDES: one source with its canonical name."""
        return cls((SdesChunk(ssrc, ((SDES_CNAME, cname.encode()),)),))

    def pack_body(self) -> tuple[int, bytes]:
        """Count field and body."""
        _check_count("SDES chunks", len(self.chunks))
        return len(self.chunks), b"".join(chunk.pack() for chunk in self.chunks)

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> SourceDescription:
        """Read a body; raises `RemoteProtocolError`."""
        chunks = []
        at = 0
        for _ in range(count):
            if at + _WORD.size > len(body):
                raise RemoteProtocolError(f"RTCP SDES too short for {count} chunks")
            (ssrc,) = _WORD.unpack_from(body, at)
            items, at = _parse_items(body, at + _WORD.size)
            chunks.append(SdesChunk(ssrc, items))
        return cls(tuple(chunks))


def _parse_items(body: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Items from `at` to their end mark, and where the next chunk starts."""
    items: list[tuple[int, bytes]] = []
    while True:
        if at >= len(body):
            raise RemoteProtocolError("RTCP SDES chunk without an end")
        kind = body[at]
        if kind == SDES_END:
            return tuple(items), at + 4 - at % 4
        if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
            raise RemoteProtocolError("RTCP SDES item runs over the packet")
        end = at + 2 + body[at + 1]
        items.append((kind, body[at + 2 : end]))
        at = end


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE, packet type 203; at most 31 sources, reason of at most 255 bytes."""

    packet_type: ClassVar[int] = 203

    sources: tuple[int, ...]
    reason: bytes = b""

    def pack_body(self) -> tuple[int, bytes]:
        """Count field and body."""
        _check_count("sources", len(self.sources))
        if len(self.reason) > 255:
            raise LocalProtocolError(f"BYE reason of {len(self.reason)} bytes, at most 255")
        body = b"".join(_WORD.pack(source) for source in self.sources)
        if self.reason:
            text = bytes((len(self.reason),)) + self.reason
            body += text + bytes(-len(text) % 4)
        return len(self.sources), body

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> Goodbye:
        """Read a body; raises `RemoteProtocolError`."""
        end = count * _WORD.size
        if end > len(body):
            raise RemoteProtocolError(f"RTCP BYE too short for {count} sources")
        sources = tuple(_WORD.unpack_from(body, at)[0] for at in range(0, end, _WORD.size))
        if end == len(body):
            return cls(sources)
        reason = body[end + 1 : end + 1 + body[end]]
        if len(reason) < body[end]:
            raise RemoteProtocolError("RTCP BYE reason runs over the packet")
        return cls(sources, reason)
