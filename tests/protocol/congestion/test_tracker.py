from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.protocol.congestion.tracker import (
    ACKED,
    LOST,
    MAX_PACKETS,
    UNKNOWN,
    Acknowledgement,
    PacketTracker,
    SentPacket,
)
from testbed.protocol.ntp import compact_ntp_of
from testbed.protocol.rtcp import CongestionFeedback, FeedbackBlock, metric_word
from testbed.protocol.rtcp.congestion import ATO_TOO_OLD, ATO_UNAVAILABLE, RECEIVED

MS = 1_000_000
SECOND = 10**9
SSRC = 7


def report(
    at_ms: float, begin: int, ages_ms: list[float | None], *, ssrc: int = SSRC
) -> CongestionFeedback:
    """A report made at a time of the receiver's clock; None: not received."""
    words = tuple(
        0 if age is None else metric_word(age_1024=int(age * 1024 / 1000)) for age in ages_ms
    )
    return CongestionFeedback(
        9, compact_ntp_of(round(at_ms * MS)), (FeedbackBlock(ssrc, begin & 0xFFFF, words),)
    )


def sent(tracker: PacketTracker, *times_ms: float, first: int = 0, ssrc: int = SSRC) -> list[Any]:
    return [
        tracker.on_packet_sent(ssrc=ssrc, sequence=first + i, size_bytes=1000, now_ns=round(t * MS))
        for i, t in enumerate(times_ms)
    ]


def numbers(packets: list[SentPacket]) -> list[int]:
    return [packet.number for packet in packets]


def read(tracker: PacketTracker, got: CongestionFeedback, now_ms: float) -> Acknowledgement:
    ack = tracker.on_report(got, now_ns=round(now_ms * MS))
    assert ack is not None
    return ack


def test_the_time_for_which_the_receiver_held_a_report_is_not_in_the_round_trip() -> None:
    tracker = PacketTracker()
    sent(tracker, 0, 10)
    # Arrived at 50 and 60, reported at 100, back at 130: 50 there and 30 back.
    ack = read(tracker, report(100, 0, [50, 40]), 130)
    assert numbers(ack.acked) == [0, 1]
    assert ack.rtt_ns == pytest.approx(80 * MS, abs=MS)
    assert not tracker.outstanding


def test_the_clocks_of_the_ends_need_not_agree() -> None:
    skew_ms = 123_456_789
    tracker = PacketTracker()
    sent(tracker, 0, 10)
    ack = read(tracker, report(100 + skew_ms, 0, [50, 40]), 130)
    assert ack.rtt_ns == pytest.approx(80 * MS, abs=MS)


def test_the_return_path_s_jitter_is_not_in_the_round_trip() -> None:
    tracker = PacketTracker()
    sent(tracker, 0)
    read(tracker, report(50, 0, [0]), 80)
    sent(tracker, 100, first=1)
    ack = read(tracker, report(150, 1, [0]), 180 + 500)  # the report took half a second longer
    assert ack.rtt_ns == pytest.approx(80 * MS, abs=MS)


def test_a_packet_is_lost_when_three_later_ones_have_arrived() -> None:
    tracker = PacketTracker()
    packets = sent(tracker, 0, 1, 2, 3)
    assert read(tracker, report(60, 0, [None, 9, 8]), 90).lost == []
    ack = read(tracker, report(61, 0, [None, 10, 9, 8]), 91)
    assert numbers(ack.lost) == [0]
    assert packets[0].fate == LOST


def test_a_packet_is_lost_nine_eighths_of_a_round_trip_after_it_was_sent() -> None:
    tracker = PacketTracker()
    sent(tracker, 0, 1)
    assert read(tracker, report(60, 0, [None, 9]), 90).lost == []
    sent(tracker, 20, first=2)
    ack = read(tracker, report(71, 0, [None, 20, 1]), 101)
    assert numbers(ack.lost) == [0]


def test_nothing_is_lost_before_a_later_packet_has_arrived() -> None:
    tracker = PacketTracker()
    sent(tracker, 0, 1, 2)
    assert read(tracker, report(9000, 0, [20, None, None]), 9100).lost == []


def test_a_lost_packet_that_comes_after_all_is_spurious() -> None:
    tracker = PacketTracker()
    packets = sent(tracker, 0, 1, 2, 3)
    read(tracker, report(60, 0, [None, 9, 8, 7]), 90)
    ack = read(tracker, report(160, 0, [90, 109, 108, 107]), 190)
    assert numbers(ack.spurious) == numbers(ack.acked) == [0]
    assert packets[0].fate == ACKED


def test_packets_of_which_no_report_told_are_neither_delivered_nor_lost() -> None:
    tracker = PacketTracker()
    packets = sent(tracker, 0, 1, 2, 3, 4, 5)
    # The reports about 0 to 3 were lost; this one begins at 4.
    ack = read(tracker, report(60, 4, [5, 4]), 90)
    assert numbers(ack.acked) == [4, 5]
    assert numbers(ack.unknown) == [0, 1, 2, 3]
    assert ack.lost == []
    assert {p.fate for p in packets[:4]} == {UNKNOWN}
    # A report that was only late still tells.
    late = read(tracker, report(50, 0, [5, 4, None, 2]), 120)
    assert numbers(late.acked) == [0, 1, 3]


