"""What each code recovers, and when; what it cannot."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from streams import receive, stream

from testbed.errors import UnknownNameError
from testbed.protocol.fec.codes import FEC_CODES
from testbed.protocol.fec.redundancy import FixedShare
from testbed.protocol.fec.wire import CODE_BLOCK, CODE_SLIDING


def test_the_codes_are_registered() -> None:
    assert FEC_CODES.names() == ["rs-frame", "rs-window", "streaming"]
    with pytest.raises(UnknownNameError, match="unknown FEC code 'xor'; known: rs-frame, "):
        FEC_CODES.get("xor")


@pytest.mark.parametrize("code", FEC_CODES.names())
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_recovered_is_what_was_sent(code: str, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    share = data.draw(st.sampled_from([0.2, 0.5, 1.0]))
    rate = data.draw(st.sampled_from([0.05, 0.2, 0.5]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frames = stream(code, FixedShare(share), sizes, rng=rng)
    total = sum(sizes)
    repairs = sum(len(frame.repairs) for frame in frames)
    lost = {int(i) for i in np.flatnonzero(rng.random(total) < rate)}
    lost_repairs = {int(i) for i in np.flatnonzero(rng.random(repairs) < rate)}
    have, _, decoder = receive(frames, lost, lost_repairs=lost_repairs)
    sent = {packet.sequence: packet for frame in frames for packet in frame.packets}
    assert all(sent[number] == packet for number, packet in have.items())
    assert decoder.contradictions == 0


@pytest.mark.parametrize(("size", "rows"), [(4, 2), (10, 3), (100, 27)])
def test_a_frame_survives_as_many_losses_as_it_has_repairs_and_no_more(
    size: int, rows: int
) -> None:
    rng = np.random.default_rng(size)
    frames = stream("rs-frame", FixedShare(rows / size), [size], rng=rng)
    assert len(frames[0].repairs) == rows
    for _ in range(20):
        gone = {int(i) for i in rng.permutation(size)[:rows]}
        assert len(receive(frames, gone)[0]) == size
        more = {int(i) for i in rng.permutation(size)[: rows + 1]}
        assert len(receive(frames, more)[0]) == size - rows - 1


def test_a_window_spreads_its_repairs_over_its_frames() -> None:
    rng = np.random.default_rng(1)
    frames = stream("rs-window", FixedShare(0.25), [4] * 9, rng=rng)
    assert [len(frame.repairs) for frame in frames] == [0, 0, 3] * 3
    have, at, _ = receive(frames, {4, 5, 6, 35})  # three of one frame, more than 25 % of it
    assert len(have) == 36
    assert at == {4: 2, 5: 2, 6: 2, 35: 8}


def test_a_burst_over_a_frame_is_streamed_back_within_the_window() -> None:
    """Four packets are lost at once, and each frame has two repairs: two frames give them back."""
    rng = np.random.default_rng(2)
    burst = {20, 21, 22, 23}
    per_frame = receive(stream("rs-frame", FixedShare(0.5), [4] * 12, rng=rng), burst)
    assert len(per_frame[0]) == 44
    have, at, _ = receive(stream("streaming", FixedShare(0.5), [4] * 12, rng=rng), burst)
    assert len(have) == 48
    assert at == dict.fromkeys(burst, 6)


@pytest.mark.parametrize("window_frames", [1, 2, 3, 5])
def test_a_burst_of_whole_frames_with_their_repairs(window_frames: int) -> None:
    """With as many repairs as packets, the frames after a burst of tau / 2 frames undo it."""
    rng = np.random.default_rng(3)
    frames = stream("streaming", FixedShare(1.0), [5] * 20, window_frames=window_frames, rng=rng)
    whole = max(1, window_frames // 2)
    gone = set(range(40, 40 + 5 * whole))
    have, at, _ = receive(frames, gone, lost_repairs=gone)  # as many repairs, in the same places
    assert len(have) == 100
    assert set(at.values()) <= set(range(8, 8 + whole + window_frames + 1))


@pytest.mark.parametrize("code", FEC_CODES.names())
@pytest.mark.parametrize("size", [128, 129, 300])
def test_long_frames_are_split(code: str, size: int) -> None:
    rng = np.random.default_rng(size)
    frames = stream(code, FixedShare(0.1), [3, size, 3, 3, 3], rng=rng)
    assert all(r.count <= 128 for frame in frames for r in frame.repairs)
    start = 3
    have, _, _ = receive(frames, {start + 7, start + size - 2})
    assert len(have) == size + 12


def test_windows_and_blocks_are_told_apart_on_the_wire() -> None:
    rng = np.random.default_rng(1)
    block = stream("rs-frame", FixedShare(1.0), [2], rng=rng)[0].repairs[0]
    sliding = stream("streaming", FixedShare(1.0), [2], rng=rng)[0].repairs[0]
    assert (block.code, sliding.code) == (CODE_BLOCK, CODE_SLIDING)


def test_how_many_frames_later_repairs_may_come() -> None:
    later = {name: FEC_CODES.get(name).later_frames(3) for name in FEC_CODES.names()}
    assert later == {"rs-frame": 0, "rs-window": 2, "streaming": 3}
