"""The bodies of control messages, as values and as bytes.

Times are nanoseconds of the sender's or, where it says so, the other side's monotonic clock: signed
64-bit, big-endian. Parsers raise `RemoteProtocolError` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final, Self, TypeAlias

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.session.envelope import MAX_BODY_BYTES, VERSION, Type
from testbed.protocol.session.text import JsonObject, parse_line, parse_object

NONCE_BYTES: Final = 16
#: Versions that one side can name; zeros fill the field up.
MAX_VERSIONS: Final = 8
#: Room for the description in OFFER, and for the objects of BYE and SUMMARY.
MAX_DESCRIPTION_BYTES: Final = MAX_BODY_BYTES - NONCE_BYTES
MAX_REPORT_BYTES: Final = MAX_BODY_BYTES

# The padding makes HELLO as long as CHALLENGE: a recorded HELLO with a forged source address gets
# no more bytes sent to a victim than its own.
_HELLO: Final = Struct("!16sq8s32x")
_CHALLENGE: Final = Struct("!16s16sqqq8s")
_TIME: Final = Struct("!q")
_TIMES: Final = Struct("!qqq")


def _check_size(body: bytes, layout: Struct) -> None:
    if len(body) != layout.size:
        raise RemoteProtocolError(f"a body of {len(body)} bytes, not {layout.size}")


def _pack_versions(versions: tuple[int, ...]) -> bytes:
    if not 1 <= len(versions) <= MAX_VERSIONS or not all(1 <= v <= 255 for v in versions):
        raise LocalProtocolError(f"versions {versions}: 1 to {MAX_VERSIONS} numbers from 1 to 255")
    return bytes(versions)


def _parse_versions(field: bytes) -> tuple[int, ...]:
    versions = field.rstrip(b"\0")
    if not versions or 0 in versions:
        raise RemoteProtocolError("a list of versions with a hole, or none")
    return tuple(versions)


@dataclass(frozen=True, slots=True)
class Hello:
    """I to R: a session is wanted.

    Attributes:
        nonce: 16 fresh bytes of the initiator.
        t1_ns: sending, initiator's clock.
        versions: what the initiator speaks.
    """

    type: ClassVar[Type] = Type.HELLO

    nonce: bytes
    t1_ns: int
    versions: tuple[int, ...] = (VERSION,)

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return _HELLO.pack(self.nonce, self.t1_ns, _pack_versions(self.versions))

    @classmethod
    def parse_body(cls, body: bytes) -> Hello:
        """Read a body; raises `RemoteProtocolError`."""
        _check_size(body, _HELLO)
        nonce, t1_ns, versions = _HELLO.unpack(body)
        return cls(nonce, t1_ns, _parse_versions(versions))


@dataclass(frozen=True, slots=True)
class Challenge:
    """R to I: prove that you are there now. Also the first exchange of times.

    Attributes:
        initiator_nonce: echo; ties the answer to this very HELLO.
        nonce: 16 fresh bytes of the responder.
        t1_ns: echo of the HELLO's time.
        t2_ns: its arrival, responder's clock.
        t3_ns: sending of this, responder's clock.
        versions: what the responder speaks.
    """

    type: ClassVar[Type] = Type.CHALLENGE

    initiator_nonce: bytes
    nonce: bytes
    t1_ns: int
    t2_ns: int
    t3_ns: int
    versions: tuple[int, ...] = (VERSION,)

    def pack_body(self) -> bytes:
        """The body's bytes."""
        times = (self.t1_ns, self.t2_ns, self.t3_ns)
        return _CHALLENGE.pack(
            self.initiator_nonce, self.nonce, *times, _pack_versions(self.versions)
        )

    @classmethod
    def parse_body(cls, body: bytes) -> Challenge:
        """Read a body; raises `RemoteProtocolError`."""
        _check_size(body, _CHALLENGE)
        initiator_nonce, nonce, t1_ns, t2_ns, t3_ns, versions = _CHALLENGE.unpack(body)
        return cls(initiator_nonce, nonce, t1_ns, t2_ns, t3_ns, _parse_versions(versions))


@dataclass(frozen=True, slots=True)
class Offer:
    """I to R: the session.

    Attributes:
        responder_nonce: echo; the initiator is there now.
        description: canonical JSON, at most `MAX_DESCRIPTION_BYTES`; see `text.pack_object`.
    """

    type: ClassVar[Type] = Type.OFFER

    responder_nonce: bytes
    description: bytes

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return self.responder_nonce + self.description

    def parse_description(self) -> JsonObject:
        """The description as a value; a parsed message always has one."""
        return parse_object(self.description)

    @classmethod
    def parse_body(cls, body: bytes) -> Offer:
        """Read a body; raises `RemoteProtocolError`."""
        if len(body) < NONCE_BYTES:
            raise RemoteProtocolError(f"an offer of {len(body)} bytes")
        offer = cls(body[:NONCE_BYTES], body[NONCE_BYTES:])
        offer.parse_description()
        return offer


