from __future__ import annotations

import random

import pytest

from testbed.protocol.session import (
    Aborted,
    Accepted,
    Ended,
    InitiatorState,
    Offered,
    Refused,
    ResponderState,
    Started,
    Synchronised,
    TimedOut,
)
from testbed.protocol.session.envelope import MAX_MESSAGE_BYTES, Role, Type, Why
from tests.protocol.session.pair import (
    ADDRESS,
    DESCRIPTION,
    MS,
    Pair,
    S,
    losing,
    rough,
    steady,
    type_of,
)


def test_a_session_from_hello_to_summary() -> None:
    pair = Pair(steady(30 * MS, 10 * MS)).run()
    offset_ns, half_ns = pair.offset_ns, 20 * MS
    (synchronised,) = [e for e in pair.told[Role.INITIATOR] if isinstance(e, Synchronised)]
    assert synchronised == Synchronised(offset_ns + 10 * MS, half_ns, 2 * half_ns)
    here_ns, there_ns = pair.epochs_ns()
    assert pair.told[Role.INITIATOR] == [
        Accepted(),
        synchronised,
        Started(here_ns, DESCRIPTION),
        Ended({"received": 6}),
    ]
    assert pair.told[Role.RESPONDER] == [
        Offered(DESCRIPTION, ADDRESS),
        Started(here_ns + offset_ns + 10 * MS, DESCRIPTION, ADDRESS),
        Ended({"packets": 7}),
    ]
    assert there_ns - here_ns == 10 * MS
    assert pair.initiator.state is InitiatorState.ENDED
    assert pair.responder.state is ResponderState.FINISHED
    assert pair.responder.peer is None
    assert not pair.initiator.ignored
    assert not pair.responder.ignored
    assert [type_of(data).name for _, _, data in pair.sent] == [
        *("HELLO", "CHALLENGE", "OFFER", "ACCEPT"),
        *("SYNC", "SYNC_REPLY") * 8,
        *("START", "STARTED", "BYE", "SUMMARY"),
    ]


def test_every_message_fits_and_none_amplifies() -> None:
    pair = Pair().run()
    sizes = {type_of(data): len(data) for _, _, data in pair.sent}
    assert max(sizes.values()) <= MAX_MESSAGE_BYTES
    assert sizes[Type.CHALLENGE] <= sizes[Type.HELLO]


ANSWERED = [
    (Type.HELLO, Type.CHALLENGE),
    (Type.OFFER, Type.ACCEPT),
    (Type.SYNC, Type.SYNC_REPLY),
    (Type.START, Type.STARTED),
    (Type.BYE, Type.SUMMARY),
]


@pytest.mark.parametrize("first", [1, 2, 5])
@pytest.mark.parametrize("kind", [kind for both in ANSWERED for kind in both])
def test_lost_messages_are_sent_again(kind: Type, first: int) -> None:
    pair = Pair(losing(kind, first=first)).run()
    assert isinstance(pair.told[Role.INITIATOR][-1], Ended)
    # Each end is told everything once, however often it was asked.
    assert [type(e) for e in pair.told[Role.INITIATOR]] == [Accepted, Synchronised, Started, Ended]
    assert [type(e) for e in pair.told[Role.RESPONDER]] == [Offered, Started, Ended]
    sent = [type_of(data) for _, _, data in pair.sent]
    question, answer = next(both for both in ANSWERED if kind in both)
    usual = 8 if question is Type.SYNC else 1
    assert sent.count(question) == usual + first
    assert sent.count(answer) == usual + (first if kind is answer else 0)
    assert not pair.initiator.ignored
    assert not pair.responder.ignored


