"""Sender and receiver with a lossy wire between them, walked by hand; no codec is loaded."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.codec.units import split_units
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.rtcp import GenericNack, pack_rtcp, parse_rtcp
from testbed.protocol.rtp import is_rtcp, pack_rtp, parse_rtp
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded
from testbed.transports.morphe.receiver import MorpheReceiver
from testbed.transports.morphe.wire import MEDIA_PAYLOAD_TYPE, RTX_PAYLOAD_TYPE
from tests.transports.morphe.fakegops import DEADLINE_NS, FPS, MS, ROWS, FakeGops, drive, pair

MEDIA_SSRC = 0x4D6F7270


def decoded(events: list[Event]) -> list[FrameDecoded]:
    return [event for event in events if isinstance(event, FrameDecoded)]


def abandoned(events: list[Event]) -> dict[int, str]:
    return {event.index: event.reason for event in events if isinstance(event, FrameAbandoned)}


def media_of(sent: list[Datagram], gop: int) -> list[Datagram]:
    return [d for d in sent if d.kind == "media" and d.frame == 9 * gop]


def test_over_a_clean_wire_every_unit_arrives_and_every_frame_is_shown_in_step() -> None:
    encoder = FakeGops(45, residuals=2)
    sender, receiver = pair(encoder)
    events, _ = drive(sender, receiver, count=45)
    frames = decoded(events)
    assert [event.index for event in frames] == list(range(45))
    assert {event.outcome for event in frames} == {"rendered"}
    gaps = {round((b.render_ns - a.render_ns) / MS) for a, b in itertools.pairwise(frames)}
    assert gaps <= {30, 31, 32, 33, 34, 35}
    for gop, frame in enumerate(receiver.received_frames(45)[::9]):
        assert frame.complete
        assert split_units(frame.data) == list(encoder.gops[gop].units)
    assert receiver.facts()["gops"] == {"decoded": 5, "damaged": 0, "asked": 0, "abandoned": 0}


def test_a_packet_is_rtp_and_belongs_to_its_gop() -> None:
    sender, receiver = pair(FakeGops(18, residuals=1))
    _, sent = drive(sender, receiver, count=18)
    media = [d for d in sent if d.kind == "media"]
    packets = [parse_rtp(d.data) for d in media]
    assert [p.sequence for p in packets] == list(range(18))
    assert {p.payload_type for p in packets} == {MEDIA_PAYLOAD_TYPE}
    assert [p.marker for p in packets] == 2 * ([False] * 8 + [True])
    assert [p.timestamp for p in packets] == [0] * 9 + [27_000] * 9
    assert {(d.frame, d.span) for d in media} == {(0, 9), (9, 9)}
    assert all(len(p.payload) == d.media_bytes + 4 for p, d in zip(packets, media, strict=True))


def test_the_target_counts_every_header_and_what_is_left_over_is_kept() -> None:
    encoder = FakeGops(270, tokens=9)  # two packets each
    sender, receiver = pair(encoder, kbps=400.0)
    _, sent = drive(sender, receiver, count=270)
    wire = sum(len(d.data) + 28 for d in sent if d.kind == "media")
    assert wire * 8 / 9.0 / 1e3 == pytest.approx(400.0, rel=0.01)


def test_encoded_frames_share_times_and_bytes_of_their_gop() -> None:
    encoder = FakeGops(9)
    sender, _ = pair(encoder, encode_ns=50 * MS)
    for index in range(9):
        sender.push_frame(SourceFrame(index), now_ns=index * 33 * MS)
    events = [event for event in sender.events() if isinstance(event, FrameEncoded)]
    assert [event.index for event in events] == list(range(9))
    assert [event.key for event in events] == [True] + [False] * 8
    assert {(e.encode_start_ns, e.encode_end_ns) for e in events} == {(264 * MS, 314 * MS)}
    assert sum(e.media_bytes for e in events) == sum(map(len, encoder.gops[0].units))
    assert {event.mode for event in events} == {"3x"}
    assert not [d for d in sender.datagrams_to_send(now_ns=313 * MS) if d.kind == "media"]
    sender.on_timer(now_ns=314 * MS)
    assert [d for d in sender.datagrams_to_send(now_ns=314 * MS) if d.kind == "media"]


def test_the_last_gop_of_a_clip_may_be_short() -> None:
    encoder = FakeGops(13)
    sender, receiver = pair(encoder)
    events, _ = drive(sender, receiver, count=13)
    assert [event.index for event in decoded(events)] == list(range(13))
    assert encoder.budgets[1] < encoder.budgets[0] * 0.6
    assert encoder.gops[1].frames == 4


def test_large_units_are_cut_and_come_whole() -> None:
    encoder = FakeGops(18, tokens=2)
    sender, receiver = pair(encoder, kbps=1000.0, payload_bytes=1200)
    _, sent = drive(sender, receiver, count=18)
    assert max(len(d.data) for d in sent) <= 1200 + 12
    assert len(media_of(sent, 0)) > 20
    kept = receiver.received_frames(18)[0]
    assert split_units(kept.data) == list(encoder.gops[0].units)


# --- losses -----------------------------------------------------------------------------------


class Loss:
    """Loses first transmissions by GoP and place, and retransmissions of them on request."""

    def __init__(self, gop: int, places: set[int], *, repairs: bool = False) -> None:
        self.gop, self.places, self.repairs = gop, places, repairs
        self.place = -1
        self.lost: list[Datagram] = []

    def __call__(self, datagram: Datagram) -> bool:
        if datagram.frame != 9 * self.gop:
            return False
        if datagram.kind == "retransmission":
            return self.repairs
        self.place += 1
        if self.place in self.places:
            self.lost.append(datagram)
            return True
        return False


def ready_ms(events: list[Event], gop: int) -> float:
    """From the last frame's capture to the decoder."""
    first = next(event for event in decoded(events) if event.index == 9 * gop)
    return first.decodable_ns / MS - (9 * gop + 8) * 1000 / 30


