"""The states of both sides, as two tables.

Theory of operation of the initiator. It asks, and asks again until it is answered; every phase has
one question:

- GREETING sends HELLO until CHALLENGE comes. If the two speak no common version (NO_VERSION), that
  is the end.
- OFFERING sends OFFER until ACCEPT or REFUSE comes.
- SYNCING sends SYNC until enough exchanges of times were made (SYNCED).
- READY waits for its owner to call `start`. Meanwhile SYNC goes out at a slow pace, which keeps the
  session alive and the clocks compared.
- STARTING sends START until STARTED comes; RUNNING has no question, media flows; CLOSING (after
  `finish`) sends BYE until SUMMARY comes.
- ENDED, REFUSED, ABORTED and TIMED_OUT are final.

Theory of operation of the responder. It never asks. It answers each question, and the same question
again in the same way, since an answer may be lost. The states are those of the one session that it
has: an offer that it takes leads from LISTENING to ACCEPTED, START to STARTED, BYE to CLOSING, and
its owner's `finish` to FINISHED, where a repeated BYE gets its SUMMARY once more. After the end, in
whichever way, the next offer may be taken.

The tables are the whole of it. From the owner, a step that has no entry raises; from the network,
it is ignored and counted. Both change nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class InitiatorState(Enum):
    """Where the initiator is; the value is the phase's name in `TimedOut`."""

    GREETING = "greeting"
    OFFERING = "offering"
    SYNCING = "syncing"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    CLOSING = "closing"
    ENDED = "ended"
    REFUSED = "refused"
    ABORTED = "aborted"
    TIMED_OUT = "timed out"


class InitiatorStep(Enum):
    """What moves it: answers, its owner's calls, and silence."""

    CHALLENGE = "challenge"
    NO_VERSION = "no common version"
    ACCEPT = "accept"
    REFUSE = "refuse"
    SYNC_REPLY = "sync reply"
    SYNCED = "synced"
    START = "start"
    STARTED = "started"
    FINISH = "finish"
    SUMMARY = "summary"
    ABORT = "abort"
    TIME_OUT = "time out"


_I, _IS = InitiatorState, InitiatorStep
INITIATOR_TRANSITIONS: Final[dict[tuple[InitiatorState, InitiatorStep], InitiatorState]] = {
    (_I.GREETING, _IS.CHALLENGE): _I.OFFERING,
    (_I.GREETING, _IS.NO_VERSION): _I.REFUSED,
    (_I.GREETING, _IS.ABORT): _I.ABORTED,
    (_I.GREETING, _IS.TIME_OUT): _I.TIMED_OUT,
    (_I.OFFERING, _IS.ACCEPT): _I.SYNCING,
    (_I.OFFERING, _IS.REFUSE): _I.REFUSED,
    (_I.OFFERING, _IS.ABORT): _I.ABORTED,
    (_I.OFFERING, _IS.TIME_OUT): _I.TIMED_OUT,
    (_I.SYNCING, _IS.SYNC_REPLY): _I.SYNCING,
    (_I.SYNCING, _IS.SYNCED): _I.READY,
    (_I.SYNCING, _IS.ABORT): _I.ABORTED,
    (_I.SYNCING, _IS.TIME_OUT): _I.TIMED_OUT,
    (_I.READY, _IS.SYNC_REPLY): _I.READY,
    (_I.READY, _IS.START): _I.STARTING,
    (_I.READY, _IS.ABORT): _I.ABORTED,
    (_I.READY, _IS.TIME_OUT): _I.TIMED_OUT,
    (_I.STARTING, _IS.STARTED): _I.RUNNING,
    (_I.STARTING, _IS.ABORT): _I.ABORTED,
    (_I.STARTING, _IS.TIME_OUT): _I.TIMED_OUT,
    (_I.RUNNING, _IS.FINISH): _I.CLOSING,
    (_I.RUNNING, _IS.ABORT): _I.ABORTED,
    (_I.RUNNING, _IS.TIME_OUT): _I.TIMED_OUT,
    (_I.CLOSING, _IS.SUMMARY): _I.ENDED,
    (_I.CLOSING, _IS.ABORT): _I.ABORTED,
    (_I.CLOSING, _IS.TIME_OUT): _I.TIMED_OUT,
}


class ResponderState(Enum):
    """Where the responder is; the value is the phase's name in `TimedOut`."""

    LISTENING = "listening"
    ACCEPTED = "accepted"
    STARTED = "started"
    CLOSING = "closing"
    FINISHED = "finished"
    ABORTED = "aborted"
    TIMED_OUT = "timed out"


class ResponderStep(Enum):
    """What moves it: questions, its owner's calls, and silence."""

    TAKE = "take an offer"
    OFFER = "offer"
    SYNC = "sync"
    START = "start"
    BYE = "bye"
    FINISH = "finish"
    ABORT = "abort"
    TIME_OUT = "time out"


_R, _RS = ResponderState, ResponderStep
RESPONDER_TRANSITIONS: Final[dict[tuple[ResponderState, ResponderStep], ResponderState]] = {
    (_R.LISTENING, _RS.TAKE): _R.ACCEPTED,
    (_R.ACCEPTED, _RS.OFFER): _R.ACCEPTED,  # ACCEPT was lost
    (_R.ACCEPTED, _RS.SYNC): _R.ACCEPTED,
    (_R.ACCEPTED, _RS.START): _R.STARTED,
    (_R.ACCEPTED, _RS.ABORT): _R.ABORTED,
    (_R.ACCEPTED, _RS.TIME_OUT): _R.TIMED_OUT,
    (_R.STARTED, _RS.START): _R.STARTED,  # STARTED was lost
    (_R.STARTED, _RS.BYE): _R.CLOSING,
    (_R.STARTED, _RS.ABORT): _R.ABORTED,
    (_R.STARTED, _RS.TIME_OUT): _R.TIMED_OUT,
    (_R.CLOSING, _RS.BYE): _R.CLOSING,  # the owner has not finished yet
    (_R.CLOSING, _RS.FINISH): _R.FINISHED,
    (_R.CLOSING, _RS.ABORT): _R.ABORTED,
    (_R.FINISHED, _RS.BYE): _R.FINISHED,  # SUMMARY was lost
    (_R.FINISHED, _RS.TAKE): _R.ACCEPTED,
    (_R.ABORTED, _RS.TAKE): _R.ACCEPTED,
    (_R.TIMED_OUT, _RS.TAKE): _R.ACCEPTED,
}

#: States in which the responder has a peer, and no room for another.
BUSY: Final = frozenset({_R.ACCEPTED, _R.STARTED, _R.CLOSING})
