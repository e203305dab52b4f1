from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp import (
    CongestionFeedback,
    FeedbackBlock,
    GenericNack,
    PictureLossIndication,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpMessage,
    SenderReport,
    SourceDescription,
    UnknownRtcp,
    pack_rtcp,
    parse_rtcp,
)

COMPOUND: list[RtcpMessage] = [
    ReceiverReport(1, (ReportBlock(2, 3, 4, 5, 6, 7, 8),)),
    SourceDescription.of_cname(1, "receiver"),
    GenericNack(1, 2, (100, 101, 200)),
    PictureLossIndication(1, 2),
    Remb(1, 400_000, (2,)),
    CongestionFeedback(1, 99, (FeedbackBlock(2, 7, (0x8001, 0x8002, 0)),)),
    UnknownRtcp(207, 3, b"nameless"),
    SenderReport(1, 1 << 40, 2, 3, 4),
]


def test_a_compound_keeps_its_messages_in_order() -> None:
    assert parse_rtcp(pack_rtcp(COMPOUND)) == COMPOUND


def test_padding_of_the_last_packet_is_removed() -> None:
    data = bytearray(pack_rtcp([PictureLossIndication(1, 2)]))
    data[0] |= 0x20
    data[3] += 2
    padded = bytes(data) + bytes(7) + b"\x08"
    assert parse_rtcp(padded) == [PictureLossIndication(1, 2)]
    with pytest.raises(RemoteProtocolError, match="padding"):
        parse_rtcp(padded + pack_rtcp([PictureLossIndication(1, 2)]))


@pytest.mark.parametrize("padding", [0, 3, 20])
def test_impossible_padding_is_refused(padding: int) -> None:
    data = bytes.fromhex("a1ce0003 00000001 00000002 000000") + bytes((padding,))
    with pytest.raises(RemoteProtocolError, match="padding"):
        parse_rtcp(data)


@pytest.mark.parametrize("cut", range(len(pack_rtcp(COMPOUND[:1]))))
def test_a_cut_datagram_is_refused(cut: int) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(pack_rtcp(COMPOUND[:1])[:cut])


def test_other_versions_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="version 1"):
        parse_rtcp(bytes.fromhex("41ce0002 00000001 00000002"))


@given(st.binary(max_size=300))
@example(pack_rtcp(COMPOUND))
def test_any_bytes_give_messages_or_a_remote_error(data: bytes) -> None:
    try:
        messages = parse_rtcp(data)
    except RemoteProtocolError:
        return
    assert messages


@given(
    st.sampled_from([200, 201, 202, 203, 205, 206]),
    st.integers(0, 31),
    st.binary(max_size=60).map(lambda body: body + bytes(-len(body) % 4)),
)
def test_any_body_gives_messages_or_a_remote_error(kind: int, count: int, body: bytes) -> None:
    data = bytes((0x80 | count, kind)) + (len(body) // 4).to_bytes(2, "big") + body
    try:
        (message,) = parse_rtcp(data)
    except RemoteProtocolError:
        return
    (again,) = parse_rtcp(pack_rtcp([message]))
    if isinstance(message, GenericNack) and isinstance(again, GenericNack):
        assert set(again.lost) == set(message.lost)  # repeated numbers are written once
    else:
        assert again == message


@given(st.data())
def test_a_damaged_compound_gives_messages_or_a_remote_error(data: st.DataObject) -> None:
    damaged = bytearray(pack_rtcp(COMPOUND))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        messages = parse_rtcp(bytes(damaged))
    except RemoteProtocolError:
        return
    assert messages


@pytest.mark.parametrize(
    "message", [UnknownRtcp(207, 32, b""), UnknownRtcp(207, 0, b"abc"), UnknownRtcp(256, 0, b"")]
)
def test_what_does_not_fit_is_our_mistake(message: UnknownRtcp) -> None:
    with pytest.raises(LocalProtocolError):
        pack_rtcp([message])
