"""The side that receives media and answers."""

from __future__ import annotations

import hmac
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from testbed.errors import InputError
from testbed.protocol.session import messages as wire
from testbed.protocol.session.channel import Channel, fresh_bytes
from testbed.protocol.session.envelope import VERSION, Envelope, IgnoredError, Role, Type, Why
from testbed.protocol.session.events import (
    Aborted,
    Ended,
    Offered,
    SessionEvent,
    Started,
    TimedOut,
)
from testbed.protocol.session.keys import handshake_keys, session_keys
from testbed.protocol.session.states import (
    BUSY,
    RESPONDER_TRANSITIONS,
    ResponderState,
    ResponderStep,
)
from testbed.protocol.session.text import JsonObject, one_line, pack_object
from testbed.protocol.session.timeouts import ABORT_COPIES, DEFAULT_TIMEOUTS, MAX_LEAD_NS, Timeouts
from testbed.protocol.transitions import moved

#: Challenges that may be open at once; the oldest makes room. One initiator needs one.
MAX_PENDING: Final = 16
#: Answers kept until `to_send`; the oldest are dropped, as if the network had lost them.
MAX_ANSWERS: Final = 64
#: What a second initiator is told.
BUSY_REASON: Final = "busy"

_S, _E = ResponderState, ResponderStep


@dataclass(slots=True, eq=False)
class _Link:
    """What is known of one initiator's session.

    Attributes:
        source: its address.
        channel: keys and counters.
        initiator_nonce: from its HELLO.
        nonce: ours.
        since_ns: when the challenge was made.
        answer: to its OFFER, once given; a repeated OFFER gets the same.
        description: what it offered.
        epoch_ns: the session's time 0 on our clock, once started.
        summary: what BYE is answered with, once our owner has finished.
        reason: why we broke it off, or "".
    """

    source: Hashable
    channel: Channel
    initiator_nonce: bytes
    nonce: bytes
    since_ns: int
    answer: wire.Accept | wire.Refuse | None = None
    description: JsonObject | None = None
    epoch_ns: int = 0
    summary: bytes | None = None
    reason: str = ""


