"""The initiator against a responder's channel that the test speaks through by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from testbed.errors import InputError, LocalProtocolError
from testbed.protocol.session import (
    Aborted,
    Accepted,
    Initiator,
    InitiatorState,
    Refused,
    SessionEvent,
    Started,
    Synchronised,
    TimedOut,
    Timeouts,
)
from testbed.protocol.session import messages as wire
from testbed.protocol.session.channel import Channel
from testbed.protocol.session.envelope import Envelope, Role, Why
from testbed.protocol.session.keys import handshake_keys, session_keys
from testbed.protocol.session.timeouts import MAX_LEAD_NS
from tests.protocol.session.pair import DESCRIPTION, MS, PSK, Pair, S, snapshot

NONCE = bytes(range(16))


class ByHand:
    """A responder whose every message is written here; its clock is the initiator's."""

    def __init__(self, **options: Any) -> None:
        self.initiator = Initiator(
            PSK, DESCRIPTION, now_ns=0, token_bytes=random.Random(4).randbytes, **options
        )
        self.channel = Channel(Role.RESPONDER, self.initiator.session_id, handshake_keys(PSK))
        self.now_ns = 0

    def sent(self) -> list[wire.Message]:
        return [
            self.channel.open(Envelope.parse(data, sender=Role.INITIATOR))
            for data in self.initiator.to_send(now_ns=self.now_ns)
        ]

    def say(self, message: wire.Message) -> list[SessionEvent]:
        self.now_ns += MS
        self.initiator.receive(self.channel.seal(message), now_ns=self.now_ns)
        return self.initiator.events()

    def greet(self, **changes: Any) -> wire.Hello:
        (hello,) = self.sent()
        assert isinstance(hello, wire.Hello)
        fields = {"initiator_nonce": hello.nonce, "nonce": NONCE, "t1_ns": hello.t1_ns}
        times = {"t2_ns": hello.t1_ns, "t3_ns": hello.t1_ns}
        challenge = wire.Challenge(**{**fields, **times, **changes})
        keys = session_keys(
            PSK,
            initiator_nonce=hello.nonce,
            responder_nonce=NONCE,
            session_id=self.initiator.session_id,
        )
        self.channel.agree(keys)
        self.say(challenge)
        return hello

    def accept(self) -> None:
        self.greet()
        (offer,) = self.sent()
        assert isinstance(offer, wire.Offer)
        assert offer.responder_nonce == NONCE
        assert offer.parse_description() == DESCRIPTION
        assert self.say(wire.Accept()) == [Accepted()]

    def reply(self, *, shift_ns: int = 0) -> list[SessionEvent]:
        (sync,) = self.sent()
        assert isinstance(sync, wire.Sync)
        at_ns = sync.t1_ns + shift_ns
        return self.say(wire.SyncReply(sync.t1_ns, at_ns, at_ns))

    def wake(self) -> None:
        timer_ns = self.initiator.next_timer()
        assert timer_ns is not None
        self.now_ns = timer_ns
        self.initiator.on_timer(now_ns=self.now_ns)

    def ready(self, *, shift_ns: int = 0) -> None:
        self.accept()
        while not self.reply(shift_ns=shift_ns):
            self.wake()


@pytest.fixture
def peer() -> ByHand:
    return ByHand()


@pytest.mark.parametrize("size", [0, 15])
def test_a_short_key_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="at least 16"):
        Initiator(bytes(size), {}, now_ns=0, token_bytes=bytes)


def test_a_long_description_is_refused_before_anything_is_sent() -> None:
    # {"a":"..."} is 8 bytes around the text.
    room = wire.MAX_DESCRIPTION_BYTES - 8
    Initiator(PSK, {"a": "x" * room}, now_ns=0, token_bytes=bytes)
    with pytest.raises(InputError, match="session description: 1151 bytes of JSON, at most 1150"):
        Initiator(PSK, {"a": "x" * (room + 1)}, now_ns=0, token_bytes=bytes)


def test_the_longest_offer_and_report_fit_a_message() -> None:
    pair = Pair(finishes=False)
    pair.run(until=lambda pair: pair.initiator.state is InitiatorState.RUNNING)
    pair.initiator.finish({"a": "x" * (wire.MAX_REPORT_BYTES - 8)}, now_ns=pair.now_ns)
    (bye,) = pair.initiator.to_send(now_ns=pair.now_ns)
    assert len(bye) == 1200


