"""Sender and receiver reports, source descriptions and goodbyes (RFC 3550 section 6)."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR, packet type 200.

    Attributes:
        ssrc: the sender.
        ntp: 64-bit NTP time of sending (see `testbed.protocol.reception.ntp_of`).
        rtp_timestamp: the same instant on the RTP clock, low 32 bits.
        packet_count: RTP packets sent so far, modulo 2**32.
        octet_count: RTP payload bytes sent so far, modulo 2**32.
        reports: at most 31 report blocks.
    """

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR, packet type 201; at most 31 report blocks."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SdesChunk:
    """Items of one source; an item is (type, text bytes of at most 255); type 1 is CNAME."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES, packet type 202; at most 31 chunks."""

    chunks: tuple[SdesChunk, ...]

    @classmethod
    def of_cname(cls, ssrc: int, cname: str) -> SourceDescription:
        """The usual SDES: one source with its canonical name."""
        return cls((SdesChunk(ssrc, ((1, cname.encode()),)),))


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE, packet type 203; at most 31 sources, reason of at most 255 bytes."""

    sources: tuple[int, ...]
    reason: bytes = b""