def test_repetitions_wait_longer_and_longer() -> None:
    pair = Pair(lambda sender, data: []).run()
    times = [at_ns // MS for at_ns, _, _ in pair.sent]
    assert times == [0, 200, 600, 1400, *range(2400, 10_000, 1000)]
    assert pair.told[Role.INITIATOR] == [TimedOut("greeting")]
    assert pair.now_ns == 10 * S
    assert pair.initiator.next_timer() is None
    assert pair.responder.state is ResponderState.LISTENING


@pytest.mark.parametrize(
    ("kind", "phase", "after"),
    [
        (Type.HELLO, "greeting", ResponderState.LISTENING),
        (Type.CHALLENGE, "greeting", ResponderState.LISTENING),
        (Type.OFFER, "offering", ResponderState.LISTENING),
        (Type.ACCEPT, "offering", ResponderState.ABORTED),
        (Type.SYNC, "syncing", ResponderState.TIMED_OUT),
        (Type.SYNC_REPLY, "syncing", ResponderState.ABORTED),
        (Type.START, "starting", ResponderState.TIMED_OUT),
        (Type.STARTED, "starting", ResponderState.ABORTED),
        (Type.BYE, "closing", ResponderState.ABORTED),
        (Type.SUMMARY, "closing", ResponderState.FINISHED),
    ],
)
def test_without_an_answer_a_phase_times_out(kind: Type, phase: str, after: ResponderState) -> None:
    pair = Pair(losing(kind, first=10**6)).run()
    last = pair.told[Role.INITIATOR][-1]
    if after is ResponderState.TIMED_OUT:
        # The responder was the first to lose patience, and said so.
        assert last == Aborted("timed out while accepted")
    else:
        assert last == TimedOut(phase)
    assert pair.responder.state is after
    assert pair.responder.peer is None


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3, 0.5])
def test_on_a_rough_path_it_starts_alike_or_times_out(loss: float) -> None:
    ended = 0
    draw = random.Random(7)
    for seed in range(60):
        offset_ns = draw.randrange(-(10**18), 10**18)
        pair = Pair(rough(seed, loss=loss), seed=seed, offset_ns=offset_ns).run()
        here, there = pair.told[Role.INITIATOR], pair.told[Role.RESPONDER]
        if any(isinstance(event, Started) for event in here):
            here_ns, there_ns = pair.epochs_ns()
            assert abs(there_ns - here_ns) <= pair.bound_ns() < 300 * MS
        assert isinstance(here[-1], Ended | TimedOut | Aborted)
        assert pair.initiator.next_timer() is None
        assert pair.responder.next_timer() is None
        assert pair.responder.peer is None or pair.responder.state is ResponderState.CLOSING
        ended += isinstance(here[-1], Ended)
        for events in (here, there):
            kinds = [type(event) for event in events]
            assert len(set(kinds)) == len(kinds)
    assert ended >= {0.0: 60, 0.1: 60, 0.3: 60, 0.5: 50}[loss]


def test_few_exchanges_do_when_the_path_is_bad() -> None:
    replies = 0

    def fate(sender: Role, data: bytes) -> list[int]:
        nonlocal replies
        replies += type_of(data) is Type.SYNC_REPLY
        return [] if type_of(data) is Type.SYNC_REPLY and replies > 2 else [10 * MS]

    pair = Pair(fate).run()
    assert isinstance(pair.told[Role.INITIATOR][-1], Ended)
    assert pair.bound_ns() == 10 * MS


def test_the_exchange_of_least_round_trip_counts() -> None:
    delays_ns = iter([10, 10, 10, 10, 90, 40, 70, 20, 3, 5, 50, 80])

    def fate(sender: Role, data: bytes) -> list[int]:
        return [next(delays_ns, 30) * MS]

    pair = Pair(fate, starts=False).run(until=lambda pair: pair.initiator.clock is not None)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.READY)
    # SYNC took 3 ms, its answer 5 ms.
    assert pair.told[Role.INITIATOR][-1] == Synchronised(pair.offset_ns - MS, 4 * MS, 8 * MS)


def test_another_key_gets_no_answer() -> None:
    pair = Pair(responder_psk=b"0123456789abcdeF").run()
    assert pair.told[Role.INITIATOR] == [TimedOut("greeting")]
    assert {sender for _, sender, _ in pair.sent} == {Role.INITIATOR}
    assert pair.responder.ignored == {Why.TAG: len(pair.sent)}


def test_a_refusal_comes_with_its_reason_however_often_it_is_asked_for() -> None:
    asked = 0

    def accept(description: dict[str, object]) -> str:
        nonlocal asked
        asked += 1
        return "no decoder\nfor h267"

    pair = Pair(losing(Type.REFUSE, first=3), accept=accept).run()
    assert pair.told[Role.INITIATOR] == [Refused("no decoder for h267")]
    assert pair.told[Role.RESPONDER] == []
    assert asked == 1
    assert pair.responder.state is ResponderState.LISTENING


