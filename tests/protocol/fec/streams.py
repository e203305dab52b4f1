"""Streams of frames for the tests of the codes."""

from dataclasses import dataclass

import numpy as np

from testbed.protocol.fec.codes import FEC_CODES
from testbed.protocol.fec.decoder import ErasureDecoder
from testbed.protocol.fec.redundancy import Redundancy
from testbed.protocol.fec.wire import Repair, SourcePacket, pack_repair, pack_source, parse_repair


@dataclass
class Frame:
    """Its packets, and the repairs that follow them."""

    packets: list[SourcePacket]
    repairs: list[Repair]


def stream(
    code: str,
    redundancy: Redundancy,
    sizes: list[int],
    *,
    window_frames: int = 3,
    rng: np.random.Generator,
) -> list[Frame]:
    """Frames of `sizes` packets of different lengths."""
    encoder = FEC_CODES.get(code).encoder(redundancy, window_frames=window_frames)
    sequence, frames = 0, []
    for index, size in enumerate(sizes):
        packets = [
            SourcePacket(
                sequence + i, 3000 * index, i == size - 1, rng.bytes(int(rng.integers(1, 60)))
            )
            for i in range(size)
        ]
        symbols = [pack_source(p.payload, marker=p.marker, timestamp=p.timestamp) for p in packets]
        frames.append(Frame(packets, encoder.add_frame(sequence, symbols)))
        sequence += size
    return frames


def receive(
    frames: list[Frame], lost: set[int], *, lost_repairs: set[int] = frozenset()
) -> tuple[dict[int, SourcePacket], dict[int, int], ErasureDecoder]:
    """All packets that are there in the end, and the frame with which each was recovered.

    `lost` has sequence numbers, `lost_repairs` the places of repairs in the whole stream.
    """
    decoder = ErasureDecoder()
    have: dict[int, SourcePacket] = {}
    at: dict[int, int] = {}
    number = 0
    for index, frame in enumerate(frames):
        found: list[SourcePacket] = []
        for packet in frame.packets:
            if packet.sequence not in lost:
                have[packet.sequence] = packet
                found += decoder.on_source(
                    packet.sequence, packet.timestamp, packet.marker, packet.payload
                )
        for repair in frame.repairs:
            if number not in lost_repairs:
                assert parse_repair(pack_repair(repair)) == repair
                found += decoder.on_repair(repair)
            number += 1
        for packet in found:
            assert packet.sequence in lost
            assert packet.sequence not in have
            have[packet.sequence] = packet
            at[packet.sequence] = index
    return have, at, decoder
