from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    Remb,
    UnknownRtcp,
    pack_rtcp,
    parse_rtcp,
)

words = st.integers(0, 2**32 - 1)


def test_a_nack_by_hand() -> None:
    # RFC 4585 section 6.2.1: PID 0x1000, BLP bit i stands for PID + i + 1.
    data = bytes.fromhex("81cd0003 00000001 00000002 10008001")
    nack = GenericNack(1, 2, (0x1000, 0x1001, 0x1010))
    assert parse_rtcp(data) == [nack]
    assert pack_rtcp([nack]) == data


def test_a_nack_across_the_wrap() -> None:
    nack = GenericNack(1, 2, (65535, 0, 15, 16))
    data = pack_rtcp([nack])
    assert data[12:] == bytes.fromhex("ffff8001 00100000")
    assert parse_rtcp(data) == [nack]


@given(words, words, st.sets(st.integers(0, 65535), max_size=200))
def test_nacks_read_back(sender: int, media: int, lost: set[int]) -> None:
    nack = GenericNack(sender, media, tuple(sorted(lost)))
    assert parse_rtcp(pack_rtcp([nack])) == [nack]


@given(st.lists(st.integers(0, 65535), max_size=50))
def test_a_nack_asks_for_all_and_nothing_else_in_any_order(lost: list[int]) -> None:
    (nack,) = parse_rtcp(pack_rtcp([GenericNack(1, 2, tuple(lost))]))
    assert isinstance(nack, GenericNack)
    assert set(nack.lost) == set(lost)


def test_a_picture_loss_by_hand() -> None:
    data = bytes.fromhex("81ce0002 00000001 00000002")
    assert parse_rtcp(data) == [PictureLossIndication(1, 2)]
    assert pack_rtcp([PictureLossIndication(1, 2)]) == data


def test_a_full_intra_request_by_hand() -> None:
    data = bytes.fromhex("84ce0004 00000001 00000000 00000002 05000000")
    assert parse_rtcp(data) == [FullIntraRequest(1, ((2, 5),))]
    assert pack_rtcp([FullIntraRequest(1, ((2, 5),))]) == data


def test_a_bandwidth_report_by_hand() -> None:
    # draft-alvestrand-rmcat-remb-03 section 2.2: exponent 2, mantissa 250000 -> 1 Mbit/s.
    data = bytes.fromhex("8fce0005 00000001 00000000 52454d42 010bd090 00000002")
    remb = Remb(1, 1_000_000, (2,))
    assert parse_rtcp(data) == [remb]
    assert pack_rtcp([remb]) == data


@given(st.integers(0, 2**70), st.lists(words, max_size=255))
def test_bandwidth_reports_keep_18_bits(bitrate_bps: int, ssrcs: list[int]) -> None:
    (remb,) = parse_rtcp(pack_rtcp([Remb(1, bitrate_bps, tuple(ssrcs))]))
    assert isinstance(remb, Remb)
    assert remb.ssrcs == tuple(ssrcs)
    assert remb.bitrate_bps <= bitrate_bps
    assert bitrate_bps - remb.bitrate_bps <= bitrate_bps >> 17


def test_other_application_feedback_is_kept_as_it_is() -> None:
    data = bytes.fromhex("8fce0003 00000001 00000000 41424344")
    assert parse_rtcp(data) == [UnknownRtcp(206, 15, data[4:])]


@pytest.mark.parametrize(
    "data",
    [
        "81cd0001 00000001",  # NACK without a media source
        "81ce0001 00000001",  # PLI without a media source
        "84ce0003 00000001 00000000 00000002",  # FIR entry cut
        "8fce0003 00000001 00000000 52454d42",  # REMB without a rate
        "8fce0004 00000001 00000000 52454d42 020bd090",  # REMB with two missing sources
    ],
)
def test_short_feedback_is_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(bytes.fromhex(data))


@pytest.mark.parametrize(
    "message", [Remb(1, -1), Remb(1, 2**81), Remb(1, 1, (1,) * 256), Remb(-1, 1)]
)
def test_what_does_not_fit_is_our_mistake(message: Remb) -> None:
    with pytest.raises(LocalProtocolError):
        pack_rtcp([message])
