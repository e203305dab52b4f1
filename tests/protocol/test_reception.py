from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from testbed.errors import LocalProtocolError
from testbed.protocol.ntp import compact_ntp_of, ntp_of
from testbed.protocol.reception import ReceptionStatistics, round_trip_ns
from testbed.protocol.rtcp import ReportBlock, SenderReport

MS = 1_000_000


def test_losses_of_two_intervals() -> None:
    statistics = ReceptionStatistics(7)
    for sequence in (10, 11, 13):  # 12 lost
        statistics.on_packet(sequence, 0, now_ns=0)
    block = statistics.report_block(now_ns=0)
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (7, 64, 1)
    assert block.highest_sequence == 13
    for sequence in (14, 15, 16, 17):
        statistics.on_packet(sequence, 0, now_ns=0)
    block = statistics.report_block(now_ns=0)
    assert (block.fraction_lost, block.cumulative_lost, block.highest_sequence) == (0, 1, 17)


def test_duplicates_hide_losses_as_rfc_3550_says() -> None:
    statistics = ReceptionStatistics(7)
    for sequence in (1, 1, 1, 3):
        statistics.on_packet(sequence, 0, now_ns=0)
    block = statistics.report_block(now_ns=0)
    assert (block.fraction_lost, block.cumulative_lost) == (0, -1)


def test_a_reordered_packet_is_no_loss() -> None:
    statistics = ReceptionStatistics(7)
    for sequence in (1, 3, 2):
        statistics.on_packet(sequence, 0, now_ns=0)
    assert statistics.report_block(now_ns=0).cumulative_lost == 0


def test_an_interval_without_packets() -> None:
    statistics = ReceptionStatistics(7)
    statistics.on_packet(65_540, 0, now_ns=0)
    statistics.report_block(now_ns=0)
    block = statistics.report_block(now_ns=0)
    assert (block.fraction_lost, block.highest_sequence) == (0, 65_540)


def test_counts_stay_in_their_fields() -> None:
    statistics = ReceptionStatistics(7)
    statistics.on_packet(0, 0, now_ns=0)
    statistics.on_packet(2**33, 0, now_ns=0)
    block = statistics.report_block(now_ns=0)
    assert (block.fraction_lost, block.cumulative_lost) == (255, 2**23 - 1)
    assert block.highest_sequence == 0


def test_jitter_follows_the_definition() -> None:
    """RFC 3550 section 6.4.1: J += (|D| - J) / 16, here in exact fractions."""
    rng = np.random.default_rng(1)
    statistics = ReceptionStatistics(7)
    jitter = Fraction(0)
    previous = 0
    for i in range(2000):
        delay_ticks = int(rng.integers(0, 900))
        timestamp = 2**32 - 90_000 + 3000 * i  # wraps on the way
        arrival_ticks = 3000 * i + delay_ticks
        statistics.on_packet(i, timestamp % 2**32, now_ns=-(-arrival_ticks * 10**9 // 90_000))
        if i:
            jitter += (abs(Fraction(delay_ticks - previous)) - jitter) / 16
        previous = delay_ticks
    # The integer form of appendix A.8 rounds at every step, by less than 1 in all.
    assert abs(statistics.jitter - jitter) <= 1
    assert statistics.jitter > 100


def test_perfect_timing_has_no_jitter() -> None:
    statistics = ReceptionStatistics(7)
    for i in range(100):
        statistics.on_packet(i, 3000 * i, now_ns=round(i * 1e9 / 30) + 5 * MS)
    assert statistics.jitter == 0


def test_the_round_trip_through_both_reports() -> None:
    statistics = ReceptionStatistics(7)
    sent_ns = 123_456_789
    statistics.on_packet(0, 0, now_ns=sent_ns + 30 * MS)
    report = SenderReport(7, ntp_of(sent_ns), 0, 0, 0)
    statistics.on_sender_report(report, now_ns=sent_ns + 30 * MS)
    block = statistics.report_block(now_ns=sent_ns + 80 * MS)
    assert block.last_sr == compact_ntp_of(sent_ns)
    measured_ns = round_trip_ns(block, now_ns=sent_ns + 80 * MS + 20 * MS)
    assert measured_ns is not None
    assert abs(measured_ns - 50 * MS) < 2 * 10**9 // 65536


def test_the_rtt_example_of_rfc_3550() -> None:
    """Section 6.4.1, figure 2: LSR b705:2000, DLSR 5.25 s, received at b710:8000: 6.125 s."""
    last_sr, received = 0xB705_2000, 0xB710_8000
    block = ReportBlock(7, 0, 0, 0, 0, last_sr, 0x0005_4000)
    near_ns = ((received - compact_ntp_of(0)) % 2**32 * 10**9 >> 16) + 1
    assert compact_ntp_of(near_ns) == received
    assert round_trip_ns(block, now_ns=near_ns) == 6_125_000_000


def test_no_round_trip_without_a_sender_report() -> None:
    statistics = ReceptionStatistics(7)
    statistics.on_packet(0, 0, now_ns=0)
    statistics.on_sender_report(SenderReport(8, ntp_of(0), 0, 0, 0), now_ns=0)
    block = statistics.report_block(now_ns=0)
    assert (block.last_sr, block.delay_since_last_sr) == (0, 0)
    assert round_trip_ns(block, now_ns=MS) is None


def test_a_negative_round_trip_is_none() -> None:
    block = ReportBlock(7, 0, 0, 0, 0, compact_ntp_of(0), 65536)
    assert round_trip_ns(block, now_ns=MS) is None


def test_nothing_received_cannot_be_reported() -> None:
    statistics = ReceptionStatistics(7)
    assert statistics.cumulative_lost == 0
    with pytest.raises(LocalProtocolError):
        statistics.report_block(now_ns=0)
