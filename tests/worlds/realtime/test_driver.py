"""The loop around one endpoint, on real sockets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import path, session

from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock, monotonic_ns, new_loop
from testbed.worlds.realtime.driver import Driver, RealAlarm, SenderDriver
from testbed.worlds.realtime.records import key_of
from testbed.worlds.realtime.udp import UdpPort, udp_socket

MS = 1_000_000


class Scripted:
    """An endpoint that notes its calls, echoes, and wakes when it is told to."""

    def __init__(self, *timers_ns: int, fails_on: bytes = b"\0never") -> None:
        self.calls: list[tuple[str, Any, int]] = []
        self.timers = list(timers_ns)
        self.fails_on = fails_on
        self.out: list[Datagram] = []

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        self.calls.append(("frame", frame.index, now_ns))

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        if data == self.fails_on:
            raise ZeroDivisionError("of the endpoint")
        self.calls.append(("data", data, now_ns))
        self.out.append(Datagram(b"echo " + data, "feedback"))

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        out, self.out = self.out, []
        return out

    def next_timer(self) -> int | None:
        return self.timers[0] if self.timers else None

    def on_timer(self, *, now_ns: int) -> None:
        assert now_ns >= self.timers[0], "too early"
        self.calls.append(("timer", self.timers.pop(0), now_ns))

    def events(self) -> list[Event]:
        return []


@pytest.fixture
def ports() -> Iterator[tuple[UdpPort, UdpPort, UdpPort]]:
    made = UdpPort(udp_socket()), UdpPort(udp_socket()), UdpPort(udp_socket())
    yield made
    for port in made:
        port.close()


def on_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    loop = new_loop()
    try:
        return loop.run_until_complete(work())
    finally:
        loop.close()


def test_an_alarm_moves_forward_and_fires_once() -> None:
    fired: list[tuple[int, int]] = []

    async def work() -> None:
        clock = SessionClock(monotonic_ns())
        alarm = RealAlarm(
            asyncio.get_running_loop(), clock, lambda at: fired.append((at, clock.now_ns()))
        )
        alarm.arm(None)
        alarm.arm(60 * MS)
        alarm.arm(20 * MS)  # earlier: moves it
        alarm.arm(40 * MS)  # later: does not
        await asyncio.sleep(0.1)
        alarm.arm(5 * MS)  # has passed: at once
        await asyncio.sleep(0.02)
        alarm.arm(10**12)
        alarm.cancel()
        alarm.cancel()

    on_loop(work)
    assert [at for at, _ in fired] == [20 * MS, 5 * MS]
    assert all(now >= at for at, now in fired)


def test_timers_datagrams_and_strangers(ports: tuple[UdpPort, UdpPort, UdpPort]) -> None:
    here, peer, stranger = ports
    endpoint = Scripted(10 * MS, 30 * MS, 200 * MS)

    async def work() -> Any:
        clock = SessionClock(monotonic_ns() + 30 * MS)
        driver = Driver(endpoint, here, peer.address, clock, end_ns=120 * MS)
        running = asyncio.ensure_future(driver.run())
        peer.send(b"before the start", here.address)
        await asyncio.sleep(0.08)
        stranger.send(b"nobody asked", here.address)
        for number in range(5):
            peer.send(bytes([number]), here.address)
        return await running, driver

    log, driver = on_loop(work)
    data = [what for kind, what, _ in endpoint.calls if kind == "data"]
    assert data == [b"before the start", *(bytes([n]) for n in range(5))]
    timers = [(what, now) for kind, what, now in endpoint.calls if kind == "timer"]
    assert [what for what, _ in timers] == [10 * MS, 30 * MS]
    times = [now for *_, now in endpoint.calls]
    assert times == sorted(times)  # never back, although stamps and timers are of two clocks
    assert times[0] >= 0
    assert log.strangers == 1
    assert [sent.key for sent in log.sent] == [key_of(b"echo " + one) for one in data]
    assert list(log.arrived.keys) == [key_of(one) for one in data]
    assert driver.sent_datagrams == driver.arrived_datagrams == log.late.count == 6
    echoes = []
    while got := peer.receive():
        echoes += [one for one, _, _ in got]
    assert echoes == [b"echo " + one for one in data]
    assert stranger.receive() == []


def test_counters_only(ports: tuple[UdpPort, UdpPort, UdpPort]) -> None:
    here, peer, _ = ports
    endpoint = Scripted()

    async def work() -> Any:
        clock = SessionClock(monotonic_ns())
        driver = Driver(endpoint, here, peer.address, clock, end_ns=60 * MS, remember=False)
        for _ in range(7):
            peer.send(b"x", here.address)
        return await driver.run(), driver

    log, driver = on_loop(work)
    assert (driver.arrived_datagrams, driver.sent_datagrams) == (7, 7)
    assert (log.sent, len(log.arrived.keys), log.events, log.ticks) == ([], 0, [], [])


def test_an_error_of_the_endpoint_is_the_outcome(
    ports: tuple[UdpPort, UdpPort, UdpPort],
) -> None:
    here, peer, _ = ports

    async def work() -> Any:
        endpoint = Scripted(fails_on=b"bad")
        clock = SessionClock(monotonic_ns())
        driver = Driver(endpoint, here, peer.address, clock, end_ns=5_000 * MS)
        peer.send(b"bad", here.address)
        await driver.run()

    with pytest.raises(ZeroDivisionError, match="of the endpoint"):
        on_loop(work)


def test_a_peer_that_went_away_is_no_error(ports: tuple[UdpPort, UdpPort, UdpPort]) -> None:
    here, *_ = ports
    gone = UdpPort(udp_socket())
    address = gone.address

    async def work() -> Any:
        endpoint = Scripted()
        clock = SessionClock(monotonic_ns())
        driver = Driver(endpoint, here, address, clock, end_ns=100 * MS)
        for _ in range(3):
            gone.send(b"x", here.address)
        gone.close()
        return await driver.run()

    log = on_loop(work)
    assert len(log.sent) == 3


def test_a_session_that_ends_before_it_starts_sends_nothing(
    ports: tuple[UdpPort, UdpPort, UdpPort],
) -> None:
    """As when the other side breaks off between the agreement and the session's time 0."""
    here, peer, _ = ports
    make = EndFactory(session(down=path(), duration_s=2.0), base=Path.cwd())
    endpoint, controller = make.sender(lambda _now_ns: 0.0)

    async def work() -> Any:
        clock = SessionClock(monotonic_ns() + 100 * MS)
        driver = SenderDriver(endpoint, controller, make, here, peer.address, clock)
        asyncio.get_running_loop().call_later(0.02, driver.stop, RuntimeError("broken off"))
        with pytest.raises(RuntimeError, match="broken off"):
            await driver.run()
        await asyncio.sleep(0.3)
        return driver

    driver = on_loop(work)
    assert driver.sent_datagrams == 0
    assert peer.receive() == []


def test_the_camera_is_punctual_whatever_the_process_is(
    ports: tuple[UdpPort, UdpPort, UdpPort],
) -> None:
    here, peer, _ = ports
    make = EndFactory(session(down=path(), duration_s=1.0, deadline_ms=50), base=Path.cwd())
    _, controller = make.sender(lambda _now_ns: 0.0)
    endpoint = Scripted()

    async def work() -> Any:
        clock = SessionClock(monotonic_ns() + 20 * MS)
        driver = SenderDriver(endpoint, controller, make, here, peer.address, clock)
        return await driver.run()

    log = on_loop(work)
    frames = [(what, now) for kind, what, now in endpoint.calls if kind == "frame"]
    assert [index for index, _ in frames] == list(range(15))
    # Told the nominal time, unless it had to be told a later one before.
    assert all(now >= make.capture_ns(index) for index, now in frames)
    assert frames[0][1] == 0
    assert [tick[0] for tick in log.ticks] == [n * 100 * MS for n in range(1, 11)]
    assert log.captures_late.count == 15
