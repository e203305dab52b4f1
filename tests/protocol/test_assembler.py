from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.assembler import FrameAssembler

TICKS = 3000


def starts(payload: bytes) -> bool:
    return payload.startswith(b"S")


class Packets:
    """Frames of given lengths as packets; payloads say frame and position."""

    def __init__(self, lengths: list[int], *, first: int = 0, timestamp: int = 0) -> None:
        self.all: list[tuple[int, int, bool, bytes]] = []
        sequence = first
        for frame, length in enumerate(lengths):
            for position in range(length):
                name = f"{'S' if position == 0 else 'p'}{frame}.{position}".encode()
                ticks = (timestamp + frame * TICKS) % 2**32
                self.all.append((sequence, ticks, position == length - 1, name))
                sequence += 1

    def push(self, assembler: FrameAssembler, *indices: int, now_ns: int = 0) -> list[bool]:
        return [assembler.push(*self.all[index], now_ns=now_ns) for index in indices]


def names(assembler: FrameAssembler) -> list[list[bytes | None]]:
    return [frame.payloads for frame in assembler.complete_frames()]


def test_frames_in_order() -> None:
    packets = Packets([2, 1])
    assembler = FrameAssembler(first_sequence=0)
    assert packets.push(assembler, 0) == [True]
    assert names(assembler) == []
    assert assembler.pending() == [0]
    packets.push(assembler, 1, 2)
    first, second = assembler.complete_frames()
    assert (first.timestamp, first.payloads, first.complete) == (0, [b"S0.0", b"p0.1"], True)
    assert (first.first_sequence, first.last_sequence) == (0, 1)
    assert (second.timestamp, second.payloads) == (TICKS, [b"S1.0"])
    assert assembler.pending() == []
    assert assembler.complete_frames() == []


def test_arrival_times_are_kept() -> None:
    packets = Packets([3])
    assembler = FrameAssembler(first_sequence=0)
    for index, now_ns in ((1, 10), (0, 25), (2, 40)):
        packets.push(assembler, index, now_ns=now_ns)
    (frame,) = assembler.complete_frames()
    assert (frame.first_arrival_ns, frame.last_arrival_ns) == (10, 40)


def test_the_first_frame_waits_for_a_sure_start() -> None:
    packets = Packets([2, 2], first=500)
    blind = FrameAssembler()
    packets.push(blind, 0, 1, 2, 3)
    # Nobody said that 500 is the first; the second frame follows a marker.
    assert names(blind) == [[b"S1.0", b"p1.1"]]
    told = FrameAssembler(first_sequence=500)
    packets.push(told, 0, 1)
    assert names(told) == [[b"S0.0", b"p0.1"]]
    looking = FrameAssembler(starts_frame=starts)
    packets.push(looking, 0, 1)
    assert names(looking) == [[b"S0.0", b"p0.1"]]


def test_a_lost_marker_hides_the_next_start_until_it_is_repaired() -> None:
    packets = Packets([2, 2])
    assembler = FrameAssembler(first_sequence=0)
    packets.push(assembler, 0, 2, 3)
    assert names(assembler) == []
    assert assembler.missing() == [1]
    packets.push(assembler, 1)
    assert names(assembler) == [[b"S0.0", b"p0.1"], [b"S1.0", b"p1.1"]]


def test_a_sure_start_needs_no_marker_before_it() -> None:
    packets = Packets([2, 2])
    assembler = FrameAssembler(first_sequence=0, starts_frame=starts)
    packets.push(assembler, 0, 2, 3)
    assert names(assembler) == [[b"S1.0", b"p1.1"]]


def test_the_marker_first() -> None:
    packets = Packets([1, 3])
    assembler = FrameAssembler(first_sequence=0)
    packets.push(assembler, 3, 0, 2)
    assert names(assembler) == [[b"S0.0"]]
    packets.push(assembler, 1)
    assert names(assembler) == [[b"S1.0", b"p1.1", b"p1.2"]]


