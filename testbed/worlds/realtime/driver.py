"""Runs one endpoint in real time: the loop around the six calls of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Endpoint, SourceFrame
from testbed.transports.base import FrameDecoded, FrameEncoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock
from testbed.worlds.realtime.port import Address, Port
from testbed.worlds.realtime.records import PeerLog, Sent, key_of
from testbed.worlds.ticks import TICK_NS, control_view

#: Is told what happens.
News = Callable[[tuple[Any, ...]], None]


class Companion(Protocol):
    """What else lives on the endpoint's socket: the session's control messages."""

    def takes(self, data: bytes) -> bool:
        """Whether a datagram is its own and not the endpoint's."""

    def feed(self, data: bytes, source: Address) -> None:
        """A datagram of its own arrived, from anybody."""

    def heard(self) -> None:
        """One of the endpoint's arrived from the peer."""


class RealAlarm:
    """The alarm of `testbed.worlds.alarm` on an asyncio loop.

    Args:
        loop: where it runs.
        clock: of the session.
        action: called with the time that it was set to.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: SessionClock, action: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._action = action
        self._handle: asyncio.TimerHandle | None = None
        self.at_ns = -1

    def arm(self, at_ns: int | None) -> None:
        """Wake at `at_ns` (at once if that has passed) unless an earlier wake is set."""
        if at_ns is None or (self._handle is not None and self.at_ns <= at_ns):
            return
        self.cancel()
        self.at_ns = at_ns
        self._handle = self._loop.call_at((self._clock.epoch_ns + at_ns) / 1e9, self._fire)

    def cancel(self) -> None:
        """Forget the wake."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._action(self.at_ns)


