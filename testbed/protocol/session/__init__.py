"""Two ends agree on a session over the UDP port that then carries its media.

Sans-IO: an `Initiator` (the media sender) and a `Responder` (the media receiver) are state
machines; sockets, clocks and randomness are the caller's. `docs/guides/session.md` has the wire
format and what is protected from whom.
"""

from __future__ import annotations

from testbed.protocol.session.clock import ClockEstimate
from testbed.protocol.session.envelope import MAX_MESSAGE_BYTES, Why, is_control
from testbed.protocol.session.events import (
    Aborted,
    Accepted,
    Ended,
    Offered,
    Refused,
    SessionEvent,
    Started,
    Synchronised,
    TimedOut,
)
from testbed.protocol.session.initiator import Initiator
from testbed.protocol.session.keys import MIN_PSK_BYTES, parse_psk
from testbed.protocol.session.messages import MAX_DESCRIPTION_BYTES, MAX_REPORT_BYTES
from testbed.protocol.session.responder import Responder
from testbed.protocol.session.states import InitiatorState, ResponderState
from testbed.protocol.session.text import JsonObject
from testbed.protocol.session.timeouts import MAX_LEAD_NS, Timeouts

__all__ = [
    "MAX_DESCRIPTION_BYTES",
    "MAX_LEAD_NS",
    "MAX_MESSAGE_BYTES",
    "MAX_REPORT_BYTES",
    "MIN_PSK_BYTES",
    "Aborted",
    "Accepted",
    "ClockEstimate",
    "Ended",
    "Initiator",
    "InitiatorState",
    "JsonObject",
    "Offered",
    "Refused",
    "Responder",
    "ResponderState",
    "SessionEvent",
    "Started",
    "Synchronised",
    "TimedOut",
    "Timeouts",
    "Why",
    "is_control",
    "parse_psk",
]
