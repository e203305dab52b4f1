"""Feedback messages: generic NACK, PLI (RFC 4585), FIR (RFC 5104) and REMB."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GenericNack:
    """RTPFB format 1: 16-bit sequence numbers asked for again (RFC 4585 section 6.2.1).

    `lost` is packed into (PID, BLP) pairs; order and duplicates are not kept on the wire.
    Parsing gives them in wire order (ascending modulo 2**16 when we packed them).
    """

    sender_ssrc: int
    media_ssrc: int
    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """PSFB format 1: the decoder lost a picture, send a key frame (RFC 4585 section 6.3.1)."""

    sender_ssrc: int
    media_ssrc: int


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """PSFB format 4: `requests` holds (ssrc, command number 0..255) (RFC 5104 section 4.3.1)."""

    sender_ssrc: int
    requests: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Remb:
    """Receiver's estimate of what may be sent (draft-alvestrand-rmcat-remb-03).

    Attributes:
        sender_ssrc: who reports.
        bitrate_bps: estimate in bit/s; 18 bits of it survive the wire, rounded down.
        ssrcs: streams it is about, at most 255.
    """

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...] = ()
