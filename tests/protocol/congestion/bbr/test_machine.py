from __future__ import annotations

from itertools import product

import pytest

from testbed.errors import LocalProtocolError
from testbed.protocol.congestion.bbr.machine import (
    GAINS,
    PROBE_BW,
    TRANSITIONS,
    Event,
    State,
    StateMachine,
)


def at(state: State) -> StateMachine:
    machine = StateMachine()
    machine.state = state
    return machine


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=str)
def test_every_event_in_every_state(state: State, event: Event) -> None:
    machine = at(state)
    if (state, event) in TRANSITIONS:
        machine.apply(event)
        assert machine.state is TRANSITIONS[state, event]
        assert machine.gains == GAINS[machine.state]
        return
    with pytest.raises(LocalProtocolError, match=f"'{event.value}' is not allowed"):
        machine.apply(event)
    assert machine.state is state


def test_the_gains_are_the_draft_s() -> None:
    assert {state.value: tuple(gains) for state, gains in GAINS.items()} == {
        "startup": (2.77, 2.0),
        "drain": (0.5, 2.0),
        "probe-bw-down": (0.9, 2.0),
        "probe-bw-cruise": (1.0, 2.0),
        "probe-bw-refill": (1.0, 2.0),
        "probe-bw-up": (1.25, 2.25),
        "probe-rtt": (1.0, 0.5),
    }


def test_the_draft_s_diagram() -> None:
    """The arrows of section "State Transition Diagram", without those that undo a loss."""
    undo = {Event.UNDO_STARTUP, Event.UNDO_PROBE}
    arrows = {(a, b) for (a, event), b in TRANSITIONS.items() if event not in undo}
    s = State
    assert arrows == {
        (s.STARTUP, s.DRAIN),
        (s.DRAIN, s.PROBE_BW_DOWN),
        (s.PROBE_BW_DOWN, s.PROBE_BW_CRUISE),
        (s.PROBE_BW_DOWN, s.PROBE_BW_REFILL),
        (s.PROBE_BW_CRUISE, s.PROBE_BW_REFILL),
        (s.PROBE_BW_REFILL, s.PROBE_BW_UP),
        (s.PROBE_BW_UP, s.PROBE_BW_DOWN),
        (s.PROBE_RTT, s.PROBE_BW_DOWN),
        (s.PROBE_RTT, s.STARTUP),
        *((state, s.PROBE_RTT) for state in {s.STARTUP, s.DRAIN, *PROBE_BW}),
    }
