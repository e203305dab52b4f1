"""The contract between an endpoint and a world.

An endpoint is a sans-IO state machine, after h11 and aioquic: the world hands it datagrams and
the time, and asks for what to send, when to wake it, and what happened. Nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Datagram:
    """One UDP payload with what the log wants to know about it.

    Attributes:
        data: the bytes on the wire, without IP and UDP headers.
        kind: "media", "retransmission", "fec", "feedback" or "padding".
        frame: source frame it belongs to, or -1; its bytes are counted there.
        media_bytes: coded-picture bytes inside; the rest of `data` is header.
        token: the sender's own number for this datagram, from 0.
        retransmission_of: `token` of the datagram that this one repeats, or -1.
        span: frames, from `frame` on, that need it (a group of pictures coded together); below 0:
            as many frames before `frame` that it can help besides (a repair over several frames).
    """

    data: bytes
    kind: str
    frame: int = -1
    media_bytes: int = 0
    token: int = -1
    retransmission_of: int = -1
    span: int = 1


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A captured frame: its number; pixels stay with the encoder, which owns the clip."""

    index: int


class Event:
    """Base of what an endpoint reports; see the transport for its own events."""

    __slots__ = ()


class Endpoint(Protocol):
    """A Sender or a Receiver; every call carries the time in integer nanoseconds."""

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """A frame was captured (senders only)."""

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        """A datagram arrived; any bytes are allowed."""

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What goes out now."""

    def next_timer(self) -> int | None:
        """When to call `on_timer`, in ns; None for never."""

    def on_timer(self, *, now_ns: int) -> None:
        """The time of `next_timer` has come (or passed)."""

    def events(self) -> list[Event]:
        """What happened since the last call."""
