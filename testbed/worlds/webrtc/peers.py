"""What runs in the processes of a session over a data channel: the sender and the receiver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

from aiortc import RTCPeerConnection

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock
from testbed.worlds.realtime.driver import Driver, ReceiverDriver, SenderDriver
from testbed.worlds.realtime.peers import punctually
from testbed.worlds.realtime.records import PeerLog
from testbed.worlds.realtime.relay import session_paths
from testbed.worlds.session import SessionSpec
from testbed.worlds.ticks import TICK_NS
from testbed.worlds.webrtc.channel import PEER, ChannelPort, open_channel
from testbed.worlds.webrtc.loopback import peer_connection
from testbed.worlds.webrtc.signalling import answer, farewell, offer, told, until
from testbed.worlds.webrtc.tap import Tap
from testbed.worlds.webrtc.wire import on_the_wire

#: Takes part in the exchange of descriptions.
Signal = Callable[[RTCPeerConnection, Connection], Awaitable[None]]
#: Makes the driver of an endpoint on a port.
MakeDriver = Callable[[ChannelPort, SessionClock], Driver]


def sender_main(pipe: Connection, *, spec: SessionSpec, base: Path) -> None:
    """The sender's process."""
    make = EndFactory(spec, base=base)
    path = session_paths(spec)["down"]

    def capacity_kbps(now_ns: int) -> float:
        return path.capacity_bytes(now_ns, now_ns + TICK_NS) * 8e6 / TICK_NS

    endpoint, controller = make.sender(capacity_kbps)

    def driver(port: ChannelPort, clock: SessionClock) -> Driver:
        return SenderDriver(endpoint, controller, make, port, PEER, clock)

    # An encoder that works while the session runs must not starve the machine.
    _run(pipe, make, offer, driver, priority=spec.rate_control == "fixed")


def receiver_main(pipe: Connection, *, spec: SessionSpec, base: Path) -> None:
    """The receiver's process."""
    make = EndFactory(spec, base=base)
    endpoint = make.receiver()

    def driver(port: ChannelPort, clock: SessionClock) -> Driver:
        return ReceiverDriver(endpoint, make, port, PEER, clock)

    _run(pipe, make, answer, driver, priority=True)


def _run(
    pipe: Connection, make: EndFactory, signal: Signal, driver: MakeDriver, *, priority: bool
) -> None:
    """Connect, run the endpoint, and send what it remembers."""
    log, scheduling = punctually(_session(pipe, signal, driver), priority=priority)
    log.facts |= {"scheduling": scheduling, "compute": make.compute.facts()}
    pipe.send(("done", log))


async def _session(pipe: Connection, signal: Signal, driver: MakeDriver) -> PeerLog:
    tap = Tap()
    peer = peer_connection(tap)
    try:
        channel = open_channel(peer)
        await signal(peer, pipe)
        await until(lambda: bool(channel.readyState == "open"), "the data channel")
        pipe.send(("ready", None))
        _, epoch_ns = await told(pipe)
        port = ChannelPort(channel, tap)
        messages = await driver(port, SessionClock(epoch_ns)).run()
        log, facts = on_the_wire(messages, tap, epoch_ns)
        log.facts = {"endpoint": messages.facts, "channel": facts}
        return log
    finally:
        await farewell(peer)
