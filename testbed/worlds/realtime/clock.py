"""Real time as the endpoints want it: integer nanoseconds since the start of the session.

The clock is CLOCK_MONOTONIC, which all processes of a machine share, in every network namespace.
The kernel stamps what a socket receives with CLOCK_REALTIME; a stamp is turned by its age.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import selectors
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: prctl(2): how late the kernel may wake us in order to wake others at once; 50 us by default.
_PR_SET_TIMERSLACK: Final = 29
_SLACK_NS: Final = 1
#: Two clocks read within this time were read as one; tried so often, then the best counts.
_UNBROKEN_NS: Final = 2_000
_READINGS: Final = 5
#: A stamp older than this is of another clock than we think (a step of the wall clock).
_OLDEST_STAMP_NS: Final = 1_000_000_000


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC."""
    return time.monotonic_ns()


def wall_ns() -> int:
    """CLOCK_REALTIME."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def wall_minus_monotonic_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, read as one as well as that can be done."""
    best_ns, difference = _UNBROKEN_NS * 10**6, 0
    for _ in range(_READINGS):
        before = time.monotonic_ns()
        wall = wall_ns()
        took = time.monotonic_ns() - before
        if took < best_ns:
            best_ns, difference = took, wall - before - took // 2
        if took < _UNBROKEN_NS:
            break
    return difference


@dataclass(slots=True)
class SessionClock:
    """Nanoseconds since the start of the session.

    Attributes:
        epoch_ns: CLOCK_MONOTONIC at the start; may lie ahead.
    """

    epoch_ns: int

    def now_ns(self) -> int:
        """Now."""
        return time.monotonic_ns() - self.epoch_ns

    def of_stamp(self, stamp_ns: int) -> int:
        """When a datagram with this CLOCK_REALTIME stamp arrived; now for an impossible one."""
        now = time.monotonic_ns()
        at = stamp_ns - wall_minus_monotonic_ns()
        if not 0 <= now - at <= _OLDEST_STAMP_NS:
            at = now
        return at - self.epoch_ns


def new_loop() -> asyncio.AbstractEventLoop:
    """An asyncio loop whose timers are exact to tens of microseconds.

    The usual one waits with epoll, in whole milliseconds; select takes microseconds, and for the
    few sockets of a session costs no more.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


@contextlib.contextmanager
def prompt(*, priority: bool) -> Iterator[str]:
    """Make this process as punctual as the machine lets it be.

    No timer slack, no garbage collection in between, and with `priority` real-time scheduling
    where that is allowed.

    Yields:
        "round-robin" or "normal": how the process is scheduled.
    """
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)
    scheduling = "normal"
    if priority:
        with contextlib.suppress(OSError):
            lowest = os.sched_get_priority_min(os.SCHED_RR)
            # Children (encoders) go back to normal: only what keeps time needs this.
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(lowest))
            scheduling = "round-robin"
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield scheduling
    finally:
        gc.enable()
        gc.unfreeze()
        if scheduling != "normal":
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
