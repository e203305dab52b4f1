from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.congestion.filters import CycleMax, WindowedMax, WindowedMin

samples = st.lists(st.tuples(st.integers(0, 5), st.integers(-100, 100)), min_size=1, max_size=50)


@given(samples, st.integers(0, 10))
def test_windowed_minimum_against_a_list(steps: list[tuple[int, int]], length: int) -> None:
    window, seen, now = WindowedMin(length), [], 0
    for elapsed, value in steps:
        now += elapsed
        seen.append((now, value))
        expected = min(v for t, v in seen if t >= now - length)
        assert window.update(value, time=now) == window.value == expected
    window.clear()
    assert window.value is None


@given(samples, st.integers(1, 10))
def test_windowed_maximum_against_a_list(steps: list[tuple[int, int]], length: int) -> None:
    window, seen, now = WindowedMax(), [], 0
    for elapsed, value in steps:
        now += elapsed
        seen.append((now, value))
        expected = max(v for t, v in seen if t > now - length)
        assert window.update(value, time=now, length=length) == expected


def test_a_maximum_lasts_for_the_cycle_after_its_own() -> None:
    cycles = CycleMax()
    assert cycles.update(10) == 10
    cycles.advance()
    assert cycles.update(4) == 10
    cycles.advance()
    assert cycles.value == 4


def test_a_cycle_without_a_sample_does_not_count() -> None:
    cycles = CycleMax()
    cycles.update(10)
    for _ in range(5):
        cycles.advance()
    assert cycles.value == 10
    cycles.reset(3)
    assert cycles.value == 3
