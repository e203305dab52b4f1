from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError
from testbed.protocol.arrivals import MAX_SOURCES, ArrivalRecorder
from testbed.protocol.ntp import compact_ntp_of, ns_of_compact_ntp
from testbed.protocol.rtcp import CongestionFeedback, pack_rtcp, parse_rtcp

MS = 1_000_000


def received(feedback: CongestionFeedback | None) -> dict[int, list[int]]:
    assert feedback is not None
    return {
        block.ssrc: [a.sequence for a in block.arrivals() if a.received]
        for block in feedback.blocks
    }


def spans(feedback: CongestionFeedback | None) -> dict[int, tuple[int, int]]:
    assert feedback is not None
    return {block.ssrc: (block.begin_sequence, len(block.metrics)) for block in feedback.blocks}


def test_nothing_arrived_nothing_due() -> None:
    recorder = ArrivalRecorder(1)
    assert recorder.next_timer() is None
    assert recorder.report(now_ns=0) is None


def test_reports_are_due_every_interval_from_the_first_packet() -> None:
    recorder = ArrivalRecorder(1, interval_ns=100 * MS)
    recorder.on_packet(7, 0, now_ns=30 * MS)
    assert recorder.next_timer() == 130 * MS
    recorder.report(now_ns=130 * MS)
    assert recorder.next_timer() == 230 * MS
    recorder.report(now_ns=555 * MS)  # the world was late; the beat stays
    assert recorder.next_timer() == 630 * MS


def test_a_report_says_who_came_when() -> None:
    recorder = ArrivalRecorder(1)
    recorder.on_packet(7, 65_535, now_ns=0)
    recorder.on_packet(7, 65_537, now_ns=50 * MS, ecn=3)
    feedback = recorder.report(now_ns=100 * MS)
    assert feedback is not None
    assert feedback.report_timestamp == compact_ntp_of(100 * MS)
    first, lost, last = feedback.blocks[0].arrivals()
    assert (first.sequence, first.received, first.ecn) == (65_535, True, 0)
    assert (lost.sequence, lost.received) == (0, False)
    assert (last.sequence, last.received, last.ecn) == (1, True, 3)
    report_ns = ns_of_compact_ntp(feedback.report_timestamp, near_ns=100 * MS)
    for arrival, truth_ns in ((first, 0), (last, 50 * MS)):
        assert abs(report_ns - arrival.age_ns - truth_ns) <= 10**9 / 1024 + 10**9 / 65536


def test_each_packet_is_in_overlap_plus_one_reports() -> None:
    recorder = ArrivalRecorder(1, overlap=2)
    seen: list[tuple[int, int]] = []
    for step in range(5):
        recorder.on_packet(7, 2 * step, now_ns=step * 100 * MS)
        recorder.on_packet(7, 2 * step + 1, now_ns=step * 100 * MS)
        seen.append(spans(recorder.report(now_ns=step * 100 * MS + 99 * MS))[7])
    assert seen == [(0, 2), (0, 4), (0, 6), (2, 6), (4, 6)]


def test_an_idle_source_is_repeated_and_then_left_out() -> None:
    recorder = ArrivalRecorder(1, overlap=2)
    recorder.on_packet(7, 5, now_ns=0)
    reports = [recorder.report(now_ns=i * 100 * MS) for i in range(1, 6)]
    assert [r is not None for r in reports] == [True, True, True, False, False]
    recorder.on_packet(7, 8, now_ns=600 * MS)
    assert spans(recorder.report(now_ns=700 * MS)) == {7: (6, 3)}


def test_a_late_packet_shows_in_the_next_report() -> None:
    recorder = ArrivalRecorder(1, overlap=1)
    for sequence in (0, 2):
        recorder.on_packet(7, sequence, now_ns=0)
    assert received(recorder.report(now_ns=100 * MS)) == {7: [0, 2]}
    recorder.on_packet(7, 1, now_ns=110 * MS)
    recorder.on_packet(7, 3, now_ns=110 * MS)
    assert received(recorder.report(now_ns=200 * MS)) == {7: [0, 1, 2, 3]}


def test_the_first_copy_counts() -> None:
    recorder = ArrivalRecorder(1)
    recorder.on_packet(7, 0, now_ns=0)
    recorder.on_packet(7, 0, now_ns=90 * MS)
    feedback = recorder.report(now_ns=100 * MS)
    assert feedback is not None
    (arrival,) = feedback.blocks[0].arrivals()
    assert arrival.age_ns == 102 * 10**9 // 1024


@given(
    overlap=st.integers(1, 3),
    lost_report=st.integers(0, 9),
    loss=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_losing_one_report_loses_no_arrival(
    overlap: int, lost_report: int, loss: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    recorder = ArrivalRecorder(1, overlap=overlap)
    arrived: set[int] = set()
    told: set[int] = set()
    for step in range(10 + overlap):
        for sequence in range(20 * step, 20 * step + 20) if step < 10 else ():
            if rng.random() >= loss:
                recorder.on_packet(7, sequence, now_ns=step * 100 * MS)
                arrived.add(sequence)
        feedback = recorder.report(now_ns=step * 100 * MS + 50 * MS)
        if feedback is not None and step != lost_report:
            told |= set(received(feedback)[7])
    assert told == arrived


@pytest.mark.parametrize("max_bytes", [300, 1200])
def test_reports_keep_to_their_size_and_keep_the_newest(max_bytes: int) -> None:
    recorder = ArrivalRecorder(1, max_bytes=max_bytes)
    for sequence in range(5000):
        recorder.on_packet(7, sequence, now_ns=0)
    for sequence in range(3):
        recorder.on_packet(8, sequence, now_ns=0)
    feedback = recorder.report(now_ns=100 * MS)
    assert feedback is not None
    data = pack_rtcp([feedback])
    assert max_bytes - 8 <= len(data) <= max_bytes
    assert parse_rtcp(data) == [feedback]
    assert received(feedback)[8] == [0, 1, 2]
    assert received(feedback)[7][-1] == 4999


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(-(2**20), 2**20), st.integers(0, 20)),
        max_size=200,
    )
)
def test_hostile_numbers_keep_it_bounded(packets: list[tuple[int, int, int]]) -> None:
    recorder = ArrivalRecorder(1)
    now_ns = 0
    for ssrc, sequence, gap_ms in packets:
        now_ns += gap_ms * MS
        recorder.on_packet(ssrc, sequence, now_ns=now_ns)
        feedback = recorder.report(now_ns=now_ns)
        if feedback is not None:
            assert len(feedback.blocks) <= MAX_SOURCES
            assert len(pack_rtcp([feedback])) <= 1200


def test_a_flood_between_two_reports_is_cut() -> None:
    recorder = ArrivalRecorder(1)
    for sequence in range(50_000):
        recorder.on_packet(7, sequence, now_ns=0)
    assert sum(len(source.arrivals) for source in recorder._sources.values()) < 20_000
    assert received(recorder.report(now_ns=100 * MS))[7][-1] == 49_999 & 0xFFFF


@pytest.mark.parametrize(
    "options", [{"interval_ns": 0}, {"overlap": -1}, {"max_bytes": 100}], ids=str
)
def test_bad_options_are_our_mistake(options: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError):
        ArrivalRecorder(1, **options)


def test_more_sources_than_a_session_has_are_not_recorded() -> None:
    recorder = ArrivalRecorder(1)
    for ssrc in range(MAX_SOURCES + 5):
        recorder.on_packet(ssrc, 0, now_ns=0)
    assert set(spans(recorder.report(now_ns=100 * MS))) == set(range(MAX_SOURCES))
