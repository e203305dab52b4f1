"""Per-packet arrival feedback (RFC 8888), "CCFB"."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final, NamedTuple

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp.feedback import RTPFB

#: The R bit of a metric word (RFC 8888 section 3.1).
RECEIVED: Final = 0x8000
#: ATO: arrived longer than 8189/1024 s before the report (RFC 8888 section 3.1).
ATO_TOO_OLD: Final = 0x1FFE
#: ATO: arrival time not known, or after the report timestamp (RFC 8888 section 3.1).
ATO_UNAVAILABLE: Final = 0x1FFF
#: Most packets in one block (RFC 8888 section 3.1).
MAX_REPORTS: Final = 16_384
#: Bytes of a report around its blocks: RTCP header, reporter's SSRC and report timestamp.
CCFB_FIXED_BYTES: Final = 12
#: Bytes of a block before its metric words.
CCFB_BLOCK_BYTES: Final = 8

_ATO_MASK: Final = 0x1FFF
_WORD: Final = Struct("!I")
_BLOCK: Final = Struct("!IHH")
_SECOND_NS: Final = 1_000_000_000


class PacketArrival(NamedTuple):
    """What a report says of one packet.

    Attributes:
        sequence: 16-bit sequence number.
        received: whether it had arrived.
        ecn: 0 to 3, the ECN field of the IP header.
        age_ns: how long before the report's timestamp it arrived, in ns (steps of 1/1024 s);
            -1 when not received or unknown.
    """

    sequence: int
    received: bool
    ecn: int
    age_ns: int


def metric_word(*, age_1024: int, ecn: int = 0) -> int:
    """The 16-bit metric block of a received packet.

    Args:
        age_1024: time from arrival to the report timestamp in 1/1024 s; negative for an arrival
            after the report timestamp, which goes out as "unavailable".
        ecn: 0 to 3.
    """
    if age_1024 < 0:
        age_1024 = ATO_UNAVAILABLE
    elif age_1024 > ATO_TOO_OLD:
        age_1024 = ATO_TOO_OLD
    return RECEIVED | (ecn & 3) << 13 | age_1024


@dataclass(frozen=True, slots=True)
class FeedbackBlock:
    """The packets of one source.

    Attributes:
        ssrc: the source.
        begin_sequence: 16-bit number of the first packet reported.
        metrics: one 16-bit metric word a packet, at most 16384; 0 for not received.
    """

    ssrc: int
    begin_sequence: int
    metrics: tuple[int, ...]

    def arrivals(self) -> Iterator[PacketArrival]:
        """The metric words, read."""
        sequence = self.begin_sequence
        for word in self.metrics:
            if word & RECEIVED:
                ato = word & _ATO_MASK
                age_ns = -1 if ato == ATO_UNAVAILABLE else ato * _SECOND_NS // 1024
                yield PacketArrival(sequence & 0xFFFF, True, word >> 13 & 3, age_ns)
            else:
                yield PacketArrival(sequence & 0xFFFF, False, 0, -1)
            sequence += 1

    def pack(self) -> bytes:
        """Header and metric words, padded to 32 bits."""
        count = len(self.metrics)
        if count > MAX_REPORTS:
            raise LocalProtocolError(
                f"{count} packets in one feedback block, at most {MAX_REPORTS}"
            )
        head = _BLOCK.pack(self.ssrc, self.begin_sequence & 0xFFFF, count)
        return head + struct.pack(f"!{count}H", *self.metrics) + bytes(2 * (count % 2))


@dataclass(frozen=True, slots=True)
class CongestionFeedback:
    """RTPFB format 11.

    Attributes:
        sender_ssrc: who reports.
        report_timestamp: middle 32 bits of the NTP time of the report.
        blocks: one a source.
    """

    packet_type: ClassVar[int] = RTPFB
    format: ClassVar[int] = 11

    sender_ssrc: int
    report_timestamp: int
    blocks: tuple[FeedbackBlock, ...]

    def pack_body(self) -> tuple[int, bytes]:
        """Format field and body."""
        parts = [_WORD.pack(self.sender_ssrc)]
        parts += [block.pack() for block in self.blocks]
        parts.append(_WORD.pack(self.report_timestamp))
        return self.format, b"".join(parts)

    @classmethod
    def parse_body(cls, body: bytes) -> CongestionFeedback:
        """Read a body; raises `RemoteProtocolError`."""
        end = len(body) - _WORD.size
        if end < _WORD.size:
            raise RemoteProtocolError("RTCP congestion feedback too short")
        (sender_ssrc,) = _WORD.unpack_from(body)
        (report_timestamp,) = _WORD.unpack_from(body, end)
        blocks = []
        at = _WORD.size
        while at < end:
            try:
                ssrc, begin, count = _BLOCK.unpack_from(body, at)
                at += _BLOCK.size
                metrics = struct.unpack_from(f"!{count}H", body, at)
            except struct.error:
                raise RemoteProtocolError("RTCP congestion feedback ends inside a block") from None
            at += 2 * (count + count % 2)
            if count > MAX_REPORTS or at > end:
                raise RemoteProtocolError(
                    f"RTCP congestion feedback with {count} packets in a block"
                )
            blocks.append(FeedbackBlock(ssrc, begin, metrics))
        return cls(sender_ssrc, report_timestamp, tuple(blocks))
