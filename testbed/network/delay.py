"""Propagation delay: fixed, replayed from samples, or with Gaussian jitter."""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush
from typing import Final

import numpy as np

from testbed.errors import InputError
from testbed.network.chain import ChainStage
from testbed.network.packet import Packet
from testbed.network.spec import DelaySpec

_NS_PER_MS: Final = 1_000_000
#: Normal draws taken at a time; the sequence does not depend on it.
_BLOCK: Final = 1024


class DelayStage(ChainStage):
    """Holds every packet for a time that is fixed when it enters.

    The time is `delay_ms`, or the sample of `trace_ms` at the moment of entry (held for
    `trace_step_ms`, repeating), plus max(0, N(0, jitter_ms)). Unless `reorder` is set, a packet
    never leaves before the one in front of it: it then waits for it. Exact to the nanosecond,
    where mm-delay works in whole milliseconds (F23).

    Args:
        spec: the delay; see `DelaySpec`.
        rng: generator of the jitter, one draw a packet.

    Raises:
        InputError: a value is negative or not finite.
    """

    __slots__ = (
        "_delay_ns",
        "_in_order",
        "_jitter",
        "_jitter_ns",
        "_last_ns",
        "_order",
        "_overtaking",
        "_rng",
        "_step_ns",
        "_trace_ns",
        "min_delay_ns",
    )

    def __init__(self, spec: DelaySpec, rng: np.random.Generator) -> None:
        _check(spec)
        self._delay_ns = round(spec.delay_ms * _NS_PER_MS)
        self._jitter_ns = spec.jitter_ms * _NS_PER_MS
        self._trace_ns = [round(ms * _NS_PER_MS) for ms in spec.trace_ms]
        self._step_ns = round(spec.trace_step_ms * _NS_PER_MS)
        self._rng = rng
        self._jitter: list[int] = []  # drawn ahead, last first
        self._last_ns = 0
        self._in_order: deque[tuple[int, Packet]] = deque()
        self._overtaking: list[tuple[int, int, Packet]] | None = [] if spec.reorder else None
        self._order = 0  # breaks ties in the heap by order of entry
        self.min_delay_ns = min(self._trace_ns) if self._trace_ns else self._delay_ns

    def _draw(self) -> int:
        if not self._jitter:
            block = np.maximum(self._rng.normal(0.0, self._jitter_ns, _BLOCK), 0.0)
            self._jitter = np.rint(block[::-1]).astype(np.int64).tolist()
        return self._jitter.pop()

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """See `Stage`."""
        trace = self._trace_ns
        delay_ns = trace[now_ns // self._step_ns % len(trace)] if trace else self._delay_ns
        at_ns = now_ns + delay_ns
        if self._jitter_ns:
            at_ns += self._draw()
        if self._overtaking is not None:
            heappush(self._overtaking, (at_ns, self._order, packet))
            self._order += 1
            return
        if at_ns < self._last_ns:
            at_ns = self._last_ns
        self._last_ns = at_ns
        self._in_order.append((at_ns, packet))

    def next_time(self) -> int | None:
        """See `Stage`; exact."""
        if self._in_order:
            return self._in_order[0][0]
        if self._overtaking:
            return self._overtaking[0][0]
        return None

    def take(self, now_ns: int) -> list[tuple[int, Packet]]:
        """See `ChainStage`."""
        left = []
        held = self._in_order
        while held and held[0][0] <= now_ns:
            left.append(held.popleft())
        heap = self._overtaking
        while heap and heap[0][0] <= now_ns:
            at_ns, _, packet = heappop(heap)
            left.append((at_ns, packet))
        return left


def _check(spec: DelaySpec) -> None:
    values = (
        ("delay_ms", spec.delay_ms),
        ("jitter_ms", spec.jitter_ms),
        *((f"trace_ms sample {i + 1}", ms) for i, ms in enumerate(spec.trace_ms)),
    )
    for name, value in values:
        if not math.isfinite(value) or value < 0:
            raise InputError(f"delay: {name} is {value:g}; must be a finite number >= 0")
    if not math.isfinite(spec.trace_step_ms) or round(spec.trace_step_ms * _NS_PER_MS) < 1:
        raise InputError(f"delay: trace_step_ms is {spec.trace_step_ms:g}; must be > 0")