def test_duplicates_and_late_packets_are_refused() -> None:
    packets = Packets([2, 1, 2])
    assembler = FrameAssembler(first_sequence=0)
    assert packets.push(assembler, 0, 0, 1, 1, 0) == [True, False, True, False, False]
    assembler.forget_before(2 * TICKS)
    assert packets.push(assembler, 2, 0, 3) == [False, False, True]
    assert assembler.pending() == [2 * TICKS]


def test_taking_an_unfinished_frame() -> None:
    packets = Packets([4, 3])
    assembler = FrameAssembler(first_sequence=0)
    packets.push(assembler, 0, 2, 5)
    first = assembler.take(0)
    assert first is not None
    assert first.payloads == [b"S0.0", None, b"p0.2", None]
    assert not first.complete
    second = assembler.take(TICKS)
    assert second is not None
    assert second.payloads == [None, b"p1.1", None]
    assert assembler.take(TICKS) is None
    assert packets.push(assembler, 1, 6) == [False, False]
    assert assembler.pending() == []


def test_what_is_taken_with_a_sure_start_lacks_nothing_in_front() -> None:
    packets = Packets([1, 3])
    assembler = FrameAssembler(starts_frame=starts)
    packets.push(assembler, 1, 2)
    frame = assembler.take(TICKS)
    assert frame is not None
    assert frame.payloads == [b"S1.0", b"p1.1", None]


def test_missing_numbers_reach_back_to_the_last_finished_frame() -> None:
    packets = Packets([2, 2, 2, 2])
    assembler = FrameAssembler(first_sequence=0)
    packets.push(assembler, 0, 1, 5, 7)
    assert names(assembler) == [[b"S0.0", b"p0.1"]]
    assert assembler.missing() == [2, 3, 4, 6]
    packets.push(assembler, 4)
    assert assembler.missing() == [2, 3, 6]
    assembler.forget_before(10 * TICKS)
    assert assembler.missing() == []


def test_timestamps_and_numbers_may_wrap() -> None:
    packets = Packets([2, 2, 2], first=65535, timestamp=2**32 - TICKS)
    assembler = FrameAssembler(first_sequence=65535)
    packets.push(assembler, 3, 2, 1, 0, 5, 4)
    # Extended from the first packet that came, whose timestamp was 0 after the wrap.
    assert [frame.timestamp for frame in assembler.complete_frames()] == [-TICKS, 0, TICKS]


def expected_whole(packets: Packets, arrived: set[int], first: int, sure: bool) -> set[int]:
    """The definition, spelt out: timestamps of frames that are whole with these arrivals."""
    whole = set()
    ends = {first - 1} | {s for s, _, marker, _ in packets.all if marker and s in arrived}
    for timestamp in {t for _, t, _, _ in packets.all}:
        sequences = [s for s, t, _, _ in packets.all if t == timestamp]
        if arrived.issuperset(sequences) and (sure or sequences[0] - 1 in ends):
            whole.add(timestamp)
    return whole


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    loss=st.floats(0, 0.6),
    seed=st.integers(0, 10_000),
    sure=st.booleans(),
)
def test_any_order_loss_and_duplication(
    lengths: list[int], loss: float, seed: int, sure: bool
) -> None:
    rng = np.random.default_rng(seed)
    packets = Packets(lengths)
    kept = [i for i in range(len(packets.all)) if rng.random() >= loss]
    order = rng.permutation(kept * 2)
    assembler = FrameAssembler(first_sequence=0, starts_frame=starts if sure else None)
    accepted = sum(sum(packets.push(assembler, int(index))) for index in order)
    assert accepted == len(kept)
    frames = assembler.complete_frames()
    assert [f.timestamp for f in frames] == sorted(expected_whole(packets, set(kept), 0, sure))
    assert all(frame.complete for frame in frames)
    rest = [assembler.take(timestamp) for timestamp in assembler.pending()]
    present = [p for f in [*frames, *rest] if f is not None for p in f.payloads if p is not None]
    assert sorted(present) == sorted(packets.all[i][3] for i in kept)
    assert not any(frame is None or frame.complete for frame in rest)


