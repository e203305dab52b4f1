from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp import (
    CongestionFeedback,
    FeedbackBlock,
    PacketArrival,
    metric_word,
    pack_rtcp,
    parse_rtcp,
)

words = st.integers(0, 2**32 - 1)
metrics = st.lists(st.integers(0, 65535), max_size=60).map(tuple)
feedback_blocks = st.builds(FeedbackBlock, words, st.integers(0, 65535), metrics)
feedbacks = st.builds(
    CongestionFeedback, words, words, st.lists(feedback_blocks, max_size=4).map(tuple)
)


def test_a_report_by_hand() -> None:
    # RFC 8888 section 3.1: FMT 11, PT 205; three packets from 65534 on, one of them lost, the
    # last one CE marked and 0.5 s old; padded to a word; report timestamp last.
    data = bytes.fromhex("8bcd0006 00000001 00000002 fffe0003 80010000 e2000000 12345678")
    feedback = CongestionFeedback(
        sender_ssrc=1,
        report_timestamp=0x12345678,
        blocks=(FeedbackBlock(2, 65534, (0x8001, 0, 0xE200)),),
    )
    assert parse_rtcp(data) == [feedback]
    assert pack_rtcp([feedback]) == data
    assert list(feedback.blocks[0].arrivals()) == [
        PacketArrival(65534, True, 0, 976_562),
        PacketArrival(65535, False, 0, -1),
        PacketArrival(0, True, 3, 500_000_000),
    ]


@pytest.mark.parametrize(
    ("age_1024", "ecn", "word"),
    [
        (0, 0, 0x8000),
        (1024, 1, 0xA400),
        (0x1FFD, 2, 0xDFFD),
        (0x1FFE, 0, 0x9FFE),
        (100_000, 0, 0x9FFE),  # older than 8189/1024 s
        (-1, 0, 0x9FFF),  # after the report timestamp
    ],
)
def test_metric_words(age_1024: int, ecn: int, word: int) -> None:
    assert metric_word(age_1024=age_1024, ecn=ecn) == word


def test_an_unknown_arrival_time_has_no_age() -> None:
    assert list(FeedbackBlock(1, 5, (0x9FFF,)).arrivals()) == [PacketArrival(5, True, 0, -1)]


@given(feedbacks)
def test_reports_read_back(feedback: CongestionFeedback) -> None:
    data = pack_rtcp([feedback])
    assert len(data) % 4 == 0
    assert parse_rtcp(data) == [feedback]


@pytest.mark.parametrize(
    "data",
    [
        "8bcd0001 00000001",  # no report timestamp
        "8bcd0004 00000001 00000002 00000003 12345678",  # three packets announced, none there
        "8bcd0003 00000001 00000002 12345678",  # half a block header
        "8bcd0005 00000001 00000002 0000ffff 80008000 12345678",  # over 16384 packets
    ],
)
def test_cut_reports_are_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(bytes.fromhex(data))


def test_too_many_packets_announced_and_there_are_refused() -> None:
    count = 16_386
    body = bytes(4) + bytes(4) + b"\0\0" + count.to_bytes(2, "big") + bytes(2 * count) + bytes(4)
    data = b"\x8b\xcd" + (len(body) // 4).to_bytes(2, "big") + body
    with pytest.raises(RemoteProtocolError, match="16386"):
        parse_rtcp(data)


@pytest.mark.parametrize(
    "block", [FeedbackBlock(1, 0, (0,) * 16_385), FeedbackBlock(1, 0, (65536,))]
)
def test_what_does_not_fit_is_our_mistake(block: FeedbackBlock) -> None:
    with pytest.raises(LocalProtocolError):
        pack_rtcp([CongestionFeedback(1, 0, (block,))])
