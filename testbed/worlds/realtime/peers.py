"""What runs in the processes of a session: the sender, the receiver, the relay."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock, new_loop, prompt
from testbed.worlds.realtime.driver import ReceiverDriver, SenderDriver
from testbed.worlds.realtime.relay import Relay, session_paths
from testbed.worlds.realtime.udp import Address, UdpPort
from testbed.worlds.session import SessionSpec
from testbed.worlds.ticks import TICK_NS

T = TypeVar("T")


def sender_main(
    pipe: Connection, *, spec: SessionSpec, base: Path, made: socket.socket, peer: Address,
    keep_data: bool,
) -> None:  # fmt: skip
    """The sender's process."""
    make = EndFactory(spec, base=base)
    path = session_paths(spec)["down"]

    def capacity_kbps(now_ns: int) -> float:
        return path.capacity_bytes(now_ns, now_ns + TICK_NS) * 8e6 / TICK_NS

    endpoint, controller = make.sender(capacity_kbps)
    clock = _wait_for_start(pipe)
    port = UdpPort(made)

    async def run() -> Any:
        driver = SenderDriver(endpoint, controller, make, port, peer, clock, keep_data=keep_data)
        return await driver.run()

    # An encoder that works while the session runs must not starve the machine.
    log, scheduling = punctually(run(), priority=spec.rate_control == "fixed")
    log.facts = {"endpoint": log.facts, "scheduling": scheduling, "compute": make.compute.facts()}
    pipe.send(("done", log))


def receiver_main(
    pipe: Connection, *, spec: SessionSpec, base: Path, made: socket.socket, peer: Address,
    keep_data: bool,
) -> None:  # fmt: skip
    """The receiver's process."""
    make = EndFactory(spec, base=base)
    endpoint = make.receiver()
    clock = _wait_for_start(pipe)
    port = UdpPort(made)

    async def run() -> Any:
        driver = ReceiverDriver(endpoint, make, port, peer, clock, keep_data=keep_data)
        return await driver.run()

    log, scheduling = punctually(run(), priority=True)
    log.facts = {"endpoint": log.facts, "scheduling": scheduling, "compute": make.compute.facts()}
    pipe.send(("done", log))


def relay_main(
    pipe: Connection, *, spec: SessionSpec, base: Path, near: socket.socket, sender: Address,
    far: socket.socket, receiver: Address,
) -> None:  # fmt: skip
    """The relay's process."""
    make = EndFactory(spec, base=base)
    clock = _wait_for_start(pipe)

    async def run() -> Any:
        relay = Relay(
            spec, near=UdpPort(near), sender=sender, far=UdpPort(far), receiver=receiver,
            clock=clock, fps=float(make.clip.fps), ends_ns=(make.duration_ns, make.end_ns),
        )  # fmt: skip
        return await relay.run()

    log, scheduling = punctually(run(), priority=True)
    log.facts["scheduling"] = scheduling
    pipe.send(("done", log))


def _wait_for_start(pipe: Connection) -> SessionClock:
    """Say that everything is made, and wait for the moment at which the session starts."""
    pipe.send(("ready", None))
    _, epoch_ns = pipe.recv()
    return SessionClock(epoch_ns)


def punctually(work: Coroutine[Any, Any, T], *, priority: bool) -> tuple[T, str]:
    """Run `work` on a loop of its own; what it gives, and how the process was scheduled."""
    loop = new_loop()
    try:
        with prompt(priority=priority) as scheduling:
            return loop.run_until_complete(work), scheduling
    finally:
        loop.close()
