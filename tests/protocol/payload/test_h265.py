"""Bit layouts of RFC 7798, written out by hand."""

from __future__ import annotations

import pytest

from testbed.protocol.payload import H265Payload, join_nal_units

FORMAT = H265Payload()
VPS = bytes.fromhex("40010c")
SPS = bytes.fromhex("420101")
PPS = bytes.fromhex("4401c1")
IDR = bytes.fromhex("2601") + bytes(range(1, 10))  # IDR_W_RADL, type 19
TRAIL = bytes.fromhex("0201d0")  # TRAIL_R, type 1, first_slice_segment_in_pic_flag


def test_an_aggregate_by_hand() -> None:
    (payload,) = FORMAT.packetize(join_nal_units([VPS, SPS, PPS]), max_payload_bytes=100)
    # PayloadHdr: type 48, layer 0, temporal id plus 1 = 1 (section 4.4.2).
    assert payload == bytes.fromhex("6001 0003 40010c 0003 420101 0003 4401c1")
    assert FORMAT.depacketize([payload]).data == join_nal_units([VPS, SPS, PPS])


def test_an_aggregate_takes_the_lowest_layer_and_temporal_id() -> None:
    # Type 1, layer 33, temporal 3 and type 1, layer 40, temporal 2; F set in the second.
    units = [bytes.fromhex("030b80"), bytes.fromhex("834280")]
    (payload,) = FORMAT.packetize(join_nal_units(units), max_payload_bytes=100)
    assert payload[:2] == bytes.fromhex("e10a")  # F 1, type 48, layer 33, temporal 2


def test_fragments_by_hand() -> None:
    payloads = FORMAT.packetize(join_nal_units([IDR]), max_payload_bytes=6)
    # PayloadHdr type 49; FU header S=0x80, E=0x40, type 19 (section 4.4.3).
    assert payloads == [
        bytes.fromhex("620193") + bytes((1, 2, 3)),
        bytes.fromhex("620113") + bytes((4, 5, 6)),
        bytes.fromhex("620153") + bytes((7, 8, 9)),
    ]
    assert FORMAT.depacketize(payloads).data == join_nal_units([IDR])


def test_fragments_keep_layer_and_temporal_id() -> None:
    unit = bytes.fromhex("030b") + b"\x55" * 9  # type 1, layer 33, temporal 3
    payloads = FORMAT.packetize(join_nal_units([unit]), max_payload_bytes=8)
    assert [payload[:3].hex() for payload in payloads] == ["630b81", "630b41"]
    assert FORMAT.depacketize(payloads).data == join_nal_units([unit])


@pytest.mark.parametrize(
    ("types", "key"),
    [((1,), False), ((32, 33, 34), False), ((19,), True), ((20,), True), ((21,), True)],
)
def test_key_pictures(types: tuple[int, ...], key: bool) -> None:
    assert FORMAT.is_key(types) is key


@pytest.mark.parametrize(
    ("payload", "starts"),
    [
        (VPS, True),
        (bytes.fromhex("460150"), True),  # access unit delimiter
        (TRAIL, True),
        (bytes.fromhex("020150"), False),  # a later slice segment
        (bytes.fromhex("0201"), False),
        (IDR, False),
        (SPS, False),
        (bytes.fromhex("620181d0"), True),
        (bytes.fromhex("620101d0"), False),
        (bytes.fromhex("6001 0003 40010c"), True),
        (bytes.fromhex("62"), False),
    ],
)
def test_which_payload_surely_starts_a_frame(payload: bytes, starts: bool) -> None:
    assert FORMAT.starts_frame(payload) is starts


@pytest.mark.parametrize("payload", ["6401 0003 40010c", "7e01 00", "6201"])
def test_unknown_structures_are_not_understood(payload: str) -> None:
    assert not FORMAT.depacketize([bytes.fromhex(payload)]).complete
