from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.rtcp import PictureLossIndication, pack_rtcp
from testbed.protocol.rtp import pack_rtp
from testbed.protocol.session.envelope import (
    MARK,
    MAX_BODY_BYTES,
    MAX_MESSAGE_BYTES,
    OVERHEAD_BYTES,
    SENT_BY,
    Envelope,
    IgnoredError,
    Role,
    Type,
    Why,
    is_control,
    seal,
)

KEY = bytes(range(32))
SESSION = b"session!"


def sealed(kind: Type = Type.SYNC, body: bytes = b"body") -> bytes:
    return seal(kind, body, session_id=SESSION, counter=7, key=KEY)


def why(data: bytes, *, sender: Role = Role.INITIATOR) -> Why:
    with pytest.raises(IgnoredError) as caught:
        Envelope.parse(data, sender=sender)
    return caught.value.why


def test_a_message_by_hand() -> None:
    signed = bytes.fromhex("f54d5453 01 06") + SESSION + bytes.fromhex("00000007") + b"body"
    tag = hmac.new(KEY, signed, hashlib.sha256).digest()[:16]
    assert sealed() == signed + tag
    envelope = Envelope.parse(sealed(), sender=Role.INITIATOR)
    assert (envelope.type, envelope.session_id, envelope.counter, envelope.body) == (
        Type.SYNC,
        SESSION,
        7,
        b"body",
    )
    envelope.verify(KEY)


def test_control_is_told_from_everything_else_on_the_port() -> None:
    assert is_control(sealed())
    media = pack_rtp(b"x", payload_type=96, marker=True, sequence=1, timestamp=2, ssrc=3)
    feedback = pack_rtcp([PictureLossIndication(1, 2)])
    for other in (media, feedback, b"", MARK[:3], b"\xf5", b"\xc3\xb5MTS"):
        assert not is_control(other)
        assert why(other) is Why.MARK
    # RFC 7983 section 7: STUN, ZRTP, DTLS, TURN, RTP and RTCP; and UTF-8 text (RFC 3629).
    taken = {*range(4), *range(16, 20), *range(20, 64), *range(64, 80), *range(128, 192)}
    assert MARK[0] not in taken
    assert all(MARK[0] not in chr(point).encode() for point in range(0xD800))


def test_what_does_not_fit_is_ignored_for_its_reason() -> None:
    assert why(sealed(body=b"")[:-1]) is Why.LENGTH
    assert why(sealed(body=bytes(MAX_BODY_BYTES + 1))) is Why.LENGTH
    assert len(sealed(body=bytes(MAX_BODY_BYTES))) == MAX_MESSAGE_BYTES
    Envelope.parse(sealed(body=bytes(MAX_BODY_BYTES)), sender=Role.INITIATOR)
    assert why(b"\xf5MTS\x02" + sealed()[5:]) is Why.VERSION
    assert why(b"\xf5MTS\x01\x00" + sealed()[6:]) is Why.TYPE
    assert why(b"\xf5MTS\x01\x0d" + sealed()[6:]) is Why.TYPE
    assert why(sealed(), sender=Role.RESPONDER) is Why.DIRECTION


def test_one_side_alone_sends_each_type_but_abort() -> None:
    both = SENT_BY[Role.INITIATOR] & SENT_BY[Role.RESPONDER]
    assert both == {Type.ABORT}
    assert SENT_BY[Role.INITIATOR] | SENT_BY[Role.RESPONDER] == set(Type)


@pytest.mark.parametrize("at", range(len(sealed()) * 8))
def test_any_flipped_bit_is_noticed(at: int) -> None:
    data = bytearray(sealed())
    data[at // 8] ^= 1 << at % 8
    with pytest.raises(IgnoredError):
        Envelope.parse(bytes(data), sender=Role.INITIATOR).verify(KEY)


def test_another_key_is_noticed() -> None:
    with pytest.raises(IgnoredError) as caught:
        Envelope.parse(sealed(), sender=Role.INITIATOR).verify(bytes(32))
    assert caught.value.why is Why.TAG


@given(st.binary(max_size=100) | st.binary(max_size=1300).map(lambda rest: MARK + b"\1" + rest))
def test_any_bytes_give_an_envelope_or_are_ignored(data: bytes) -> None:
    for sender in Role:
        try:
            envelope = Envelope.parse(data, sender=sender)
        except IgnoredError:
            continue
        assert envelope.signed + envelope.tag == data
        assert len(envelope.body) == len(data) - OVERHEAD_BYTES
