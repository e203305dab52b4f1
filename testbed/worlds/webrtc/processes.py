"""The three processes of a session over WebRTC, and the exchange of descriptions between them."""

from __future__ import annotations

import socket
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


def run_processes(
    make: EndFactory, start_peers: StartPeers, *, base: Path
) -> tuple[dict[str, Any], int]:
    """Run the relay and both peers to the end.

    Returns:
        What they remember, by name, and CLOCK_MONOTONIC at the start of the session.
    """
    with Children() as children, udp_socket() as near, udp_socket() as far:
        children.start("relay", relay_main, spec=make.spec, base=base)
        start_peers(children)
        exchange = _Exchange(children, near, far)
        children.expect("ready", timeout_s=START_S, on_news=exchange.heard)
        epoch_ns = monotonic_ns() + LEAD_NS
        for name in ("relay", "receiver", "sender"):
            children.launch(name, epoch_ns, [])
        return children.expect("done", timeout_s=make.end_ns / 1e9 + END_S), epoch_ns


class _Exchange:
    """Hands the peers' descriptions on, each with the relay's address in it."""

    def __init__(self, children: Children, near: socket.socket, far: socket.socket) -> None:
        self._children = children
        self._near, self._far = near, far
        self._sender: Address | None = None

    def heard(self, name: str, message: tuple[Any, ...]) -> None:  # noqa: ARG002  (the tag says it)
        """A peer has spoken."""
        tag, description = message
        if tag == "offer":
            self._sender = candidate_of(description)
            given = readdressed(description, self._far.getsockname())
            self._children.tell("receiver", ("offer", given))
        elif tag == "answer" and self._sender is not None:
            ends = [(self._near, self._sender), (self._far, candidate_of(description))]
            # The session has not begun; the relay starts to hand on.
            self._children.launch("relay", 0, ends)
            given = readdressed(description, self._near.getsockname())
            self._children.tell("sender", ("answer", given))
