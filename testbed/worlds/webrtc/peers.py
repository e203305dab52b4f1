"""What runs in the processes of a session over a data channel: the sender and the receiver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

from aiortc import RTCPeerConnection

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock
from testbed.worlds.realtime.driver import Driver, SenderDriver
from testbed.worlds.realtime.peers import punctually
from testbed.worlds.realtime.records import PeerLog
from testbed.worlds.realtime.relay import session_paths
from testbed.worlds.session import SessionSpec
from testbed.worlds.ticks import TICK_NS
from testbed.worlds.webrtc.channel import PEER, ChannelPort, open_channel
from testbed.worlds.webrtc.loopback import peer_connection
from testbed.worlds.webrtc.signalling import answer, farewell, offer, started, until
from testbed.worlds.webrtc.wire import on_the_wire
from testbed.worlds.webrtc.wiretap import Wiretap

#: Takes part in the exchange of descriptions.
Signal = Callable[[RTCPeerConnection, Connection], Awaitable[None]]
#: Makes the driver of an endpoint on a port.
MakeDriver = Callable[[ChannelPort, SessionClock], Driver]


def sender_main(pipe: Connection, *, spec: SessionSpec, base: Path, keep_data: bool) -> None:
    """The sender's process."""
    make = EndFactory(spec, base=base)
    path = session_paths(spec)["down"]

    def capacity_kbps(now_ns: int) -> float:
        return path.capacity_bytes(now_ns, now_ns + TICK_NS) * 8e6 / TICK_NS

    endpoint, controller = make.sender(capacity_kbps)

    def driver(port: ChannelPort, clock: SessionClock) -> Driver:
        return SenderDriver(endpoint, controller, make, port, PEER, clock)

    # An encoder that works while the session runs must not starve the machine.
    priority = spec.rate_control == "fixed"
    log = _run(pipe, make, offer, driver, priority=priority, keep_data=keep_data)
    pipe.send(("done", log))


def receiver_main(pipe: Connection, *, spec: SessionSpec, base: Path, keep_data: bool) -> None:
    """The receiver's process."""
    make = EndFactory(spec, base=base)
    endpoint = make.receiver()

    def driver(port: ChannelPort, clock: SessionClock) -> Driver:
        return Driver(endpoint, port, PEER, clock, end_ns=make.end_ns)

    log = _run(pipe, make, answer, driver, priority=True, keep_data=keep_data)
    received = getattr(endpoint, "received_frames", None)
    if received is not None and spec.keep_received:
        log.received = received(make.clip.frame_count)
    pipe.send(("done", log))


def _run(
    pipe: Connection, make: EndFactory, signal: Signal, driver: MakeDriver, *, priority: bool,
    keep_data: bool,
) -> PeerLog:  # fmt: skip
    """Connect and run the endpoint; what it remembers."""
    session = _session(pipe, signal, driver, Wiretap(keep_data=keep_data))
    log, scheduling = punctually(session, priority=priority)
    log.facts |= {"scheduling": scheduling, "compute": make.compute.facts()}
    return log


async def _session(pipe: Connection, signal: Signal, driver: MakeDriver, tap: Wiretap) -> PeerLog:
    peer = peer_connection(tap)
    try:
        channel = open_channel(peer)
        await signal(peer, pipe)
        await until(lambda: bool(channel.readyState == "open"), "the data channel")
        pipe.send(("ready", None))
        epoch_ns = await started(pipe)
        port = ChannelPort(channel, tap)
        messages = await driver(port, SessionClock(epoch_ns)).run()
        log, facts = on_the_wire(messages, tap, epoch_ns)
        log.facts = {"endpoint": messages.facts, "channel": facts}
        return log
    finally:
        await farewell(peer)
