"""Sender and receiver of a chain, of one frame a group, with a lossy wire between them."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.codec.units import split_units
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.payload.types import SIZED_MEDIA, SIZED_RTX
from testbed.protocol.rtcp import PictureLossIndication, parse_rtcp
from testbed.protocol.rtp import pack_rtp, parse_rtp
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded
from testbed.transports.sized.groups import MAX_GROUPS_HELD
from testbed.transports.sized.wire import Descriptor, filler, parse_descriptor
from tests.transports.sized.bench import MS, ONE_WAY_NS, capture_ns, drive, pair

SSRC = 0x4D6F7270


def decoded(events: list[Event]) -> list[FrameDecoded]:
    return [event for event in events if isinstance(event, FrameDecoded)]


def abandoned(events: list[Event]) -> dict[int, str]:
    return {event.index: event.reason for event in events if isinstance(event, FrameAbandoned)}


def keys(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, FrameEncoded) and event.key]


def test_over_a_clean_wire_every_frame_is_shown_one_way_later() -> None:
    sender, receiver = pair("dcvc-rt", 30, kbps=1500)
    events, sent = drive(sender, receiver, count=30)
    frames = decoded(events)
    assert [event.index for event in frames] == list(range(30))
    assert {event.outcome for event in frames} == {"rendered"}
    for event in frames:  # five packets a frame, paced at 2.5 times the target
        late_ns = event.render_ns - capture_ns(event.index) - ONE_WAY_NS
        assert 0 <= late_ns <= 20 * MS
    for index, frame in enumerate(receiver.received_frames(30)):
        assert frame.complete
        (unit,) = split_units(frame.data)
        assert unit == filler("dcvc-rt", index, 0, len(unit))
    sizes = {e.index: e.media_bytes for e in events if isinstance(e, FrameEncoded)}
    media = [d for d in sent if d.kind == "media"]
    assert {n: sum(d.media_bytes for d in media if d.frame == n) for n in sizes} == sizes


def test_packets_are_rtp_with_numbers_marks_and_payload_types_of_their_own() -> None:
    sender, receiver = pair("dcvc-rt", 3, kbps=800)
    _, sent = drive(sender, receiver, count=3)
    packets = [parse_rtp(d.data) for d in sent if d.kind == "media"]
    assert {p.payload_type for p in packets} == {SIZED_MEDIA}
    assert [p.sequence for p in packets] == list(range(9))
    assert [p.marker for p in packets] == [False, False, True] * 3
    assert [p.timestamp for p in packets] == [0] * 3 + [3000] * 3 + [6000] * 3
    assert [parse_descriptor(p.payload).group for p in packets] == [0] * 3 + [1] * 3 + [2] * 3
    assert max(len(p.payload) for p in packets) == 1200


def test_a_lost_packet_is_asked_for_and_the_frames_behind_it_wait() -> None:
    sender, receiver = pair("dcvc-rt", 30)
    lost: list[Datagram] = []

    def lose(datagram: Datagram) -> bool:
        if datagram.kind == "media" and datagram.frame == 10 and not lost:
            lost.append(datagram)
            return True
        return False

    events, sent = drive(sender, receiver, count=30, lose=lose)
    assert [d.frame for d in sent if d.kind == "retransmission"] == [10]
    assert {parse_rtp(d.data).payload_type for d in sent if d.kind == "retransmission"} == {
        SIZED_RTX
    }
    frames = {event.index: event for event in decoded(events)}
    assert len(frames) == 30
    assert frames[11].decodable_ns == frames[10].decodable_ns
    assert frames[10].decodable_ns > capture_ns(11) + ONE_WAY_NS
    assert keys(events) == [0]


def test_without_retransmission_the_chain_breaks_until_an_intra_frame_that_is_asked_for() -> None:
    sender, receiver = pair("dcvc-rt", 40, retransmission=False)
    events, _ = drive(sender, receiver, count=40, lose=lambda d: d.frame == 10)
    assert len(keys(events)) == 2
    again = keys(events)[1]
    assert 12 <= again <= 15  # found out two packets later, asked for, a round trip
    lost = abandoned(events)
    assert lost[10] == "nothing-arrived"
    assert {lost[n] for n in range(11, again)} == {"reference-lost"}
    assert [e.index for e in decoded(events)] == [*range(10), *range(again, 40)]
    kept = receiver.received_frames(40)
    assert [f.index for f in kept if not f.complete] == list(range(10, again))


@pytest.mark.parametrize("name", ["dcvc-rt", "disco"])
def test_what_is_sent_again_counts_within_the_target(name: str) -> None:
    generator = random.Random(1)
    sender, receiver = pair(name, 300, kbps=400)
    _, sent = drive(sender, receiver, count=300, lose=lambda _: generator.random() < 0.2)
    assert sum(d.kind == "retransmission" for d in sent) > 40
    wire_kbps = sum(len(d.data) + 28 for d in sent) * 8 / 1e3 / 10
    assert wire_kbps == pytest.approx(400, rel=0.03)


def test_given_sizes_stay_as_they_are_whatever_is_lost() -> None:
    def sizes(lose: bool) -> list[int]:
        generator = random.Random(1)
        sender, receiver = pair("dcvc-rt", 90, bpp=0.01, key_requests=False)
        events, _ = drive(
            sender, receiver, count=90, lose=lambda _: lose and generator.random() < 0.2
        )
        return [event.media_bytes for event in events if isinstance(event, FrameEncoded)]

    assert sizes(lose=True) == sizes(lose=False)


def test_without_requests_it_stays_broken_until_the_next_periodic_one() -> None:
    sender, receiver = pair(
        "dcvc-rt", 70, retransmission=False, key_requests=False, intra_period_frames=50
    )
    events, _ = drive(sender, receiver, count=70, lose=lambda d: d.frame == 10)
    assert keys(events) == [0, 50]
    assert [e.index for e in decoded(events)] == [*range(10), *range(50, 70)]
    assert set(abandoned(events)) == set(range(10, 50))


def test_encoding_time_is_charged_and_a_slow_encoder_makes_a_queue() -> None:
    sender, receiver = pair("dcvc-rt", 20, encode_ns=50 * MS, decode_ns=10 * MS)
    events, _ = drive(sender, receiver, count=20)
    coded = {e.index: e for e in events if isinstance(e, FrameEncoded)}
    assert coded[10].encode_end_ns == 11 * 50 * MS
    frames = {e.index: e for e in decoded(events)}
    assert frames[10].decodable_ns == pytest.approx(11 * 50 * MS + ONE_WAY_NS, abs=3 * MS)
    assert frames[10].decode_end_ns == frames[10].decodable_ns + 10 * MS
    assert frames[19].outcome == "rendered"
    assert frames[19].decode_end_ns - capture_ns(19) < 400 * MS


def test_a_frame_after_its_deadline_is_late_and_the_chain_goes_on() -> None:
    sender, receiver = pair("dcvc-rt", 20, encode_ns=60 * MS, deadline_ns=150 * MS)
    events, _ = drive(sender, receiver, count=20, extra_ms=1200)
    outcomes = [e.outcome for e in decoded(events)]
    assert outcomes == ["rendered"] * 3 + ["late"] * 17


def forged(payload: bytes, sequence: int = 0, timestamp: int = 0, ssrc: int = SSRC) -> bytes:
    return pack_rtp(
        payload, payload_type=SIZED_MEDIA, marker=True, sequence=sequence, timestamp=timestamp,
        ssrc=ssrc,
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=30).map(forged)), max_size=20))
def test_any_bytes_are_survived_by_both_ends(datagrams: list[bytes]) -> None:
    sender, receiver = pair("dcvc-rt", 5)
    for n, data in enumerate(datagrams):
        receiver.receive_datagram(data, now_ns=n * MS)
        sender.receive_datagram(data, now_ns=n * MS)
        receiver.on_timer(now_ns=n * MS)
        receiver.datagrams_to_send(now_ns=n * MS)


def test_descriptors_out_of_time_or_shape_are_counted_and_ignored() -> None:
    _, receiver = pair("dcvc-rt", 5)
    bad = [
        Descriptor(40, 0, 1, 1).pack(),  # 1.3 s ahead of the clock
        Descriptor(0, 0, 1, 2).pack(),  # two frames where a group has one
    ]
    for n, payload in enumerate(bad):
        receiver.receive_datagram(forged(payload, n), now_ns=0)
    receiver.receive_datagram(forged(Descriptor(0, 0, 1, 1, key=True).pack(), ssrc=9), now_ns=0)
    receiver.receive_datagram(forged(Descriptor(0, 1, 2, 1, key=True).pack(), 0), now_ns=0)
    receiver.receive_datagram(forged(Descriptor(0, 0, 1, 1, key=True).pack(), 1), now_ns=0)
    assert receiver.malformed_datagrams == 4
    assert not decoded(receiver.events())


def test_memory_is_bounded_when_only_later_groups_come() -> None:
    _, receiver = pair("dcvc-rt", 5, key_requests=False)
    now_ns = 200 * 10**9
    for n in range(1, 3 * MAX_GROUPS_HELD):
        receiver.receive_datagram(forged(Descriptor(n, 0, 1, 1).pack(), 2 * n), now_ns=now_ns)
        receiver.datagrams_to_send(now_ns=now_ns)
    assert len(receiver._groups) <= MAX_GROUPS_HELD


def test_a_broken_chain_asks_again_and_again_but_not_too_often() -> None:
    sender, receiver = pair("dcvc-rt", 60, retransmission=False, key_interval_ms=200)
    asked: list[int] = []
    waiting = list(range(40))
    for now_ns in range(0, 1500 * MS, MS):
        while waiting and capture_ns(waiting[0]) <= now_ns:
            sender.push_frame(SourceFrame(waiting.pop(0)), now_ns=now_ns)
        sender.on_timer(now_ns=now_ns)
        for datagram in sender.datagrams_to_send(now_ns=now_ns):
            payload = parse_rtp(datagram.data).payload if datagram.kind == "media" else b""
            if datagram.frame < 3 or (datagram.frame > 3 and not parse_descriptor(payload).key):
                receiver.receive_datagram(datagram.data, now_ns=now_ns)
        timer_ns = receiver.next_timer()
        if timer_ns is not None and timer_ns <= now_ns:
            receiver.on_timer(now_ns=now_ns)
        for datagram in receiver.datagrams_to_send(now_ns=now_ns):
            kinds = [type(message) for message in parse_rtcp(datagram.data)]
            asked += [now_ns] * kinds.count(PictureLossIndication)
    assert len(asked) >= 5
    assert min(b - a for a, b in itertools.pairwise(asked)) >= 200 * MS
