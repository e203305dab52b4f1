"""What is around every control message: mark, version, type, session, counter, tag.

```
 0      1            4        5      6            14        18                  -16
+------+------------+--------+------+------------+---------+------------------+-----+
| 0xF5 | "MTS"      | version| type | session id | counter | body             | tag |
| 1    | 3          | 1      | 1    | 8          | 4       | 0 to 1166        | 16  |
+------+------------+--------+------+------------+---------+------------------+-----+
```

Numbers are big-endian. The tag is HMAC-SHA256 over everything before it, cut to half its length,
the least that RFC 2104 section 5 recommends.

The first byte has to keep control apart from what else may share the port. RFC 7983 leaves 192 to
255 to nobody beside STUN, ZRTP, DTLS, TURN and RTP; RFC 9443 has since given them to QUIC, which
this port does not carry and which the three bytes after it would tell apart. Of these, 0xF5 is the
first that no UTF-8 text contains (RFC 3629 section 1), so no text protocol begins with it; and it
is not 0xFF, with which filler begins.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum, IntEnum
from struct import Struct
from typing import Final

from testbed.errors import RemoteProtocolError

#: The first four bytes of every control message.
MARK: Final = b"\xf5MTS"
#: The version that this code speaks. HELLO and CHALLENGE keep their form in every later one.
VERSION: Final = 1
#: Largest control message, as our media packets: 1200 bytes pass every usual path (RFC 9000
#: section 14 counts on the same).
MAX_MESSAGE_BYTES: Final = 1200
SESSION_ID_BYTES: Final = 8
TAG_BYTES: Final = 16
#: Highest counter of a sender within a session.
MAX_COUNTER: Final = 0xFFFFFFFF

_HEADER: Final = Struct("!4sBB8sI")
#: Bytes of a message without a body.
OVERHEAD_BYTES: Final = _HEADER.size + TAG_BYTES
MAX_BODY_BYTES: Final = MAX_MESSAGE_BYTES - OVERHEAD_BYTES


class Role(Enum):
    """The two ends of a session."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Type(IntEnum):
    """Types of messages, as on the wire. Zero is none of them."""

    HELLO = 1
    CHALLENGE = 2
    OFFER = 3
    ACCEPT = 4
    REFUSE = 5
    SYNC = 6
    SYNC_REPLY = 7
    START = 8
    STARTED = 9
    BYE = 10
    SUMMARY = 11
    ABORT = 12


#: Who may send what. What comes from the other side is refused before anything is computed.
SENT_BY: Final[dict[Role, frozenset[Type]]] = {
    Role.INITIATOR: frozenset(
        {Type.HELLO, Type.OFFER, Type.SYNC, Type.START, Type.BYE, Type.ABORT}
    ),
    Role.RESPONDER: frozenset(
        {
            Type.CHALLENGE,
            Type.ACCEPT,
            Type.REFUSE,
            Type.SYNC_REPLY,
            Type.STARTED,
            Type.SUMMARY,
            Type.ABORT,
        }
    ),
}


class Why(Enum):
    """Why a datagram was ignored; in the order in which things are looked at."""

    MARK = "no control message"
    LENGTH = "too short or too long"
    VERSION = "another version"
    TYPE = "unknown type"
    DIRECTION = "a type of the other direction"
    SESSION = "an unknown session"
    STRANGER = "a running session, from another address"
    TAG = "wrong tag"
    REPLAY = "a counter seen before, or too old"
    BODY = "malformed body"
    ECHO = "an echo of something else"
    STATE = "not in this state"
    CLOCK = "impossible times, or an epoch out of reach"


class IgnoredError(RemoteProtocolError):
    """A datagram is not what may come now; it changes nothing.

    Attributes:
        why: for the counters.
    """

    def __init__(self, why: Why) -> None:
        super().__init__(f"ignored: {why.value}")
        self.why = why


def is_control(data: bytes) -> bool:
    """Whether a datagram on the session's port is for the session, not for RTP or RTCP."""
    return data[:4] == MARK


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message's outside; nothing of it is to be believed before `verify`.

    Attributes:
        type: what it is.
        session_id: 8 bytes, the initiator's choice.
        counter: 1 to 2**32 - 1, ascending in each direction of a session.
        body: what the type says.
        signed: the bytes under the tag.
        tag: as it came.
    """

    type: Type
    session_id: bytes
    counter: int
    body: bytes
    signed: bytes
    tag: bytes

    @classmethod
    def parse(cls, data: bytes, *, sender: Role) -> Envelope:
        """Take a datagram apart.

        Args:
            data: any bytes.
            sender: who it should be from.

        Raises:
            IgnoredError: it is no message of that side.
        """
        if not is_control(data):
            raise IgnoredError(Why.MARK)
        if not OVERHEAD_BYTES <= len(data) <= MAX_MESSAGE_BYTES:
            raise IgnoredError(Why.LENGTH)
        _, version, number, session_id, counter = _HEADER.unpack_from(data)
        if version != VERSION:
            raise IgnoredError(Why.VERSION)
        try:
            kind = Type(number)
        except ValueError:
            raise IgnoredError(Why.TYPE) from None
        if kind not in SENT_BY[sender]:
            raise IgnoredError(Why.DIRECTION)
        signed, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
        return cls(kind, session_id, counter, signed[_HEADER.size :], signed, tag)

    def verify(self, key: bytes) -> None:
        """Compare the tag, in constant time.

        Raises:
            IgnoredError: it is another key's, or something was changed.
        """
        if not hmac.compare_digest(tag_of(self.signed, key), self.tag):
            raise IgnoredError(Why.TAG)


def tag_of(signed: bytes, key: bytes) -> bytes:
    """The tag over some bytes."""
    return hmac.digest(key, signed, "sha256")[:TAG_BYTES]


def seal(kind: Type, body: bytes, *, session_id: bytes, counter: int, key: bytes) -> bytes:
    """The bytes of a message."""
    signed = _HEADER.pack(MARK, VERSION, kind, session_id, counter) + body
    return signed + tag_of(signed, key)
