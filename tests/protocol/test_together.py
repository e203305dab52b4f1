"""The blocks put together: two ends over a lossy path, from access units to access units."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from testbed.protocol.assembler import FrameAssembler
from testbed.protocol.nack import NackGenerator, RetransmissionHistory
from testbed.protocol.pacer import Pacer
from testbed.protocol.payload import PAYLOADS, join_nal_units
from testbed.protocol.reception import ReceptionStatistics
from testbed.protocol.rtcp import GenericNack, pack_rtcp, parse_rtcp
from testbed.protocol.rtp import is_rtcp, pack_rtp, pack_rtx, parse_rtp, parse_rtx
from testbed.protocol.rtt import RttEstimator
from testbed.protocol.sequence import Unwrapper

MS = 1_000_000
DELAY_NS = 20 * MS
FRAMES = 90
MEDIA, RTX, RECEIVER = 1, 2, 3
FORMAT = PAYLOADS.get("h264")


def picture(index: int) -> bytes:
    rng = np.random.default_rng(index)
    body = rng.integers(1, 256, int(rng.integers(10, 6000)), dtype=np.uint8).tobytes()
    return join_nal_units([b"\x41\x9a" + body])


class Ends:
    """A sender and a receiver with one heap of what is under way between them."""

    def __init__(self, loss: float, max_tries: int) -> None:
        self.rng = np.random.default_rng(5)
        self.loss = loss
        self.wire: list[tuple[int, int, bytes]] = []
        self.count = 0
        self.pacer: Pacer[bytes] = Pacer(rate_kbps=2000, factor=1.5, burst_bytes=2400)
        self.history: RetransmissionHistory[tuple[bytes, int, bool, int]] = RetransmissionHistory(
            rtt=RttEstimator(initial_ns=2 * DELAY_NS), max_tries=max_tries
        )
        self.sequence = 65_500  # wraps early
        self.rtx_sequence = 0
        self.unwrapper = Unwrapper(16)
        self.unwrapper.unwrap(self.sequence)
        self.statistics = ReceptionStatistics(MEDIA)
        self.nack = NackGenerator(first_sequence=self.sequence, max_tries=max_tries)
        self.assembler = FrameAssembler(first_sequence=self.sequence)
        self.frames: dict[int, bytes] = {}
        self.given_up = 0

    def post(self, data: bytes, now_ns: int) -> None:
        if self.rng.random() >= self.loss:
            heapq.heappush(self.wire, (now_ns + DELAY_NS, self.count, data))
            self.count += 1

    def capture(self, index: int, now_ns: int) -> None:
        payloads = FORMAT.packetize(picture(index), max_payload_bytes=1000)
        for position, payload in enumerate(payloads):
            sent = (payload, index * 3000, position == len(payloads) - 1, self.sequence)
            data = pack_rtp(
                payload,
                payload_type=96,
                marker=sent[2],
                sequence=self.sequence,
                timestamp=sent[1],
                ssrc=MEDIA,
            )
            self.history.remember(self.sequence, sent, size_bytes=len(data), now_ns=now_ns)
            self.pacer.push(data, len(data), now_ns=now_ns)
            self.sequence += 1

    def at_sender(self, data: bytes, now_ns: int) -> None:
        for message in parse_rtcp(data):
            assert isinstance(message, GenericNack)
            for payload, timestamp, marker, original in self.history.resends(
                message.lost, now_ns=now_ns
            ):
                again = pack_rtx(
                    payload,
                    payload_type=97,
                    marker=marker,
                    sequence=self.rtx_sequence,
                    timestamp=timestamp,
                    ssrc=RTX,
                    original_sequence=original,
                )
                self.rtx_sequence += 1
                self.pacer.push(again, len(again), now_ns=now_ns, front=True)

    def at_receiver(self, data: bytes, now_ns: int) -> None:
        packet = parse_rtp(data)
        if packet.ssrc == RTX:
            original, payload = parse_rtx(packet)
        else:
            original, payload = packet.sequence, packet.payload
        sequence = self.unwrapper.unwrap(original)
        if packet.ssrc == MEDIA:
            self.statistics.on_packet(sequence, packet.timestamp, now_ns=now_ns)
        self.nack.on_packet(sequence, now_ns=now_ns, repaired=packet.ssrc == RTX)
        self.assembler.push(sequence, packet.timestamp, packet.marker, payload, now_ns=now_ns)
        for frame in self.assembler.complete_frames():
            self.frames[frame.timestamp // 3000] = FORMAT.depacketize(frame.payloads).data

    def run(self) -> None:
        now_ns = captured = 0
        while True:
            due = [self.wire[0][0]] if self.wire else []
            due += [t for t in (self.pacer.next_timer(), self.nack.next_timer()) if t is not None]
            due += [captured * 33 * MS] if captured < FRAMES else []
            if not due:
                return
            now_ns = max(now_ns, min(due))
            if captured < FRAMES and captured * 33 * MS <= now_ns:
                self.capture(captured, now_ns)
                captured += 1
            while self.wire and self.wire[0][0] <= now_ns:
                _, _, data = heapq.heappop(self.wire)
                (self.at_sender if is_rtcp(data) else self.at_receiver)(data, now_ns)
            wanted = self.nack.requests(now_ns=now_ns)
            if wanted:
                lost = tuple(sequence & 0xFFFF for sequence in wanted)
                self.post(pack_rtcp([GenericNack(RECEIVER, MEDIA, lost)]), now_ns)
            self.given_up += sum(gave_up.count for gave_up in self.nack.given_up())
            for data in self.pacer.pop(now_ns=now_ns):
                self.post(data, now_ns)


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.25])
def test_with_enough_tries_every_frame_arrives_as_it_was_sent(loss: float) -> None:
    ends = Ends(loss, max_tries=30)
    ends.run()
    # Nothing reveals the loss of the very last packets: no later packet follows them.
    settled = {i: data for i, data in ends.frames.items() if i < FRAMES - 1}
    assert settled == {i: picture(i) for i in range(FRAMES - 1)}
    assert ends.given_up == 0
    assert (ends.rtx_sequence > 0) == (loss > 0)
    sent = ends.sequence - 65_500
    lost = ends.statistics.report_block(now_ns=0).cumulative_lost
    assert abs(lost / sent - loss) < 0.06


def test_with_one_try_a_loss_of_the_repair_is_final() -> None:
    ends = Ends(0.25, max_tries=1)
    ends.run()
    assert ends.given_up > 0
    assert set(ends.frames) < set(range(FRAMES))
    assert all(data == picture(index) for index, data in ends.frames.items())
