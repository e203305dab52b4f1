"""Compound packets: many messages in one datagram (RFC 3550 section 6.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final, TypeAlias

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp.application import ApplicationDefined
from testbed.protocol.rtcp.congestion import CongestionFeedback
from testbed.protocol.rtcp.feedback import (
    PSFB,
    RTPFB,
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
        body: bytes after the 4-byte header, without padding; a multiple of 4 bytes.
    """

    packet_type: int
    count: int
    body: bytes

    def pack_body(self) -> tuple[int, bytes]:
        """Count field and body."""
        return self.count, self.body


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
    | ApplicationDefined
    | UnknownRtcp
)


_HEADER: Final = Struct("!BBH")
_VERSION_BITS: Final = 0x80
_PADDING_BIT: Final = 0x20

#: Readers of (count, body), by packet type (RFC 3550 section 12.1).
_REPORTS: Final[dict[int, Callable[[int, bytes], RtcpMessage]]] = {
    SenderReport.packet_type: SenderReport.parse_body,
    ReceiverReport.packet_type: ReceiverReport.parse_body,
    SourceDescription.packet_type: SourceDescription.parse_body,
    Goodbye.packet_type: Goodbye.parse_body,
    ApplicationDefined.packet_type: ApplicationDefined.parse_body,
}

#: Readers of a body, by packet type and feedback format; None means "not ours after all".
_FEEDBACK: Final[dict[tuple[int, int], Callable[[bytes], RtcpMessage | None]]] = {
    (RTPFB, GenericNack.format): GenericNack.parse_body,
    (RTPFB, CongestionFeedback.format): CongestionFeedback.parse_body,
    (PSFB, PictureLossIndication.format): PictureLossIndication.parse_body,
    (PSFB, FullIntraRequest.format): FullIntraRequest.parse_body,
    (PSFB, Remb.format): Remb.parse_body,
}


def pack_rtcp(messages: Iterable[RtcpMessage]) -> bytes:
    """The messages as one datagram, in order.

    Raises:
        LocalProtocolError: a field is out of its range.
    """
    parts = []
    for message in messages:
        try:
            count, body = message.pack_body()
            words = len(body) // 4
            if not 0 <= count <= 31:
                raise LocalProtocolError(f"RTCP count or format {count} is not in 0..31")
            if len(body) % 4:
                raise LocalProtocolError(f"RTCP body of {len(body)} bytes, not a multiple of 4")
            header = _HEADER.pack(_VERSION_BITS | count, message.packet_type, words)
        except struct.error as error:
            raise LocalProtocolError(f"{type(message).__name__}: {error}") from None
        parts += [header, body]
    return b"".join(parts)


def parse_rtcp(data: bytes) -> list[RtcpMessage]:
    """Every message of a datagram, in order.

    Reduced-size packets (RFC 5506) are welcome: the first need not be a report.

    Raises:
        RemoteProtocolError: the bytes are not a sequence of RTCP packets.
    """
    if not data:
        raise RemoteProtocolError("empty RTCP datagram")
    messages = []
    at = 0
    while at < len(data):
        if at + _HEADER.size > len(data):
            raise RemoteProtocolError("RTCP datagram ends inside a header")
        first, packet_type, words = _HEADER.unpack_from(data, at)
        if first >> 6 != 2:
            raise RemoteProtocolError(f"RTCP version {first >> 6}, not 2")
        end = at + _HEADER.size + 4 * words
        if end > len(data):
            raise RemoteProtocolError(f"RTCP packet of type {packet_type} is cut off")
        body = data[at + _HEADER.size : end]
        if first & _PADDING_BIT:
            body = _without_padding(body, last=end == len(data))
        messages.append(_parse_message(packet_type, first & 0x1F, body))
        at = end
    return messages


def _without_padding(body: bytes, *, last: bool) -> bytes:
    """Only the last packet of a compound may be padded (RFC 3550 section 6.4.1)."""
    padding = body[-1] if body else 0
    if not last or padding == 0 or padding % 4 or padding > len(body):
        raise RemoteProtocolError(f"RTCP padding of {padding} bytes")
    return body[:-padding]


def _parse_message(packet_type: int, count: int, body: bytes) -> RtcpMessage:
    report = _REPORTS.get(packet_type)
    if report is not None:
        return report(count, body)
    feedback = _FEEDBACK.get((packet_type, count))
    message = feedback(body) if feedback is not None else None
    return message if message is not None else UnknownRtcp(packet_type, count, body)
