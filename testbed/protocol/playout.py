"""When a frame is worth showing."""

from __future__ import annotations

from enum import Enum
from typing import Final

from testbed.errors import LocalProtocolError


class Playout(Enum):
    """What became of a frame at the playout."""

    EXPECTED = "expected"
    RENDERED = "rendered"
    LATE = "late"  # decoded after its deadline
    SKIPPED = "skipped"  # decoded in time, but a later frame was on the screen already
    MISSED = "missed"  # the deadline passed and it was not decoded (yet)


class Moment(Enum):
    """What can happen to a frame at the playout."""

    DECODED_IN_ORDER = "decoded in time and in order"
    DECODED_BEHIND = "decoded in time, behind a rendered frame"
    DECODED_LATE = "decoded after the deadline"
    DEADLINE = "deadline passed"


#: The life of a frame. What is not here is against the rules and raises.
TRANSITIONS: Final[dict[tuple[Playout, Moment], Playout]] = {
    (Playout.EXPECTED, Moment.DECODED_IN_ORDER): Playout.RENDERED,
    (Playout.EXPECTED, Moment.DECODED_BEHIND): Playout.SKIPPED,
    (Playout.EXPECTED, Moment.DECODED_LATE): Playout.LATE,
    (Playout.EXPECTED, Moment.DEADLINE): Playout.MISSED,
    (Playout.MISSED, Moment.DECODED_LATE): Playout.LATE,
}


class PlayoutSchedule:
    """Low-latency playout with a deadline.

    A frame is shown the moment it is decoded, unless its deadline (capture + `deadline_ns`) has
    passed or a later frame has been shown already. The schedule keeps one small entry a frame for
    the whole session.

    Args:
        fps: frame rate, > 0; frame i is captured at `start_ns` + i / fps.
        deadline_ns: from capture to the last useful moment; that moment itself is in time. >= 0.
        start_ns: capture time of frame 0.

    Raises:
        LocalProtocolError: a value is out of range.
    """

    def __init__(self, *, fps: float, deadline_ns: int, start_ns: int = 0) -> None:
        if not 0 < fps < float("inf") or deadline_ns < 0:
            raise LocalProtocolError(f"playout at {fps} fps with a deadline of {deadline_ns} ns")
        self._fps = fps
        self._deadline_ns = deadline_ns
        self._start_ns = start_ns
        self._outcomes: dict[int, Playout] = {}
        self._next_deadline_index = 0
        #: Highest rendered frame; -1 before the first.
        self.last_rendered = -1

    def capture_ns(self, index: int) -> int:
        """When frame `index` is captured (rounded to the nearest ns)."""
        return self._start_ns + round(index * 1_000_000_000 / self._fps)

    def deadline_ns(self, index: int) -> int:
        """Last moment at which frame `index` may be rendered."""
        return self.capture_ns(index) + self._deadline_ns

    def _move(self, index: int, moment: Moment) -> Playout:
        state = self.outcome(index)
        try:
            outcome = TRANSITIONS[state, moment]
        except KeyError:
            raise LocalProtocolError(
                f"frame {index} is {state.value}: {moment.value} is not possible"
            ) from None
        self._outcomes[index] = outcome
        return outcome

    def on_decoded(self, index: int, *, now_ns: int) -> Playout:
        """Frame `index` left the decoder; RENDERED means it is on the screen from `now_ns`.

        Raises:
            LocalProtocolError: it was decoded before.
        """
        if now_ns > self.deadline_ns(index):
            return self._move(index, Moment.DECODED_LATE)
        if index < self.last_rendered:
            return self._move(index, Moment.DECODED_BEHIND)
        outcome = self._move(index, Moment.DECODED_IN_ORDER)
        self.last_rendered = index
        return outcome

    def next_timer(self) -> int:
        """Deadline of the first frame that is still expected, plus 1 ns; there always is one."""
        while self.outcome(self._next_deadline_index) is not Playout.EXPECTED:
            self._next_deadline_index += 1
        return self.deadline_ns(self._next_deadline_index) + 1

    def missed(self, *, now_ns: int) -> list[int]:
        """Frames whose deadline has passed undecoded since the last call, ascending."""
        missed = []
        while self.next_timer() <= now_ns:
            self._move(self._next_deadline_index, Moment.DEADLINE)
            missed.append(self._next_deadline_index)
        return missed

    def outcome(self, index: int) -> Playout:
        """What is known of frame `index`."""
        return self._outcomes.get(index, Playout.EXPECTED)

    def displayed(self, count: int) -> list[int]:
        """For source frames 0 to count - 1, the frame seen in its place.

        That is the frame itself if it was rendered, else the rendered one closest before it, or
        -1 while there is none.
        """
        shown = []
        last = -1
        for index in range(count):
            if self.outcome(index) is Playout.RENDERED:
                last = index
            shown.append(last)
        return shown
