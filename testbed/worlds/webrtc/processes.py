"""The three processes of a session over WebRTC, and the exchange of descriptions between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.children import END_S, START_S, Children
from testbed.worlds.realtime.clock import monotonic_ns
from testbed.worlds.realtime.port import Address
from testbed.worlds.realtime.udp import udp_socket
from testbed.worlds.realtime.world import LEAD_NS
from testbed.worlds.webrtc.relay import relay_main
from testbed.worlds.webrtc.sdp import candidate_of, readdressed

#: Starts the processes of the two peers.
StartPeers = Callable[[Children], None]


def run_processes(make: EndFactory, start_peers: StartPeers, *, base: Path) -> dict[str, Any]:
    """Run the relay and both peers to the end; what they remember, by name."""
    sockets = {name: udp_socket() for name in ("near", "far")}
    sides: dict[str, Address] = {name: made.getsockname() for name, made in sockets.items()}
    with Children() as children:
        children.start("relay", relay_main, spec=make.spec, base=base, **sockets)
        start_peers(children)
        for made in sockets.values():
            made.close()
        exchange = _Exchange(children, sides)
        children.expect("ready", timeout_s=START_S, on_other=exchange.heard)
        children.tell(("start", monotonic_ns() + LEAD_NS))
        return children.expect("done", timeout_s=make.end_ns / 1e9 + END_S)


class _Exchange:
    """Hands the peers' descriptions on, each with the relay's address in it."""

    def __init__(self, children: Children, sides: dict[str, Address]) -> None:
        self._children = children
        self._sides = sides
        self._sender: Address | None = None

    def heard(self, name: str, message: Any) -> None:  # noqa: ARG002  (the tag says whose it is)
        """A peer has spoken."""
        tag, description = message
        if tag == "offer":
            self._sender = candidate_of(description)
            given = readdressed(description, self._sides["far"])
            self._children.tell_one("receiver", ("offer", given))
        elif tag == "answer":
            receiver = candidate_of(description)
            self._children.tell_one("relay", ("peers", self._sender, receiver))
            given = readdressed(description, self._sides["near"])
            self._children.tell_one("sender", ("answer", given))
