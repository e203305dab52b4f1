import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkSACK

pytest.importorskip("aiortc")

from testbed.worlds.webrtc.channel import (
    PEER,
    ChannelPort,
    message_begins,
    open_channel,
)
from testbed.worlds.webrtc.loopback import HOST, peer_connection
from testbed.worlds.webrtc.sdp import candidate_of
from testbed.worlds.webrtc.signalling import farewell, until
from testbed.worlds.webrtc.wiretap import Wiretap
from testbed.worlds.webrtc.world import PAYLOAD_BYTES


def packet(*, protocol: int = 53, beginning: int = 1, ending: int = 1) -> bytes:
    """A packet as scapy writes it."""
    chunk = SCTPChunkData(
        proto_id=protocol, beginning=beginning, ending=ending, unordered=1, tsn=5, data=b"four"
    )
    return bytes(SCTP(sport=5000, dport=5000, tag=9) / chunk)


def test_messages_are_told_from_the_rest() -> None:
    assert message_begins(packet()) is True
    assert message_begins(packet(beginning=0)) is False
    assert message_begins(packet(protocol=50)) is None  # DCEP
    assert message_begins(bytes(SCTP() / SCTPChunkSACK(cumul_tsn_ack=5))) is None


@given(st.binary(max_size=64))
def test_any_packet_is_looked_at(data: bytes) -> None:
    assert message_begins(data) in {True, False, None}


async def connected() -> tuple[list[Any], list[Any], list[Wiretap]]:
    """Two peers on loopback, without a relay, and their channels."""
    taps = [Wiretap(), Wiretap()]
    peers = [peer_connection(tap) for tap in taps]
    channels = [open_channel(peer) for peer in peers]
    one, two = peers
    await one.setLocalDescription(await one.createOffer())
    await two.setRemoteDescription(one.localDescription)
    await two.setLocalDescription(await two.createAnswer())
    await one.setRemoteDescription(two.localDescription)
    await until(lambda: all(c.readyState == "open" for c in channels), "the channel")
    return peers, channels, taps


async def exchange(messages: list[bytes]) -> tuple[list[bytes], list[Any], ChannelPort, list[str]]:
    """What arrives of what is sent, what left the socket meanwhile, and where the peers were."""
    peers, channels, taps = await connected()
    ports = [ChannelPort(c, tap) for c, tap in zip(channels, taps, strict=True)]
    got: list[bytes] = []
    ports[1].attach(
        asyncio.get_running_loop(), lambda: got.extend(data for data, _, _ in ports[1].receive())
    )
    before = len(taps[0].sent)
    for message in messages:
        assert ports[0].send(message, PEER)
    await until(lambda: len(got) == len(messages), "everything")
    ports[1].detach(asyncio.get_running_loop())
    where = [candidate_of(peer.localDescription.sdp)[0] for peer in peers]
    left = taps[0].sent[before:]
    for peer in peers:
        await peer.close()
    assert not ports[0].send(b"late", PEER)
    return got, left, ports[0], where


def test_the_tap_knows_which_datagram_carries_which_message() -> None:
    messages = [bytes([n]) * (100 + n) for n in range(5)]
    messages.append(bytes(12 + PAYLOAD_BYTES))  # with an RTP header: still in one piece
    messages.append(bytes(3000))  # in three

    async def run() -> tuple[list[bytes], list[Any], ChannelPort, list[str]]:
        try:
            return await exchange(messages)
        finally:
            await farewell(peer_connection(Wiretap()))

    got, left, port, where = asyncio.run(run())
    assert sorted(got) == sorted(messages)
    assert [wire.about for wire in left if wire.about is not None] == [0, 1, 2, 3, 4, 5, 6, 6, 6]
    overheads = {wire.size - len(messages[wire.about]) for wire in left if wire.about in range(6)}
    # DTLS 1.2 with AES-GCM: 13 + 8 + 16; SCTP: 12 + 16, and up to 3 of padding.
    assert overheads <= set(range(13 + 8 + 16 + 12 + 16, 13 + 8 + 16 + 12 + 16 + 4))
    assert port.waiting == 0
    assert port.refused == 1
    assert where == [HOST, HOST]
