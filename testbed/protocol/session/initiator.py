"""The side that sends media and asks for the session."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from testbed.errors import LocalProtocolError
from testbed.protocol.session import messages as wire
from testbed.protocol.session.channel import Channel, fresh_bytes
from testbed.protocol.session.clock import ClockEstimate, ClockFilter
from testbed.protocol.session.envelope import (
    SESSION_ID_BYTES,
    VERSION,
    Envelope,
    IgnoredError,
    Role,
    Type,
    Why,
)
from testbed.protocol.session.events import (
    Aborted,
    Accepted,
    Ended,
    Refused,
    SessionEvent,
    Started,
    Synchronised,
    TimedOut,
)
from testbed.protocol.session.keys import handshake_keys, session_keys
from testbed.protocol.session.states import INITIATOR_TRANSITIONS, InitiatorState, InitiatorStep
from testbed.protocol.session.text import one_line, pack_object, parse_object
from testbed.protocol.session.timeouts import (
    ABORT_COPIES,
    DEFAULT_TIMEOUTS,
    MAX_LEAD_NS,
    Retry,
    Timeouts,
)
from testbed.protocol.transitions import moved

#: Exchanges of times before a session may start: as many as the filter keeps, after NTP.
SYNC_EXCHANGES: Final = 8

_S, _E = InitiatorState, InitiatorStep
#: The question of each phase, which is sent until it is answered.
QUESTIONS: Final[dict[InitiatorState, Type]] = {
    _S.GREETING: Type.HELLO,
    _S.OFFERING: Type.OFFER,
    _S.SYNCING: Type.SYNC,
    _S.READY: Type.SYNC,
    _S.STARTING: Type.START,
    _S.CLOSING: Type.BYE,
}


class Initiator:
    """A session from the media sender's side; driven by datagrams, timers and its owner.

    After every call, `to_send` gives what goes out and `next_timer` when to call `on_timer`.

    Args:
        psk: the pre-shared key, at least 16 bytes.
        description: of the session, a JSON object; opaque here.
        now_ns: now, on this side's monotonic clock.
        token_bytes: so many unpredictable bytes; `os.urandom` in earnest.
        timeouts: all durations.
        sync_exchanges: of times before the session may start, >= 1.

    Attributes:
        state: where it is.
        ignored: datagrams that changed nothing, and why.
        description: as the peer gets it.

    Raises:
        InputError: the key is too short, or the description is too long or not JSON.
    """

    def __init__(
        self,
        psk: bytes,
        description: Mapping[str, Any],
        *,
        now_ns: int,
        token_bytes: Callable[[int], bytes],
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        sync_exchanges: int = SYNC_EXCHANGES,
    ) -> None:
        if sync_exchanges < 1:
            raise LocalProtocolError(f"session: {sync_exchanges} exchanges of times")
        keys = handshake_keys(psk)
        limit_bytes = wire.MAX_DESCRIPTION_BYTES
        self._offer = pack_object(description, limit_bytes=limit_bytes, of="session description")
        self.description = parse_object(self._offer)
        self.state = InitiatorState.GREETING
        self.ignored: Counter[Why] = Counter()
        self._psk = psk
        self._nonce = fresh_bytes(token_bytes, wire.NONCE_BYTES)
        self._peer_nonce = b""
        session_id = fresh_bytes(token_bytes, SESSION_ID_BYTES)
        self._channel = Channel(Role.INITIATOR, session_id, keys)
        self._timeouts = timeouts
        self._retry = Retry(timeouts)
        self._exchanges_left = sync_exchanges
        self._answered_sync = False
        self._clocks = ClockFilter()
        self._agreed_clock: ClockEstimate | None = None
        self._epoch_ns = 0
        self._report = b""
        self._reason = ""
        self._heard_ns = now_ns
        # Each type at most once: an unsent question need not be sent twice.
        self._outbox: list[Type] = []
        self._events: list[SessionEvent] = []
        self._ask(now_ns=now_ns)

    @property
    def session_id(self) -> bytes:
        """The session's 8 bytes, for logs."""
        return self._channel.session_id

    @property
    def clock(self) -> ClockEstimate | None:
        """How the clocks compare: the best exchange so far, and from `start` on the one used."""
        return self._agreed_clock or self._clocks.best

    # Its owner's calls

    def start(self, epoch_ns: int, *, now_ns: int) -> None:
        """Agree on the session's time 0. Allowed once `Synchronised` was reported.

        Args:
            epoch_ns: on this side's clock, at most `MAX_LEAD_NS` from now. Leave it far enough
                ahead for START and its answer to be lost once or twice.
            now_ns: now.

        Raises:
            LocalProtocolError: not now, or the epoch is out of reach.
        """
        after = self._after(_E.START)
        best = self._clocks.best
        if best is None or abs(epoch_ns - now_ns) > MAX_LEAD_NS:
            raise LocalProtocolError(
                f"session: an epoch {epoch_ns - now_ns} ns from now, at most {MAX_LEAD_NS} allowed"
            )
        self.state = after
        self._agreed_clock = best
        self._epoch_ns = epoch_ns
        self._ask(now_ns=now_ns)

    def finish(self, counters: Mapping[str, Any], *, now_ns: int) -> None:
        """All is sent: say so, with some counters, and wait for the peer's summary.

        Raises:
            InputError: the counters are too long or not JSON.
            LocalProtocolError: the session does not run.
        """
        after = self._after(_E.FINISH)
        limit_bytes = wire.MAX_REPORT_BYTES
        self._report = pack_object(counters, limit_bytes=limit_bytes, of="session counters")
        self.state = after
        self._ask(now_ns=now_ns)

    def abort(self, reason: str) -> None:
        """Break the session off. The peer is told, once there are keys to tell it with.

        Raises:
            LocalProtocolError: the session is over already.
        """
        self._break_off(_E.ABORT, one_line(reason))

    def note_traffic(self, *, now_ns: int) -> None:
        """Something else of the peer's arrived, such as RTCP: it is alive."""
        self._heard_ns = max(self._heard_ns, now_ns)

    # The endpoint contract

    def receive(self, data: bytes, *, now_ns: int) -> None:
        """A datagram arrived; any bytes are allowed, and none raise."""
        try:
            self._receive(data, now_ns)
        except IgnoredError as error:
            self.ignored[error.why] += 1

    def to_send(self, *, now_ns: int) -> list[bytes]:
        """The datagrams that go out now."""
        sealed: list[bytes] = []
        for kind in self._outbox:
            message = self._message(kind, now_ns)
            copies = ABORT_COPIES if kind is Type.ABORT else 1
            sealed += [self._channel.seal(message) for _ in range(copies)]
        self._outbox.clear()
        return sealed

    def next_timer(self) -> int | None:
        """When to call `on_timer`, in ns; None for never."""
        due_ns, deadline_ns = self._retry.due_ns, self._deadline_ns()
        return min((at for at in (due_ns, deadline_ns) if at is not None), default=None)

    def on_timer(self, *, now_ns: int) -> None:
        """The time of `next_timer` has come (or passed)."""
        deadline_ns = self._deadline_ns()
        if deadline_ns is not None and now_ns >= deadline_ns:
            self._time_out(now_ns)
        elif self._retry.due_ns is not None and now_ns >= self._retry.due_ns:
            self._queue(QUESTIONS[self.state])
            self._retry.again(now_ns=now_ns)

    def events(self) -> list[SessionEvent]:
        """What happened since the last call."""
        events = self._events
        self._events = []
        return events

    # Inside

    def _after(self, step: InitiatorStep) -> InitiatorState:
        return moved(INITIATOR_TRANSITIONS, self.state, step, of="session initiator")

    def _step(self, step: InitiatorStep) -> None:
        """Move because of a message; one that cannot come now is ignored."""
        after = INITIATOR_TRANSITIONS.get((self.state, step))
        if after is None:
            raise IgnoredError(Why.STATE)
        self.state = after

    def _ask(self, *, now_ns: int) -> None:
        """A phase begins with its question."""
        self._outbox.clear()
        self._queue(QUESTIONS[self.state])
        self._retry.begin(now_ns=now_ns)

    def _queue(self, kind: Type) -> None:
        if kind not in self._outbox:
            self._outbox.append(kind)

    def _rest(self, event: SessionEvent | None = None) -> None:
        """There is no question any more, for now or for good."""
        self._outbox.clear()
        self._retry.stop()
        if event is not None:
            self._events.append(event)

    def _break_off(self, step: InitiatorStep, reason: str) -> None:
        self.state = self._after(step)
        self._rest()
        self._reason = reason
        if self._channel.agreed:
            self._queue(Type.ABORT)

    def _deadline_ns(self) -> int | None:
        """When silence becomes the end."""
        if self.state is _S.READY:
            return self._heard_ns + self._timeouts.idle_ns
        if self.state is _S.RUNNING:
            # Nobody need say anything before the session's time 0.
            return max(self._heard_ns, self._epoch_ns) + self._timeouts.idle_ns
        return self._retry.deadline_ns

    def _time_out(self, now_ns: int) -> None:
        phase = self.state.value
        if self.state is _S.SYNCING and self._answered_sync:
            # Fewer exchanges than wanted, on a bad path; the bound tells how good they are.
            self._synced(now_ns)
            return
        self._break_off(_E.TIME_OUT, f"timed out while {phase}")
        self._events.append(TimedOut(phase))

    def _message(self, kind: Type, now_ns: int) -> wire.Message:
        """A question of ours, with the time at which it leaves."""
        match kind:
            case Type.HELLO:
                return wire.Hello(self._nonce, now_ns)
            case Type.OFFER:
                return wire.Offer(self._peer_nonce, self._offer)
            case Type.SYNC:
                return wire.Sync(now_ns)
            case Type.START:
                return wire.Start(self._peer_epoch_ns)
            case Type.BYE:
                return wire.Bye(self._report)
            case _:
                return wire.Abort(self._reason)

    @property
    def _peer_epoch_ns(self) -> int:
        assert self._agreed_clock is not None, "START needs a clock"
        return self._epoch_ns + self._agreed_clock.offset_ns

    def _receive(self, data: bytes, now_ns: int) -> None:
        envelope = Envelope.parse(data, sender=Role.RESPONDER)
        if envelope.session_id != self._channel.session_id:
            raise IgnoredError(Why.SESSION)
        message = self._channel.open(envelope)
        self.note_traffic(now_ns=now_ns)
        match message:
            case wire.Challenge():
                self._on_challenge(message, now_ns)
            case wire.Accept():
                self._step(_E.ACCEPT)
                self._events.append(Accepted())
                self._ask(now_ns=now_ns)
            case wire.Refuse():
                self._step(_E.REFUSE)
                self._rest(Refused(message.reason))
            case wire.SyncReply():
                self._on_sync_reply(message, now_ns)
            case wire.Started():
                self._on_started(message)
            case wire.Summary():
                self._step(_E.SUMMARY)
                self._rest(Ended(message.parse_report()))
            case wire.Abort():
                self._step(_E.ABORT)
                self._rest(Aborted(message.reason))

    def _on_challenge(self, message: wire.Challenge, now_ns: int) -> None:
        if not hmac.compare_digest(message.initiator_nonce, self._nonce):
            raise IgnoredError(Why.ECHO)
        if VERSION not in message.versions:
            self._step(_E.NO_VERSION)
            theirs = ", ".join(map(str, message.versions))
            self._rest(Refused(f"no common version: this side speaks {VERSION}, the peer {theirs}"))
            return
        self._step(_E.CHALLENGE)
        # Also an exchange of times. If they are impossible, the exchanges to come have to do.
        self._clocks.add(message.t1_ns, message.t2_ns, message.t3_ns, now_ns)
        self._peer_nonce = message.nonce
        self._channel.agree(
            session_keys(
                self._psk,
                initiator_nonce=self._nonce,
                responder_nonce=message.nonce,
                session_id=self._channel.session_id,
            )
        )
        self._ask(now_ns=now_ns)

    def _on_sync_reply(self, message: wire.SyncReply, now_ns: int) -> None:
        self._step(_E.SYNC_REPLY)
        if not self._clocks.add(message.t1_ns, message.t2_ns, message.t3_ns, now_ns):
            raise IgnoredError(Why.CLOCK)
        if self.state is not _S.SYNCING:
            return
        self._exchanges_left -= 1
        self._answered_sync = True
        if self._exchanges_left > 0:
            self._retry.pause(now_ns=now_ns)
        else:
            self._synced(now_ns)

    def _synced(self, now_ns: int) -> None:
        best = self._clocks.best
        assert best is not None, "there was an exchange"
        self.state = self._after(_E.SYNCED)
        self._rest(Synchronised(best.offset_ns, best.bound_ns, best.rtt_ns))
        self._retry.keep_alive(now_ns=now_ns)

    def _on_started(self, message: wire.Started) -> None:
        if self.state is _S.STARTING and message.epoch_ns != self._peer_epoch_ns:
            raise IgnoredError(Why.ECHO)
        self._step(_E.STARTED)
        self._rest(Started(self._epoch_ns, self.description))
