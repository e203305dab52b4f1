"""Bit layouts of RFC 9328, written out by hand."""

from __future__ import annotations

import pytest

from testbed.protocol.payload import H266Payload, join_nal_units

FORMAT = H266Payload()
SPS = bytes.fromhex("007901")  # type 15, temporal id plus 1 = 1
PPS = bytes.fromhex("008101")  # type 16
IDR = bytes.fromhex("0039") + bytes(range(1, 10))  # IDR_W_RADL, type 7
TRAIL = bytes.fromhex("000980")  # type 1, picture header in the slice
SUFFIX_SEI = bytes.fromhex("00c180")  # type 24


def test_an_aggregate_by_hand() -> None:
    (payload,) = FORMAT.packetize(join_nal_units([SPS, PPS]), max_payload_bytes=100)
    # PayloadHdr: layer 0, type 28, temporal id plus 1 = 1 (section 4.3.2).
    assert payload == bytes.fromhex("00e1 0003 007901 0003 008101")
    assert FORMAT.depacketize([payload]).data == join_nal_units([SPS, PPS])


def test_an_aggregate_takes_the_lowest_layer_and_temporal_id() -> None:
    units = [bytes.fromhex("210b80"), bytes.fromhex("a80a80")]  # layers 33, 40; F in the second
    (payload,) = FORMAT.packetize(join_nal_units(units), max_payload_bytes=100)
    assert payload[:2] == bytes.fromhex("a1e2")  # F 1, layer 33, type 28, temporal 2


def test_the_last_fragment_of_a_picture_says_so() -> None:
    payloads = FORMAT.packetize(join_nal_units([IDR]), max_payload_bytes=6)
    # PayloadHdr type 29; FU header S=0x80, E=0x40, P=0x20, type 7 (section 4.3.3).
    assert payloads == [
        bytes.fromhex("00e987") + bytes((1, 2, 3)),
        bytes.fromhex("00e907") + bytes((4, 5, 6)),
        bytes.fromhex("00e967") + bytes((7, 8, 9)),
    ]
    assert FORMAT.depacketize(payloads).data == join_nal_units([IDR])


def test_only_the_last_picture_unit_ends_the_picture() -> None:
    units = [IDR, IDR, SUFFIX_SEI]
    payloads = FORMAT.packetize(join_nal_units(units), max_payload_bytes=9)
    flags = [payload[2] & 0xE0 for payload in payloads[:-1]]
    assert flags == [0x80, 0x40, 0x80, 0x60]
    assert payloads[-1] == SUFFIX_SEI
    assert FORMAT.depacketize(payloads).data == join_nal_units(units)


def test_fragments_of_other_units_end_no_picture() -> None:
    sei = bytes.fromhex("00c1") + b"\x55" * 9
    payloads = FORMAT.packetize(join_nal_units([sei]), max_payload_bytes=9)
    assert [payload[2] & 0xE0 for payload in payloads] == [0x80, 0x40]


@pytest.mark.parametrize(
    ("types", "key"),
    [((1,), False), ((15, 16), False), ((7,), True), ((8,), True), ((9,), True), ((10,), False)],
)
def test_key_pictures(types: tuple[int, ...], key: bool) -> None:
    assert FORMAT.is_key(types) is key  # 10 is GDR: no single picture to start from


@pytest.mark.parametrize(
    ("payload", "starts"),
    [
        (SPS, True),
        (bytes.fromhex("00a128"), True),  # access unit delimiter
        (TRAIL, False),  # adaptation parameter sets may have been lost
        (PPS, False),
        (IDR, False),
        (bytes.fromhex("00e1 0003 007901"), True),
        (bytes.fromhex("00e987 01"), False),
        (bytes.fromhex("00"), False),
    ],
)
def test_which_payload_surely_starts_a_frame(payload: bytes, starts: bool) -> None:
    assert FORMAT.starts_frame(payload) is starts


@pytest.mark.parametrize("payload", ["00f1 0003 007901", "00f901", "00e9"])
def test_unknown_structures_are_not_understood(payload: str) -> None:
    assert not FORMAT.depacketize([bytes.fromhex(payload)]).complete
