"""Sender and receiver with a lossy wire between them, walked by hand; no codec is loaded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.codec.units import split_units
from testbed.protocol.congestion import FixedRate
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.rtcp import GenericNack, pack_rtcp, parse_rtcp
from testbed.protocol.rtp import is_rtcp, pack_rtp, parse_rtp
from testbed.transports.base import FrameAbandoned, FrameDecoded
from testbed.transports.grace.sender import GraceSender
from testbed.transports.grace.wire import (
    MEDIA_PAYLOAD_TYPE,
    RTX_PAYLOAD_TYPE,
    Damage,
    pack_damages,
)
from tests.transports.grace.fakepictures import FakePictures, pair
from tests.transports.morphe.fakegops import MS, drive

MEDIA_SSRC = 0x4D6F7270


def decoded(events: list[Event]) -> list[FrameDecoded]:
    return [event for event in events if isinstance(event, FrameDecoded)]


def abandoned(events: list[Event]) -> dict[int, str]:
    return {event.index: event.reason for event in events if isinstance(event, FrameAbandoned)}


def first_hand(datagram: Datagram, frame: int) -> bool:
    return datagram.kind == "media" and datagram.frame == frame


def number_of(datagram: Datagram) -> int:
    return parse_rtp(datagram.data).payload[2]


class DeafOnce:
    """A sender that the first loss report does not reach."""

    def __init__(self, sender: GraceSender) -> None:
        self._sender = sender
        self._heard = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._sender, name)

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        if b"GRAC" in data and not self._heard:
            self._heard = True
            return
        self._sender.receive_datagram(data, now_ns=now_ns)


def test_over_a_clean_wire_every_picture_is_shown_whole() -> None:
    encoder = FakePictures()
    sender, receiver = pair(encoder)
    events, sent = drive(sender, receiver, count=40)
    frames = decoded(events)
    assert [event.index for event in frames] == list(range(40))
    assert {event.outcome for event in frames} == {"rendered"}
    for index, frame in enumerate(receiver.received_frames(40)):
        assert frame.complete
        assert split_units(frame.data) == list(encoder.pictures[index])
    assert {d.kind for d in sent} == {"media", "feedback"}
    assert encoder.reports == []


def test_packets_are_rtp_with_the_pictures_timestamp_and_marker() -> None:
    sender, receiver = pair(FakePictures(3))
    _, sent = drive(sender, receiver, count=4)
    packets = [parse_rtp(d.data) for d in sent if d.kind == "media" and d.frame == 2]
    assert {p.payload_type for p in packets} == {MEDIA_PAYLOAD_TYPE}
    assert {p.timestamp for p in packets} == {6000}
    assert [p.marker for p in packets] == [False, False, True]


def test_the_rate_counts_headers_the_intra_picture_and_retransmissions() -> None:
    encoder = FakePictures()
    sender, receiver = pair(encoder)
    generator = np.random.default_rng(2)
    _, sent = drive(sender, receiver, count=300, lose=lambda d: bool(generator.random() < 0.3))
    wire = sum(len(d.data) + 28 for d in sent if d.kind != "feedback")
    assert any(d.kind == "retransmission" for d in sent)
    assert wire * 8 / 10 / 1e3 == pytest.approx(400.0, rel=0.02)


class Paced(FixedRate):
    """A controller that paces, as BBR and GCC do, and so sees retransmissions by itself."""

    def pacing_kbps(self, *, now_ns: int) -> float | None:
        return 4000.0


@pytest.mark.parametrize(("controller", "pays"), [(None, True), (Paced(kbps=400.0), False)])
def test_pictures_pay_for_retransmissions_unless_the_controller_does(
    controller: FixedRate | None, pays: bool
) -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder, controller=controller)
    _, sent = drive(sender, receiver, count=60, lose=lambda d: first_hand(d, 40))
    assert len([d for d in sent if d.kind == "retransmission"]) == 4
    assert (min(encoder.budgets[42:48]) < 0.99 * encoder.budgets[39]) is pays


def test_a_picture_with_holes_is_decoded_when_the_next_one_shows() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    events, _ = drive(
        sender, receiver, count=20, lose=lambda d: first_hand(d, 9) and number_of(d) in (1, 3)
    )
    frames = decoded(events)
    assert frames[9].outcome == "concealed"
    assert 33 <= (frames[9].decodable_ns - frames[8].decodable_ns) / MS <= 75
    units = split_units(receiver.received_frames(20)[9].data)
    assert units == [encoder.pictures[9][n] for n in (0, 2)]
    assert receiver.facts()["pictures"]["asked"] == 0
    assert encoder.reports == [(9, (True, False, True, False))]


def test_only_a_picture_of_which_nothing_came_is_asked_for() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    events, sent = drive(sender, receiver, count=20, lose=lambda d: first_hand(d, 9))
    again = [d for d in sent if d.kind == "retransmission"]
    assert {d.frame for d in again} == {9}
    assert len(again) == 4
    assert {parse_rtp(d.data).payload_type for d in again} == {RTX_PAYLOAD_TYPE}
    assert decoded(events)[9].outcome == "rendered"
    assert [event.index for event in decoded(events)] == list(range(20))
    assert encoder.reports == []


def test_two_lost_pictures_in_a_row_are_asked_for_together() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    events, sent = drive(
        sender, receiver, count=20, lose=lambda d: first_hand(d, 9) or first_hand(d, 10)
    )
    assert len([d for d in sent if d.kind == "retransmission"]) == 8
    assert len(decoded(events)) == 20


def test_a_picture_that_never_comes_is_skipped_at_its_deadline_and_reported() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    events, _ = drive(sender, receiver, count=30, lose=lambda d: d.frame == 9)
    assert abandoned(events) == {9: "nothing-arrived"}
    assert (9, ()) in encoder.reports
    after = [event for event in decoded(events) if event.index > 9]
    assert [event.index for event in after] == list(range(10, 30))
    assert after[0].decodable_ns <= (300 + 400) * MS


@pytest.mark.parametrize("retransmission", [False, True])
def test_each_of_a_run_of_skipped_pictures_is_reported(retransmission: bool) -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder, retransmission=retransmission)
    events, _ = drive(sender, receiver, count=60, lose=lambda d: d.frame in (19, 20, 21))
    assert list(abandoned(events)) == [19, 20, 21]
    assert encoder.reports == [(19, ()), (20, ()), (21, ())]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_each_lost_packet_is_sent_again_once(count: int) -> None:
    sender, receiver = pair(FakePictures(4))
    events, sent = drive(
        sender, receiver, count=80, lose=lambda d: d.kind == "media" and 30 <= d.frame < 30 + count
    )
    assert sum(d.kind == "retransmission" for d in sent) == 4 * count
    assert {event.outcome for event in decoded(events)} == {"rendered"}
    assert len(decoded(events)) == 80


def test_after_an_outage_only_what_can_still_be_shown_is_asked_for() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    events, sent = drive(
        sender, receiver, count=90, lose=lambda d: d.kind == "media" and 30 <= d.frame < 48
    )
    again = {d.frame for d in sent if d.kind == "retransmission"}
    assert min(again) >= 36
    assert sum(d.kind == "retransmission" for d in sent) <= 4 * 12
    gone = list(abandoned(events))
    assert gone == list(range(30, 30 + len(gone)))
    assert encoder.reports == [(index, ()) for index in gone]


def test_pictures_that_come_too_late_are_decoded_whole() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    # All that was sent in 0.7 s comes at once, the first of it too late.
    events, _ = drive(
        sender, receiver, count=60, late=lambda d: max(0, 41 - d.frame) * 33 * MS
        if d.frame >= 20 else 0,
    )  # fmt: skip
    outcomes = {event.index: event.outcome for event in decoded(events)}
    assert outcomes[20] == "late"
    assert outcomes[40] == "rendered"
    assert len(outcomes) == 60
    assert receiver.facts()["pictures"]["damaged"] == 0
    assert encoder.reports == []


def test_an_outage_longer_than_the_window_ends() -> None:
    encoder = FakePictures(2)
    sender, receiver = pair(encoder, kbps=100.0)
    events, _ = drive(sender, receiver, count=660, lose=lambda d: 60 <= d.frame < 600)
    after = [event.index for event in decoded(events) if event.index >= 600]
    assert after == list(range(600, 660))
    # What was missed is more than the encoder can go back: it begins anew.
    assert any(units[0][3] == 0 for units in encoder.pictures[600:])


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_a_large_first_picture_arrives_under_heavy_loss(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sender, receiver = pair(FakePictures(15), kbps=1500.0)
    events, _ = drive(sender, receiver, count=120, lose=lambda _: bool(generator.random() < 0.5))
    assert len(decoded(events)) > 80


def test_an_intra_picture_of_which_nothing_came_is_followed_by_another_one() -> None:
    encoder = FakePictures(4)
    sender, _ = pair(encoder)
    for index in range(3):
        sender.push_frame(SourceFrame(index), now_ns=index * 33 * MS)
    sender.receive_datagram(pack_rtcp([pack_damages(1, [Damage(0, ())])]), now_ns=90 * MS)
    sender.push_frame(SourceFrame(3), now_ns=99 * MS)
    assert [units[0][3] == 0 for units in encoder.pictures] == [True, False, False, True]
    assert encoder.reports == []


def test_without_retransmission_a_lost_picture_is_skipped_at_once() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder, retransmission=False)
    events, sent = drive(sender, receiver, count=20, lose=lambda d: d.frame == 9)
    assert abandoned(events) == {9: "nothing-arrived"}
    assert not [d for d in sent if d.kind == "retransmission"]
    times = {event.index: event.decodable_ns for event in decoded(events)}
    assert (times[10] - times[8]) / MS < 80


def test_the_first_picture_is_asked_for_until_it_is_whole() -> None:
    encoder = FakePictures()
    sender, receiver = pair(encoder)
    lost: dict[int, int] = {}

    def lose(datagram: Datagram) -> bool:
        if datagram.frame != 0 or datagram.kind == "feedback":
            return False
        piece = datagram.token if datagram.retransmission_of < 0 else datagram.retransmission_of
        lost[piece] = lost.get(piece, 0) + 1
        return piece % 2 == 0 and lost[piece] < 4

    events, _ = drive(sender, receiver, count=30, lose=lose)
    assert [event.index for event in decoded(events)] == list(range(30))
    assert receiver.received_frames(30)[0].complete


def test_when_the_first_picture_never_comes_another_one_is_asked_for() -> None:
    encoder = FakePictures()
    sender, receiver = pair(encoder)
    events, sent = drive(sender, receiver, count=60, lose=lambda d: d.frame == 0)
    keys = {d.frame for d in sent if d.kind == "media" and parse_rtp(d.data).payload[3] == 0}
    assert len(keys) == 2
    again = max(keys)
    assert abandoned(events) == dict.fromkeys(range(again), "reference-lost")
    assert [event.index for event in decoded(events)] == list(range(again, 60))


def test_without_retransmission_too() -> None:
    encoder = FakePictures()
    sender, receiver = pair(encoder, retransmission=False)
    events, sent = drive(
        sender, receiver, count=60, lose=lambda d: d.frame == 0 and number_of(d) == 1
    )
    assert not [d for d in sent if d.kind == "retransmission"]
    assert decoded(events)[-1].index == 59
    assert len(decoded(events)) > 45


def test_without_resync_the_encoder_is_told_nothing() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder, resync=False)
    drive(sender, receiver, count=20, lose=lambda d: first_hand(d, 9) and number_of(d) == 1)
    assert encoder.reports == []


def test_a_lost_report_is_made_up_for_by_the_next_one() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder)
    drive(
        DeafOnce(sender), receiver, count=30, lose=lambda d: first_hand(d, 9) and number_of(d) == 1
    )
    assert encoder.reports == [(9, (True, False, True, True))]


def test_reordered_packets_of_a_picture_are_waited_for() -> None:
    encoder = FakePictures(4)
    sender, receiver = pair(encoder, reorder_ms=50.0)
    events, _ = drive(
        sender, receiver, count=20,
        late=lambda d: 40 * MS if first_hand(d, 9) and number_of(d) == 2 else 0,
    )  # fmt: skip
    assert {event.outcome for event in decoded(events)} == {"rendered"}


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 0.7), st.integers(0, 2**31), st.integers(1, 6))
def test_under_any_loss_pictures_come_once_and_in_order(
    rate: float, seed: int, packets: int
) -> None:
    generator = np.random.default_rng(seed)
    sender, receiver = pair(FakePictures(packets))
    events, _ = drive(sender, receiver, count=25, lose=lambda d: bool(generator.random() < rate))
    order = [e.index for e in events if isinstance(e, FrameDecoded | FrameAbandoned)]
    assert order == sorted(set(order))
    rendered = [event.render_ns for event in decoded(events) if event.render_ns >= 0]
    assert rendered == sorted(rendered)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_counted_and_changes_nothing(data: bytes) -> None:
    sender, receiver = pair(FakePictures())
    receiver.receive_datagram(data, now_ns=0)
    sender.receive_datagram(data, now_ns=0)
    events, _ = drive(sender, receiver, count=5)
    assert [event.index for event in decoded(events)] == list(range(5))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_garbage_in_good_rtp_raises_nothing(data: bytes, sequence: int, timestamp: int) -> None:
    _, receiver = pair(FakePictures())
    packet = pack_rtp(
        data, payload_type=MEDIA_PAYLOAD_TYPE, marker=False, sequence=sequence,
        timestamp=timestamp, ssrc=MEDIA_SSRC,
    )  # fmt: skip
    receiver.receive_datagram(packet, now_ns=10**9)
    receiver.on_timer(now_ns=2 * 10**9)
    for datagram in receiver.datagrams_to_send(now_ns=2 * 10**9):
        assert is_rtcp(datagram.data)
        for message in parse_rtcp(datagram.data):
            if isinstance(message, GenericNack):
                assert len(message.lost) <= 512
