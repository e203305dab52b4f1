from __future__ import annotations

from testbed.protocol.session.initiator import QUESTIONS
from testbed.protocol.session.states import (
    BUSY,
    INITIATOR_TRANSITIONS,
    RESPONDER_TRANSITIONS,
    InitiatorState,
    InitiatorStep,
    ResponderState,
    ResponderStep,
)

FINAL = {
    InitiatorState.ENDED,
    InitiatorState.REFUSED,
    InitiatorState.ABORTED,
    InitiatorState.TIMED_OUT,
}


def test_every_state_of_the_initiator_can_be_reached_and_only_the_last_cannot_be_left() -> None:
    assert {state for state, _ in INITIATOR_TRANSITIONS} == set(InitiatorState) - FINAL
    assert set(INITIATOR_TRANSITIONS.values()) == set(InitiatorState) - {InitiatorState.GREETING}
    assert {step for _, step in INITIATOR_TRANSITIONS} == set(InitiatorStep)


def test_the_initiator_can_abort_and_time_out_until_the_end() -> None:
    for state in set(InitiatorState) - FINAL:
        assert INITIATOR_TRANSITIONS[state, InitiatorStep.ABORT] is InitiatorState.ABORTED
        assert INITIATOR_TRANSITIONS[state, InitiatorStep.TIME_OUT] is InitiatorState.TIMED_OUT


def test_the_initiator_has_a_question_in_every_phase_but_running() -> None:
    assert set(QUESTIONS) == set(InitiatorState) - FINAL - {InitiatorState.RUNNING}


def test_the_responder_takes_an_offer_exactly_when_it_is_not_busy() -> None:
    takes = {state for state, step in RESPONDER_TRANSITIONS if step is ResponderStep.TAKE}
    assert takes == set(ResponderState) - BUSY


def test_every_state_of_the_responder_can_be_reached_and_left() -> None:
    assert {state for state, _ in RESPONDER_TRANSITIONS} == set(ResponderState)
    assert set(RESPONDER_TRANSITIONS.values()) == set(ResponderState) - {ResponderState.LISTENING}
    assert {step for _, step in RESPONDER_TRANSITIONS} == set(ResponderStep)
    for state in BUSY:
        assert RESPONDER_TRANSITIONS[state, ResponderStep.ABORT] is ResponderState.ABORTED
