import itertools

import pytest

from testbed.errors import LocalProtocolError
from testbed.transports.h26x.chain import TRANSITIONS, ChainEvent, ChainState, ReferenceChain

ILLEGAL = [pair for pair in itertools.product(ChainState, ChainEvent) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("state", "event"), ILLEGAL, ids=lambda value: value.value)
def test_an_illegal_event_leaves_the_state_as_it_was(state: ChainState, event: ChainEvent) -> None:
    chain = ReferenceChain()
    chain.state = state
    with pytest.raises(LocalProtocolError, match=event.value):
        chain.apply(event)
    assert chain.state is state


def test_a_request_needs_a_broken_chain() -> None:
    assert (ChainState.FLOWING, ChainEvent.ASK) in ILLEGAL


def test_the_ways_through_the_table() -> None:
    chain = ReferenceChain()
    for event, broken in [
        (ChainEvent.DECODE, False),
        (ChainEvent.HOLE, True),
        (ChainEvent.ASK, True),
        (ChainEvent.ASK, True),
        (ChainEvent.KEY, False),
        (ChainEvent.HOLE, True),
        (ChainEvent.DECODE, False),  # the missing packet came after all
    ]:
        chain.apply(event)
        assert chain.broken is broken
