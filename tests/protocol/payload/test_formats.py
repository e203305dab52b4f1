"""What holds for all three payload formats: round trips, limits, losses, hostile bytes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, UnknownNameError
from testbed.protocol.payload import (
    PAYLOADS,
    DepacketizedFrame,
    PayloadFormat,
    join_nal_units,
    split_nal_units,
)

CODECS = ("h264", "h265", "h266")
#: Every header byte that a NAL unit of each codec may begin with.
TYPES = {"h264": range(1, 24), "h265": range(48), "h266": range(28)}


def header_of(codec: str, nal_type: int, layer: int, temporal: int) -> bytes:
    """A NAL unit header, written out from the codec's specification."""
    if codec == "h264":  # forbidden_zero_bit u(1), nal_ref_idc u(2), nal_unit_type u(5)
        return bytes(((temporal & 3) << 5 | nal_type,))
    if codec == "h265":  # f(1), nal_unit_type u(6), nuh_layer_id u(6), temporal_id_plus1 u(3)
        return (nal_type << 9 | layer << 3 | temporal).to_bytes(2, "big")
    # f(1), nuh_reserved_zero_bit u(1), nuh_layer_id u(6), nal_unit_type u(5), temporal u(3)
    return (layer << 8 | nal_type << 3 | temporal).to_bytes(2, "big")


def legal(unit: bytes) -> bytes:
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", unit) + b"\x80"


@st.composite
def access_units(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    codec = draw(st.sampled_from(CODECS))
    units = []
    for _ in range(draw(st.integers(1, 6))):
        nal_type = draw(st.sampled_from(TYPES[codec]))
        header = header_of(codec, nal_type, draw(st.integers(0, 5)), draw(st.integers(1, 7)))
        body = draw(st.binary(max_size=80)) * draw(st.sampled_from([1, 1, 40]))
        # Kept legal together with its header, which may hold a zero byte.
        units.append(legal(header + body))
    return codec, units


@given(access_units(), st.integers(5, 1500))
def test_an_access_unit_survives_within_the_limit(
    access_unit: tuple[str, list[bytes]], limit: int
) -> None:
    codec, units = access_unit
    payload_format = PAYLOADS.get(codec)
    payloads = payload_format.packetize(join_nal_units(units), max_payload_bytes=limit)
    assert all(0 < len(payload) <= limit for payload in payloads)
    frame = payload_format.depacketize(payloads)
    assert frame.complete
    assert split_nal_units(frame.data) == units
    assert frame.data == join_nal_units(units)
    seen = {t for payload in payloads for t in payload_format.nal_types(payload)}
    assert seen == set(frame.nal_types)


@given(access_units(), st.integers(5, 300), st.data())
def test_only_whole_units_survive_a_loss(
    access_unit: tuple[str, list[bytes]], limit: int, data: st.DataObject
) -> None:
    codec, units = access_unit
    payload_format = PAYLOADS.get(codec)
    payloads = payload_format.packetize(join_nal_units(units), max_payload_bytes=limit)
    lost = data.draw(st.sets(st.integers(0, len(payloads) - 1), min_size=1))
    frame = payload_format.depacketize(
        [None if i in lost else payload for i, payload in enumerate(payloads)]
    )
    assert not frame.complete
    remaining = iter(units)
    # What is left is a subsequence of what was sent.
    assert all(unit in remaining for unit in split_nal_units(frame.data))


@given(st.sampled_from(CODECS), st.lists(st.none() | st.binary(max_size=20), max_size=6))
def test_any_bytes_give_a_frame(codec: str, payloads: list[bytes | None]) -> None:
    payload_format = PAYLOADS.get(codec)
    frame = payload_format.depacketize(payloads)
    assert isinstance(frame, DepacketizedFrame)
    if None in payloads:
        assert not frame.complete
    for payload in payloads:
        if payload is not None:
            assert all(t in TYPES[codec] for t in payload_format.nal_types(payload))
            payload_format.starts_frame(payload)


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_not_a_frame(codec: str) -> None:
    assert PAYLOADS.get(codec).depacketize([]) == DepacketizedFrame(b"", False, ())


@pytest.mark.parametrize("codec", CODECS)
def test_the_pieces_of_a_unit_are_of_nearly_equal_size(codec: str) -> None:
    payload_format = PAYLOADS.get(codec)
    unit = header_of(codec, 1, 0, 1) + b"\x55" * 2600
    payloads = payload_format.packetize(join_nal_units([unit]), max_payload_bytes=1200)
    sizes = [len(payload) for payload in payloads]
    assert len(sizes) == 3
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "broken",
    ["start twice", "no start", "start and end", "other type", "no end", "unit between"],
)
def test_fragments_out_of_order_are_no_unit(codec: str, broken: str) -> None:
    payload_format = PAYLOADS.get(codec)
    unit = header_of(codec, 1, 0, 1) + b"\x55" * 60
    at = len(header_of(codec, 1, 0, 1))
    first, middle, last = payload_format.packetize(join_nal_units([unit]), max_payload_bytes=26)
    both = first[:at] + bytes((first[at] | 0x40,)) + first[at + 1 :]
    other = middle[:at] + bytes((middle[at] ^ 0x02,)) + middle[at + 1 :]
    single = header_of(codec, 6, 0, 1) + b"\x80"
    payloads, left = {
        "start twice": ([first, first, middle, last], 1),
        "no start": ([middle, last], 0),
        "start and end": ([both], 0),
        "other type": ([first, other, last], 0),
        "no end": ([first, middle], 0),
        "unit between": ([first, single, middle, last], 1),
    }[broken]
    frame = payload_format.depacketize(payloads)
    assert not frame.complete
    assert len(split_nal_units(frame.data)) == left


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("damage", ["cut", "long size", "short unit", "nested"])
def test_a_damaged_aggregate_counts_as_missing(codec: str, damage: str) -> None:
    payload_format = PAYLOADS.get(codec)
    units = [header_of(codec, t, 0, 1) + b"\x80" for t in (1, 2)]
    (payload,) = payload_format.packetize(join_nal_units(units), max_payload_bytes=100)
    at = len(header_of(codec, 1, 0, 1))
    broken = {
        "cut": payload[:-1],
        "long size": payload[:at] + b"\xff\xff" + payload[at + 2 :],
        "short unit": payload + b"\x00\x00",
        "nested": payload + len(payload).to_bytes(2, "big") + payload,
    }[damage]
    assert payload_format.depacketize([broken]) == DepacketizedFrame(b"", False, ())
    assert payload_format.nal_types(broken) == ()
    assert not payload_format.starts_frame(broken)


