"""An unreliable, unordered data channel as a port for an endpoint.

A message travels in one DTLS record in one datagram if it has at most `MESSAGE_BYTES`; aiortc cuts
longer ones, and then the loss of one piece is the loss of all.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from aiortc import RTCDataChannel, RTCPeerConnection

from testbed.worlds.realtime.port import Address
from testbed.worlds.webrtc.wiretap import Wiretap

#: The other end of the channel; it has no address of its own.
PEER: Final[Address] = ("data-channel", 0)

#: RFC 9260 section 3.3.1: common header, then type, flags, length, TSN, stream, number, protocol.
_SCTP_HEADER_BYTES: Final = 12
_DATA_HEADER_BYTES: Final = 16
_DATA: Final = 0
_BEGINS: Final = 0x02
#: RFC 8831 section 8: payload protocol identifier of binary messages.
_WEBRTC_BINARY: Final = 53


def open_channel(peer: RTCPeerConnection) -> RTCDataChannel:
    """The channel of a session; both peers make it, so that nothing has to be negotiated."""
    return peer.createDataChannel("session", ordered=False, maxRetransmits=0, negotiated=True, id=0)


def message_begins(packet: bytes) -> bool | None:
    """Whether an SCTP packet carries the first piece of a message; None: it carries none.

    aiortc puts one chunk into a packet.
    """
    chunk = packet[_SCTP_HEADER_BYTES:]
    if len(chunk) < _DATA_HEADER_BYTES or chunk[0] != _DATA:
        return None
    if int.from_bytes(chunk[12:16], "big") != _WEBRTC_BINARY:
        return None
    return bool(chunk[1] & _BEGINS)


class ChannelPort:
    """See `testbed.worlds.realtime.port.Port`.

    Args:
        channel: open.
        tap: of this peer's socket; is told which message a datagram carries, as the number of the
            `send` that it came from.
    """

    def __init__(self, channel: RTCDataChannel, tap: Wiretap) -> None:
        self.overflowed = 0
        self.refused = 0
        self._channel = channel
        self._tap = tap
        self._inbox: list[tuple[bytes, Address, int]] = []
        self._readable: Callable[[], None] | None = None
        self._calls = 0
        self._waiting: deque[int] = deque()
        self._number = -1
        channel.on("message", self._came)
        self._watch(channel.transport.transport)

    def send(self, data: bytes, to: Address) -> bool:  # noqa: ARG002  (there is one way to go)
        """Hand a message to SCTP, which sends it when its congestion window allows."""
        number, self._calls = self._calls, self._calls + 1
        if self._channel.readyState != "open":
            self.refused += 1
            return False
        self._waiting.append(number)
        self._channel.send(data)
        return True

    @property
    def waiting(self) -> int:
        """Messages that SCTP has not sent yet."""
        return len(self._waiting)

    def receive(self) -> list[tuple[bytes, Address, int]]:
        """See `Port`; a message is as old as the call that brings it."""
        got, self._inbox = self._inbox, []
        return got

    def attach(
        self,
        loop: AbstractEventLoop,  # noqa: ARG002  (see `Port`)
        readable: Callable[[], None],
    ) -> None:
        """See `Port`."""
        self._readable = readable

    def detach(self, loop: AbstractEventLoop) -> None:  # noqa: ARG002  (see `Port`)
        """See `Port`."""
        self._readable = None

    def _came(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self._inbox.append((message, PEER, 0))
        if self._readable is not None:
            self._readable()

    def _watch(self, dtls: Any) -> None:
        """Tell the tap what is in a record while aiortc encrypts and sends it, in one go."""
        encrypt_and_send = dtls._send_data

        async def send_data(packet: bytes) -> None:
            begins = message_begins(packet)
            if begins and self._waiting:
                self._number = self._waiting.popleft()
            self._tap.about = None if begins is None else self._number
            try:
                await encrypt_and_send(packet)
            finally:
                self._tap.about = None

        dtls._send_data = send_data
