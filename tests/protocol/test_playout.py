from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError
from testbed.protocol.playout import TRANSITIONS, Moment, Playout, PlayoutSchedule

MS = 1_000_000


def schedule() -> PlayoutSchedule:
    return PlayoutSchedule(fps=25, deadline_ns=100 * MS)  # 40 ms a frame


def test_capture_times_do_not_drift() -> None:
    playout = PlayoutSchedule(fps=30, deadline_ns=0, start_ns=7)
    assert [playout.capture_ns(i) for i in (0, 1, 2, 3)] == [7, 33_333_340, 66_666_674, 100_000_007]
    assert playout.capture_ns(108_000) == 3600 * 10**9 + 7


def test_the_deadline_itself_is_in_time() -> None:
    playout = schedule()
    assert playout.deadline_ns(1) == 140 * MS
    assert playout.on_decoded(0, now_ns=100 * MS) is Playout.RENDERED
    assert playout.on_decoded(1, now_ns=140 * MS + 1) is Playout.LATE
    assert playout.outcome(1) is Playout.LATE


def test_a_frame_behind_the_screen_is_skipped() -> None:
    playout = schedule()
    assert playout.on_decoded(2, now_ns=90 * MS) is Playout.RENDERED
    assert playout.on_decoded(1, now_ns=95 * MS) is Playout.SKIPPED
    assert playout.last_rendered == 2


def test_deadlines_pass_one_by_one() -> None:
    playout = schedule()
    playout.on_decoded(1, now_ns=50 * MS)
    assert playout.next_timer() == 100 * MS + 1
    assert playout.missed(now_ns=100 * MS) == []
    assert playout.missed(now_ns=100 * MS + 1) == [0]
    assert playout.next_timer() == 180 * MS + 1  # frame 1 is settled
    assert playout.missed(now_ns=230 * MS) == [2, 3]
    assert playout.missed(now_ns=230 * MS) == []
    assert [playout.outcome(i).value for i in range(5)] == [
        "missed",
        "rendered",
        "missed",
        "missed",
        "expected",
    ]


def test_a_missed_frame_may_still_be_decoded_late() -> None:
    playout = schedule()
    playout.missed(now_ns=101 * MS)
    assert playout.on_decoded(0, now_ns=102 * MS) is Playout.LATE


def test_the_viewer_sees_the_last_rendered_frame() -> None:
    playout = schedule()
    for index, now_ms in ((1, 50), (2, 90), (5, 210), (4, 215)):
        playout.on_decoded(index, now_ns=now_ms * MS)
    assert playout.displayed(7) == [-1, 1, 2, 2, 2, 5, 5]


def test_a_frame_is_decoded_once() -> None:
    playout = schedule()
    playout.on_decoded(0, now_ns=0)
    for now_ns in (1, 200 * MS):
        with pytest.raises(LocalProtocolError, match="frame 0 is rendered"):
            playout.on_decoded(0, now_ns=now_ns)
        assert playout.outcome(0) is Playout.RENDERED


def test_the_table_has_ends_and_no_way_back() -> None:
    ends = {Playout.RENDERED, Playout.LATE, Playout.SKIPPED}
    assert ends.isdisjoint(state for state, _ in TRANSITIONS)
    assert {Playout.EXPECTED} | set(TRANSITIONS.values()) == set(Playout)
    assert {(Playout.EXPECTED, moment) for moment in Moment} <= set(TRANSITIONS)


@given(st.permutations(range(12)), st.lists(st.integers(0, 60), min_size=12, max_size=12))
def test_what_is_rendered_is_in_order_and_in_time(order: list[int], gaps_ms: list[int]) -> None:
    playout = schedule()
    now_ns = 0
    rendered = []
    for index, gap_ms in zip(order, gaps_ms, strict=True):
        now_ns += gap_ms * MS
        if playout.on_decoded(index, now_ns=now_ns) is Playout.RENDERED:
            assert now_ns <= playout.deadline_ns(index)
            rendered.append(index)
    assert all(a < b for a, b in itertools.pairwise(rendered))


@pytest.mark.parametrize(
    ("fps", "deadline_ns"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (30, -1)]
)
def test_bad_options_are_our_mistake(fps: float, deadline_ns: int) -> None:
    with pytest.raises(LocalProtocolError):
        PlayoutSchedule(fps=fps, deadline_ns=deadline_ns)
