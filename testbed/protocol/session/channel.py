"""One session as one side sees it on the wire: keys, counters, and what was seen before."""

from __future__ import annotations

from collections.abc import Callable

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.session.envelope import (
    MAX_COUNTER,
    Envelope,
    IgnoredError,
    Role,
    Type,
    Why,
    seal,
)
from testbed.protocol.session.keys import HandshakeKeys, SessionKeys
from testbed.protocol.session.messages import Message, parse_message
from testbed.protocol.session.window import ReplayWindow


class Channel:
    """Seals and opens the messages of a session.

    Until `agree`, HELLO and CHALLENGE alone can be written and read.

    Args:
        role: which side this is.
        session_id: 8 bytes.
        handshake: keys of HELLO and CHALLENGE.
    """

    __slots__ = ("_counter", "_handshake", "_role", "_session", "_window", "session_id")

    def __init__(self, role: Role, session_id: bytes, handshake: HandshakeKeys) -> None:
        self._role = role
        self.session_id = session_id
        self._handshake = handshake
        self._session: SessionKeys | None = None
        self._window = ReplayWindow()
        self._counter = 0

    @property
    def agreed(self) -> bool:
        """Both nonces are known, so the session has keys of its own."""
        return self._session is not None

    def agree(self, session: SessionKeys) -> None:
        """The session's own keys."""
        self._session = session

    def _key(self, kind: Type, sender: Role) -> bytes | None:
        if kind is Type.HELLO:
            return self._handshake.hello
        if kind is Type.CHALLENGE:
            return self._handshake.challenge
        if self._session is None:
            return None
        if sender is Role.INITIATOR:
            return self._session.to_responder
        return self._session.to_initiator

    def seal(self, message: Message) -> bytes:
        """The bytes of a message, under the next counter.

        Raises:
            LocalProtocolError: the session has no keys for it yet, or no counters any more.
        """
        key = self._key(message.type, self._role)
        if key is None or self._counter >= MAX_COUNTER:
            raise LocalProtocolError(f"session: {message.type.name} cannot be sent now")
        self._counter += 1
        return seal(
            message.type,
            message.pack_body(),
            session_id=self.session_id,
            counter=self._counter,
            key=key,
        )

    def open(self, envelope: Envelope) -> Message:
        """The message inside, once it is shown to be the peer's and new.

        Raises:
            IgnoredError: it is not, or its body is malformed.
        """
        sender = Role.RESPONDER if self._role is Role.INITIATOR else Role.INITIATOR
        key = self._key(envelope.type, sender)
        if key is None:
            raise IgnoredError(Why.STATE)
        envelope.verify(key)
        if not self._window.take(envelope.counter):
            raise IgnoredError(Why.REPLAY)
        try:
            return parse_message(envelope.type, envelope.body)
        except RemoteProtocolError:
            raise IgnoredError(Why.BODY) from None


def fresh_bytes(token_bytes: Callable[[int], bytes], count: int) -> bytes:
    """Bytes from the injected source.

    Raises:
        LocalProtocolError: it gave more or fewer than asked for.
    """
    token = token_bytes(count)
    if len(token) != count:
        raise LocalProtocolError(f"session: token_bytes({count}) gave {len(token)} bytes")
    return token
