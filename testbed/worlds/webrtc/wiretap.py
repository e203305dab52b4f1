"""What one peer's ICE socket sends and receives, and what each datagram is.

Under DTLS a datagram does not show what it carries. The peer that sends it knows: the tap is told,
just before a datagram leaves, whether it carries a message of the data channel and which one.

Kinds of wire datagrams are told apart by their first byte (RFC 7983): `ice` (STUN), `dtls`
(handshake, alerts) and `sctp` (DTLS application data that carries no message: acknowledgements,
forward TSNs, heartbeats). One that carries a message has the kind of that message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from testbed.worlds.realtime.clock import monotonic_ns
from testbed.worlds.realtime.records import Arrivals, Sent, key_of

#: RFC 7983 section 7: first bytes of STUN, DTLS, and RTP or RTCP.
_STUN: Final = range(4)
_DTLS: Final = range(20, 64)
_RTP: Final = range(128, 192)
#: RFC 6347 section 4.1: the content type of a record with application data.
_APPLICATION_DATA: Final = 23


def kind_of(data: bytes) -> str:
    """What a datagram is, by its first byte."""
    first = data[0] if data else -1
    if first in _STUN:
        return "ice"
    if first in _DTLS:
        return "sctp" if first == _APPLICATION_DATA else "dtls"
    return "rtp" if first in _RTP else "unknown"


@dataclass(slots=True)
class WireSent:
    """A datagram that left the ICE socket.

    Attributes:
        at_ns: CLOCK_MONOTONIC just before it left.
        key: see `key_of`.
        size: payload bytes.
        kind: see the module.
        about: what it was said to carry, or None.
        data: the payload where a capture wants it.
    """

    at_ns: int
    key: int
    size: int
    kind: str
    about: Sent | int | None
    data: bytes | None


class Wiretap:
    """The memory of one peer's ICE socket.

    Args:
        keep_data: remember what left, for a capture.

    Attributes:
        about: what the datagram that leaves next carries: the number of a message, or a whole
            description; None: nothing of ours.
        sent: what left.
    """

    def __init__(self, *, keep_data: bool = False) -> None:
        self.about: Sent | int | None = None
        self.sent: list[WireSent] = []
        self._keep_data = keep_data
        self._times_ns: list[int] = []
        self._keys: list[int] = []

    def leaves(self, data: bytes) -> None:
        """The next thing that happens is that `data` is sent."""
        kept = data if self._keep_data else None
        self.sent.append(
            WireSent(monotonic_ns(), key_of(data), len(data), kind_of(data), self.about, kept)
        )

    def came(self, data: bytes) -> None:
        """`data` was received."""
        self._times_ns.append(monotonic_ns())
        self._keys.append(key_of(data))

    def arrivals(self, epoch_ns: int) -> Arrivals:
        """What came since the session's start at `epoch_ns`."""
        made = Arrivals()
        for at_ns, key in zip(self._times_ns, self._keys, strict=True):
            if at_ns >= epoch_ns:
                made.add(at_ns - epoch_ns, key)
        return made

    def departures(self, epoch_ns: int) -> list[WireSent]:
        """What left since the session's start at `epoch_ns`."""
        return [wire for wire in self.sent if wire.at_ns >= epoch_ns]


def row(wire: WireSent, epoch_ns: int) -> Sent:
    """The entry of a wire datagram; one that carries nothing of ours has only a kind.

    Args:
        wire: the datagram, of which either nothing or a whole description is known.
        epoch_ns: start of the session.
    """
    known = wire.about
    if not isinstance(known, Sent):
        known = Sent(0, wire.kind, -1, 0, -1, -1, 1, 0, 0, None)
    at_ns = wire.at_ns - epoch_ns
    return replace(known, at_ns=at_ns, size=wire.size, key=wire.key, data=wire.data)