def test_duplicates_and_strangers_say_nothing() -> None:
    tracker = PacketTracker()
    sent(tracker, 0, 1)
    first = report(60, 0, [9, 8])
    read(tracker, first, 90)
    assert tracker.on_report(first, now_ns=95 * MS) is None
    assert tracker.on_report(report(60, 0, [9], ssrc=99), now_ns=96 * MS) is None
    assert tracker.on_report(report(60, 40_000, [9]), now_ns=97 * MS) is None


def test_reports_out_of_order_tell_the_same() -> None:
    tracker = PacketTracker()
    sent(tracker, 0, 1, 2, 3)
    newer = read(tracker, report(160, 2, [108, 107]), 190)
    assert numbers(newer.acked) == [2, 3]
    older = read(tracker, report(60, 0, [9, 8, 7, 6]), 191)
    assert numbers(older.acked) == [0, 1]
    assert older.rtt_ns == pytest.approx(80 * MS, abs=2 * MS)  # not 181


def test_an_arrival_before_the_sending_is_not_believed() -> None:
    tracker = PacketTracker()
    sent(tracker, 100)
    assert tracker.on_report(report(500, 0, [400]), now_ns=150 * MS) is None
    assert tracker.implausible == 1
    assert tracker.outstanding


@pytest.mark.parametrize("ato", [ATO_TOO_OLD, ATO_UNAVAILABLE])
def test_an_arrival_without_a_time_counts_but_is_no_sample(ato: int) -> None:
    tracker = PacketTracker()
    packets = sent(tracker, 0)
    got = CongestionFeedback(
        9, compact_ntp_of(60 * MS), (FeedbackBlock(SSRC, 0, (RECEIVED | ato,)),)
    )
    ack = read(tracker, got, 90)
    assert ack.rtt_ns == -1
    assert packets[0].fate == ACKED
    assert not packets[0].timed


def test_numbers_and_clock_wrap() -> None:
    tracker = PacketTracker()
    # 16.16 s wrap after 65536 s.
    start_ms = 65_536_000 - 50
    sent(tracker, *(start_ms + i for i in range(4)), first=65_534)
    ack = read(tracker, report(start_ms + 40, 65_534, [40, 39]), start_ms + 70)
    assert numbers(ack.acked) == [0, 1]
    ack = read(tracker, report(start_ms + 140, 0, [139, 138]), start_ms + 170)
    assert numbers(ack.acked) == [2, 3]
    assert ack.report_ns - 100 * MS == pytest.approx(ack.acked[0].arrival_ns + 39 * MS, abs=2 * MS)


def test_sources_share_one_order_of_sending() -> None:
    tracker = PacketTracker()
    sent(tracker, 0)
    sent(tracker, 1, 2, 3, ssrc=8)
    ack = read(tracker, report(60, 0, [9, 8, 7], ssrc=8), 90)
    assert numbers(ack.acked) == [1, 2, 3]
    assert numbers(ack.lost) == [0]


def test_memory_is_bounded() -> None:
    tracker = PacketTracker()
    for i in range(MAX_PACKETS + 100):
        tracker.on_packet_sent(ssrc=SSRC, sequence=i, size_bytes=100, now_ns=i)
    ack = read(tracker, report(60, MAX_PACKETS + 99, [0]), 90)
    assert len(ack.unknown) >= 100
    assert len(tracker._sent) <= MAX_PACKETS
    tracker.on_report(report(20_000, MAX_PACKETS + 99, [0]), now_ns=21 * SECOND)
    assert not tracker._sent


words = st.integers(0, 0xFFFF)
blocks = st.builds(
    FeedbackBlock,
    st.sampled_from([SSRC, 8, 99]),
    words,
    st.lists(words, max_size=40).map(tuple),
)
reports = st.builds(
    CongestionFeedback, words, st.integers(0, 2**32 - 1), st.lists(blocks, max_size=3).map(tuple)
)


@given(st.lists(st.tuples(st.integers(0, 50), reports), max_size=20))
@settings(max_examples=80, deadline=None)
def test_any_reports_leave_the_accounts_in_order(steps: list[tuple[int, Any]]) -> None:
    tracker = PacketTracker()
    now_ns, count, out = 0, 0, 0
    for send, got in steps:
        for _ in range(send):
            now_ns += 3 * MS
            sequence = 65_500 + count  # around the wrap, where reports of small numbers hit
            ssrc = SSRC if count % 3 else 8
            tracker.on_packet_sent(ssrc=ssrc, sequence=sequence, size_bytes=100, now_ns=now_ns)
            count += 1
            out += 1
        now_ns += 100 * MS
        ack = tracker.on_report(got, now_ns=now_ns)
        if ack is not None:
            again = [p for p in ack.acked if not p.covered]
            assert again == []
            assert len({p.number for p in ack.acked}) == len(ack.acked)
            assert ack.rtt_ns == -1 or ack.rtt_ns > 0
    assert len(tracker._outstanding) <= out
