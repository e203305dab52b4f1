"""Offer and answer, through the pipes of the parent process.

The sender offers, the receiver answers. The parent hands each description on with the relay's
address in it, and tells the relay where the peers are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from aiortc import RTCPeerConnection, RTCSessionDescription

#: How long ICE, DTLS and SCTP may take; on an idle machine it is a tenth of a second.
CONNECT_S: Final = 60.0


async def told(pipe: Connection) -> tuple[Any, ...]:
    """The parent's next message, while the loop goes on."""
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        if not there.done():
            there.set_result(None)

    loop.add_reader(pipe.fileno(), readable)
    try:
        await there
    finally:
        loop.remove_reader(pipe.fileno())
    message: tuple[Any, ...] = pipe.recv()
    return message


async def started(pipe: Connection) -> int:
    """Wait for the order to start; CLOCK_MONOTONIC at the session's start."""
    _, epoch_ns, _ = await told(pipe)
    return int(epoch_ns)


async def offer(peer: RTCPeerConnection, pipe: Connection) -> None:
    """The sender's side."""
    await peer.setLocalDescription(await peer.createOffer())
    pipe.send(("news", ("offer", peer.localDescription.sdp)))
    tag, text = await told(pipe)
    await peer.setRemoteDescription(RTCSessionDescription(text, tag))


async def answer(peer: RTCPeerConnection, pipe: Connection) -> None:
    """The receiver's side."""
    tag, text = await told(pipe)
    await peer.setRemoteDescription(RTCSessionDescription(text, tag))
    await peer.setLocalDescription(await peer.createAnswer())
    pipe.send(("news", ("answer", peer.localDescription.sdp)))


async def until(reached: Callable[[], bool], what: str) -> None:
    """Wait until `reached()`.

    Raises:
        TimeoutError: not within `CONNECT_S`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + CONNECT_S
    while not reached():
        if loop.time() > end:
            raise TimeoutError(f"{what} is not there after {CONNECT_S:g} s")
        await asyncio.sleep(0.005)


async def farewell(peer: RTCPeerConnection) -> None:
    """Close a peer and whatever it has left on the loop."""
    await peer.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
