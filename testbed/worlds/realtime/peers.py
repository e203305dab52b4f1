"""What runs in the processes of a session: the sender, the receiver, the relay."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, TypeVar

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock, new_loop, prompt
from testbed.worlds.realtime.driver import Driver, News, SenderDriver
from testbed.worlds.realtime.relay import Relay, session_paths
from testbed.worlds.realtime.udp import Address, UdpPort
from testbed.worlds.session import SessionSpec
from testbed.worlds.ticks import TICK_NS

T = TypeVar("T")


def sender_main(
    pipe: Connection, *, spec: SessionSpec, base: Path, keep_data: bool, watched: bool
) -> None:
    """The sender's process."""
    make = EndFactory(spec, base=base)
    path = session_paths(spec)["down"]

    def capacity_kbps(now_ns: int) -> float:
        return path.capacity_bytes(now_ns, now_ns + TICK_NS) * 8e6 / TICK_NS

    endpoint, controller = make.sender(capacity_kbps)
    clock, (port,), (peer,) = _wait_for_start(pipe)

    async def run() -> Any:
        driver = SenderDriver(
            endpoint, controller, make, port, peer, clock, keep_data=keep_data,
            news=_news(pipe, watched),
        )  # fmt: skip
        return await driver.run()

    # An encoder that works while the session runs must not starve the machine.
    log, scheduling = punctually(run(), priority=spec.rate_control == "fixed")
    log.facts = {"endpoint": log.facts, "scheduling": scheduling, "compute": make.compute.facts()}
    pipe.send(("done", log))


def receiver_main(
    pipe: Connection, *, spec: SessionSpec, base: Path, keep_data: bool, watched: bool
) -> None:
    """The receiver's process."""
    make = EndFactory(spec, base=base)
    endpoint = make.receiver()
    clock, (port,), (peer,) = _wait_for_start(pipe)

    async def run() -> Any:
        driver = Driver(
            endpoint, port, peer, clock, end_ns=make.end_ns, keep_data=keep_data,
            news=_news(pipe, watched),
        )  # fmt: skip
        return await driver.run()

    log, scheduling = punctually(run(), priority=True)
    received = getattr(endpoint, "received_frames", None)
    if received is not None and spec.keep_received:
        log.received = received(make.clip.frame_count)
    log.facts = {"endpoint": log.facts, "scheduling": scheduling, "compute": make.compute.facts()}
    pipe.send(("done", log))


def relay_main(pipe: Connection, *, spec: SessionSpec, base: Path, watched: bool) -> None:
    """The relay's process."""
    make = EndFactory(spec, base=base)
    clock, (near, far), (sender, receiver) = _wait_for_start(pipe)

    async def run() -> Any:
        relay = Relay(
            spec, near=near, sender=sender, far=far, receiver=receiver,
            clock=clock, fps=float(make.clip.fps), ends_ns=(make.duration_ns, make.end_ns),
            news=_news(pipe, watched),
        )  # fmt: skip
        return await relay.run()

    log, scheduling = punctually(run(), priority=True)
    log.facts["scheduling"] = scheduling
    pipe.send(("done", log))


def _news(pipe: Connection, watched: bool) -> News | None:
    """Tells the parent what happens, where somebody watches."""
    return (lambda what: pipe.send(("news", what))) if watched else None


def _wait_for_start(pipe: Connection) -> tuple[SessionClock, list[UdpPort], list[Address]]:
    """Say that everything is made; get sockets, whom they talk to, and the moment of the start."""
    pipe.send(("ready", None))
    return take_sockets(pipe)


def take_sockets(pipe: Connection) -> tuple[SessionClock, list[UdpPort], list[Address]]:
    """The other end of `Children.launch`."""
    _, epoch_ns, peers = pipe.recv()
    ports = [UdpPort(socket.socket(fileno=recv_handle(pipe))) for _ in peers]
    return SessionClock(epoch_ns), ports, peers


def punctually(work: Coroutine[Any, Any, T], *, priority: bool) -> tuple[T, str]:
    """Run `work` on a loop of its own; what it gives, and how the process was scheduled."""
    loop = new_loop()
    try:
        with prompt(priority=priority) as scheduling:
            return loop.run_until_complete(work), scheduling
    finally:
        loop.close()
