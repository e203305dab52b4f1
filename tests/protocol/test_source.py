"""One source: its numbers, repairs, padding and reports."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import RemoteProtocolError
from testbed.protocol.congestion import ControllerDefaults, FixedRate
from testbed.protocol.endpoint import Datagram
from testbed.protocol.reception import ReceptionStatistics
from testbed.protocol.rtcp import (
    Goodbye,
    ReceiverReport,
    SenderReport,
    SourceDescription,
    pack_rtcp,
    parse_rtcp,
)
from testbed.protocol.rtp import parse_rtp, parse_rtx
from testbed.protocol.source import REPORT_INTERVAL_NS, RtpSource, feedback_in

MS = 1_000_000
SSRC = 77


class Hungry(ControllerDefaults):
    """Wants to see 500 bytes more until something was sent."""

    tracks_packets = True

    def __init__(self) -> None:
        self.wanted = 500

    @property
    def state(self) -> str:
        return "hungry"

    def target_kbps(self, *, now_ns: int) -> float:
        return 100_000.0

    def probe_bytes(self, *, now_ns: int) -> int:
        return self.wanted

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        if ssrc == SSRC + 1:
            self.wanted = 0


def source(controller: Any = None, **settings: Any) -> RtpSource:
    defaults: dict[str, Any] = {
        "ssrc": SSRC, "payload_types": (96, 97), "pacing_factor": 1.0, "burst_bytes": 10**6,
        "playout_deadline_ns": 400 * MS, "max_tries": 2, "pads": True,
    }  # fmt: skip
    return RtpSource(controller or FixedRate(kbps=1e5), **{**defaults, **settings})


def send(mine: RtpSource, count: int, *, now_ns: int = 0) -> list[Datagram]:
    for n in range(count):
        mine.send(
            bytes([n]) * 100, marker=n == count - 1, timestamp=3000, frame=4, media_bytes=96,
            now_ns=now_ns, span=9,
        )  # fmt: skip
    return mine.outlet.pop(now_ns=now_ns)


def test_media_is_numbered_and_the_log_knows_what_it_is() -> None:
    mine = source()
    found = send(mine, 3)
    sent = [parse_rtp(datagram.data) for datagram in found]
    assert [p.sequence for p in sent] == [0, 1, 2]
    assert [p.marker for p in sent] == [False, False, True]
    assert {(p.ssrc, p.payload_type, p.timestamp) for p in sent} == {(SSRC, 96, 3000)}
    assert [d.token for d in found] == [0, 1, 2]
    assert {(d.kind, d.frame, d.media_bytes, d.span) for d in found} == {("media", 4, 96, 9)}
    assert mine.sequence == 3


def test_numbers_wrap_on_the_wire_only() -> None:
    mine = source()
    mine.sequence = 65_535
    numbers = [parse_rtp(datagram.data).sequence for datagram in send(mine, 2)]
    assert numbers == [65_535, 0]
    assert mine.sequence == 65_537


def test_a_repair_says_what_it_repeats_and_comes_before_what_waits() -> None:
    mine = source()
    first = send(mine, 3)
    mine.send(b"later", marker=True, timestamp=6000, frame=13, media_bytes=5, now_ns=MS)
    assert mine.resend((2, 0, 9), now_ns=MS) == [(0, 2), (1, 0)]
    out = mine.outlet.pop(now_ns=MS)
    assert [d.kind for d in out] == ["retransmission", "retransmission", "media"]
    assert [d.retransmission_of for d in out] == [first[2].token, first[0].token, -1]
    assert [(d.frame, d.media_bytes, d.span) for d in out[:2]] == [(4, 96, 9)] * 2
    for datagram, original in zip(out, (2, 0), strict=False):
        packet = parse_rtp(datagram.data)
        assert (packet.ssrc, packet.payload_type, packet.timestamp) == (SSRC + 1, 97, 3000)
        assert parse_rtx(packet) == (original, bytes([original]) * 100)


def test_without_tries_nothing_is_kept_or_repeated() -> None:
    mine = source(max_tries=0)
    send(mine, 3)
    assert mine.resend((0, 1), now_ns=MS) == []
    assert mine.outlet.pop(now_ns=MS) == []


def test_padding_fills_a_probe_but_not_before_there_was_media() -> None:
    mine = source(Hungry())
    assert mine.outlet.pop(now_ns=0) == []
    out = send(mine, 1)
    assert [d.kind for d in out] == ["media", "padding"]
    packet = parse_rtp(out[1].data)
    assert (packet.ssrc, packet.payload_type, packet.timestamp) == (SSRC + 1, 97, 3000)
    assert packet.payload == b""
    assert 1 <= packet.padding_bytes <= 255
    assert (out[1].frame, out[1].media_bytes) == (-1, 0)
    assert [d.kind for d in send(source(Hungry(), pads=False), 1)] == ["media"]


class Starving(Hungry):
    """Wants to see so many packets of up to 500 bytes more."""

    def __init__(self, packets: int) -> None:
        super().__init__()
        self.packets = packets

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        if ssrc == SSRC + 1:
            self.packets -= 1
            self.wanted = 500 if self.packets else 0


def test_the_latest_frame_fills_a_probe_once_and_then_padding_does() -> None:
    mine = source(Starving(4), repeats=True)
    assert mine.outlet.pop(now_ns=0) == []
    out = send(mine, 3)
    assert [d.kind for d in out] == ["media"] * 3 + ["fec"] * 3 + ["padding"]
    for media, repair in zip(out[:3], out[3:6], strict=True):
        packet = parse_rtp(repair.data)
        assert packet.ssrc == SSRC + 1
        assert parse_rtx(packet) == (parse_rtp(media.data).sequence, parse_rtp(media.data).payload)
        assert (repair.frame, repair.span, repair.retransmission_of) == (4, 9, media.token)
    assert mine.repeated == [(0, 0), (1, 1), (2, 2)]
    assert parse_rtp(out[6].data).sequence == 3


def test_only_the_latest_frame_is_repeated_and_only_what_fits() -> None:
    controller = Starving(2)
    controller.wanted = 0
    mine = source(controller, repeats=True, pads=False)
    send(mine, 2)
    for size, now_ns in ((600, MS), (100, MS)):  # with headers more than 500 bytes, and less
        mine.send(
            bytes(size), marker=False, timestamp=6000, frame=5, media_bytes=size, now_ns=now_ns
        )
    controller.wanted = 500
    out = mine.outlet.pop(now_ns=MS)
    assert [(d.kind, len(d.data) > 400) for d in out] == [
        ("media", True), ("media", False), ("fec", False),
    ]  # fmt: skip


def test_reports_are_due_once_a_second_and_count_what_was_sent() -> None:
    mine = source()
    send(mine, 3)
    assert mine.report_if_due(now_ns=0) is not None
    assert mine.report_if_due(now_ns=REPORT_INTERVAL_NS - 1) is None
    due = mine.report_if_due(now_ns=REPORT_INTERVAL_NS)
    assert due is not None
    assert due.kind == "feedback"
    report, names = parse_rtcp(due.data)
    assert isinstance(report, SenderReport)
    assert (report.ssrc, report.packet_count, report.octet_count) == (SSRC, 3, 300)
    assert isinstance(names, SourceDescription)
    last = parse_rtcp(mine.report(Goodbye((SSRC,)), now_ns=5).data)[-1]
    assert isinstance(last, Goodbye)


def test_a_receiver_report_tells_loss_and_round_trip() -> None:
    mine, theirs = source(), ReceptionStatistics(SSRC)
    assert mine.control_view() == (None, None)
    sent = mine.report(now_ns=10 * MS)
    for sequence in (0, 1, 3):
        theirs.on_packet(sequence, 0, now_ns=30 * MS)
    theirs.on_sender_report(parse_rtcp(sent.data)[0], now_ns=30 * MS)  # type: ignore[arg-type]
    block = theirs.report_block(now_ns=50 * MS)
    mine.on_receiver_report(ReceiverReport(1, (block,)), now_ns=75 * MS)
    loss, min_rtt_ms = mine.control_view()
    assert loss == pytest.approx(1 / 4, abs=1 / 256)
    assert min_rtt_ms == pytest.approx(45, abs=0.1)  # 65 ms there and back, 20 of them waiting
    other = ReceptionStatistics(SSRC + 5)
    other.on_packet(0, 0, now_ns=0)
    mine.on_receiver_report(ReceiverReport(1, (other.report_block(now_ns=0),)), now_ns=80 * MS)
    assert mine.control_view() == (loss, min_rtt_ms)


@pytest.mark.parametrize("data", [b"", b"\x80\x60", bytes(40), b"\x80\xc8\xff\xff"])
def test_what_is_no_feedback_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        feedback_in(data)
    assert len(feedback_in(pack_rtcp([Goodbye((SSRC,))]))) == 1