class Responder:
    """Sessions from the media receiver's side, one after the other.

    Driven by datagrams, timers and its owner. After every call, `to_send` gives what goes out and
    `next_timer` when to call `on_timer`.

    Args:
        psk: the pre-shared key, at least 16 bytes.
        now_ns: now, on this side's monotonic clock.
        token_bytes: so many unpredictable bytes; `os.urandom` in earnest.
        accept: looks at an offer's description; None takes it, a text refuses it and says why. An
            `InputError` refuses as well. Called once a session.
        timeouts: all durations.

    Attributes:
        state: where the one session is.
        ignored: datagrams that changed nothing, and why.

    Raises:
        InputError: the key is too short.
    """

    def __init__(
        self,
        psk: bytes,
        *,
        now_ns: int,
        token_bytes: Callable[[int], bytes],
        accept: Callable[[JsonObject], str | None],
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._handshake = handshake_keys(psk)
        self._psk = psk
        self._token_bytes = token_bytes
        self._accept = accept
        self._timeouts = timeouts
        self.state = ResponderState.LISTENING
        self.ignored: Counter[Why] = Counter()
        self._session: _Link | None = None  # the latest accepted, kept after its end for late BYEs
        self._pending: dict[tuple[Hashable, bytes], _Link] = {}  # oldest first
        self._heard_ns = now_ns
        self._outbox: deque[tuple[_Link, wire.Message]] = deque(maxlen=MAX_ANSWERS)
        self._events: list[SessionEvent] = []

    @property
    def peer(self) -> Hashable | None:
        """Address of the accepted initiator, while its session lives. Media is its alone."""
        return self._session.source if self._session and self.state in BUSY else None

    @property
    def session_id(self) -> bytes | None:
        """Id of the latest accepted session, for logs."""
        return self._session.channel.session_id if self._session else None

    # Its owner's calls

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Answer the peer's BYE. Allowed once `Ended` was reported.

        Raises:
            InputError: the summary is too long or not JSON.
            LocalProtocolError: the peer has not said BYE.
        """
        after = self._after(_E.FINISH)
        limit_bytes = wire.MAX_REPORT_BYTES
        body = pack_object(summary, limit_bytes=limit_bytes, of="session summary")
        self.state = after
        link = self._live()
        link.summary = body
        self._answer(link, wire.Summary(body))

    def abort(self, reason: str) -> None:
        """Break the session off and tell the peer.

        Raises:
            LocalProtocolError: there is no session.
        """
        self._break_off(_E.ABORT, one_line(reason))

    def note_traffic(self, *, now_ns: int) -> None:
        """Media of the peer's arrived: it is alive."""
        self._heard_ns = max(self._heard_ns, now_ns)

    # The endpoint contract, with addresses

    def receive(self, data: bytes, source: Hashable, *, now_ns: int) -> None:
        """A datagram arrived; any bytes are allowed, and none raise.

        Args:
            data: its bytes.
            source: where it came from, anything hashable.
            now_ns: arrival.
        """
        try:
            self._receive(data, source, now_ns)
        except IgnoredError as error:
            self.ignored[error.why] += 1

    def to_send(self, *, now_ns: int) -> list[tuple[Hashable, bytes]]:
        """The datagrams that go out now, with their destinations."""
        sealed: list[tuple[Hashable, bytes]] = []
        for link, answer in self._outbox:
            message = answer
            if isinstance(answer, wire.Challenge | wire.SyncReply):
                message = replace(answer, t3_ns=max(answer.t2_ns, now_ns))
            copies = ABORT_COPIES if message.type is Type.ABORT else 1
            sealed += [(link.source, link.channel.seal(message)) for _ in range(copies)]
        self._outbox.clear()
        return sealed

    def next_timer(self) -> int | None:
        """When to call `on_timer`, in ns; None for never."""
        if self.state is _S.ACCEPTED:
            return self._heard_ns + self._timeouts.phase_ns
        if self.state is _S.STARTED:
            # Nobody need send anything before the session's time 0.
            return max(self._heard_ns, self._live().epoch_ns) + self._timeouts.idle_ns
        # While closing, only the owner is waited for.
        return None

    def on_timer(self, *, now_ns: int) -> None:
        """The time of `next_timer` has come (or passed)."""
        deadline_ns = self.next_timer()
        if deadline_ns is not None and now_ns >= deadline_ns:
            phase = self.state.value
            self._break_off(_E.TIME_OUT, f"timed out while {phase}")
            self._events.append(TimedOut(phase))

    def events(self) -> list[SessionEvent]:
        """What happened since the last call."""
        events = self._events
        self._events = []
        return events

    # Inside

    def _live(self) -> _Link:
        assert self._session is not None, "a state beyond listening has a session"
        return self._session

    def _after(self, step: ResponderStep) -> ResponderState:
        return moved(RESPONDER_TRANSITIONS, self.state, step, of="session responder")

    def _step(self, step: ResponderStep) -> None:
        """Move because of a message; one that cannot come now is ignored."""
        after = RESPONDER_TRANSITIONS.get((self.state, step))
        if after is None:
            raise IgnoredError(Why.STATE)
        self.state = after

    def _answer(self, link: _Link, message: wire.Message) -> None:
        self._outbox.append((link, message))

    def _break_off(self, step: ResponderStep, reason: str) -> None:
        self.state = self._after(step)
        link = self._live()
        link.reason = reason
        self._answer(link, wire.Abort(reason))

    def _receive(self, data: bytes, source: Hashable, now_ns: int) -> None:
        envelope = Envelope.parse(data, sender=Role.INITIATOR)
        session = self._session
        ours = session is not None and envelope.session_id == session.channel.session_id
        if ours and session is not None and source == session.source:
            message = session.channel.open(envelope)
            self.note_traffic(now_ns=now_ns)
            self._on_session(session, message, now_ns)
            return
        link = self._pending_link((source, envelope.session_id), now_ns)
        if link is not None:
            self._on_pending(link, link.channel.open(envelope), now_ns)
        elif envelope.type is Type.HELLO:
            self._on_first_hello(envelope, source, now_ns)
        else:
            raise IgnoredError(Why.STRANGER if ours else Why.SESSION)

    # Before a session

    def _pending_link(self, key: tuple[Hashable, bytes], now_ns: int) -> _Link | None:
        link = self._pending.get(key)
        # An offer that somebody held back must not start what its maker has long given up.
        if link is not None and now_ns - link.since_ns > 2 * self._timeouts.phase_ns:
            del self._pending[key]
            return None
        return link

    def _on_first_hello(self, envelope: Envelope, source: Hashable, now_ns: int) -> None:
        channel = Channel(Role.RESPONDER, envelope.session_id, self._handshake)
        hello = channel.open(envelope)
        assert isinstance(hello, wire.Hello), "the envelope said so"
        nonce = fresh_bytes(self._token_bytes, wire.NONCE_BYTES)
        link = _Link(source, channel, hello.nonce, nonce, now_ns)
        if VERSION in hello.versions:
            keys = session_keys(
                self._psk,
                initiator_nonce=hello.nonce,
                responder_nonce=nonce,
                session_id=envelope.session_id,
            )
            channel.agree(keys)
            if len(self._pending) >= MAX_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[source, envelope.session_id] = link
        # Without a common version nothing is kept; the answer says what this side speaks.
        self._challenge(link, hello, now_ns)

    def _challenge(self, link: _Link, hello: wire.Hello, now_ns: int) -> None:
        echo = (link.initiator_nonce, link.nonce, hello.t1_ns)
        self._answer(link, wire.Challenge(*echo, t2_ns=now_ns, t3_ns=now_ns))

    def _on_pending(self, link: _Link, message: wire.Message, now_ns: int) -> None:
        match message:
            case wire.Hello():
                if message.nonce != link.initiator_nonce:
                    raise IgnoredError(Why.ECHO)
                self._challenge(link, message, now_ns)
            case wire.Offer():
                self._on_offer(link, message, now_ns)
            case wire.Abort():
                del self._pending[link.source, link.channel.session_id]
            case _:
                raise IgnoredError(Why.STATE)

    def _on_offer(self, link: _Link, offer: wire.Offer, now_ns: int) -> None:
        if not hmac.compare_digest(offer.responder_nonce, link.nonce):
            raise IgnoredError(Why.ECHO)
        if link.answer is None:
            description = offer.parse_description()
            reason = self._verdict(description)
            if reason is None:
                self._take(link, description, now_ns)
                return
            link.answer = wire.Refuse(one_line(reason))
        self._answer(link, link.answer)

    def _verdict(self, description: JsonObject) -> str | None:
        if self.state in BUSY:
            return BUSY_REASON
        try:
            return self._accept(description)
        except InputError as error:
            return str(error)

    def _take(self, link: _Link, description: JsonObject, now_ns: int) -> None:
        self.state = self._after(_E.TAKE)
        del self._pending[link.source, link.channel.session_id]
        link.answer = wire.Accept()
        link.description = description
        self._session = link
        self._heard_ns = now_ns
        self._events.append(Offered(description, link.source))
        self._answer(link, link.answer)

    # Within a session

    def _on_session(self, link: _Link, message: wire.Message, now_ns: int) -> None:
        if link.reason and not isinstance(message, wire.Abort):
            # It has not heard yet that this is over.
            self._answer(link, wire.Abort(link.reason))
            raise IgnoredError(Why.STATE)
        match message:
            case wire.Offer():
                self._step(_E.OFFER)
                self._answer(link, wire.Accept())
            case wire.Sync():
                self._step(_E.SYNC)
                self._answer(link, wire.SyncReply(message.t1_ns, now_ns, now_ns))
            case wire.Start():
                self._on_start(link, message, now_ns)
            case wire.Bye():
                self._on_bye(link, message)
            case wire.Abort():
                self._step(_E.ABORT)
                self._events.append(Aborted(message.reason))
            case _:  # a HELLO from before its offer was taken
                raise IgnoredError(Why.STATE)

    def _on_start(self, link: _Link, start: wire.Start, now_ns: int) -> None:
        first = self.state is _S.ACCEPTED
        if first and abs(start.epoch_ns - now_ns) > MAX_LEAD_NS + self._timeouts.phase_ns:
            raise IgnoredError(Why.CLOCK)
        if self.state is _S.STARTED and start.epoch_ns != link.epoch_ns:
            raise IgnoredError(Why.ECHO)
        self._step(_E.START)
        if first:
            link.epoch_ns = start.epoch_ns
            assert link.description is not None, "an accepted session was described"
            self._events.append(Started(start.epoch_ns, link.description, link.source))
        self._answer(link, wire.Started(link.epoch_ns))

    def _on_bye(self, link: _Link, bye: wire.Bye) -> None:
        first = self.state is _S.STARTED
        self._step(_E.BYE)
        if first:
            self._events.append(Ended(bye.parse_report()))
        if link.summary is not None:
            self._answer(link, wire.Summary(link.summary))
