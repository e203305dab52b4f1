from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.sequence import Unwrapper, wrap_distance


@pytest.mark.parametrize(
    ("start", "end", "distance"),
    [(0, 1, 1), (1, 0, -1), (65535, 0, 1), (0, 65535, -1), (0, 32767, 32767), (0, 32768, -32768)],
)
def test_wrap_distance(start: int, end: int, distance: int) -> None:
    assert wrap_distance(start, end) == distance


def test_wrap_distance_of_timestamps() -> None:
    assert wrap_distance(2**32 - 3000, 600, bits=32) == 3600


def test_a_counter_that_wraps_twice() -> None:
    unwrapper = Unwrapper(16)
    for extended in range(60_000, 200_000, 1000):
        assert unwrapper.unwrap(extended & 0xFFFF) == extended


def test_reordering_around_the_wrap() -> None:
    unwrapper = Unwrapper(16)
    values = [65534, 0, 65535, 2, 1]
    assert [unwrapper.unwrap(v) for v in values] == [65534, 65536, 65535, 65538, 65537]
    assert unwrapper.highest == 65538


def test_a_packet_from_before_the_first_is_negative() -> None:
    unwrapper = Unwrapper(16)
    assert [unwrapper.unwrap(v) for v in (0, 65535, 1)] == [0, -1, 1]


@given(st.integers(0, 2**40), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=50))
def test_any_walk_within_half_the_circle_is_followed(first: int, steps: list[int]) -> None:
    unwrapper = Unwrapper(32)
    offset = first - unwrapper.unwrap(first & 0xFFFFFFFF)
    highest = first
    for step in steps:
        value = highest + step
        assert unwrapper.unwrap(value & 0xFFFFFFFF) + offset == value
        highest = max(highest, value)


def test_one_bit_cannot_be_unwrapped() -> None:
    with pytest.raises(LocalProtocolError):
        Unwrapper(1)


def test_one_number_far_ahead_is_refused_and_two_in_a_row_are_believed() -> None:
    unwrapper = Unwrapper(16, most_ahead=8192)
    assert [unwrapper.unwrap(v) for v in (0, 8192)] == [0, 8192]
    with pytest.raises(RemoteProtocolError, match="number 28192 is 20000 ahead"):
        unwrapper.unwrap(28192)
    assert unwrapper.unwrap(8193) == 8193  # nothing of it stays
    with pytest.raises(RemoteProtocolError):
        unwrapper.unwrap(30000)
    with pytest.raises(RemoteProtocolError):
        unwrapper.unwrap(30002)
    assert unwrapper.unwrap(30003) == 30003
    assert unwrapper.highest == 30003
