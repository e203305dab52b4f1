"""What an endpoint needs of the network: a way to send datagrams and to hear of those that came."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol

#: Address of a datagram's sender or receiver.
Address = tuple[str, int]


class Port(Protocol):
    """A UDP socket (`testbed.worlds.realtime.udp`), or something that stands for one.

    Attributes:
        overflowed: datagrams that were lost because nobody read them in time.
        refused: datagrams that could not be sent.
    """

    overflowed: int
    refused: int

    def send(self, data: bytes, to: Address) -> bool:
        """Send at once; False where that could not be."""

    def receive(self) -> list[tuple[bytes, Address, int]]:
        """What has arrived, as (payload, from whom, CLOCK_REALTIME stamp or 0 for now)."""

    def attach(self, loop: AbstractEventLoop, readable: Callable[[], None]) -> None:
        """Call `readable` on `loop` whenever there is something to receive."""

    def detach(self, loop: AbstractEventLoop) -> None:
        """No longer."""
