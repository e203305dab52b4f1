"""The responder against initiators' channels that the test speaks through by hand."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Any

import pytest

from testbed.errors import InputError, LocalProtocolError
from testbed.protocol.session import (
    Aborted,
    Ended,
    Offered,
    Responder,
    ResponderState,
    Started,
    TimedOut,
)
from testbed.protocol.session import messages as wire
from testbed.protocol.session.channel import Channel
from testbed.protocol.session.envelope import Envelope, IgnoredError, Role, Why
from testbed.protocol.session.keys import handshake_keys, session_keys
from testbed.protocol.session.timeouts import MAX_LEAD_NS
from tests.protocol.session.pair import ADDRESS, MS, PSK, STRANGER, S, snapshot

NONCE = bytes(range(16))


class Host:
    """A responder, its clock, and whatever it sent to whom."""

    def __init__(self, accept: Any = lambda description: None) -> None:
        self.now_ns = 1000 * S
        self.responder = Responder(
            PSK, now_ns=self.now_ns, token_bytes=random.Random(4).randbytes, accept=accept
        )

    def guest(self, number: int = 1, address: Hashable = ADDRESS) -> Guest:
        return Guest(self, bytes((number,)) * 8, address)


class Guest:
    """An initiator whose every message is written here."""

    def __init__(self, host: Host, session_id: bytes, address: Hashable) -> None:
        self.host = host
        self.address = address
        self.channel = Channel(Role.INITIATOR, session_id, handshake_keys(PSK))
        self.responder_nonce = b""

    def post(self, message: wire.Message) -> bytes:
        """Say it, and leave the answers where they are."""
        data = self.channel.seal(message)
        self.host.responder.receive(data, self.address, now_ns=self.host.now_ns)
        return data

    def say(self, message: wire.Message, *, held_ns: int = 0) -> list[wire.Message]:
        self.post(message)
        answers = []
        for address, data in self.host.responder.to_send(now_ns=self.host.now_ns + held_ns):
            assert address == self.address
            answers.append(self.channel.open(Envelope.parse(data, sender=Role.RESPONDER)))
        return answers

    def greet(self, nonce: bytes = NONCE) -> wire.Challenge:
        (challenge,) = self.say(wire.Hello(nonce, 5))
        assert isinstance(challenge, wire.Challenge)
        self.responder_nonce = challenge.nonce
        self.channel.agree(
            session_keys(
                PSK,
                initiator_nonce=nonce,
                responder_nonce=challenge.nonce,
                session_id=self.channel.session_id,
            )
        )
        return challenge

    def offer(self, description: bytes = b'{"a":1}') -> list[wire.Message]:
        return self.say(wire.Offer(self.responder_nonce, description))

    def enter(self) -> Guest:
        self.greet()
        assert self.offer() == [wire.Accept()]
        return self

    def start(self) -> Guest:
        self.enter()
        assert self.say(wire.Start(self.host.now_ns)) == [wire.Started(self.host.now_ns)]
        self.host.responder.events()
        return self


@pytest.fixture
def host() -> Host:
    return Host()


def test_a_short_key_is_refused() -> None:
    with pytest.raises(InputError, match="at least 16"):
        Responder(bytes(15), now_ns=0, token_bytes=bytes, accept=lambda description: None)


def test_a_challenge_echoes_and_has_the_times_of_arrival_and_sending(host: Host) -> None:
    guest = host.guest()
    (challenge,) = guest.say(wire.Hello(NONCE, 5), held_ns=30)
    assert isinstance(challenge, wire.Challenge)
    assert (challenge.initiator_nonce, challenge.t1_ns) == (NONCE, 5)
    assert (challenge.t2_ns, challenge.t3_ns) == (host.now_ns, host.now_ns + 30)
    assert challenge.versions == (1,)


def test_the_same_hello_gets_the_same_nonce_and_its_own_time(host: Host) -> None:
    guest = host.guest()
    first = guest.greet()
    (again,) = guest.say(wire.Hello(NONCE, 6))
    assert isinstance(again, wire.Challenge)
    assert (again.nonce, again.t1_ns) == (first.nonce, 6)


def test_another_nonce_in_the_same_greeting_is_ignored(host: Host) -> None:
    guest = host.guest()
    guest.greet()
    assert guest.say(wire.Hello(bytes(16), 5)) == []
    assert host.responder.ignored == {Why.ECHO: 1}


def test_every_greeting_gets_a_nonce_of_its_own(host: Host) -> None:
    nonces = {host.guest(number, ("host", number)).greet().nonce for number in range(1, 40)}
    assert len(nonces) == 39


def test_no_common_version_is_answered_and_forgotten(host: Host) -> None:
    guest = host.guest()
    (challenge,) = guest.say(wire.Hello(NONCE, 5, versions=(2, 3)))
    assert isinstance(challenge, wire.Challenge)
    assert challenge.versions == (1,)
    assert not host.responder._pending


def test_an_offer_needs_the_nonce_of_its_challenge(host: Host) -> None:
    guest = host.guest()
    guest.greet()
    assert guest.say(wire.Offer(bytes(16), b"{}")) == []
    assert host.responder.ignored == {Why.ECHO: 1}
    assert host.responder.peer is None


def test_an_offer_is_taken_once_and_answered_as_often_as_asked(host: Host) -> None:
    guest = host.guest().enter()
    assert guest.offer() == [wire.Accept()]
    assert host.responder.events() == [Offered({"a": 1}, ADDRESS)]
    assert host.responder.peer == ADDRESS
    assert host.responder.session_id == bytes((1,)) * 8


def test_a_refused_offer_stays_refused() -> None:
    verdicts = iter(["first\nreason", None])
    host = Host(lambda description: next(verdicts))
    guest = host.guest()
    guest.greet()
    assert guest.offer() == guest.offer() == [wire.Refuse("first reason")]
    assert host.responder.events() == []
    assert host.guest(2).enter().host.responder.peer == ADDRESS


def test_an_input_error_of_the_judge_is_a_refusal() -> None:
    def accept(description: dict[str, Any]) -> None:
        raise InputError(f"unknown transport {description['a']}")

    guest = Host(accept).guest()
    guest.greet()
    assert guest.offer() == [wire.Refuse("unknown transport 1")]


def test_while_one_session_lives_others_are_told(host: Host) -> None:
    guest = host.guest(1).enter()
    other = host.guest(2, STRANGER)
    other.greet()
    assert other.offer() == [wire.Refuse("busy")]
    assert host.responder.peer == ADDRESS
    # The refusal stands, though there is room now; a new session would be taken.
    guest.say(wire.Abort("enough"))
    assert other.offer() == [wire.Refuse("busy")]
    assert host.guest(3, STRANGER).enter().host.responder.peer == STRANGER


def test_of_more_than_sixteen_open_challenges_the_oldest_makes_room(host: Host) -> None:
    guests = [host.guest(number, ("host", number)) for number in range(1, 18)]
    for guest in guests:
        guest.greet()
    assert guests[0].offer() == []
    assert host.responder.ignored == {Why.SESSION: 1}
    assert guests[1].offer() == [wire.Accept()]


def test_an_offer_that_was_held_back_is_not_taken(host: Host) -> None:
    guest = host.guest()
    guest.greet()
    host.now_ns += 20 * S + 1
    assert guest.offer() == []
    assert host.responder.ignored == {Why.SESSION: 1}
    assert not host.responder._pending


def test_who_aborts_before_the_offer_is_forgotten(host: Host) -> None:
    guest = host.guest()
    guest.greet()
    assert guest.say(wire.Abort("enough")) == []
    assert not host.responder._pending
    assert host.responder.events() == []


def test_only_an_offer_follows_a_challenge(host: Host) -> None:
    guest = host.guest()
    guest.greet()
    for message in (wire.Sync(1), wire.Start(1), wire.Bye(b"{}")):
        assert guest.say(message) == []
    assert host.responder.ignored == {Why.STATE: 3}


def test_times_are_those_of_arrival_and_sending(host: Host) -> None:
    guest = host.guest().enter()
    assert guest.say(wire.Sync(7), held_ns=40) == [wire.SyncReply(7, host.now_ns, host.now_ns + 40)]


def test_the_first_epoch_stands(host: Host) -> None:
    guest = host.guest().enter()
    host.responder.events()
    epoch_ns = host.now_ns + S
    assert guest.say(wire.Start(epoch_ns)) == [wire.Started(epoch_ns)]
    assert guest.say(wire.Start(epoch_ns)) == [wire.Started(epoch_ns)]
    assert guest.say(wire.Start(epoch_ns + 1)) == []
    assert host.responder.events() == [Started(epoch_ns, {"a": 1}, ADDRESS)]
    assert host.responder.ignored == {Why.ECHO: 1}


@pytest.mark.parametrize("lead_ns", [MAX_LEAD_NS + 10 * S + 1, -(MAX_LEAD_NS + 10 * S + 1)])
def test_an_epoch_out_of_reach_starts_nothing(host: Host, lead_ns: int) -> None:
    guest = host.guest().enter()
    assert guest.say(wire.Start(host.now_ns + lead_ns)) == []
    assert host.responder.ignored == {Why.CLOCK: 1}
    assert host.responder.state is ResponderState.ACCEPTED


def test_the_end_waits_for_the_owner_and_is_repeated(host: Host) -> None:
    guest = host.guest().start()
    assert guest.say(wire.Bye(b'{"n":1}')) == []
    assert guest.say(wire.Bye(b'{"n":1}')) == []
    assert host.responder.events() == [Ended({"n": 1})]
    assert host.responder.next_timer() is None
    assert host.responder.peer == ADDRESS
    host.responder.finish({"m": 2})
    assert guest.say(wire.Bye(b'{"n":1}')) == [wire.Summary(b'{"m":2}')] * 2
    assert host.responder.peer is None
    assert host.responder.events() == []


def test_calls_at_the_wrong_time_raise_and_change_nothing(host: Host) -> None:
    before = snapshot(host.responder)
    with pytest.raises(LocalProtocolError, match="'finish' is not allowed while 'listening'"):
        host.responder.finish({})
    with pytest.raises(LocalProtocolError, match="'abort' is not allowed while 'listening'"):
        host.responder.abort("enough")
    assert snapshot(host.responder) == before


def test_a_summary_that_does_not_fit_changes_nothing(host: Host) -> None:
    guest = host.guest().start()
    guest.post(wire.Bye(b"{}"))
    before = snapshot(host.responder)
    with pytest.raises(InputError, match="session summary: 1208 bytes of JSON, at most 1166"):
        host.responder.finish({"a": "x" * 1200})
    assert snapshot(host.responder) == before


def test_a_session_that_was_broken_off_answers_with_the_reason(host: Host) -> None:
    guest = host.guest().start()
    host.responder.abort("screen gone")
    assert guest.say(wire.Bye(b"{}")) == [wire.Abort("screen gone")] * 6
    assert guest.say(wire.Abort("me too")) == []
    assert host.responder.events() == []


def test_nothing_is_answered_after_the_peers_abort(host: Host) -> None:
    guest = host.guest().start()
    assert guest.say(wire.Abort("enough")) == []
    assert host.responder.events() == [Aborted("enough")]
    assert guest.say(wire.Bye(b"{}")) == []
    assert host.responder.ignored == {Why.STATE: 1}


def test_silence_ends_an_accepted_and_a_started_session(host: Host) -> None:
    guest = host.guest().enter()
    host.now_ns += 9 * S
    guest.say(wire.Sync(1))
    assert host.responder.next_timer() == host.now_ns + 10 * S
    host.responder.on_timer(now_ns=host.now_ns + 10 * S - 1)
    assert host.responder.peer == ADDRESS
    host.responder.on_timer(now_ns=host.now_ns + 10 * S)
    assert host.responder.events()[-1] == TimedOut("accepted")
    assert len(host.responder.to_send(now_ns=host.now_ns)) == 3
    again = host.guest(2).start()
    host.responder.note_traffic(now_ns=host.now_ns + 5 * S)
    host.responder.note_traffic(now_ns=host.now_ns + MS)
    assert host.responder.next_timer() == host.now_ns + 15 * S
    host.responder.on_timer(now_ns=host.now_ns + 15 * S)
    assert host.responder.events() == [TimedOut("started")]
    assert again.say(wire.Bye(b"{}")) == [wire.Abort("timed out while started")] * 6


def test_answers_nobody_collects_are_bounded(host: Host) -> None:
    guest = host.guest().enter()
    for number in range(200):
        guest.post(wire.Sync(number))
    answers = host.responder.to_send(now_ns=host.now_ns)
    assert len(answers) == 64


def test_a_greeting_from_before_its_offer_is_late(host: Host) -> None:
    guest = host.guest().enter()
    assert guest.say(wire.Hello(NONCE, 5)) == []
    assert host.responder.ignored == {Why.STATE: 1}


def test_a_greeting_repeated_from_elsewhere_leads_nowhere(host: Host) -> None:
    guest = host.guest()
    hello = guest.post(wire.Hello(NONCE, 5))
    host.responder.receive(hello, STRANGER, now_ns=host.now_ns)
    (mine, theirs) = host.responder.to_send(now_ns=host.now_ns)
    assert (mine[0], theirs[0]) == (ADDRESS, STRANGER)
    challenge = guest.channel.open(Envelope.parse(mine[1], sender=Role.RESPONDER))
    with pytest.raises(IgnoredError):
        guest.channel.open(Envelope.parse(theirs[1], sender=Role.RESPONDER))
    assert isinstance(challenge, wire.Challenge)
    guest.responder_nonce = challenge.nonce
    guest.channel.agree(
        session_keys(
            PSK,
            initiator_nonce=NONCE,
            responder_nonce=challenge.nonce,
            session_id=guest.channel.session_id,
        )
    )
    # The offer, copied and sent from elsewhere first, is under another challenge's keys there.
    offer = guest.channel.seal(wire.Offer(challenge.nonce, b"{}"))
    host.responder.receive(offer, STRANGER, now_ns=host.now_ns)
    assert host.responder.peer is None
    host.responder.receive(offer, ADDRESS, now_ns=host.now_ns)
    assert host.responder.peer == ADDRESS
