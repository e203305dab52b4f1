"""Whatever arrives that is not the peer's own, new message: nothing happens, in no state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from testbed.protocol.session import Ended, InitiatorState, ResponderState
from testbed.protocol.session.envelope import MARK, Role, Type, Why
from testbed.protocol.session.states import BUSY
from tests.protocol.session.pair import (
    ADDRESS,
    STRANGER,
    Pair,
    losing,
    rough,
    snapshot,
    type_of,
)

RANDOM_DATAGRAMS = 10_000
Stop = Callable[[Pair], bool]


def initiator_in(state: InitiatorState) -> Pair:
    """A pair that has come as far as this, by itself or by force."""
    if state is InitiatorState.REFUSED:
        return Pair(accept=lambda description: "no").run()
    if state is InitiatorState.TIMED_OUT:
        return Pair(losing(Type.STARTED, first=10**6)).run()
    if state is InitiatorState.ABORTED:
        return aborted(Role.INITIATOR)
    waits = state in {InitiatorState.READY, InitiatorState.RUNNING}
    pair = Pair(
        starts=state is not InitiatorState.READY, finishes=state is not InitiatorState.RUNNING
    )
    pair.run(until=lambda pair: pair.initiator.state is state, limit_ns=10**10 if waits else 10**12)
    return pair


def responder_in(state: ResponderState) -> Pair:
    if state is ResponderState.TIMED_OUT:
        return Pair(losing(Type.START, first=10**6)).run()
    if state is ResponderState.ABORTED:
        return aborted(Role.RESPONDER)
    if state is ResponderState.LISTENING:
        # With a challenge open: the most that a listening responder remembers.
        return Pair(losing(Type.OFFER, first=10**6)).run(
            until=lambda pair: pair.initiator.state is InitiatorState.OFFERING
        )
    if state is ResponderState.CLOSING:
        pair = Pair(finishes=False).run(
            until=lambda pair: pair.initiator.state is InitiatorState.RUNNING
        )
        pair.initiator.finish({}, now_ns=pair.now_ns)
        pair.flush()
        return pair.run(until=lambda pair: pair.responder.state is state)
    return Pair(finishes=state is ResponderState.FINISHED).run(
        until=lambda pair: pair.responder.state is state
    )


def aborted(role: Role, seed: int = 1) -> Pair:
    pair = Pair(finishes=False, seed=seed).run(
        until=lambda pair: pair.initiator.state is InitiatorState.RUNNING
    )
    (pair.initiator if role is Role.INITIATOR else pair.responder).abort("enough")
    pair.flush()
    return pair.run()


def garbage(seed: int, real: list[bytes]) -> Iterator[bytes]:
    """Random bytes, half of them behind a plausible beginning; then real messages, damaged."""
    draw = random.Random(seed)
    for number in range(RANDOM_DATAGRAMS):
        data = draw.randbytes(draw.choice([0, 1, 4, 17, 33, 34, 60, 98, 200, 1200, 1500]))
        if number % 2:
            header = MARK + bytes((1, draw.randrange(14)))
            data = header + draw.choice(real)[6:14] + data
        yield data
    for _ in range(RANDOM_DATAGRAMS):
        data = bytearray(draw.choice(real))
        for _ in range(draw.randint(1, 4)):
            how = draw.randrange(3)
            at = draw.randrange(max(1, len(data)))
            if how == 0 and data:
                data[at] ^= draw.randint(1, 255)
            elif how == 1:
                data[at:at] = draw.randbytes(draw.randint(1, 20))
            else:
                del data[at : at + draw.randint(1, 20)]
        if bytes(data) not in real:
            yield bytes(data)


def parts(pair: Pair) -> object:
    return snapshot(pair.initiator), snapshot(pair.responder)


def recorded(seed: int = 99) -> list[bytes]:
    """Everything that was on the wire in a session, every type but REFUSE among it."""
    broken = aborted(Role.INITIATOR, seed + 1)
    whole = Pair(rough(seed, loss=0.2), seed=seed).run()
    assert isinstance(whole.told[Role.INITIATOR][-1], Ended)
    refused = Pair(accept=lambda description: "no", seed=seed + 2).run()
    old = [data for made in (whole, broken, refused) for _, _, data in made.sent]
    assert {type_of(data) for data in old} == set(Type)
    return old


@pytest.mark.parametrize("state", list(InitiatorState))
def test_garbage_does_nothing_to_the_initiator(state: InitiatorState) -> None:
    pair = initiator_in(state)
    assert pair.initiator.state is state
    real = [data for _, _, data in pair.sent]
    before = snapshot(pair.initiator)
    tried = sum(pair.initiator.ignored.values())
    for data in garbage(1, real):
        pair.initiator.receive(data, now_ns=pair.now_ns)
        tried += 1
    assert snapshot(pair.initiator) == before
    assert sum(pair.initiator.ignored.values()) == tried > 19_000


@pytest.mark.parametrize("state", list(ResponderState))
@pytest.mark.parametrize("source", [ADDRESS, STRANGER])
def test_garbage_does_nothing_to_the_responder(state: ResponderState, source: object) -> None:
    pair = responder_in(state)
    assert pair.responder.state is state
    real = [data for _, _, data in pair.sent]
    before = snapshot(pair.responder)
    tried = sum(pair.responder.ignored.values())
    for data in garbage(2, real):
        pair.responder.receive(data, source, now_ns=pair.there_ns)
        tried += 1
    assert snapshot(pair.responder) == before
    assert sum(pair.responder.ignored.values()) == tried > 19_000


LIVE = [
    *(("initiator", state) for state in InitiatorState),
    *(("responder", state) for state in ResponderState),
]


def pair_in(which: str, state: InitiatorState | ResponderState) -> Pair:
    if isinstance(state, InitiatorState):
        return initiator_in(state)
    return responder_in(state)


@pytest.mark.parametrize(("which", "state"), LIVE)
def test_what_was_received_and_what_was_sent_do_nothing_again(
    which: str, state: InitiatorState | ResponderState
) -> None:
    pair = pair_in(which, state)
    before = parts(pair)
    # Received once, it is old for the one and sent back to its origin for the other.
    for _, data in pair.received:
        pair.initiator.receive(data, now_ns=pair.now_ns)
        for source in (ADDRESS, STRANGER):
            # From a stranger, a HELLO is the beginning of something; see the next test.
            if source == ADDRESS or type_of(data) is not Type.HELLO:
                pair.responder.receive(data, source, now_ns=pair.there_ns)
    for _, sender, data in pair.sent:
        if sender is Role.INITIATOR:
            pair.initiator.receive(data, now_ns=pair.now_ns)
        else:
            pair.responder.receive(data, ADDRESS, now_ns=pair.there_ns)
    assert parts(pair) == before


@pytest.mark.parametrize(("which", "state"), LIVE)
def test_cut_messages_do_nothing(which: str, state: InitiatorState | ResponderState) -> None:
    pair = pair_in(which, state)
    before = parts(pair)
    one_each = {type_of(data): data for data in [*recorded(), *(d for _, _, d in pair.sent)]}
    assert set(one_each) == set(Type)
    for data in one_each.values():
        for size in range(len(data)):
            pair.initiator.receive(data[:size], now_ns=pair.now_ns)
            pair.responder.receive(data[:size], ADDRESS, now_ns=pair.there_ns)
    assert parts(pair) == before


@pytest.mark.parametrize(("which", "state"), LIVE)
def test_an_old_session_does_nothing_in_a_new_one_but_get_challenges(
    which: str, state: InitiatorState | ResponderState
) -> None:
    old = recorded()
    pair = pair_in(which, state)
    before = snapshot(pair.initiator)
    session, place = pair.responder._session, pair.responder.state
    session_before = snapshot(session)
    heard_ns, events = pair.responder._heard_ns, list(pair.responder._events)
    for data in old:
        pair.initiator.receive(data, now_ns=pair.now_ns)
        for source in (ADDRESS, STRANGER):
            pair.responder.receive(data, source, now_ns=pair.there_ns)
            answers = pair.responder.to_send(now_ns=pair.there_ns)
            # At most a challenge each, back to where it came from, and no longer than what came.
            assert len(answers) <= (type_of(data) is Type.HELLO)
            for address, answer in answers:
                assert (type_of(answer), address) == (Type.CHALLENGE, source)
                assert len(answer) <= len(data)
    assert snapshot(pair.initiator) == before
    assert (pair.responder._session, pair.responder.state) == (session, place)
    assert snapshot(session) == session_before
    assert (pair.responder._heard_ns, pair.responder._events) == (heard_ns, events)


@pytest.mark.parametrize("state", [state for state in ResponderState if state in BUSY])
def test_a_session_under_attack_still_ends_in_order(state: ResponderState) -> None:
    old = recorded()
    pair = responder_in(state)
    pair.finishes = True
    for data in [*old, *(data for _, _, data in pair.sent), *garbage(3, old)]:
        pair.initiator.receive(data, now_ns=pair.now_ns)
        pair.responder.receive(data, STRANGER, now_ns=pair.there_ns)
        pair.responder.to_send(now_ns=pair.there_ns)
    if state is ResponderState.CLOSING:
        pair.responder.finish({"received": 6})
        pair.flush()
    pair.run()
    assert pair.told[Role.INITIATOR][-1] == Ended({"received": 6})


def test_the_memory_of_a_flooded_responder_is_bounded() -> None:
    pair = responder_in(ResponderState.ACCEPTED)
    hellos = [Pair(lambda sender, data: [], seed=seed).sent[0][2] for seed in range(100, 300)]
    for data in hellos:
        pair.responder.receive(data, ("host", data[6:14]), now_ns=pair.there_ns)
    assert len(pair.responder._pending) == 16
    assert len(pair.responder.to_send(now_ns=pair.there_ns)) == 64
    assert pair.responder.peer == ADDRESS


def test_a_running_session_is_its_peers_alone() -> None:
    pair = Pair(finishes=False).run(
        until=lambda pair: pair.initiator.state is InitiatorState.RUNNING
    )
    pair.initiator.finish({}, now_ns=pair.now_ns)
    (bye,) = pair.initiator.to_send(now_ns=pair.now_ns)
    before = snapshot(pair.responder)
    pair.responder.receive(bye, STRANGER, now_ns=pair.there_ns)
    assert snapshot(pair.responder) == before
    assert pair.responder.ignored == {Why.STRANGER: 1}
    pair.responder.receive(bye, ADDRESS, now_ns=pair.there_ns)
    assert pair.responder.events() == [Ended({})]