@dataclass(frozen=True, slots=True)
class Accept:
    """R to I: the offer is taken. Nothing but its type."""

    type: ClassVar[Type] = Type.ACCEPT

    def pack_body(self) -> bytes:
        """The body's bytes: none."""
        return b""

    @classmethod
    def parse_body(cls, body: bytes) -> Accept:
        """Read a body; raises `RemoteProtocolError`."""
        if body:
            raise RemoteProtocolError(f"{len(body)} bytes where none belong")
        return cls()


@dataclass(frozen=True, slots=True)
class _Reason:
    """A message with one line of text, at most `text.MAX_REASON_BYTES`; see `text.one_line`."""

    reason: str

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return self.reason.encode()

    @classmethod
    def parse_body(cls, body: bytes) -> Self:
        """Read a body; raises `RemoteProtocolError`."""
        return cls(parse_line(body))


@dataclass(frozen=True, slots=True)
class Refuse(_Reason):
    """R to I: the offer is not taken, and why."""

    type: ClassVar[Type] = Type.REFUSE


@dataclass(frozen=True, slots=True)
class Abort(_Reason):
    """Either way: the session is over, and why. It has no answer."""

    type: ClassVar[Type] = Type.ABORT


@dataclass(frozen=True, slots=True)
class Sync:
    """I to R: what time is it there? `t1_ns` is the sending, initiator's clock."""

    type: ClassVar[Type] = Type.SYNC

    t1_ns: int

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return _TIME.pack(self.t1_ns)

    @classmethod
    def parse_body(cls, body: bytes) -> Sync:
        """Read a body; raises `RemoteProtocolError`."""
        _check_size(body, _TIME)
        return cls(*_TIME.unpack(body))


@dataclass(frozen=True, slots=True)
class SyncReply:
    """R to I: echo of T1, then arrival and sending on the responder's clock."""

    type: ClassVar[Type] = Type.SYNC_REPLY

    t1_ns: int
    t2_ns: int
    t3_ns: int

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return _TIMES.pack(self.t1_ns, self.t2_ns, self.t3_ns)

    @classmethod
    def parse_body(cls, body: bytes) -> SyncReply:
        """Read a body; raises `RemoteProtocolError`."""
        _check_size(body, _TIMES)
        return cls(*_TIMES.unpack(body))


@dataclass(frozen=True, slots=True)
class _Epoch:
    """A message with the session's epoch, on the responder's clock in both directions."""

    epoch_ns: int

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return _TIME.pack(self.epoch_ns)

    @classmethod
    def parse_body(cls, body: bytes) -> Self:
        """Read a body; raises `RemoteProtocolError`."""
        _check_size(body, _TIME)
        return cls(*_TIME.unpack(body))


@dataclass(frozen=True, slots=True)
class Start(_Epoch):
    """I to R: the session's time 0, on the responder's clock."""

    type: ClassVar[Type] = Type.START


@dataclass(frozen=True, slots=True)
class Started(_Epoch):
    """R to I: echo of the epoch; both know it."""

    type: ClassVar[Type] = Type.STARTED


@dataclass(frozen=True, slots=True)
class _Report:
    """A message with a JSON object, canonical, at most `MAX_REPORT_BYTES`."""

    report: bytes

    def pack_body(self) -> bytes:
        """The body's bytes."""
        return self.report

    def parse_report(self) -> JsonObject:
        """The object as a value; a parsed message always has one."""
        return parse_object(self.report)

    @classmethod
    def parse_body(cls, body: bytes) -> Self:
        """Read a body; raises `RemoteProtocolError`."""
        parse_object(body)
        return cls(body)


@dataclass(frozen=True, slots=True)
class Bye(_Report):
    """I to R: all is sent, with the initiator's counters."""

    type: ClassVar[Type] = Type.BYE


@dataclass(frozen=True, slots=True)
class Summary(_Report):
    """R to I: what became of it. The end."""

    type: ClassVar[Type] = Type.SUMMARY


Message: TypeAlias = (
    Hello | Challenge | Offer | Accept | Refuse | Sync | SyncReply
    | Start | Started | Bye | Summary | Abort
)  # fmt: skip

_CLASSES: Final[dict[Type, type[Message]]] = {
    Type.HELLO: Hello,
    Type.CHALLENGE: Challenge,
    Type.OFFER: Offer,
    Type.ACCEPT: Accept,
    Type.REFUSE: Refuse,
    Type.SYNC: Sync,
    Type.SYNC_REPLY: SyncReply,
    Type.START: Start,
    Type.STARTED: Started,
    Type.BYE: Bye,
    Type.SUMMARY: Summary,
    Type.ABORT: Abort,
}


def parse_message(kind: Type, body: bytes) -> Message:
    """Read the body of a message; raises `RemoteProtocolError`."""
    return _CLASSES[kind].parse_body(body)
