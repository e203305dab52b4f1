"""What a session tells its owner. Local calls (`abort`, `finish`) give no event of their own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from testbed.protocol.session.text import JsonObject


class SessionEvent:
    """Base of all of them."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Accepted(SessionEvent):
    """To the initiator: the responder wants the session."""


@dataclass(frozen=True, slots=True)
class Refused(SessionEvent):
    """To the initiator: the responder does not; one line says why. The end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Synchronised(SessionEvent):
    """To the initiator: the clocks are compared, `start` may be called.

    Attributes:
        offset_ns: responder's clock less ours.
        bound_ns: the offset is wrong by at most this.
        rtt_ns: round trip of the exchange behind it.
    """

    offset_ns: int
    bound_ns: int
    rtt_ns: int


@dataclass(frozen=True, slots=True)
class Offered(SessionEvent):
    """To the responder: a session was offered, and accepted.

    Attributes:
        description: the initiator's.
        peer: its address.
    """

    description: JsonObject
    peer: Hashable


@dataclass(frozen=True, slots=True)
class Started(SessionEvent):
    """To both: the session's epoch is agreed.

    Attributes:
        epoch_ns: on the own clock; the two may differ by the bound of the synchronisation.
        description: what was agreed on.
        peer: the initiator's address, for the responder; None for the initiator, who has one peer.
    """

    epoch_ns: int
    description: JsonObject = field(default_factory=dict)
    peer: Hashable = None


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """To both: the session ended in order.

    Attributes:
        report: what the peer says: the initiator's counters, or the responder's summary.
    """

    report: JsonObject


@dataclass(frozen=True, slots=True)
class Aborted(SessionEvent):
    """To both: the peer broke the session off; one line says why. The end."""

    reason: str


@dataclass(frozen=True, slots=True)
class TimedOut(SessionEvent):
    """To both: the peer fell silent. The end.

    Attributes:
        phase: the state in which it was waited for.
    """

    phase: str
