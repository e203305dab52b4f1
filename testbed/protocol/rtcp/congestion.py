"""Per-packet arrival feedback (RFC 8888), "CCFB"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

#: ATO: arrived longer than 8189/1024 s before the report (RFC 8888 section 3.1).
ATO_TOO_OLD: Final = 0x1FFE
#: ATO: arrival time not known, or after the report timestamp (RFC 8888 section 3.1).
ATO_UNAVAILABLE: Final = 0x1FFF


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
    """The 16-bit metric block of a received packet; `age_1024` is in 1/1024 s, >= 0."""
    raise NotImplementedError


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
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CongestionFeedback:
    """RTPFB format 11.

    Attributes:
        sender_ssrc: who reports.
        report_timestamp: middle 32 bits of the NTP time of the report.
        blocks: one a source.
    """

    sender_ssrc: int
    report_timestamp: int
    blocks: tuple[FeedbackBlock, ...]
