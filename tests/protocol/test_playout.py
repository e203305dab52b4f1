"""Groups that are ready at once, shown one by one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError
from testbed.protocol.playout import PlayoutClock

MS = 1_000_000
INTERVAL = 40 * MS


def group(number: int, size: int = 5) -> list[int]:
    return [(number * size + n) * INTERVAL for n in range(size)]


def test_a_steady_stream_is_shown_at_the_pace_of_capture() -> None:
    clock = PlayoutClock(interval_ns=INTERVAL, catch_up=1.1)
    shown: list[int] = []
    for number in range(4):
        frames = group(number)
        shown += clock.show(frames, ready_ns=frames[-1] + 100 * MS)
    assert shown[0] == 260 * MS
    assert {b - a for a, b in itertools.pairwise(shown)} == {INTERVAL}
    assert clock.delay_ns == 260 * MS


def test_a_late_group_stalls_once_and_stays_later() -> None:
    clock = PlayoutClock(interval_ns=INTERVAL, catch_up=1.0)
    before = clock.show(group(0), ready_ns=200 * MS)
    late = clock.show(group(1), ready_ns=200 * MS + 200 * MS + 70 * MS)
    assert late[0] - before[-1] == INTERVAL + 70 * MS
    after = clock.show(group(2), ready_ns=600 * MS)
    assert after[0] - late[-1] == INTERVAL
    assert clock.delay_ns == 270 * MS


def test_the_delay_shrinks_by_showing_a_little_faster() -> None:
    clock = PlayoutClock(interval_ns=INTERVAL, catch_up=1.25)
    clock.show(group(0), ready_ns=200 * MS)
    late = clock.show(group(1), ready_ns=470 * MS)
    shown = clock.show(group(2), ready_ns=600 * MS)
    assert shown[0] - late[-1] == INTERVAL * 4 // 5
    assert {b - a for a, b in itertools.pairwise(shown)} == {INTERVAL * 4 // 5}
    assert clock.show(group(3), ready_ns=800 * MS)[-1] == group(3)[-1] + 200 * MS
    assert clock.delay_ns == 200 * MS


@given(st.lists(st.integers(0, 500 * MS), min_size=1, max_size=12), st.floats(1, 20))
def test_no_picture_is_shown_early_twice_or_too_fast(delays: list[int], catch_up: float) -> None:
    clock = PlayoutClock(interval_ns=INTERVAL, catch_up=catch_up)
    ready, shown, floors = 0, [], []
    for number, delay in enumerate(delays):
        frames = group(number)
        ready = max(ready, frames[-1] + delay)
        shown += clock.show(frames, ready_ns=ready)
        floors += [ready] * len(frames)
    assert all(at >= floor for at, floor in zip(shown, floors, strict=True))
    least = INTERVAL / catch_up - 2
    assert all(b - a >= least for a, b in itertools.pairwise(shown))


def test_an_empty_group_changes_nothing() -> None:
    clock = PlayoutClock(interval_ns=INTERVAL, catch_up=2.0)
    assert clock.show([], ready_ns=5) == []
    assert clock.delay_ns is None


@pytest.mark.parametrize(
    ("interval", "catch_up"), [(0, 1.0), (-1, 1.0), (1, 0.5), (1, float("inf"))]
)
def test_impossible_values_are_refused(interval: int, catch_up: float) -> None:
    with pytest.raises(LocalProtocolError):
        PlayoutClock(interval_ns=interval, catch_up=catch_up)