@pytest.mark.parametrize(
    ("profile", "lost", "asked"),
    [("morphe", 6, 0), ("morphe", 7, 7), ("morphe-paper", 4, 0), ("morphe-paper", 5, 5)],
)
def test_by_default_three_quarters_have_to_be_missing_or_the_papers_half(
    profile: str, lost: int, asked: int
) -> None:
    sender, receiver = pair(FakeGops(90), profile=profile)
    _, sent = drive(sender, receiver, count=90, lose=Loss(5, set(range(lost))))
    assert [d.kind for d in sent].count("retransmission") == asked


def test_half_of_the_tokens_are_decoded_at_once() -> None:
    encoder = FakeGops(90)
    sender, receiver = pair(encoder, retransmit_threshold=0.5)
    events, sent = drive(sender, receiver, count=90, lose=Loss(5, {0, 2, 4, 6}))
    assert not [d for d in sent if d.kind == "retransmission"]
    assert ready_ms(events, 5) == pytest.approx(ready_ms(events, 4) + 5, abs=3)
    kept = receiver.received_frames(90)[45]
    assert not kept.complete
    assert split_units(kept.data) == [encoder.gops[5].units[n] for n in (1, 3, 5, 7)]


def test_more_than_half_missing_is_asked_for_and_repaired() -> None:
    encoder = FakeGops(90)
    sender, receiver = pair(encoder, retransmit_threshold=0.5)
    lose = Loss(5, {0, 1, 2, 4, 6})
    events, sent = drive(sender, receiver, count=90, lose=lose)
    again = [d for d in sent if d.kind == "retransmission"]
    assert [d.retransmission_of for d in again] == [d.token for d in lose.lost]
    assert {parse_rtp(d.data).payload_type for d in again} == {RTX_PAYLOAD_TYPE}
    assert receiver.received_frames(90)[45].complete
    assert ready_ms(events, 5) > ready_ms(events, 4) + 40
    assert len(decoded(events)) == 90


def test_the_groups_that_follow_pay_for_what_was_sent_again() -> None:
    plain, paying = FakeGops(180), FakeGops(180)
    _, quiet = drive(*pair(plain), count=180)
    _, sent = drive(*pair(paying), count=180, lose=Loss(5, set(range(8))))
    again = sum(len(d.data) + 28 for d in sent if d.kind == "retransmission")
    assert again > 5000
    assert plain.budgets[:6] == paying.budgets[:6]  # no repeat, not a byte's difference
    assert paying.budgets[6] < 0.6 * plain.budgets[6]
    totals = [sum(len(d.data) + 28 for d in s if d.kind != "feedback") for s in (quiet, sent)]
    assert totals[1] == pytest.approx(totals[0], rel=0.01)


