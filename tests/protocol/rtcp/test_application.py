"""APP messages (RFC 3550 section 6.7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp import ApplicationDefined, pack_rtcp, parse_rtcp


def test_its_bytes_are_those_of_the_rfc() -> None:
    data = pack_rtcp([ApplicationDefined(0x01020304, b"abcd", b"\x05\x06\x07\x08", 9)])
    assert data == bytes.fromhex("89 cc 0003 01020304 61626364 05060708")


@given(
    st.integers(0, 2**32 - 1),
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=40).map(lambda data: data + bytes(-len(data) % 4)),
    st.integers(0, 31),
)
def test_it_comes_back(ssrc: int, name: bytes, data: bytes, subtype: int) -> None:
    message = ApplicationDefined(ssrc, name, data, subtype)
    assert parse_rtcp(pack_rtcp([message])) == [message]


def test_a_name_of_another_length_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="must be 4"):
        pack_rtcp([ApplicationDefined(1, b"toolong", b"")])


def test_a_body_without_a_name_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="too short"):
        parse_rtcp(bytes.fromhex("80cc0001 01020304"))