class Driver:
    """One endpoint on one port, until `end_ns`.

    Args:
        endpoint: a sender or a receiver.
        port: its way to the network.
        peer: the only address whose datagrams count.
        clock: of the session.
        end_ns: when it is over.
        keep_data: remember payloads too.
        remember: keep what the tables are made of; else counters only, in fixed memory.
        news: is told what happens while it happens, as (kind, ...).
        companion: what else lives on the socket.
    """

    def __init__(
        self, endpoint: Endpoint, port: Port, peer: Address, clock: SessionClock, *,
        end_ns: int, keep_data: bool = False, remember: bool = True,
        companion: Companion | None = None, news: News | None = None,
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.port = port
        self.peer = peer
        self.clock = clock
        self.log = PeerLog()
        self.loop = asyncio.get_running_loop()
        self.end_ns = end_ns
        self.sent_datagrams = 0
        self.sent_bytes = 0
        self.arrived_datagrams = 0
        self.arrived_bytes = 0
        self._keep_data = keep_data
        self._remember = remember
        self._companion = companion
        self._news = news
        self._news_at_ns = TICK_NS
        self._now_ns = 0  # never goes back for the endpoint
        self._alarm = RealAlarm(self.loop, clock, self._on_timer)
        self._done: asyncio.Future[None] = self.loop.create_future()

    async def run(self) -> PeerLog:
        """Run to the end; what was remembered.

        Raises:
            Exception: whatever the endpoint raised.
        """
        end = RealAlarm(self.loop, self.clock, self._finish)
        end.arm(self.end_ns)
        self.port.attach(self.loop, self._guarded(self._readable))
        start = self.loop.call_at(self.clock.epoch_ns / 1e9, self._guarded(self.begin))
        try:
            await self._done
        finally:
            start.cancel()  # a session may be broken off before its time 0
            self._alarm.cancel()
            end.cancel()
            self.port.detach(self.loop)
        self.log.overflowed = self.port.overflowed
        self.log.unsent = self.port.refused
        facts = getattr(self.endpoint, "facts", None)
        if facts is not None:
            self.log.facts = facts()
        return self.log

    def begin(self) -> None:
        """The session starts."""
        self.settle(0)

    def stop(self, error: Exception | None = None) -> None:
        """End `run` now, with an error if there is one."""
        if self._done.done():
            return
        if error is not None:
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    def _finish(self, now_ns: int) -> None:
        self.settle(now_ns)
        self.stop()

    def _guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        """`action`, with what it raises as the outcome of `run`."""

        def act() -> None:
            try:
                action()
            except Exception as error:
                self.stop(error)

        return act

    def _on_timer(self, at_ns: int) -> None:
        def act() -> None:
            self.endpoint.on_timer(now_ns=self.advance(at_ns))
            self.settle(at_ns)

        self._guarded(act)()

    def advance(self, least_ns: int) -> int:
        """The time for the endpoint: now, but not before `least_ns` or what it was told before."""
        self._now_ns = max(self._now_ns, least_ns, self.clock.now_ns())
        return self._now_ns

    def _readable(self) -> None:
        companion = self._companion
        for data, source, stamp_ns in self.port.receive():
            if companion is not None and companion.takes(data):
                companion.feed(data, source)
                continue
            if source != self.peer:
                self.log.strangers += 1
                continue
            if companion is not None:
                companion.heard()
            now_ns = self.clock.of_stamp(stamp_ns)
            self.arrived_datagrams += 1
            self.arrived_bytes += len(data) + LINK_OVERHEAD_BYTES
            if self._remember:
                self.log.arrived.add(now_ns, key_of(data))
            # The kernel's time of arrival is the truth; when we read it is our own delay.
            self._now_ns = max(self._now_ns, now_ns)
            self.endpoint.receive_datagram(data, now_ns=self._now_ns)
            self.settle(now_ns)

    def settle(self, cause_ns: int) -> None:
        """Collect what the endpoint has to say after a call; `cause_ns`: when that was due."""
        now_ns = self.advance(cause_ns)
        endpoint, log = self.endpoint, self.log
        for event in endpoint.events():
            if self._remember:
                log.events.append((now_ns, event))
            self.on_event(event)
        for datagram in endpoint.datagrams_to_send(now_ns=now_ns):
            at_ns = self.clock.now_ns()  # before the kernel has it and stamps it
            self.port.send(datagram.data, self.peer)
            log.late.add(at_ns - cause_ns)
            self.sent_datagrams += 1
            if self._remember:
                log.sent.append(Sent.of(datagram, at_ns, keep=self._keep_data))
            self.sent_bytes += len(datagram.data) + LINK_OVERHEAD_BYTES
        self._alarm.arm(endpoint.next_timer())
        if self._news is not None and now_ns >= self._news_at_ns:
            self._news_at_ns = now_ns - now_ns % TICK_NS + TICK_NS
            self._news(("arrived", now_ns, self.arrived_datagrams, self.arrived_bytes))

    def on_event(self, event: object) -> None:
        """Something happened; subclasses take it further."""
        if self._news is not None and isinstance(event, FrameDecoded):
            received = getattr(self.endpoint, "received_frame", None)
            data = received(event.index) if received is not None else None
            self._news(("decoded", event, data))


class SenderDriver(Driver):
    """A sender with its camera and its tick."""

    def __init__(
        self, endpoint: Endpoint, controller: RateController, make: EndFactory, port: Port,
        peer: Address, clock: SessionClock, *, keep_data: bool = False, remember: bool = True,
        companion: Companion | None = None, news: News | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            endpoint, port, peer, clock, end_ns=make.end_ns, keep_data=keep_data,
            remember=remember, companion=companion, news=news,
        )  # fmt: skip
        self._controller = controller
        self._make = make
        self._index = 0
        self.encoded_bytes = 0
        self._camera = RealAlarm(self.loop, clock, self._on_capture)
        self._ticker = RealAlarm(self.loop, clock, self._on_tick)

    def begin(self) -> None:
        """First picture, first tick."""
        self._camera.arm(0)
        self._ticker.arm(TICK_NS)

    async def run(self) -> PeerLog:
        """See `Driver`."""
        try:
            return await super().run()
        finally:
            self._camera.cancel()
            self._ticker.cancel()

    def _on_capture(self, at_ns: int) -> None:
        def act() -> None:
            self.log.captures_late.add(self.clock.now_ns() - at_ns)
            # The camera is punctual, whatever this process is.
            self._now_ns = max(self._now_ns, at_ns)
            before_ns = self.clock.now_ns()
            self.endpoint.push_frame(SourceFrame(self._index), now_ns=self._now_ns)
            # What the encoder took is the scheme's; what comes after it is ours.
            self.log.encoding.add(self.clock.now_ns() - before_ns)
            self.settle(self.clock.now_ns())
            self._index += 1
            if self._index < self._make.clip.frame_count:
                self._camera.arm(self._make.capture_ns(self._index))

        self._guarded(act)()

    def _on_tick(self, at_ns: int) -> None:
        def act() -> None:
            now_ns = self.advance(at_ns)
            view = control_view(
                self.endpoint, self._controller, self._make.transport.name, now_ns=now_ns
            )
            tick = (at_ns, *view[1:], self.encoded_bytes, self.sent_bytes)
            if self._remember:
                self.log.ticks.append(tick)
            if self._news is not None:
                self._news(("tick", tick))
            if at_ns + TICK_NS <= self._make.duration_ns:
                self._ticker.arm(at_ns + TICK_NS)

        self._guarded(act)()

    def on_event(self, event: object) -> None:
        """Counts what was encoded."""
        if isinstance(event, FrameEncoded):
            self.encoded_bytes += event.media_bytes
            if self._news is not None:
                self._news(("encoded", event))
