"""What a receiver reports: statistics per source (RFC 3550) and arrivals per packet (RFC 8888).

The arrival reports live in `testbed.protocol.arrivals`, NTP time in `testbed.protocol.ntp`; both
can be had from here.
"""

from __future__ import annotations

from typing import Final

from testbed.errors import LocalProtocolError
from testbed.protocol.arrivals import ArrivalRecorder
from testbed.protocol.ntp import (
    VIRTUAL_EPOCH_NTP_S,
    compact_ntp_of,
    ns_of_compact_ntp,
    ntp_of,
)
from testbed.protocol.rtcp import ReportBlock, SenderReport
from testbed.protocol.sequence import wrap_distance

__all__ = [
    "AHEAD_NS",
    "FEEDBACK_OVERLAP",
    "RECEIVER_SSRC",
    "VIRTUAL_EPOCH_NTP_S",
    "ArrivalRecorder",
    "ReceptionStatistics",
    "compact_ntp_of",
    "ns_of_compact_ntp",
    "ntp_of",
    "round_trip_ns",
]

#: A receiver's own SSRC.
RECEIVER_SSRC: Final = 0x52656376
#: Every packet is reported in this many reports after its first, so that three in a row may be
#: lost (RFC 8888 section 3 leaves the overlap to the implementation).
FEEDBACK_OVERLAP: Final = 3
#: A packet this far ahead of the session's clock is of nothing that was captured.
AHEAD_NS: Final = 1_000_000_000

_SECOND_NS: Final = 1_000_000_000
_MASK32: Final = 0xFFFFFFFF
_MAX_CUMULATIVE: Final = (1 << 23) - 1


def round_trip_ns(block: ReportBlock, *, now_ns: int) -> int | None:
    """Round trip at the sender from LSR and DLSR (RFC 3550 section 6.4.1), in ns.

    None when the receiver had no sender report yet, or the block gives a negative time.
    Resolution 1/65536 s, about 15 microseconds.
    """
    if block.last_sr == 0:
        return None
    since_sr = wrap_distance(block.last_sr, compact_ntp_of(now_ns), bits=32)
    round_trip = since_sr - block.delay_since_last_sr
    return round_trip * _SECOND_NS >> 16 if round_trip >= 0 else None


class ReceptionStatistics:
    """Counts for one source at the receiver (RFC 3550 appendix A.1, A.3 and A.8).

    Retransmissions travel on their own SSRC (RFC 4588) and do not hide losses here.

    Args:
        ssrc: the source.
        clock_hz: its RTP clock.
    """

    __slots__ = (
        "_base",
        "_clock_hz",
        "_expected_prior",
        "_jitter_16",
        "_last_sr",
        "_received_prior",
        "_sr_at_ns",
        "_transit",
        "highest",
        "received",
        "ssrc",
    )

    def __init__(self, ssrc: int, *, clock_hz: int = 90_000) -> None:
        self.ssrc = ssrc
        self._clock_hz = clock_hz
        #: Packets received, duplicates included.
        self.received = 0
        #: Extended highest sequence number; -1 before the first packet.
        self.highest = -1
        self._base = 0
        self._transit = 0
        self._jitter_16 = 0  # scaled by 16, as in appendix A.8
        self._expected_prior = 0
        self._received_prior = 0
        self._last_sr = 0
        self._sr_at_ns = 0

    def on_packet(self, sequence: int, timestamp: int, *, now_ns: int) -> None:
        """A packet came in; `sequence` is extended, `timestamp` the 32-bit or extended one."""
        transit = now_ns * self._clock_hz // _SECOND_NS - timestamp
        if self.received == 0:
            self._base = self.highest = sequence
        else:
            if sequence > self.highest:
                self.highest = sequence
            # Same as `wrap_distance` with 32 bits, in line: this runs for every packet.
            step = abs(((transit - self._transit + 0x80000000) & _MASK32) - 0x80000000)
            self._jitter_16 += step - (self._jitter_16 + 8 >> 4)
        self._transit = transit
        self.received += 1

    @property
    def jitter(self) -> int:
        """Interarrival jitter in RTP clock units (RFC 3550 section 6.4.1)."""
        return self._jitter_16 >> 4

    @property
    def cumulative_lost(self) -> int:
        """Packets expected minus packets received; below 0 with duplicates."""
        return self.highest - self._base + 1 - self.received if self.received else 0

    def on_sender_report(self, report: SenderReport, *, now_ns: int) -> None:
        """An SR of this source came in (for LSR and DLSR); others are ignored."""
        if report.ssrc == self.ssrc:
            self._last_sr = report.ntp >> 16 & _MASK32
            self._sr_at_ns = now_ns

    def report_block(self, *, now_ns: int) -> ReportBlock:
        """The block of this interval; starts the next interval.

        Raises:
            LocalProtocolError: nothing received yet.
        """
        if self.received == 0:
            raise LocalProtocolError(f"nothing received of source {self.ssrc:#x}")
        expected = self.highest - self._base + 1
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (self.received - self._received_prior)
        self._expected_prior = expected
        self._received_prior = self.received
        fraction = (lost_interval << 8) // expected_interval if lost_interval > 0 else 0
        delay = (now_ns - self._sr_at_ns << 16) // _SECOND_NS if self._last_sr else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(fraction, 255),
            cumulative_lost=max(-_MAX_CUMULATIVE, min(self.cumulative_lost, _MAX_CUMULATIVE)),
            highest_sequence=self.highest & _MASK32,
            jitter=self.jitter & _MASK32,
            last_sr=self._last_sr,
            delay_since_last_sr=min(delay, _MASK32),
        )
