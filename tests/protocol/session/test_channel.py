from __future__ import annotations

import pytest

from testbed.errors import LocalProtocolError
from testbed.protocol.session import messages as wire
from testbed.protocol.session.channel import Channel, fresh_bytes
from testbed.protocol.session.envelope import (
    MAX_COUNTER,
    Envelope,
    IgnoredError,
    Role,
    Why,
    seal,
)
from testbed.protocol.session.keys import handshake_keys, session_keys

PSK = bytes(range(16))
SESSION = b"session!"
NONCES = {"initiator_nonce": bytes(16), "responder_nonce": bytes(range(16))}


def channels(*, agreed: bool = True) -> tuple[Channel, Channel]:
    hands = handshake_keys(PSK)
    both = Channel(Role.INITIATOR, SESSION, hands), Channel(Role.RESPONDER, SESSION, hands)
    if agreed:
        for channel in both:
            channel.agree(session_keys(PSK, session_id=SESSION, **NONCES))
    return both


def from_initiator(data: bytes) -> Envelope:
    return Envelope.parse(data, sender=Role.INITIATOR)


def why(channel: Channel, data: bytes) -> Why:
    with pytest.raises(IgnoredError) as caught:
        channel.open(from_initiator(data))
    return caught.value.why


def test_messages_pass_once_with_counters_from_one() -> None:
    here, there = channels()
    first, second = here.seal(wire.Sync(5)), here.seal(wire.Sync(5))
    assert [from_initiator(data).counter for data in (first, second)] == [1, 2]
    assert there.open(from_initiator(second)) == wire.Sync(5)
    assert there.open(from_initiator(first)) == wire.Sync(5)
    assert why(there, first) is Why.REPLAY


def test_before_the_nonces_hello_and_challenge_alone_can_be_exchanged() -> None:
    here, there = channels(agreed=False)
    assert not here.agreed
    hello = wire.Hello(bytes(16), 1)
    assert there.open(from_initiator(here.seal(hello))) == hello
    with pytest.raises(LocalProtocolError, match="SYNC cannot be sent now"):
        here.seal(wire.Sync(5))
    assert why(there, channels()[0].seal(wire.Sync(5))) is Why.STATE


def test_a_wrong_tag_does_not_use_up_a_counter() -> None:
    here, there = channels()
    data = here.seal(wire.Sync(5))
    assert why(there, data[:-1] + bytes((data[-1] ^ 1,))) is Why.TAG
    assert there.open(from_initiator(data)) == wire.Sync(5)


def test_a_malformed_body_is_ignored_even_under_a_right_tag() -> None:
    _, there = channels()
    key = session_keys(PSK, session_id=SESSION, **NONCES).to_responder
    data = seal(wire.Sync.type, b"short", session_id=SESSION, counter=1, key=key)
    assert why(there, data) is Why.BODY


def test_a_message_sent_back_to_its_origin_does_not_verify() -> None:
    here, there = channels()
    abort = there.seal(wire.Abort("enough"))
    assert why(there, abort) is Why.TAG
    assert here.open(Envelope.parse(abort, sender=Role.RESPONDER)) == wire.Abort("enough")


def test_counters_do_not_wrap() -> None:
    here, _ = channels()
    here._counter = MAX_COUNTER - 1
    assert from_initiator(here.seal(wire.Sync(5))).counter == MAX_COUNTER
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        here.seal(wire.Sync(5))


def test_the_source_of_randomness_must_give_what_is_asked_for() -> None:
    assert fresh_bytes(bytes, 8) == bytes(8)
    with pytest.raises(LocalProtocolError, match=r"token_bytes\(8\) gave 7"):
        fresh_bytes(lambda count: bytes(count - 1), 8)
