"""When pictures that become ready in groups are shown.

A codec that works on groups of pictures hands them over all at once; shown like that they would be
a burst and then a still. The playout clock shows each at the pace at which it was captured, a
constant delay later. When a group comes too late for that, the picture stands until it is there
and the delay is longer from then on: that is the stall. When groups come earlier again, pictures
follow each other a little faster than captured until the delay is what the last group needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.errors import LocalProtocolError


class PlayoutClock:
    """Render times, in integer nanoseconds.

    Args:
        interval_ns: between captured frames, > 0.
        catch_up: how many times faster than captured pictures may follow each other, >= 1; with 1
            a delay stays for ever.

    Attributes:
        delay_ns: from capture to the screen for the last frame shown; None before the first.

    Raises:
        LocalProtocolError: a value is out of range.
    """

    def __init__(self, *, interval_ns: int, catch_up: float) -> None:
        if interval_ns <= 0 or not 1 <= catch_up < float("inf"):
            raise LocalProtocolError(f"playout every {interval_ns} ns, catch-up {catch_up}")
        self._step_ns = round(interval_ns * (1 - 1 / catch_up))
        self.delay_ns: int | None = None

    def show(self, capture_ns: Sequence[int], *, ready_ns: int) -> list[int]:
        """Render times of a group that is ready at once.

        Args:
            capture_ns: of its frames, ascending, later than those of the group before.
            ready_ns: when they were decoded, >= the last of them.

        Returns:
            One time a frame, none before `ready_ns`, in the order of capture.
        """
        if not capture_ns:
            return []
        needed = ready_ns - capture_ns[0]
        delay = needed if self.delay_ns is None else self.delay_ns
        times = []
        for captured in capture_ns:
            delay = max(delay - self._step_ns, needed)
            times.append(captured + delay)
        self.delay_ns = delay
        return times