def refused(payload_format: PayloadFormat, access_unit: bytes, limit: int = 1200) -> None:
    with pytest.raises(LocalProtocolError):
        payload_format.packetize(access_unit, max_payload_bytes=limit)


@pytest.mark.parametrize("codec", CODECS)
def test_what_rtp_cannot_carry_is_refused(codec: str) -> None:
    payload_format = PAYLOADS.get(codec)
    reserved = payload_format.packetize(
        join_nal_units([header_of(codec, t, 0, 1) + b"\x80" for t in (1, 2)]),
        max_payload_bytes=100,
    )[0]
    refused(payload_format, b"")
    refused(payload_format, b"\0\0\1")
    refused(payload_format, join_nal_units([reserved]))  # looks like an aggregate
    if codec != "h264":
        refused(payload_format, join_nal_units([b"\x42"]))  # half a header
    good = join_nal_units([header_of(codec, 1, 0, 1) + b"\x55" * 9])
    refused(payload_format, good, limit=len(header_of(codec, 1, 0, 1)) + 1)


def test_the_largest_payload_that_ip_can_carry() -> None:
    payload_format = PAYLOADS.get("h264")
    units = [b"\x67\x80", b"\x65" + b"\x55" * 100_000]
    access_unit = join_nal_units(units)
    payloads = payload_format.packetize(access_unit, max_payload_bytes=65_495)
    assert len(payloads) == 3
    assert payload_format.depacketize(payloads).data == access_unit
    refused(payload_format, access_unit, limit=65_496)


def test_an_unknown_codec_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="h264, h265, h266"):
        PAYLOADS.get("h267")
