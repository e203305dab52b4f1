"""Bit layouts of RFC 6184, written out by hand."""

from __future__ import annotations

import pytest

from testbed.protocol.payload import H264Payload, join_nal_units

FORMAT = H264Payload()
SPS = b"\x67\x42\x00\x1f"
PPS = b"\x68\xce"
SEI = b"\x06\x05"
IDR = b"\x65" + bytes(range(1, 10))
SLICE = b"\x41\x9a"  # nal_ref_idc 2, type 1, first_mb_in_slice 0


def test_a_single_unit_is_its_own_payload() -> None:
    assert FORMAT.packetize(join_nal_units([SLICE]), max_payload_bytes=100) == [SLICE]


def test_an_aggregate_has_the_highest_importance() -> None:
    (payload,) = FORMAT.packetize(join_nal_units([SEI, PPS]), max_payload_bytes=100)
    # STAP-A: F 0, NRI 3, type 24 = 0x78; then 16-bit sizes (section 5.7.1).
    assert payload == b"\x78" + b"\x00\x02" + SEI + b"\x00\x02" + PPS
    assert FORMAT.depacketize([payload]).data == join_nal_units([SEI, PPS])


def test_fragments_carry_start_end_and_type() -> None:
    payloads = FORMAT.packetize(join_nal_units([IDR]), max_payload_bytes=5)
    # FU indicator: F 0, NRI 3, type 28 = 0x7c; FU header S=0x80, E=0x40, type 5 (section 5.8).
    assert payloads == [
        b"\x7c\x85" + bytes((1, 2, 3)),
        b"\x7c\x05" + bytes((4, 5, 6)),
        b"\x7c\x45" + bytes((7, 8, 9)),
    ]
    assert FORMAT.depacketize(payloads).data == join_nal_units([IDR])


def test_a_key_frame_in_few_packets() -> None:
    payloads = FORMAT.packetize(join_nal_units([SPS, PPS, SEI, IDR]), max_payload_bytes=16)
    assert [FORMAT.nal_types(payload) for payload in payloads] == [(7, 8, 6), (5,)]
    assert FORMAT.depacketize(payloads).nal_types == (7, 8, 6, 5)


@pytest.mark.parametrize(("types", "key"), [((1,), False), ((7, 8, 6), False), ((7, 8, 5), True)])
def test_key_pictures(types: tuple[int, ...], key: bool) -> None:
    assert FORMAT.is_key(types) is key


@pytest.mark.parametrize(
    ("payload", "starts"),
    [
        (SPS, True),
        (b"\x09\xf0", True),  # access unit delimiter
        (SLICE, True),
        (b"\x41\x1a", False),  # first_mb_in_slice is not 0: a later slice
        (b"\x41", False),
        (IDR, False),  # its parameter sets may have been lost
        (PPS, False),
        (b"\x5c\x81\x9a\x00", True),  # first fragment of a slice, first_mb_in_slice 0
        (b"\x5c\x01\x9a\x00", False),  # a middle fragment
        (b"\x78\x00\x04" + SPS + b"\x00\x02" + PPS, True),
        (b"\x78\x00\x02" + PPS, False),
        (b"", False),
        (b"\x7c", False),
    ],
)
def test_which_payload_surely_starts_a_frame(payload: bytes, starts: bool) -> None:
    assert FORMAT.starts_frame(payload) is starts


@pytest.mark.parametrize("kind", [0, 25, 26, 27, 29, 30, 31])
def test_structures_of_other_modes_are_not_understood(kind: int) -> None:
    payload = bytes((kind,)) + b"\x00\x02" + PPS
    assert not FORMAT.depacketize([payload]).complete
    assert FORMAT.nal_types(payload) == ()
