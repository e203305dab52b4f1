"""A sender and a receiver with a lossy wire between them, walked by hand."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.media.clips import open_clip
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.spec import ClipSpec
from testbed.media.types import EncodedFrame
from testbed.protocol.congestion import BbrController, FixedRate
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.payload import PAYLOADS
from testbed.protocol.rtcp import GenericNack, PictureLossIndication, pack_rtcp, parse_rtcp
from testbed.protocol.rtp import is_rtcp, pack_rtp, pack_rtx, parse_rtp
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import FrameDecoded, ReceiverContext, SenderContext
from testbed.transports.h26x.receiver import MAX_GIVEN_UP, H26xReceiver
from testbed.transports.h26x.sender import H26xSender, media_target_kbps

FPS = Fraction(15)
FRAME_NS = 10**9 // 15
DEADLINE_NS = 400_000_000
MEDIA_SSRC = 0x4D6F7270


class Recording:
    """A real x264 run, played back; a forced key frame restarts the recording."""

    def __init__(self, frames: list[EncodedFrame]) -> None:
        self.frames = frames
        self.forced: list[int] = []
        self._start = 0

    def encode(self, index: int, *, target_kbps: float, force_key: bool) -> EncodedFrame:
        if force_key:
            self.forced.append(index)
            self._start = index
        taken = self.frames[(index - self._start) % len(self.frames)]
        return EncodedFrame(index, taken.key, taken.data, 0)


@pytest.fixture(scope="module")
def recorded() -> list[EncodedFrame]:
    clip = open_clip(ClipSpec("test:testsrc2", 160, 96, 15.0, 3.0), base=Path.cwd())
    encoder = open_encoder("h264", clip, EncoderConfig(), None)
    return [encoder.encode(i, target_kbps=150.0, force_key=False) for i in range(45)]


def pair(frames: list[EncodedFrame], **options: Any) -> tuple[H26xSender, H26xReceiver, Recording]:
    transport = TRANSPORTS.get("h264")
    parsed = parse_options(transport, options)
    encoder = Recording(frames)
    sender = transport.make_sender(
        SenderContext(FPS, encoder, FixedRate(kbps=200.0), lambda _: 0, DEADLINE_NS, parsed)
    )
    receiver = transport.make_receiver(ReceiverContext(FPS, lambda: 0, DEADLINE_NS, parsed))
    assert isinstance(sender, H26xSender)
    assert isinstance(receiver, H26xReceiver)
    return sender, receiver, encoder


def media(payload: bytes, *, sequence: int, timestamp: int, marker: bool = False) -> bytes:
    return pack_rtp(
        payload,
        payload_type=96,
        marker=marker,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=MEDIA_SSRC,
    )


def drive(
    sender: H26xSender,
    receiver: H26xReceiver,
    *,
    count: int,
    one_way_ns: int = 20_000_000,
    lose: Callable[[Datagram], bool] = lambda _: False,
) -> list[FrameDecoded]:
    """A world in a dozen lines: 1 ms steps, fixed delay, a rule for losses."""
    decoded: list[FrameDecoded] = []
    wire: list[tuple[int, bool, bytes]] = []
    for now_ns in range(0, count * FRAME_NS + 10**9, 1_000_000):
        index = now_ns // FRAME_NS
        if index < count and now_ns - index * FRAME_NS < 1_000_000:
            sender.push_frame(SourceFrame(index), now_ns=now_ns)
        for to_receiver, data in [(d, x) for at, d, x in wire if at <= now_ns]:
            (receiver if to_receiver else sender).receive_datagram(data, now_ns=now_ns)
        wire = [entry for entry in wire if entry[0] > now_ns]
        for endpoint, down in ((sender, True), (receiver, False)):
            timer_ns = endpoint.next_timer()
            if timer_ns is not None and timer_ns <= now_ns:
                endpoint.on_timer(now_ns=now_ns)
            for datagram in endpoint.datagrams_to_send(now_ns=now_ns):
                if not (down and lose(datagram)):
                    wire.append((now_ns + one_way_ns, down, datagram.data))
        decoded += [e for e in receiver.events() if isinstance(e, FrameDecoded)]
    return decoded


def test_every_byte_of_the_encoder_reaches_the_decoder(recorded: list[EncodedFrame]) -> None:
    sender, receiver, _ = pair(recorded)
    decoded = drive(sender, receiver, count=45)
    assert [e.index for e in decoded] == list(range(45))
    assert {e.outcome for e in decoded} == {"rendered"}
    for got, sent in zip(receiver.received_frames(45), recorded, strict=True):
        assert got.complete
        assert got.key == sent.key
        assert got.data.count(b"\x00\x00\x00\x01") >= 1
        assert len(got.data) == pytest.approx(len(sent.data), abs=8)


def test_a_lost_packet_comes_back_once_asked_for(recorded: list[EncodedFrame]) -> None:
    lost: list[Datagram] = []

    def lose(datagram: Datagram) -> bool:
        if datagram.kind == "media" and datagram.frame == 10 and not lost:
            lost.append(datagram)
            return True
        return False

    sender, receiver, encoder = pair(recorded)
    decoded = drive(sender, receiver, count=45, lose=lose)
    assert [e.index for e in decoded] == list(range(45))
    assert encoder.forced == []
    assert len(lost) == 1


def test_a_packet_that_never_comes_leads_to_one_key_frame(recorded: list[EncodedFrame]) -> None:
    sender, receiver, encoder = pair(recorded)
    doomed: set[int] = set()

    def lose(datagram: Datagram) -> bool:
        if datagram.kind == "media" and datagram.frame == 10 and not doomed:
            doomed.add(datagram.token)
            return True
        return datagram.retransmission_of in doomed

    decoded = drive(sender, receiver, count=45, lose=lose)
    assert len(encoder.forced) == 1
    key = encoder.forced[0]
    assert [e.index for e in decoded] == [*range(10), *range(key, 45)]
    assert receiver.received_frames(45)[10].complete is False


def test_without_key_requests_the_chain_stays_broken(recorded: list[EncodedFrame]) -> None:
    sender, receiver, encoder = pair(recorded, key_requests=False, retransmission=False)
    decoded = drive(sender, receiver, count=45, lose=lambda d: d.frame == 10)
    assert [e.index for e in decoded] == list(range(10))
    assert encoder.forced == []


def test_without_retransmission_a_loss_is_not_waited_for(recorded: list[EncodedFrame]) -> None:
    sender, receiver, encoder = pair(recorded, retransmission=False)
    decoded = drive(sender, receiver, count=45, lose=lambda d: d.frame == 10)
    # Frame 11 shows the gap, 5 ms make it a loss, and the request is there before frame 12.
    assert encoder.forced == [12]
    assert [e.index for e in decoded] == [*range(10), *range(12, 45)]


def test_a_packet_that_was_only_late_is_lost_no_more(recorded: list[EncodedFrame]) -> None:
    _, receiver, _ = pair(recorded, give_up_ms=1)
    payloads = PAYLOADS.get("h264").packetize(recorded[0].data, max_payload_bytes=200)
    assert len(payloads) > 6
    for number in (0, 1, 3, 4, 5):  # 2 is given up: no repair could come in time
        receiver.receive_datagram(media(payloads[number], sequence=number, timestamp=0), now_ns=0)
    assert receiver._given_up == {2}
    receiver.receive_datagram(media(payloads[2], sequence=2, timestamp=0), now_ns=1)
    assert receiver._given_up == set()


@pytest.mark.parametrize("retransmission", [False, True])
@pytest.mark.parametrize("gone", [(10,), (10, 11), (10, 12)])
def test_concealment_goes_on_after_frames_of_which_nothing_came(
    recorded: list[EncodedFrame], retransmission: bool, gone: tuple[int, ...]
) -> None:
    sender, receiver, _ = pair(recorded, conceal=True, retransmission=retransmission)
    decoded = drive(sender, receiver, count=45, lose=lambda d: d.frame in gone)
    assert [e.index for e in decoded] == [i for i in range(45) if i not in gone]


def test_concealment_waits_for_the_rest_of_the_frame(recorded: list[EncodedFrame]) -> None:
    sender, receiver, _ = pair(recorded, conceal=True, retransmission=False, payload_bytes=200)
    sender.push_frame(SourceFrame(0), now_ns=0)
    packets = []
    for now_ns in range(0, 10**9, 1_000_000):
        packets += [d for d in sender.datagrams_to_send(now_ns=now_ns) if d.kind == "media"]
    assert len(packets) > 6
    del packets[2]
    for number, datagram in enumerate(packets):
        assert receiver.events() == []
        receiver.receive_datagram(datagram.data, now_ns=number)
    assert len(receiver.events()) == 1


def test_a_key_request_for_concealed_frames_is_repeated(recorded: list[EncodedFrame]) -> None:
    sender, receiver, encoder = pair(recorded, conceal=True, retransmission=False)
    # The key frame that is asked for first is lost as a whole.
    decoded = drive(sender, receiver, count=45, lose=lambda d: d.frame in (10, 12))
    assert encoder.forced[0] == 12
    assert len(encoder.forced) == 2
    assert decoded[-1].outcome == "rendered"


def test_a_retransmission_alone_is_nothing_to_report(recorded: list[EncodedFrame]) -> None:
    _, receiver, _ = pair(recorded)
    repair = pack_rtx(
        b"x",
        payload_type=97,
        marker=True,
        sequence=0,
        timestamp=0,
        ssrc=MEDIA_SSRC + 1,
        original_sequence=0,
    )
    receiver.receive_datagram(repair, now_ns=5)
    receiver.on_timer(now_ns=100_000_000)
    assert receiver.datagrams_to_send(now_ns=100_000_000) == []


@pytest.mark.parametrize("retransmission", [False, True])
def test_absurd_jumps_in_the_numbers_take_bounded_memory(
    recorded: list[EncodedFrame], retransmission: bool
) -> None:
    _, receiver, _ = pair(recorded, retransmission=retransmission)
    for i in range(20):
        now_ns = i * 10_000_000
        receiver.receive_datagram(media(b"x", sequence=i * 8_000, timestamp=0), now_ns=now_ns)
        receiver.on_timer(now_ns=now_ns + 6_000_000)
    assert len(receiver._given_up) <= MAX_GIVEN_UP


@pytest.mark.parametrize("options", [{}, {"fec": "rs-frame"}, {"conceal": True}])
def test_a_single_damaged_number_does_not_end_the_session(
    recorded: list[EncodedFrame], options: dict[str, Any]
) -> None:
    sender, receiver, _ = pair(recorded, **options)
    receiver.receive_datagram(media(b"x", sequence=20_000, timestamp=0), now_ns=0)
    assert len(drive(sender, receiver, count=45)) == 45
    assert receiver.malformed_datagrams == 1


def test_frames_from_the_future_are_refused(recorded: list[EncodedFrame]) -> None:
    _, receiver, _ = pair(recorded)
    key = PAYLOADS.get("h264").packetize(recorded[0].data, max_payload_bytes=60_000)
    for number, payload in enumerate(key):
        marker = number == len(key) - 1
        data = media(payload, sequence=1 + number, timestamp=0x7FFFFF00, marker=marker)
        receiver.receive_datagram(data, now_ns=0)
    receiver.on_timer(now_ns=10**9)
    assert receiver.events() == []
    assert receiver.malformed_datagrams == len(key)


def test_a_nack_for_something_never_sent_is_ignored(recorded: list[EncodedFrame]) -> None:
    sender, _, _ = pair(recorded)
    sender.receive_datagram(pack_rtcp([GenericNack(1, 2, (4711, 9))]), now_ns=0)
    assert all(d.kind == "feedback" for d in sender.datagrams_to_send(now_ns=0))


def test_key_requests_are_rate_limited(recorded: list[EncodedFrame]) -> None:
    sender, _, encoder = pair(recorded, key_interval_ms=1000)
    request = pack_rtcp([PictureLossIndication(1, 2)])
    for index in range(30):
        now_ns = index * FRAME_NS
        sender.receive_datagram(request, now_ns=now_ns)
        sender.push_frame(SourceFrame(index), now_ns=now_ns)
    # Frame 15 comes 10 ns short of a second after frame 0.
    assert encoder.forced == [0, 16]


def test_the_receiver_reports_every_100_ms(recorded: list[EncodedFrame]) -> None:
    sender, receiver, _ = pair(recorded)
    sender.push_frame(SourceFrame(0), now_ns=0)
    for datagram in sender.datagrams_to_send(now_ns=0):
        receiver.receive_datagram(datagram.data, now_ns=1_000_000)
    reports = 0
    for _ in range(10):
        timer_ns = receiver.next_timer()
        assert timer_ns is not None
        receiver.on_timer(now_ns=timer_ns)
        for datagram in receiver.datagrams_to_send(now_ns=timer_ns):
            assert is_rtcp(datagram.data)
            assert parse_rtcp(datagram.data)
            reports += timer_ns % 100_000_000 == 0
    assert reports >= 5


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_from_the_network_is_counted_and_ignored(datagrams: list[bytes]) -> None:
    sender, receiver, _ = pair([EncodedFrame(0, key=True, data=b"\0\0\0\1\x65abc", encode_ns=0)])
    for data in datagrams:
        for endpoint in (sender, receiver):
            endpoint.receive_datagram(data, now_ns=5)
            endpoint.receive_datagram(b"\x80\x60" + data, now_ns=5)
            endpoint.receive_datagram(b"\x80\xcd" + data, now_ns=5)
    assert receiver.events() == []
    receiver.received_frames(3)


def test_media_packets_are_rtp_with_a_marker_at_the_end_of_each_frame(
    recorded: list[EncodedFrame],
) -> None:
    sender, _, _ = pair(recorded)
    sender.push_frame(SourceFrame(0), now_ns=0)
    packets = []
    for now_ns in range(0, 10**9, 1_000_000):
        packets += [
            parse_rtp(d.data) for d in sender.datagrams_to_send(now_ns=now_ns) if d.kind == "media"
        ]
    assert len(packets) > 1
    assert [p.marker for p in packets] == [False] * (len(packets) - 1) + [True]
    assert [p.sequence for p in packets] == list(range(len(packets)))
    assert {p.timestamp for p in packets} == {0}


@pytest.mark.parametrize("wire_kbps", [50.0, 200.0, 400.0, 1000.0, 5000.0])
def test_headers_fit_into_the_target(wire_kbps: float) -> None:
    media = media_target_kbps(wire_kbps, fps=30.0, payload_bytes=1200)
    frame_bytes = media * 1e3 / 8 / 30
    packets = -(-frame_bytes // 1200)
    wire = (frame_bytes + packets * 40) * 8 * 30 / 1e3
    assert wire == pytest.approx(wire_kbps, rel=0.15, abs=1)
    assert media < wire_kbps


def test_probes_are_filled_with_padding_that_the_receiver_reports(
    recorded: list[EncodedFrame],
) -> None:
    transport = TRANSPORTS.get("h264")
    parsed = parse_options(transport, {})
    controller = BbrController()
    sender = transport.make_sender(
        SenderContext(FPS, Recording(recorded), controller, lambda _: 0, DEADLINE_NS, parsed)
    )
    receiver = transport.make_receiver(ReceiverContext(FPS, lambda: 0, DEADLINE_NS, parsed))
    assert isinstance(sender, H26xSender)
    assert isinstance(receiver, H26xReceiver)
    kinds: list[str] = []

    def note(datagram: Datagram) -> bool:
        kinds.append(datagram.kind)
        return False

    decoded = drive(sender, receiver, count=45, lose=note)
    assert {e.outcome for e in decoded} == {"rendered"}
    assert kinds.index("media") < kinds.index("padding")
    assert receiver.malformed_datagrams == 0
    # Startup doubles the rate on a wire without a bottleneck.
    assert controller.estimate_kbps(now_ns=0) > 600
    assert controller.bbr.sampler.lost == 0
    assert controller.bbr.sampler.delivered > 0


def test_probes_can_be_filled_with_media_instead(recorded: list[EncodedFrame]) -> None:
    transport = TRANSPORTS.get("h264")
    parsed = parse_options(transport, {"probe_fill": "media"})
    asked: list[float] = []

    class Asked(Recording):
        def encode(self, index: int, *, target_kbps: float, force_key: bool) -> EncodedFrame:
            asked.append(target_kbps)
            return super().encode(index, target_kbps=target_kbps, force_key=force_key)

    sender = transport.make_sender(
        SenderContext(FPS, Asked(recorded), BbrController(), lambda _: 0, DEADLINE_NS, parsed)
    )
    receiver = transport.make_receiver(ReceiverContext(FPS, lambda: 0, DEADLINE_NS, parsed))
    assert isinstance(sender, H26xSender)
    assert isinstance(receiver, H26xReceiver)
    kinds: set[str] = set()

    def note(datagram: Datagram) -> bool:
        kinds.add(datagram.kind)
        return False

    drive(sender, receiver, count=15, lose=note)
    assert "padding" not in kinds
    assert asked[0] > 2 * 300  # Startup's gain on the start rate, less headers


@pytest.mark.parametrize("interval_ms", [20, 250])
def test_the_report_interval_is_an_option(recorded: list[EncodedFrame], interval_ms: int) -> None:
    sender, receiver, _ = pair(recorded, report_interval_ms=interval_ms)
    sender.push_frame(SourceFrame(0), now_ns=0)
    for datagram in sender.datagrams_to_send(now_ns=0):
        receiver.receive_datagram(datagram.data, now_ns=0)
    times = []
    while (at_ns := receiver.next_timer()) is not None and at_ns <= 10**9:
        receiver.on_timer(now_ns=at_ns)
        if receiver.datagrams_to_send(now_ns=at_ns):
            times.append(at_ns // 1_000_000)
    assert times == list(range(interval_ms, 1001, interval_ms))
