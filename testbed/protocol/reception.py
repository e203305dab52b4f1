"""Receiver statistics, report blocks, RFC 8888 arrival reports, and the NTP side of time.

The session's clock counts nanoseconds from its start. On the wire RTCP wants NTP time, so the
session is said to start at 2026-01-01T00:00:00Z (`VIRTUAL_EPOCH_NTP_S`); in the simulator this is
a label, not a claim.
"""

from __future__ import annotations

from typing import Final

from testbed.protocol.rtcp import CongestionFeedback, ReportBlock, SenderReport

#: 2026-01-01T00:00:00Z in NTP seconds (since 1900): 1 767 225 600 + 2 208 988 800.
VIRTUAL_EPOCH_NTP_S: Final = 3_976_214_400


def ntp_of(now_ns: int) -> int:
    """64-bit NTP time (32.32) of session time `now_ns`."""
    raise NotImplementedError


def compact_ntp_of(now_ns: int) -> int:
    """Middle 32 bits of the NTP time (16.16 s), as in LSR, DLSR and RFC 8888's timestamp."""
    raise NotImplementedError


def round_trip_ns(block: ReportBlock, *, now_ns: int) -> int | None:
    """Round trip at the sender from LSR and DLSR (RFC 3550 section 6.4.1), in ns.

    None when the receiver had no sender report yet, or the block gives a negative time.
    Resolution 1/65536 s, about 15 microseconds.
    """
    raise NotImplementedError


class ReceptionStatistics:
    """Counts for one source at the receiver (RFC 3550 appendix A.1, A.3 and A.8).

    Args:
        ssrc: the source.
        clock_hz: its RTP clock.
    """

    def __init__(self, ssrc: int, *, clock_hz: int = 90_000) -> None:
        self.ssrc = ssrc

    def on_packet(self, sequence: int, timestamp: int, *, now_ns: int) -> None:
        """A packet came in; `sequence` is extended, `timestamp` the 32-bit or extended one."""
        raise NotImplementedError

    def on_sender_report(self, report: SenderReport, *, now_ns: int) -> None:
        """An SR of this source came in (for LSR and DLSR)."""
        raise NotImplementedError

    def report_block(self, *, now_ns: int) -> ReportBlock:
        """The block of this interval; starts the next interval.

        Raises:
            LocalProtocolError: nothing received yet.
        """
        raise NotImplementedError


class ArrivalRecorder:
    """Remembers arrivals and makes RFC 8888 reports of them.

    Each report starts where the report `overlap` reports ago started, so every packet is reported
    `overlap + 1` times: losing a feedback datagram loses nothing, and a packet that came late is
    still seen. Reports keep to `max_bytes` by giving up the oldest packets.

    Args:
        sender_ssrc: our own SSRC.
        interval_ns: time between reports.
        overlap: how many earlier reports each report covers again.
        max_bytes: bound on the size of one report.
    """

    def __init__(
        self,
        sender_ssrc: int,
        *,
        interval_ns: int = 100_000_000,
        overlap: int = 2,
        max_bytes: int = 1200,
    ) -> None:
        raise NotImplementedError

    def on_packet(self, ssrc: int, sequence: int, *, now_ns: int, ecn: int = 0) -> None:
        """A packet of source `ssrc` with extended number `sequence` came in."""
        raise NotImplementedError

    def next_timer(self) -> int | None:
        """When `report` is due; None while nothing has ever arrived."""
        raise NotImplementedError

    def report(self, *, now_ns: int) -> CongestionFeedback | None:
        """The report, and schedule the next; None when there is nothing to say."""
        raise NotImplementedError
