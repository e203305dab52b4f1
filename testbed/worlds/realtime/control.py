"""The session's control messages on a real socket: the loop around the handshake."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

from testbed.errors import TestbedError
from testbed.protocol.session import (
    Aborted,
    Initiator,
    JsonObject,
    Refused,
    Responder,
    SessionEvent,
    TimedOut,
    Timeouts,
    is_control,
)
from testbed.protocol.session.timeouts import DEFAULT_TIMEOUTS
from testbed.worlds.realtime.clock import SessionClock, monotonic_ns
from testbed.worlds.realtime.driver import RealAlarm
from testbed.worlds.realtime.udp import Address, UdpPort

E = TypeVar("E", bound=SessionEvent)

#: The handshake's clock: CLOCK_MONOTONIC itself.
_CLOCK: Final = SessionClock(0)
#: Longer than a sender waits before it asks again for the first and the second time.
_LINGER_S: Final = 0.7


class SessionEndedError(TestbedError):
    """The peer refused, broke off or fell silent; the message says which."""


class Machine(Protocol):
    """What both sides of the handshake have."""

    def next_timer(self) -> int | None:
        """When to call `on_timer`."""

    def on_timer(self, *, now_ns: int) -> None:
        """That time has come."""

    def events(self) -> list[SessionEvent]:
        """What happened."""

    def note_traffic(self, *, now_ns: int) -> None:
        """The peer is alive."""


class ControlLoop:
    """One side of the handshake on the endpoint's socket; a `Companion` of the driver.

    Args:
        machine: an initiator or a responder.
        port: the socket.

    Attributes:
        peer: the other side, once known.
        strangers: datagrams that arrived outside a session and are no control messages.
    """

    def __init__(self, machine: Machine, port: UdpPort) -> None:
        self.machine = machine
        self.port = port
        self.peer: Address | None = None
        self._on_end: Callable[[SessionEndedError], None] = lambda _error: None
        self.strangers = 0
        self._loop = asyncio.get_running_loop()
        self._alarm = RealAlarm(self._loop, _CLOCK, self._on_timer)
        self._events: list[SessionEvent] = []
        self._ended: SessionEndedError | None = None
        self._news = asyncio.Event()
        self._reading = False

    # --- the companion ------------------------------------------------------------------------

    def takes(self, data: bytes) -> bool:
        """Control messages."""
        return is_control(data)

    def feed(self, data: bytes, source: Address) -> None:
        """One arrived."""
        self.receive(data, source)
        self.settle()

    def heard(self) -> None:
        """Media or feedback of the peer's arrived."""
        self.machine.note_traffic(now_ns=monotonic_ns())

    # --- for the owner ------------------------------------------------------------------------

    def read(self, wanted: bool) -> None:
        """Read the socket ourselves, while no driver does."""
        if wanted and not self._reading:
            self._loop.add_reader(self.port.socket, self._readable)
        elif not wanted and self._reading:
            self._loop.remove_reader(self.port.socket)
        self._reading = wanted

    async def until(self, kind: type[E]) -> E:
        """The next event of this kind; others before it are dropped.

        Raises:
            SessionEndedError: the session ended instead.
        """
        while True:
            self.settle()
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kind):
                    return event
            self.check()
            self._news.clear()
            await self._news.wait()

    def tell_end(self, on_end: Callable[[SessionEndedError], None]) -> None:
        """Call this when the peer refuses, breaks off or falls silent; now, if it has already."""
        self._on_end = on_end
        if self._ended is not None:
            on_end(self._ended)

    def check(self) -> None:
        """Make sure that the session has not ended.

        Raises:
            SessionEndedError: it has.
        """
        if self._ended is not None:
            raise self._ended

    def settle(self) -> None:
        """Send what the machine wants sent, and take its events; call after every call of it."""
        self.send()
        for event in self.machine.events():
            self._news.set()
            error = _end_of(event)
            if error is None:
                self._events.append(event)
                continue
            self._ended = error
            self._on_end(error)
        # A wake that is no longer wanted does nothing; one that is needed earlier is set anew.
        self._alarm.arm(self.machine.next_timer())

    def close(self) -> None:
        """No more."""
        self._alarm.cancel()
        self.read(False)

    # --- inside -------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address) -> None:
        """Hand a datagram to the machine."""
        raise NotImplementedError

    def send(self) -> None:
        """Send what the machine wants sent."""
        raise NotImplementedError

    def _readable(self) -> None:
        for data, source, _ in self.port.receive():
            if is_control(data):
                self.feed(data, source)
            elif source != self.peer:  # else: media on its way before or after its time
                self.strangers += 1

    def _on_timer(self, _at_ns: int) -> None:
        self.machine.on_timer(now_ns=monotonic_ns())
        self.settle()


def _end_of(event: SessionEvent) -> SessionEndedError | None:
    if isinstance(event, Refused):
        return SessionEndedError(f"the receiver refused: {event.reason}")
    if isinstance(event, Aborted):
        return SessionEndedError(f"the other side broke off: {event.reason}")
    if isinstance(event, TimedOut):
        return SessionEndedError(f"no answer from the other side ({event.phase})")
    return None


class InitiatorLoop(ControlLoop):
    """The sender's side."""

    machine: Initiator

    def __init__(
        self, psk: bytes, description: Mapping[str, Any], port: UdpPort, peer: Address,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:  # fmt: skip
        super().__init__(
            Initiator(
                psk, description, now_ns=monotonic_ns(), token_bytes=os.urandom, timeouts=timeouts
            ),
            port,
        )
        self.peer = peer
        self._target = peer

    def receive(self, data: bytes, source: Address) -> None:
        """Whoever it comes from: what counts is the key."""
        if source == self.peer:
            self.machine.receive(data, now_ns=monotonic_ns())
        else:
            self.strangers += 1

    def send(self) -> None:
        """See `ControlLoop`."""
        for data in self.machine.to_send(now_ns=monotonic_ns()):
            self.port.send(data, self._target)


class ResponderLoop(ControlLoop):
    """The receiver's side.

    Args:
        psk: pre-shared key.
        accept: looks at an offer; None takes it, a text or an InputError refuses it.
        port: the socket.
        timeouts: of the handshake.
    """

    machine: Responder

    def __init__(
        self, psk: bytes, accept: Callable[[JsonObject], str | None], port: UdpPort,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:  # fmt: skip
        super().__init__(
            Responder(
                psk, now_ns=monotonic_ns(), token_bytes=os.urandom, accept=accept,
                timeouts=timeouts,
            ),
            port,
        )  # fmt: skip

    def receive(self, data: bytes, source: Address) -> None:
        """See `ControlLoop`."""
        self.machine.receive(data, source, now_ns=monotonic_ns())
        self.peer = cast("Address | None", self.machine.peer) or self.peer

    def send(self) -> None:
        """See `ControlLoop`."""
        for target, data in self.machine.to_send(now_ns=monotonic_ns()):
            self.port.send(data, cast("Address", target))

    async def linger(self) -> None:
        """Stay a moment for a sender that missed the summary and asks again."""
        await asyncio.sleep(_LINGER_S)