@given(
    st.lists(
        st.tuples(
            st.integers(-100, 2**20),
            st.integers(0, 2**32 - 1),
            st.booleans(),
            st.binary(max_size=3),
        ),
        max_size=300,
    ),
    st.booleans(),
)
def test_hostile_packets_keep_it_bounded(
    packets: list[tuple[int, int, bool, bytes]], sure: bool
) -> None:
    assembler = FrameAssembler(starts_frame=starts if sure else None, max_frames=4, max_packets=20)
    for sequence, timestamp, marker, payload in packets:
        assembler.push(sequence, timestamp, marker, payload, now_ns=0)
        assert len(assembler.pending()) <= 4
        assert assembler._packets <= 20
        assert assembler._packets == sum(len(f.packets) for f in assembler._frames.values())
        assert len(assembler.missing()) <= 21
    assert len(assembler._ends) <= 16
    assert len(assembler._finished) <= 16
    for timestamp in assembler.pending():
        frame = assembler.take(timestamp)
        assert frame is not None
        assert len(frame.payloads) <= 22


def test_packets_far_apart_under_one_timestamp_are_refused() -> None:
    assembler = FrameAssembler(max_packets=100)
    assert assembler.push(0, 0, False, b"a", now_ns=0)
    assert not assembler.push(100, 0, True, b"b", now_ns=0)
    assert assembler.push(99, 0, True, b"c", now_ns=0)


def test_packets_far_below_the_highest_are_refused() -> None:
    assembler = FrameAssembler(max_packets=100)
    assert assembler.push(1000, TICKS, False, b"a", now_ns=0)
    assert not assembler.push(900, 0, False, b"b", now_ns=0)
    assert assembler.push(901, 0, False, b"c", now_ns=0)


def test_a_flood_under_one_timestamp_is_dropped() -> None:
    assembler = FrameAssembler(max_packets=10)
    for sequence in range(50):
        assembler.push(sequence, 0, False, b"x", now_ns=0)
    assert assembler._packets <= 10


@pytest.mark.parametrize("count", [130, 1000])
def test_the_oldest_frames_give_way(count: int) -> None:
    assembler = FrameAssembler()
    for frame in range(count):
        assembler.push(2 * frame, TICKS * frame, False, b"x", now_ns=0)
    assert assembler.pending() == [TICKS * frame for frame in range(count - 128, count)]


def test_a_long_session_keeps_little() -> None:
    packets = Packets([2] * 2000)
    assembler = FrameAssembler(first_sequence=0)
    whole = 0
    for index in range(4000):
        packets.push(assembler, index)
        whole += len(assembler.complete_frames())
    assert whole == 2000
    assert len(assembler._finished) == len(assembler._ends) == 4 * 128
    assert packets.push(assembler, 3999, 3500) == [False, False]


def test_too_many_packets_cost_the_oldest_frame() -> None:
    assembler = FrameAssembler(max_packets=10)
    for frame in range(3):
        for position in range(4):
            assembler.push(20 + 4 * frame + position, TICKS * frame, False, b"x", now_ns=0)
    assert assembler.pending() == [TICKS, 2 * TICKS]


def test_nothing_is_missing_when_nothing_is_unfinished() -> None:
    assembler = FrameAssembler(first_sequence=0)
    assert assembler.missing() == []
    Packets([2, 2]).push(assembler, 0, 1, 3)
    # The start of the second frame is known from the end of the first.
    assert assembler.missing() == [2]


def test_whole_frames_ahead_are_not_missing() -> None:
    assembler = FrameAssembler(first_sequence=0)
    Packets([2, 2, 1, 2]).push(assembler, 0, 3, 2, 4, 5)
    assert assembler.missing() == [1]
    Packets([2, 2, 1, 2]).push(assembler, 1)
    assert assembler.missing() == []
