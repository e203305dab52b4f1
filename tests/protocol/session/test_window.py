from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.session.window import WINDOW, ReplayWindow


def test_counters_begin_at_one() -> None:
    window = ReplayWindow()
    assert not window.take(0)
    assert window.take(1)
    assert not window.take(1)


def test_the_window_is_64_wide() -> None:
    window = ReplayWindow()
    assert window.take(100)
    assert window.take(100 - WINDOW + 1)
    assert not window.take(100 - WINDOW)


def test_a_leap_forgets_but_takes_nothing_twice() -> None:
    window = ReplayWindow()
    assert window.take(1)
    assert window.take(2**32 - 1)
    assert window.highest == 2**32 - 1
    assert not window.take(1)
    assert not window.take(2**32 - 1)
    assert window.take(2**32 - 2)


@given(st.lists(st.integers(1, 200) | st.integers(1, 2**32 - 1), max_size=300))
def test_it_agrees_with_a_set(counters: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for counter in counters:
        new = counter not in seen and counter > max(seen, default=0) - WINDOW
        assert window.take(counter) == new
        if new:
            seen.add(counter)
