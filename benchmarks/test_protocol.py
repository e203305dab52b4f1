"""Cost of the protocol blocks per packet, RTP beside scapy's.

Read the ratios, not the times: pytest-benchmark prints how many times slower each entry of a
group is than the fastest. Both sides of a group get the same packets.
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.rtp import RTP

from testbed.protocol.assembler import FrameAssembler
from testbed.protocol.nack import NackGenerator
from testbed.protocol.pacer import Pacer
from testbed.protocol.payload import PAYLOADS, join_nal_units
from testbed.protocol.reception import ArrivalRecorder, ReceptionStatistics
from testbed.protocol.rtcp import CongestionFeedback, pack_rtcp, parse_rtcp
from testbed.protocol.rtp import pack_rtp, parse_rtp
from testbed.protocol.sequence import Unwrapper

PAYLOAD = bytes(1188)
HEADER = {"payload_type": 96, "sequence": 7, "timestamp": 3000, "ssrc": 0x1234}
PACKET = pack_rtp(PAYLOAD, marker=True, **HEADER)
#: A session of 60 s at 1 Mbit/s: 1800 frames of 4 packets.
FRAMES = 1800
PER_FRAME = 4


def build_with_scapy() -> bytes:
    header = RTP(marker=1, payload_type=96, sequence=7, timestamp=3000, sourcesync=0x1234)
    return bytes(header) + PAYLOAD


def build_here() -> bytes:
    return pack_rtp(PAYLOAD, marker=True, **HEADER)


@pytest.mark.benchmark(group="RTP build")
@pytest.mark.parametrize("build", [build_here, build_with_scapy])
def test_build(benchmark: Any, build: Any) -> None:
    assert benchmark(build) == PACKET


@pytest.mark.benchmark(group="RTP parse")
@pytest.mark.parametrize("parse", [parse_rtp, RTP], ids=["here", "scapy"])
def test_parse(benchmark: Any, parse: Any) -> None:
    packet = benchmark(parse, PACKET)
    assert (packet.sequence, packet.timestamp, packet.marker) == (7, 3000, 1)


def session(loss_every: int) -> list[bytes]:
    packets = []
    for number in range(FRAMES * PER_FRAME):
        if loss_every and number % loss_every == loss_every - 1:
            continue
        frame, position = divmod(number, PER_FRAME)
        packets.append(
            pack_rtp(
                PAYLOAD,
                payload_type=96,
                marker=position == PER_FRAME - 1,
                sequence=number,
                timestamp=frame * 3000,
                ssrc=1,
            )
        )
    return packets


def receive(packets: list[bytes]) -> tuple[int, int]:
    """Everything that a receiver does below decoding; returns whole frames and requests."""
    unwrapper = Unwrapper(16)
    statistics = ReceptionStatistics(1)
    recorder = ArrivalRecorder(2)
    nack = NackGenerator(first_sequence=0)
    assembler = FrameAssembler(first_sequence=0)
    frames = requests = 0
    for number, data in enumerate(packets):
        now_ns = number * 8_333_333
        packet = parse_rtp(data)
        sequence = unwrapper.unwrap(packet.sequence)
        statistics.on_packet(sequence, packet.timestamp, now_ns=now_ns)
        recorder.on_packet(1, sequence, now_ns=now_ns)
        nack.on_packet(sequence, now_ns=now_ns, deadline_ns=now_ns + 400_000_000)
        requests += len(nack.requests(now_ns=now_ns))
        assembler.push(sequence, packet.timestamp, packet.marker, packet.payload, now_ns=now_ns)
        frames += len(assembler.complete_frames())
        due_ns = recorder.next_timer()
        if due_ns is not None and due_ns <= now_ns:
            recorder.report(now_ns=now_ns)
    return frames, requests


@pytest.mark.benchmark(group="receive a 60 s session")
@pytest.mark.parametrize(("loss_every", "frames"), [(0, 1800), (20, 1081)])
def test_receive(benchmark: Any, loss_every: int, frames: int) -> None:
    packets = session(loss_every)
    whole, requests = benchmark.pedantic(receive, args=(packets,), rounds=5)
    benchmark.extra_info["packets"] = len(packets)
    # Without repairs a lost packet costs its frame; a lost marker the next frame's known start too.
    assert whole == frames
    assert (requests > 0) == (loss_every > 0)


@pytest.mark.benchmark(group="packetise a 40 kB picture")
@pytest.mark.parametrize("codec", ["h264", "h265", "h266"])
def test_packetise(benchmark: Any, codec: str) -> None:
    header = {"h264": b"\x65", "h265": b"\x26\x01", "h266": b"\x00\x39"}[codec]
    unit = join_nal_units([header + b"\x55" * 40_000])
    payload_format = PAYLOADS.get(codec)
    payloads = benchmark(payload_format.packetize, unit, max_payload_bytes=1200)
    assert len(payloads) == 34


@pytest.mark.benchmark(group="reassemble a 40 kB picture")
@pytest.mark.parametrize("codec", ["h264", "h265", "h266"])
def test_depacketise(benchmark: Any, codec: str) -> None:
    header = {"h264": b"\x65", "h265": b"\x26\x01", "h266": b"\x00\x39"}[codec]
    unit = join_nal_units([header + b"\x55" * 40_000])
    payload_format = PAYLOADS.get(codec)
    payloads = payload_format.packetize(unit, max_payload_bytes=1200)
    assert benchmark(payload_format.depacketize, payloads).data == unit


@pytest.mark.benchmark(group="arrival report of 500 packets")
def test_arrival_report(benchmark: Any) -> None:
    def report() -> bytes:
        recorder = ArrivalRecorder(2)
        for sequence in range(500):
            recorder.on_packet(1, sequence, now_ns=sequence)
        feedback = recorder.report(now_ns=100_000_000)
        assert feedback is not None
        return pack_rtcp([feedback])

    (feedback,) = parse_rtcp(benchmark(report))
    assert isinstance(feedback, CongestionFeedback)
    assert len(feedback.blocks[0].metrics) == 500


@pytest.mark.benchmark(group="pace 1000 packets")
def test_pace(benchmark: Any) -> None:
    def pace() -> int:
        pacer: Pacer[int] = Pacer(rate_kbps=1000, burst_bytes=2400)
        for number in range(1000):
            pacer.push(number, 1200, now_ns=0)
        count = 0
        while (timer := pacer.next_timer()) is not None:
            count += len(pacer.pop(now_ns=timer))
        return count

    assert benchmark(pace) == 1000