def test_no_exchanges_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="0 exchanges"):
        Initiator(PSK, {}, now_ns=0, token_bytes=bytes, sync_exchanges=0)


def test_sessions_have_ids_and_nonces_of_their_own() -> None:
    token_bytes = random.Random(1).randbytes
    hellos = {
        Initiator(PSK, {}, now_ns=0, token_bytes=token_bytes).to_send(now_ns=0)[0]
        for _ in range(50)
    }
    assert len({data[6:14] for data in hellos}) == 50
    assert len({data[18:34] for data in hellos}) == 50


def test_later_changes_of_the_description_are_not_offered() -> None:
    mutable = {"fps": 30}
    initiator = Initiator(PSK, mutable, now_ns=0, token_bytes=bytes)
    mutable["fps"] = 60
    assert initiator.description == {"fps": 30}


def test_an_unsent_question_is_sent_once(peer: ByHand) -> None:
    peer.wake()
    peer.wake()
    assert [message.type.name for message in peer.sent()] == ["HELLO"]


def test_times_are_those_of_sending(peer: ByHand) -> None:
    peer.now_ns = 77
    (hello,) = peer.sent()
    assert isinstance(hello, wire.Hello)
    assert hello.t1_ns == 77


def test_another_nonce_is_no_challenge_to_us(peer: ByHand) -> None:
    peer.greet(initiator_nonce=bytes(16))
    assert peer.initiator.ignored == {Why.ECHO: 1}
    assert peer.initiator.state is InitiatorState.GREETING
    peer.initiator.on_timer(now_ns=200 * MS)
    assert [message.type.name for message in peer.sent()] == ["HELLO"]


def test_no_common_version_is_a_refusal(peer: ByHand) -> None:
    (hello,) = peer.sent()
    assert isinstance(hello, wire.Hello)
    told = peer.say(wire.Challenge(hello.nonce, NONCE, 0, 0, 0, versions=(3, 2)))
    assert told == [Refused("no common version: this side speaks 1, the peer 3, 2")]
    assert peer.initiator.state is InitiatorState.REFUSED
    assert peer.sent() == []
    assert peer.initiator.next_timer() is None


def test_a_common_version_among_others_will_do(peer: ByHand) -> None:
    peer.greet(versions=(2, 1))
    assert peer.initiator.state is InitiatorState.OFFERING


def test_impossible_times_count_for_nothing(peer: ByHand) -> None:
    peer.greet(t2_ns=5, t3_ns=4)
    assert peer.initiator.clock is None
    peer.sent()
    peer.say(wire.Accept())
    peer.say(wire.SyncReply(peer.now_ns + 10**9, 0, 0))
    peer.say(wire.SyncReply(0, 2**63 - 1, 2**63 - 1))
    assert peer.initiator.ignored == {Why.CLOCK: 2}
    assert peer.initiator.clock is None
    assert peer.initiator.state is InitiatorState.SYNCING


def test_answers_to_questions_not_asked_are_ignored(peer: ByHand) -> None:
    peer.accept()
    peer.sent()
    for answer in (wire.Accept(), wire.Refuse("no"), wire.Started(0), wire.Summary(b"{}")):
        assert peer.say(answer) == []
    assert peer.initiator.ignored == {Why.STATE: 4}
    assert peer.initiator.state is InitiatorState.SYNCING


def test_an_epoch_travels_on_the_peers_clock(peer: ByHand) -> None:
    peer.ready(shift_ns=5 * S)
    assert peer.initiator.clock is not None
    # The challenge said no difference, 1 ms round trip, as each later exchange: the newest counts.
    offset_ns = peer.initiator.clock.offset_ns
    assert abs(offset_ns - 5 * S) <= peer.initiator.clock.bound_ns
    peer.initiator.start(peer.now_ns + S, now_ns=peer.now_ns)
    (start,) = peer.sent()
    assert start == wire.Start(peer.now_ns + S + offset_ns)
    epoch_ns = peer.now_ns + S
    assert peer.say(wire.Started(epoch_ns + offset_ns + 1)) == []
    assert peer.initiator.ignored == {Why.ECHO: 1}
    assert peer.say(wire.Started(epoch_ns + offset_ns)) == [Started(epoch_ns, DESCRIPTION)]


