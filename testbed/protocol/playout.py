"""When a frame is worth showing."""

from __future__ import annotations

from enum import Enum


class Playout(Enum):
    """What became of a frame at the playout."""

    EXPECTED = "expected"
    RENDERED = "rendered"
    LATE = "late"  # decoded after its deadline
    SKIPPED = "skipped"  # decoded in time, but a later frame was on the screen already
    MISSED = "missed"  # the deadline passed and it was not decoded (yet)


class PlayoutSchedule:
    """Low-latency playout with a deadline.

    A frame is shown the moment it is decoded, unless its deadline (capture + `deadline_ns`) has
    passed or a later frame has been shown already.

    Args:
        fps: frame rate, > 0; frame i is captured at `start_ns` + i / fps.
        deadline_ns: from capture to the last useful moment; that moment itself is in time.
        start_ns: capture time of frame 0.
    """

    def __init__(self, *, fps: float, deadline_ns: int, start_ns: int = 0) -> None:
        raise NotImplementedError

    def capture_ns(self, index: int) -> int:
        """When frame `index` is captured (rounded to the nearest ns)."""
        raise NotImplementedError

    def deadline_ns(self, index: int) -> int:
        """Last moment at which frame `index` may be rendered."""
        raise NotImplementedError

    def on_decoded(self, index: int, *, now_ns: int) -> Playout:
        """Frame `index` left the decoder; RENDERED means it is on the screen from `now_ns`."""
        raise NotImplementedError

    def next_timer(self) -> int | None:
        """Deadline of the first frame not yet settled; there always is one."""
        raise NotImplementedError

    def missed(self, *, now_ns: int) -> list[int]:
        """Frames whose deadline has passed undecoded since the last call, ascending."""
        raise NotImplementedError

    def outcome(self, index: int) -> Playout:
        """What is known of frame `index`."""
        raise NotImplementedError

    def displayed(self, count: int) -> list[int]:
        """For source frames 0 to count - 1, the frame seen in its place.

        That is the frame itself if it was rendered, else the rendered one closest before it, or
        -1 while there is none.
        """
        raise NotImplementedError
