"""The states of BBR, as a table.

Theory of operation (draft-ietf-ccwg-bbr-06, section "State Machine"):

- **Startup** searches for the path's bandwidth, doubling the rate every round. It ends when the
  rate grows no more (PIPE_FULL), or when loss says so.
- **Drain** empties the queue that Startup made, and ends when what is in flight fits the path, or
  after three rounds (DRAINED).
- **ProbeBW** is the steady state, a cycle of four: DOWN leaves room (until HEADROOM), CRUISE keeps
  the rate, REFILL fills the pipe for one round, UP sends faster and finds out whether there is
  more, until it has seen enough (PROBE_DONE). PROBE starts the next probe: after two to three
  seconds, or after as many rounds as a Reno flow would need.
- **ProbeRTT** sends little for 200 ms and a round, so that the queue empties and the round trip
  shows itself. It comes from any state when no new minimum was seen for five seconds
  (MIN_RTT_STALE), and returns to where the flow belongs: to ProbeBW if the pipe was ever full, to
  Startup otherwise.
- A loss that turns out to be none takes the flow back to the search from which the loss had
  thrown it out (UNDO_STARTUP, UNDO_PROBE).

The table is the whole of it. An event that has no entry for a state raises and changes nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from testbed.protocol.congestion.bbr import constants as c
from testbed.protocol.transitions import moved


class State(Enum):
    """Where the flow is; the value is what the log shows."""

    STARTUP = "startup"
    DRAIN = "drain"
    PROBE_BW_DOWN = "probe-bw-down"
    PROBE_BW_CRUISE = "probe-bw-cruise"
    PROBE_BW_REFILL = "probe-bw-refill"
    PROBE_BW_UP = "probe-bw-up"
    PROBE_RTT = "probe-rtt"


class Event(Enum):
    """What moves it."""

    PIPE_FULL = "pipe-full"
    DRAINED = "drained"
    HEADROOM = "headroom"
    PROBE = "probe"
    REFILLED = "refilled"
    PROBE_DONE = "probe-done"
    MIN_RTT_STALE = "min-rtt-stale"
    MIN_RTT_DONE = "min-rtt-done"
    MIN_RTT_DONE_UNFILLED = "min-rtt-done-unfilled"
    UNDO_STARTUP = "undo-startup"
    UNDO_PROBE = "undo-probe"


class Gains(NamedTuple):
    """Factors on the estimate: of the pacing rate, and of the bandwidth-delay product."""

    pacing: float
    cwnd: float


_S, _E = State, Event

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (_S.STARTUP, _E.PIPE_FULL): _S.DRAIN,
    (_S.DRAIN, _E.DRAINED): _S.PROBE_BW_DOWN,
    (_S.PROBE_BW_DOWN, _E.HEADROOM): _S.PROBE_BW_CRUISE,
    (_S.PROBE_BW_DOWN, _E.PROBE): _S.PROBE_BW_REFILL,
    (_S.PROBE_BW_CRUISE, _E.PROBE): _S.PROBE_BW_REFILL,
    (_S.PROBE_BW_REFILL, _E.REFILLED): _S.PROBE_BW_UP,
    (_S.PROBE_BW_UP, _E.PROBE_DONE): _S.PROBE_BW_DOWN,
    (_S.STARTUP, _E.MIN_RTT_STALE): _S.PROBE_RTT,
    (_S.DRAIN, _E.MIN_RTT_STALE): _S.PROBE_RTT,
    (_S.PROBE_BW_DOWN, _E.MIN_RTT_STALE): _S.PROBE_RTT,
    (_S.PROBE_BW_CRUISE, _E.MIN_RTT_STALE): _S.PROBE_RTT,
    (_S.PROBE_BW_REFILL, _E.MIN_RTT_STALE): _S.PROBE_RTT,
    (_S.PROBE_BW_UP, _E.MIN_RTT_STALE): _S.PROBE_RTT,
    (_S.PROBE_RTT, _E.MIN_RTT_DONE): _S.PROBE_BW_DOWN,
    (_S.PROBE_RTT, _E.MIN_RTT_DONE_UNFILLED): _S.STARTUP,
    (_S.DRAIN, _E.UNDO_STARTUP): _S.STARTUP,
    (_S.PROBE_BW_DOWN, _E.UNDO_STARTUP): _S.STARTUP,
    (_S.PROBE_BW_CRUISE, _E.UNDO_STARTUP): _S.STARTUP,
    (_S.PROBE_BW_REFILL, _E.UNDO_STARTUP): _S.STARTUP,
    (_S.PROBE_BW_UP, _E.UNDO_STARTUP): _S.STARTUP,
    (_S.PROBE_BW_DOWN, _E.UNDO_PROBE): _S.PROBE_BW_REFILL,
    (_S.PROBE_BW_CRUISE, _E.UNDO_PROBE): _S.PROBE_BW_REFILL,
    (_S.PROBE_BW_REFILL, _E.UNDO_PROBE): _S.PROBE_BW_REFILL,
}

#: Section "Summary of Control Behavior in the State Machine".
GAINS: Final[dict[State, Gains]] = {
    _S.STARTUP: Gains(c.STARTUP_PACING_GAIN, c.DEFAULT_CWND_GAIN),
    _S.DRAIN: Gains(c.DRAIN_PACING_GAIN, c.DEFAULT_CWND_GAIN),
    _S.PROBE_BW_DOWN: Gains(c.PROBE_DOWN_PACING_GAIN, c.DEFAULT_CWND_GAIN),
    _S.PROBE_BW_CRUISE: Gains(c.PROBE_CRUISE_PACING_GAIN, c.DEFAULT_CWND_GAIN),
    _S.PROBE_BW_REFILL: Gains(c.PROBE_REFILL_PACING_GAIN, c.DEFAULT_CWND_GAIN),
    _S.PROBE_BW_UP: Gains(c.PROBE_UP_PACING_GAIN, c.PROBE_UP_CWND_GAIN),
    _S.PROBE_RTT: Gains(1.0, c.PROBE_RTT_CWND_GAIN),
}

PROBE_BW: Final = frozenset(
    {_S.PROBE_BW_DOWN, _S.PROBE_BW_CRUISE, _S.PROBE_BW_REFILL, _S.PROBE_BW_UP}
)
#: IsProbingBW: states in which loss does not lower the short-term bounds.
PROBING: Final = frozenset({_S.STARTUP, _S.PROBE_BW_REFILL, _S.PROBE_BW_UP})


class StateMachine:
    """The table's state and its gains."""

    __slots__ = ("gains", "state")

    def __init__(self) -> None:
        self.state = State.STARTUP
        self.gains = GAINS[State.STARTUP]

    def apply(self, event: Event) -> None:
        """Move along the table.

        Raises:
            LocalProtocolError: the table has no such transition; the state stays.
        """
        self.state = moved(TRANSITIONS, self.state, event, of="BBR")
        self.gains = GAINS[self.state]