def test_when_the_answer_is_lost_too_what_came_is_decoded() -> None:
    sender, receiver = pair(FakeGops(90), retransmit_threshold=0.5)
    lose = Loss(5, {0, 1, 2, 4, 6}, repairs=True)
    events, sent = drive(sender, receiver, count=90, lose=lose)
    assert [d.kind for d in sent].count("retransmission") == 5  # once, not again
    outcomes = {event.index: event.outcome for event in decoded(events)}
    assert outcomes == {n: "concealed" if n // 9 == 5 else "rendered" for n in range(90)}
    assert len(split_units(receiver.received_frames(90)[45].data)) == 3


@pytest.mark.parametrize("options", [{"retransmission": False}, {"retransmit_threshold": 1.0}])
def test_without_retransmission_three_of_eight_have_to_do(options: dict[str, float]) -> None:
    sender, receiver = pair(FakeGops(90), **options)
    events, sent = drive(sender, receiver, count=90, lose=Loss(5, {0, 1, 2, 4, 6}))
    assert not [d for d in sent if d.kind == "retransmission"]
    assert ready_ms(events, 5) == pytest.approx(ready_ms(events, 4) + 5, abs=3)


def test_a_threshold_of_zero_repairs_every_token_loss() -> None:
    sender, receiver = pair(FakeGops(90), retransmit_threshold=0.0)
    drive(sender, receiver, count=90, lose=Loss(5, {3}))
    assert receiver.received_frames(90)[45].complete


def test_residuals_are_never_asked_for() -> None:
    sender, receiver = pair(FakeGops(90, residuals=4), retransmit_threshold=0.0)
    events, sent = drive(sender, receiver, count=90, lose=Loss(5, {8, 9, 10, 11}))
    assert not [d for d in sent if d.kind == "retransmission"]
    assert len(decoded(events)) == 90
    assert receiver.received_frames(90)[45].complete  # of tokens
    assert len(split_units(receiver.received_frames(90)[45].data)) == 8


def test_a_lost_end_is_missed_before_the_next_gop_shows_it() -> None:
    sender, receiver = pair(FakeGops(180))
    events, _ = drive(sender, receiver, count=180, lose=Loss(15, {6, 7}))
    assert ready_ms(events, 15) < ready_ms(events, 14) + 40
    assert len(decoded(events)) == 180


def test_a_whole_gop_that_is_missing_is_asked_for() -> None:
    sender, receiver = pair(FakeGops(180))
    events, sent = drive(sender, receiver, count=180, lose=Loss(15, set(range(8))))
    assert [d.kind for d in sent].count("retransmission") == 8
    assert len(decoded(events)) == 180
    assert ready_ms(events, 15) < 200
    assert receiver.received_frames(180)[135].complete


def test_a_gop_of_which_nothing_ever_comes_is_frozen() -> None:
    sender, receiver = pair(FakeGops(90))
    lose = Loss(5, set(range(8)), repairs=True)
    events, _ = drive(sender, receiver, count=90, lose=lose)
    frozen = {index: reason for index, reason in abandoned(events).items() if index < 90}
    assert frozen == dict.fromkeys(range(45, 54), "nothing-arrived")
    assert len(decoded(events)) == 81
    assert receiver.received_frames(90)[45].data == b""
    assert receiver.facts()["gops"]["abandoned"] == 1


def test_nothing_is_asked_for_while_the_path_is_down() -> None:
    sender, receiver = pair(FakeGops(180))
    events, sent = drive(sender, receiver, count=180, lose=lambda d: 10 * 9 <= d.frame < 15 * 9)
    # The first silent GoP is asked for; then the path seems to be down, until a GoP comes again.
    assert {d.frame for d in sent if d.kind == "retransmission"} == {90, 126}
    assert {index for index in abandoned(events) if index < 180} == set(range(90, 135))


def test_a_gop_that_was_held_up_too_long_is_late_and_not_shown() -> None:
    sender, receiver = pair(FakeGops(90), retransmission=False)
    events, _ = drive(sender, receiver, count=90, late=lambda d: 500 * MS if d.frame == 45 else 0)
    assert {abandoned(events)[index] for index in range(45, 54)} == {"late"}
    assert 45 not in [event.index for event in decoded(events)]


def test_a_slow_decoder_makes_frames_late() -> None:
    sender, receiver = pair(FakeGops(27), decode_ns=60 * MS)
    events, _ = drive(sender, receiver, count=27)
    assert {event.outcome for event in decoded(events)} == {"late"}
    assert all(event.render_ns == -1 for event in decoded(events))


def test_reordered_packets_are_no_losses() -> None:
    sender, receiver = pair(FakeGops(90), retransmit_threshold=0.0, reorder_ms=30)
    events, sent = drive(
        sender, receiver, count=90, late=lambda d: 12 * MS if d.token % 3 == 0 else 0
    )
    assert not [d for d in sent if d.kind == "retransmission"]
    assert all(frame.complete for frame in receiver.received_frames(90)[::9])
    assert len(decoded(events)) == 90


def test_a_profile_that_keeps_is_told_which_rows_are_missing() -> None:
    encoder = FakeGops(90, tokens=5, keep=True)
    sender, receiver = pair(encoder, kbps=150.0)
    drive(sender, receiver, count=90, lose=Loss(4, {1}))
    assert encoder.reports == [(4, tuple(row % 5 == 1 for row in range(ROWS)))]


def test_what_was_repaired_is_not_reported() -> None:
    encoder = FakeGops(90, tokens=5, keep=True)
    sender, receiver = pair(encoder, kbps=150.0, retransmit_threshold=0.0)
    drive(sender, receiver, count=90, lose=Loss(4, {1}))
    assert encoder.reports == []


def test_a_profile_that_does_not_keep_is_told_nothing() -> None:
    encoder = FakeGops(90)
    sender, receiver = pair(encoder)
    drive(sender, receiver, count=90, lose=Loss(4, {1}))
    assert encoder.reports == []


# --- hostile and odd datagrams ----------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_from_the_network_is_counted_and_ignored(datagrams: list[bytes]) -> None:
    sender, receiver = pair(FakeGops(9))
    head = bytes.fromhex("80620000") + bytes(4) + MEDIA_SSRC.to_bytes(4, "big")
    for data in datagrams:
        for endpoint in (sender, receiver):
            endpoint.receive_datagram(data, now_ns=5)
            endpoint.receive_datagram(b"\x80\x62" + data, now_ns=5)
            endpoint.receive_datagram(b"\x80\xcd" + data, now_ns=5)
            endpoint.receive_datagram(head + data, now_ns=5)
    assert receiver.events() == []
    assert receiver.received_frames(3)[0].data == b""


def media(payload: bytes, *, sequence: int, timestamp: int, ssrc: int = MEDIA_SSRC) -> bytes:
    return pack_rtp(
        payload, payload_type=98, marker=False, sequence=sequence, timestamp=timestamp, ssrc=ssrc
    )


@pytest.mark.parametrize(
    ("timestamp", "ssrc"),
    [
        (0x7FFFFF00, MEDIA_SSRC),  # no captured frame
        (27_000 * 1000, MEDIA_SSRC),
        (3000, MEDIA_SSRC),  # within a GoP
        (0xFFFFFFFF, MEDIA_SSRC),
        (0, 4711),
    ],
)
def test_packets_of_no_gop_are_malformed(timestamp: int, ssrc: int) -> None:
    _, receiver = pair(FakeGops(9))
    receiver.receive_datagram(
        media(b"\0" * 30, sequence=0, timestamp=timestamp, ssrc=ssrc), now_ns=0
    )
    assert receiver.malformed_datagrams == 1


def test_the_stream_goes_on_after_packets_from_the_future() -> None:
    encoder = FakeGops(27)
    sender, receiver = pair(encoder)
    receiver.receive_datagram(media(b"\0" * 30, sequence=0, timestamp=0x7FFFFF00), now_ns=0)
    events, _ = drive(sender, receiver, count=27)
    assert len(decoded(events)) == 27


def test_a_nack_for_something_never_sent_is_ignored() -> None:
    sender, _ = pair(FakeGops(9))
    sender.receive_datagram(pack_rtcp([GenericNack(1, 2, (4711, 9))]), now_ns=0)
    assert all(d.kind == "feedback" for d in sender.datagrams_to_send(now_ns=0))


def test_the_receiver_reports_every_100_ms() -> None:
    encoder = FakeGops(18)
    sender, receiver = pair(encoder)
    _, sent = drive(sender, receiver, count=9)
    assert sent
    now_ns = 3 * 10**9
    while now_ns < 4 * 10**9:
        timer_ns = receiver.next_timer()
        assert timer_ns is not None
        now_ns = max(now_ns, timer_ns)
        receiver.on_timer(now_ns=now_ns)
        for datagram in receiver.datagrams_to_send(now_ns=now_ns):
            assert is_rtcp(datagram.data)
            assert parse_rtcp(datagram.data)


def test_time_alone_abandons_what_never_comes() -> None:
    _, receiver = pair(FakeGops(9))
    assert isinstance(receiver, MorpheReceiver)
    receiver.on_timer(now_ns=10 * 10**9)
    frames = abandoned(receiver.events())
    assert max(frames) >= int((10 * 10**9 - DEADLINE_NS) * FPS / 10**9) - 9
    timer_ns = receiver.next_timer()
    assert timer_ns is not None


def test_after_the_goodbye_nothing_more_is_expected() -> None:
    sender, receiver = pair(FakeGops(90))
    events, _ = drive(sender, receiver, count=90)
    receiver.on_timer(now_ns=20 * 10**9)
    assert abandoned(events + receiver.events()) == {}
    assert receiver.facts()["gops"]["asked"] == 0


def test_the_last_gop_is_asked_for_in_spite_of_the_goodbye() -> None:
    sender, receiver = pair(FakeGops(90))
    events, sent = drive(sender, receiver, count=90, lose=Loss(9, set(range(8))))
    assert [d.kind for d in sent].count("retransmission") == 8
    assert len(decoded(events)) == 90
