"""The relay's process between two WebRTC peers.

Until the session starts, ICE, DTLS and SCTP find each other beside the path, without its losses
and delays: in the other worlds a session begins with an open connection as well. From then on
everything goes through the path, acknowledgements and consent checks included.
"""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock
from testbed.worlds.realtime.peers import punctually, take_sockets
from testbed.worlds.realtime.port import Address
from testbed.worlds.realtime.relay import Relay
from testbed.worlds.realtime.udp import UdpPort
from testbed.worlds.session import SessionSpec
from testbed.worlds.webrtc.signalling import started


def relay_main(pipe: Connection, *, spec: SessionSpec, base: Path) -> None:
    """The relay's process; it gets its sockets once it is known where the peers are."""
    make = EndFactory(spec, base=base)
    _, ports, (sender, receiver) = take_sockets(pipe)

    async def run() -> Any:
        pipe.send(("ready", None))
        epoch_ns = await _pass_until_started(pipe, ports, (sender, receiver))
        clock = SessionClock(epoch_ns)
        relay = Relay(
            spec, near=ports[0], sender=sender, far=ports[1], receiver=receiver, clock=clock,
            fps=None, ends_ns=(make.duration_ns, make.end_ns),
            passes=lambda _data: clock.now_ns() < 0,
        )  # fmt: skip
        return await relay.run()

    log, scheduling = punctually(run(), priority=True)
    log.facts["scheduling"] = scheduling
    for port in ports:
        port.close()
    pipe.send(("done", log))


async def _pass_until_started(
    pipe: Connection, ports: list[UdpPort], peers: tuple[Address, Address]
) -> int:
    """Hand everything on at once until the order to start; when that is."""
    loop = asyncio.get_running_loop()

    def hand_on(inlet: UdpPort, source: Address, outlet: UdpPort, target: Address) -> None:
        for data, sender, _ in inlet.receive():
            if sender == source:
                outlet.send(data, target)

    near, far = ports
    near.attach(loop, lambda: hand_on(near, peers[0], far, peers[1]))
    far.attach(loop, lambda: hand_on(far, peers[1], near, peers[0]))
    try:
        return await started(pipe)
    finally:
        for port in ports:
            port.detach(loop)
