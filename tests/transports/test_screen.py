"""The decoder's and the screen's time, by hand."""

from __future__ import annotations

from fractions import Fraction

from testbed.transports.base import ReceiverContext
from testbed.transports.screen import GroupScreen, Screen

MS = 1_000_000


def context(decode_ms: int = 0) -> ReceiverContext:
    return ReceiverContext(Fraction(10), lambda _scale=0: decode_ms * MS, 400 * MS, None)


def test_frames_follow_each_other_no_faster_than_allowed() -> None:
    screen = Screen(context(), catch_up=2.0)
    shown = [screen.show(n, concealed=n == 1, now_ns=300 * MS) for n in range(3)]
    assert [one.render_ns for one in shown] == [300 * MS, 350 * MS, 400 * MS]
    assert [one.outcome for one in shown] == ["rendered", "concealed", "rendered"]


def test_a_frame_that_the_decoder_has_too_late_is_late() -> None:
    screen = Screen(context(decode_ms=300), catch_up=2.0)
    first = screen.show(0, concealed=False, now_ns=50 * MS)
    second = screen.show(1, concealed=False, now_ns=150 * MS)
    assert (first.decode_end_ns, first.outcome) == (350 * MS, "rendered")
    assert (second.decode_end_ns, second.render_ns, second.outcome) == (650 * MS, -1, "late")


def test_a_group_is_shown_at_the_pace_of_its_capture() -> None:
    screen = GroupScreen(context(), interval_ns=100 * MS, catch_up=1.0)
    shown = screen.show(
        [0, 1], [0, 100 * MS], decode_frame_ns=10 * MS, outcome="rendered", now_ns=150 * MS
    )
    assert [one.render_ns for one in shown] == [170 * MS, 270 * MS]
    assert {one.decode_end_ns for one in shown} == {170 * MS}


def test_a_group_is_late_by_its_last_frame() -> None:
    screen = GroupScreen(context(), interval_ns=100 * MS, catch_up=1.0)
    captured = [0, 100 * MS]
    at_the_deadline = screen.show(
        [0, 1], captured, decode_frame_ns=0, outcome="rendered", now_ns=500 * MS
    )
    assert {one.outcome for one in at_the_deadline} == {"rendered"}
    late = screen.show([2, 3], captured, decode_frame_ns=0, outcome="rendered", now_ns=500 * MS + 1)
    assert [(one.outcome, one.render_ns) for one in late] == [("late", -1), ("late", -1)]