def test_the_clock_of_the_epoch_stays(peer: ByHand) -> None:
    peer.ready()
    peer.initiator.start(peer.now_ns, now_ns=peer.now_ns)
    used = peer.initiator.clock
    peer.say(wire.SyncReply(peer.now_ns, peer.now_ns, peer.now_ns))
    assert peer.initiator.ignored == {Why.STATE: 1}
    assert peer.initiator.clock is used


@pytest.mark.parametrize("lead_ns", [MAX_LEAD_NS + 1, -MAX_LEAD_NS - 1])
def test_an_epoch_out_of_reach_is_refused_and_changes_nothing(peer: ByHand, lead_ns: int) -> None:
    peer.ready()
    before = snapshot(peer.initiator)
    with pytest.raises(LocalProtocolError, match="epoch"):
        peer.initiator.start(peer.now_ns + lead_ns, now_ns=peer.now_ns)
    assert snapshot(peer.initiator) == before


def test_calls_at_the_wrong_time_raise_and_change_nothing(peer: ByHand) -> None:
    peer.accept()
    before = snapshot(peer.initiator)
    with pytest.raises(LocalProtocolError, match="'start' is not allowed while 'syncing'"):
        peer.initiator.start(peer.now_ns, now_ns=peer.now_ns)
    with pytest.raises(LocalProtocolError, match="'finish' is not allowed while 'syncing'"):
        peer.initiator.finish({}, now_ns=peer.now_ns)
    assert snapshot(peer.initiator) == before
    peer.initiator.abort("enough")
    after = snapshot(peer.initiator)
    with pytest.raises(LocalProtocolError, match="'abort' is not allowed while 'aborted'"):
        peer.initiator.abort("again")
    assert snapshot(peer.initiator) == after


def test_counters_that_do_not_fit_change_nothing(peer: ByHand) -> None:
    peer.ready()
    peer.initiator.start(peer.now_ns, now_ns=peer.now_ns)
    (start,) = peer.sent()
    assert isinstance(start, wire.Start)
    peer.say(wire.Started(start.epoch_ns))
    before = snapshot(peer.initiator)
    with pytest.raises(InputError, match="session counters"):
        peer.initiator.finish({"a": "x" * 1200}, now_ns=peer.now_ns)
    assert snapshot(peer.initiator) == before
    peer.initiator.finish({"a": 1}, now_ns=peer.now_ns)
    assert peer.sent() == [wire.Bye(b'{"a":1}')]


def test_an_abort_before_there_are_keys_is_silent(peer: ByHand) -> None:
    peer.sent()
    peer.initiator.abort("enough")
    assert peer.sent() == []
    assert peer.initiator.next_timer() is None


def test_an_abort_goes_out_three_times(peer: ByHand) -> None:
    peer.accept()
    peer.initiator.abort("")
    assert peer.sent() == [wire.Abort("no reason given")] * 3
    assert peer.sent() == []


def test_a_timeout_tells_the_peer(peer: ByHand) -> None:
    peer.accept()
    while peer.initiator.next_timer() is not None:
        peer.wake()
    assert peer.initiator.events() == [TimedOut("syncing")]
    assert peer.sent() == [wire.Abort("timed out while syncing")] * 3


@pytest.mark.parametrize("exchanges", [1, 3])
def test_exchanges_are_as_many_as_wanted_and_spaced(exchanges: int) -> None:
    peer = ByHand(sync_exchanges=exchanges, timeouts=Timeouts(sync_spacing_ns=7 * MS))
    peer.accept()
    for _ in range(exchanges - 1):
        assert peer.reply() == []
        assert peer.initiator.next_timer() == peer.now_ns + 7 * MS
        peer.wake()
    (event,) = peer.reply()
    assert isinstance(event, Synchronised)


def test_a_timer_that_comes_early_does_nothing(peer: ByHand) -> None:
    peer.sent()
    before = snapshot(peer.initiator)
    peer.initiator.on_timer(now_ns=199 * MS)
    assert snapshot(peer.initiator) == before


def test_the_peer_may_abort_at_any_time(peer: ByHand) -> None:
    peer.greet()
    assert peer.say(wire.Abort("shutting down")) == [Aborted("shutting down")]
    assert peer.sent() == []
    assert peer.initiator.next_timer() is None