@pytest.mark.parametrize("lost", [0, 2])
def test_an_abort_of_the_sender_reaches_the_receiver(lost: int) -> None:
    pair = Pair(losing(Type.ABORT, first=lost), finishes=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.RUNNING)
    pair.initiator.abort("camera\tgone\x07")
    pair.flush()
    pair.run()
    assert pair.told[Role.RESPONDER][-1] == Aborted("camera gone?")
    assert pair.responder.state is ResponderState.ABORTED
    assert pair.initiator.state is InitiatorState.ABORTED
    assert pair.responder.ignored[Why.STATE] == 2 - lost


@pytest.mark.parametrize("lost", [0, 2])
def test_an_abort_of_the_receiver_reaches_the_sender(lost: int) -> None:
    pair = Pair(losing(Type.ABORT, first=lost), finishes=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.RUNNING)
    pair.responder.abort("screen gone")
    pair.flush()
    pair.run()
    assert pair.told[Role.INITIATOR][-1] == Aborted("screen gone")
    assert pair.initiator.state is InitiatorState.ABORTED
    assert pair.responder.peer is None


def test_whoever_missed_the_abort_is_told_when_it_asks() -> None:
    pair = Pair(losing(Type.ABORT, first=3), finishes=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.RUNNING)
    pair.responder.abort("screen gone")
    pair.flush()
    pair.run(limit_ns=S)
    pair.initiator.finish({}, now_ns=pair.now_ns)
    pair.flush()
    pair.run()
    assert pair.told[Role.INITIATOR][-1] == Aborted("screen gone")


def test_a_waiting_session_stays_alive_and_compares_its_clocks() -> None:
    pair = Pair(starts=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.READY)
    pair.fate = steady(2 * MS, 2 * MS)
    pair.run(limit_ns=60 * S)
    assert pair.initiator.state is InitiatorState.READY
    assert pair.responder.state is ResponderState.ACCEPTED
    assert pair.bound_ns() == 2 * MS
    pair.initiator.start(pair.now_ns + S, now_ns=pair.now_ns)
    pair.flush()
    pair.run()
    here_ns, there_ns = pair.epochs_ns()
    assert here_ns == there_ns
    assert isinstance(pair.told[Role.INITIATOR][-1], Ended)


def test_a_waiting_session_ends_when_the_path_does() -> None:
    pair = Pair(starts=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.READY)
    pair.fate = lambda sender, data: []
    pair.run()
    assert pair.told[Role.INITIATOR][-1] == TimedOut("ready")
    assert pair.told[Role.RESPONDER][-1] == TimedOut("accepted")


def test_a_silent_session_ends_ten_seconds_after_its_epoch() -> None:
    pair = Pair(finishes=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.RUNNING)
    pair.fate = lambda sender, data: []
    here_ns, there_ns = pair.epochs_ns()
    assert pair.initiator.next_timer() == here_ns + 10 * S
    assert pair.responder.next_timer() == there_ns + pair.offset_ns + 10 * S
    pair.run()
    assert pair.told[Role.INITIATOR][-1] == TimedOut("running")
    assert pair.told[Role.RESPONDER][-1] == TimedOut("started")


def test_traffic_keeps_a_session_alive() -> None:
    pair = Pair(finishes=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.RUNNING)
    for _ in range(30):
        pair.now_ns += S
        pair.initiator.note_traffic(now_ns=pair.now_ns)
        pair.responder.note_traffic(now_ns=pair.there_ns)
        pair.run(limit_ns=0)
    assert pair.initiator.next_timer() == pair.now_ns + 10 * S
    assert pair.responder.next_timer() == pair.there_ns + 10 * S
    assert pair.initiator.state is InitiatorState.RUNNING
    assert pair.responder.peer == ADDRESS


def test_a_receiver_takes_one_session_after_the_other() -> None:
    first = Pair(seed=1).run()
    for seed in (2, 3):
        again = Pair(
            seed=seed, responder=first.responder, now_ns=first.now_ns, offset_ns=first.offset_ns
        ).run()
        assert isinstance(again.told[Role.INITIATOR][-1], Ended)
        assert [type(e) for e in again.told[Role.RESPONDER]] == [Offered, Started, Ended]
