"""aiortc kept to this machine's loopback, and tapped.

All that we change in aioice is here, in the process of one peer: which addresses it gathers, and
the class of its sockets.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection

from testbed.worlds.webrtc.wiretap import Wiretap

HOST: Final = "127.0.0.1"
#: As for our own sockets: seconds of a fast stream; the kernel takes what it allows.
_BUFFER_BYTES: Final = 8 << 20


class _TappedTransport:
    """A datagram transport that tells the tap what it sends."""

    def __init__(self, inner: asyncio.DatagramTransport, tap: Wiretap) -> None:
        self._inner = inner
        self._tap = tap

    def sendto(self, data: bytes, addr: Any) -> None:
        """Send, and tell."""
        self._tap.leaves(data)
        self._inner.sendto(data, addr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def peer_connection(tap: Wiretap) -> RTCPeerConnection:
    """A peer whose only candidate is on loopback; there are no STUN or TURN servers.

    aioice leaves loopback out when it gathers and has no option for it, so its list of addresses
    is replaced. Its socket class is replaced by one that tells `tap`.
    """

    class Tapped(aioice.ice.StunProtocol):
        def connection_made(self, transport: Any) -> None:
            bound = transport.get_extra_info("socket")
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                bound.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            super().connection_made(_TappedTransport(transport, tap))

        def datagram_received(self, data: bytes, addr: Any) -> None:
            tap.came(data)
            super().datagram_received(data, addr)

    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [HOST]  # noqa: ARG005
    aioice.ice.StunProtocol = Tapped
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))
