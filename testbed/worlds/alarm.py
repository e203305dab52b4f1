"""How a component of the simulator gets woken: an alarm it can move forward.

SimPy's timeouts cannot be cancelled, so an alarm that was moved forward leaves a stale wake behind,
which finds itself out of date and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop
from typing import Any

import simpy

FOREVER_NS = 2**63 - 1
#: SimPy's priority of ordinary events.
NORMAL = simpy.events.NORMAL


class EventLoop(simpy.Environment):
    """SimPy's environment on an integer-nanosecond clock, with a leaner loop of its own.

    `run_until` does what `simpy.Environment.run` does for events that cannot fail; calling `step`
    for every event costs a third of the time of a packet on the link.
    """

    def __init__(self) -> None:
        super().__init__(initial_time=0)

    def run_until(self, end_ns: int = FOREVER_NS) -> None:
        """Process every event before `end_ns`, in SimPy's order; then it is `end_ns`."""
        queue = self._queue
        while queue and queue[0][0] < end_ns:
            self._now, _, _, event = heappop(queue)
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
        if end_ns != FOREVER_NS:
            self._now = end_ns


class Wake(simpy.Event):
    """A timeout with nothing but what the event loop touches: one is made for every wake."""

    __slots__ = ("_ok", "at_ns", "callbacks")

    def __init__(self, at_ns: int, callbacks: list[Callable[[Any], None]]) -> None:
        # Deliberately without Event.__init__: no value, no environment, a shared callback list.
        self.at_ns = at_ns
        self.callbacks = callbacks
        self._ok = True


class Alarm:
    """One component's earliest wish to be called."""

    __slots__ = ("_callbacks", "_schedule", "action", "at_ns")

    def __init__(self, env: simpy.Environment, action: Callable[[int], None]) -> None:
        self.action = action
        self.at_ns = -1
        self._schedule = env.schedule
        self._callbacks: list[Callable[[Any], None]] = [self._fire]

    def arm(self, at_ns: int | None, now_ns: int) -> None:
        """Wake at `at_ns` (at once if that has passed) unless an earlier wake is set."""
        if at_ns is None or 0 <= self.at_ns <= at_ns:
            return
        if at_ns < now_ns:
            at_ns = now_ns
        self.at_ns = at_ns
        self._schedule(Wake(at_ns, self._callbacks), NORMAL, at_ns - now_ns)

    def _fire(self, wake: Wake) -> None:
        at_ns = self.at_ns
        if wake.at_ns == at_ns:
            self.at_ns = -1
            self.action(at_ns)
