from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.session import messages as wire
from testbed.protocol.session.envelope import MAX_BODY_BYTES, Type

NONCE, OTHER = bytes(range(16)), bytes(range(16, 32))

MESSAGES: list[tuple[wire.Message, str]] = [
    (
        wire.Hello(NONCE, 1, (1, 2)),
        NONCE.hex() + "0000000000000001" + "0102000000000000" + "00" * 32,
    ),
    (
        wire.Challenge(NONCE, OTHER, 1, -2, 3),
        NONCE.hex() + OTHER.hex() + "0000000000000001fffffffffffffffe0000000000000003"
        "0100000000000000",
    ),
    (wire.Offer(NONCE, b'{"a":1}'), NONCE.hex() + b'{"a":1}'.hex()),
    (wire.Accept(), ""),
    (wire.Refuse("busy"), b"busy".hex()),
    (wire.Sync(256), "0000000000000100"),
    (wire.SyncReply(1, 2, -1), "00000000000000010000000000000002ffffffffffffffff"),
    (wire.Start(-1), "ffffffffffffffff"),
    (wire.Started(5), "0000000000000005"),
    (wire.Bye(b"{}"), b"{}".hex()),
    (wire.Summary(b'{"n":[1]}'), b'{"n":[1]}'.hex()),
    (wire.Abort("é"), "c3a9"),
]


def test_every_type_is_here() -> None:
    assert [message.type for message, _ in MESSAGES] == list(Type)


@pytest.mark.parametrize(("message", "body"), MESSAGES, ids=[kind.name for kind in Type])
def test_bodies_by_hand(message: wire.Message, body: str) -> None:
    assert message.pack_body().hex() == body
    assert wire.parse_message(message.type, bytes.fromhex(body)) == message


@pytest.mark.parametrize("message", [message for message, _ in MESSAGES])
def test_a_body_cut_or_extended_is_refused_or_another_value(message: wire.Message) -> None:
    body = message.pack_body()
    others = [body[:size] for size in range(len(body))] + [body + b"\0"]
    for other in others:
        try:
            parsed = wire.parse_message(message.type, other)
        except RemoteProtocolError:
            continue
        assert isinstance(message, wire.Refuse | wire.Abort)
        assert parsed != message


@given(st.sampled_from(Type), st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_any_body_gives_a_message_or_a_remote_error(kind: Type, body: bytes) -> None:
    try:
        message = wire.parse_message(kind, body)
    except RemoteProtocolError:
        return
    assert message.type is kind
    again = message.pack_body()
    assert wire.parse_message(kind, again) == message


@given(st.binary(min_size=64, max_size=64))
def test_hello_and_challenge_take_any_bytes_but_versions_with_holes(body: bytes) -> None:
    for kind, at in ((Type.HELLO, 24), (Type.CHALLENGE, 56)):
        versions = body[at : at + 8].rstrip(b"\0")
        try:
            message = wire.parse_message(kind, body)
        except RemoteProtocolError:
            assert not versions or 0 in versions
            continue
        assert isinstance(message, wire.Hello | wire.Challenge)
        assert bytes(message.versions) == versions


def test_objects_are_parsed_from_messages() -> None:
    offer, bye = wire.Offer(NONCE, b'{"a":1}'), wire.Bye(b'{"n":2}')
    assert offer.parse_description() == {"a": 1}
    assert bye.parse_report() == {"n": 2}


@pytest.mark.parametrize("versions", [(), (0,), (256,), tuple(range(1, 10))])
def test_versions_that_do_not_fit_are_our_mistake(versions: tuple[int, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="versions"):
        wire.Hello(NONCE, 1, versions).pack_body()


def test_limits_leave_room_for_everything_in_front() -> None:
    assert wire.MAX_DESCRIPTION_BYTES == MAX_BODY_BYTES - 16
    assert wire.MAX_REPORT_BYTES == MAX_BODY_BYTES
    assert struct.calcsize("!4sBB8sI") + 16 + MAX_BODY_BYTES == 1200
