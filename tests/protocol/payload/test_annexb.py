from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.payload import join_nal_units, split_nal_units


def emulation_prevented(body: bytes) -> bytes:
    """A legal NAL unit body: no start code inside, no zero byte at the end (H.264 7.4.1)."""
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", body) + b"\x80"


nal_units = st.lists(st.binary(max_size=60).map(emulation_prevented), max_size=8)
zeros = st.integers(0, 4)


@pytest.mark.parametrize(
    ("data", "units"),
    [
        (b"", []),
        (b"no start code", []),
        (b"\0\0\1ab", [b"ab"]),
        (b"\0\0\0\1ab", [b"ab"]),
        (b"\0\0\1a\0\0\0\1b\0\0\1c", [b"a", b"b", b"c"]),
        (b"\0\0\0\0\0\1a\0\0\0\0", [b"a"]),
        (b"junk\0\0\1a", [b"a"]),
        (b"\0\0\1\0\0\1a", [b"a"]),
        (b"\0\0\1a\0\0\3\1b", [b"a\0\0\3\1b"]),  # emulation prevention stays
    ],
)
def test_splitting(data: bytes, units: list[bytes]) -> None:
    assert split_nal_units(data) == units


def test_joining_uses_four_byte_start_codes() -> None:
    assert join_nal_units([b"a", b"bc"]) == b"\0\0\0\1a\0\0\0\1bc"


@given(nal_units)
def test_joined_units_split_again(units: list[bytes]) -> None:
    assert split_nal_units(join_nal_units(units)) == units


@given(nal_units, st.data())
def test_any_start_code_and_stuffing_is_understood(units: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(bytes(data.draw(zeros)) + b"\0\0\1" + unit for unit in units)
    assert split_nal_units(stream + bytes(data.draw(zeros))) == units
