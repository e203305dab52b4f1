"""Splitting byte streams into NAL units and access units, by hand and with any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.media import annexb

#: NAL units by codec: parameter set, IDR slice, other slice, SEI, delimiter (headers by hand).
UNITS = {
    "h264": (b"\x67a", b"\x65b", b"\x41c", b"\x06d", b"\x09e"),
    "h265": (b"\x40\x01a", b"\x26\x01b", b"\x02\x01c", b"\x4e\x01d", b"\x46\x01e"),
    "h266": (b"\x00\x79a", b"\x00\x39b", b"\x00\x01c", b"\x00\xb9d", b"\x00\xa1e"),
}


@pytest.mark.parametrize("codec", UNITS)
def test_clean_keeps_what_decoding_needs(codec: str) -> None:
    parameters, key, other, sei, delimiter = UNITS[codec]
    stream = b"".join(b"\x00\x00\x01" + u for u in (delimiter, sei, parameters, key, other))
    wanted = b"".join(annexb.START_CODE + u for u in (parameters, key, other))
    assert annexb.clean(codec, stream) == wanted


@pytest.mark.parametrize("codec", UNITS)
def test_key_needs_parameter_sets(codec: str) -> None:
    parameters, key, other, *_ = (annexb.START_CODE + unit for unit in UNITS[codec])
    assert annexb.is_key(codec, parameters + key)
    assert not annexb.is_key(codec, key)
    assert not annexb.is_key(codec, parameters + other)


@pytest.mark.parametrize("codec", UNITS)
def test_access_units_split_at_delimiters(codec: str) -> None:
    parameters, key, other, sei, delimiter = (annexb.START_CODE + unit for unit in UNITS[codec])
    stream = delimiter + parameters + key + delimiter + sei + other + delimiter + other
    assert annexb.access_units(codec, stream) == [parameters + key, other, other]
    assert annexb.access_units(codec, b"") == []


def test_nal_units_are_found_whatever_the_start_codes() -> None:
    stream = b"\x00\x00\x00\x01ab\x00\x00\x01c\x00\x00\x03d\x00\x00\x00\x00\x01e\x00"
    assert list(annexb.nal_units(stream)) == [b"ab", b"c\x00\x00\x03d", b"e"]


def test_the_delimiter_of_h266_is_what_the_standard_says() -> None:
    # forbidden_zero 0, reserved 0, layer id 0 | type 20 (AUD_NUT), temporal id plus one 1
    assert annexb.H266_DELIMITER[3:] == bytes([0, 20 << 3 | 1])


@given(st.sampled_from(sorted(UNITS)), st.binary(max_size=300))
def test_any_bytes_are_split_without_complaint(codec: str, stream: bytes) -> None:
    cleaned = annexb.clean(codec, stream)
    assert annexb.clean(codec, cleaned) == cleaned
    annexb.is_key(codec, stream)
    annexb.access_units(codec, stream)
