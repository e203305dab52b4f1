"""The loss report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RemoteProtocolError
from testbed.protocol.rtcp import ApplicationDefined, pack_rtcp, parse_rtcp
from testbed.transports.grace.wire import Damage, pack_damages, parse_damages

DAMAGES = st.lists(
    st.builds(
        Damage,
        st.integers(0, 65535),
        st.lists(st.booleans(), max_size=255).map(tuple),
    ),
    max_size=20,
)


@given(DAMAGES)
def test_a_report_comes_back_from_the_wire(damages: list[Damage]) -> None:
    (message,) = parse_rtcp(pack_rtcp([pack_damages(7, damages)]))
    assert isinstance(message, ApplicationDefined)
    assert parse_damages(message) == damages


def test_its_bytes_are_as_documented() -> None:
    message = pack_damages(1, [Damage(0x10203, (True, False, True))])
    assert message.data == bytes.fromhex("0203 03 00 a0000000")
    assert pack_damages(1, [Damage(5, ())]).data == bytes.fromhex("0005 00 00")


@given(st.binary(max_size=64))
def test_any_data_gives_pictures_or_our_error(data: bytes) -> None:
    message = ApplicationDefined(1, b"GRAC", data)
    try:
        damages = parse_damages(message)
    except RemoteProtocolError:
        return
    assert all(len(damage.arrived) <= 255 for damage in damages)


def test_another_name_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="name"):
        parse_damages(ApplicationDefined(1, b"ELSE", b""))
