"""Compound packets: many messages in one datagram (RFC 3550 section 6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from testbed.protocol.rtcp.congestion import CongestionFeedback
from testbed.protocol.rtcp.feedback import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    Remb,
)
from testbed.protocol.rtcp.reports import (
    Goodbye,
    ReceiverReport,
    SenderReport,
    SourceDescription,
)


@dataclass(frozen=True, slots=True)
class UnknownRtcp:
    """A well-framed message of a kind we do not read; kept so that others are not lost.

    Attributes:
        packet_type: 0 to 255.
        count: the 5 bits after the padding bit (report count or feedback format).
        body: bytes after the 4-byte header.
    """

    packet_type: int
    count: int
    body: bytes


RtcpMessage: TypeAlias = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | GenericNack
    | PictureLossIndication
    | FullIntraRequest
    | Remb
    | CongestionFeedback
    | UnknownRtcp
)


def pack_rtcp(messages: Iterable[RtcpMessage]) -> bytes:
    """The messages as one datagram, in order.

    Raises:
        LocalProtocolError: a field is out of its range.
    """
    raise NotImplementedError


def parse_rtcp(data: bytes) -> list[RtcpMessage]:
    """Every message of a datagram, in order.

    Raises:
        RemoteProtocolError: the bytes are not a sequence of RTCP packets.
    """
    raise NotImplementedError
