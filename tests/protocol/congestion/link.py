"""One flow over one bottleneck: a queue, a rate that may change, delays, loss, and real reports.

Discrete events on integer nanoseconds. The receiver is the real `ArrivalRecorder`; reports travel
as the bytes that a socket would carry.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from testbed.protocol.arrivals import ArrivalRecorder
from testbed.protocol.congestion.base import RateController
from testbed.protocol.rtcp import CongestionFeedback, pack_rtcp, parse_rtcp

MS = 1_000_000
SECOND = 1_000_000_000
SSRC = 0x11
PADDING_SSRC = 0x12
FRAME_NS = 33_333_333


@dataclass
class Path:
    """What lies between the ends.

    Attributes:
        kbps: capacity at a time in ns; 0 halts the bottleneck.
        delay_ns: one way.
        queue_bytes: droptail bound.
        lose: whether packet number n, sent at a time, is lost behind the bottleneck.
        extra_ns: extra delay behind the bottleneck of packet number n (reorders).
        feedback: extra delays of the copies of report number n; [] loses it.
        batch_ns: arrivals are delivered together at multiples of this; 0: one by one.
        report_ns: time between reports.
        overlap: earlier reports that each report covers again.
    """

    kbps: Callable[[int], float] = lambda _now: 1000.0
    delay_ns: int = 50 * MS
    queue_bytes: int = 1 << 40
    lose: Callable[[int, int], bool] = lambda _n, _now: False
    extra_ns: Callable[[int, int], int] = lambda _n, _now: 0
    feedback: Callable[[int], list[int]] = lambda _n: [0]
    batch_ns: int = 0
    report_ns: int = 100 * MS
    overlap: int = 3


@dataclass
class Trace:
    """What was seen: one row a report that reached the sender, and one a packet."""

    states: list[tuple[int, str]] = field(default_factory=list)
    estimates: list[tuple[int, float]] = field(default_factory=list)
    queueing: list[tuple[int, int]] = field(default_factory=list)  # (entered, waited ns)
    delivered: list[tuple[int, int]] = field(default_factory=list)  # (arrived, bytes)
    dropped: int = 0

    def kbps(self, start_s: float, end_s: float) -> float:
        total = sum(b for t, b in self.delivered if start_s * SECOND <= t < end_s * SECOND)
        return total * 8 / 1000 / (end_s - start_s)

    def visited(self, start_s: float = 0.0, end_s: float = 1e9) -> list[str]:
        """States in order, without repeats."""
        seen: list[str] = []
        for at, state in self.states:
            if start_s * SECOND <= at < end_s * SECOND and (not seen or seen[-1] != state):
                seen.append(state)
        return seen

    def queue_ms(self, share: float, start_s: float = 0.0, end_s: float = 1e9) -> float:
        waits = sorted(w for t, w in self.queueing if start_s * SECOND <= t < end_s * SECOND)
        return waits[min(len(waits) - 1, int(share * len(waits)))] / MS


class Flow:
    """A sender with `controller` over `path`.

    Args:
        controller: rate control.
        path: see there.
        source: "greedy" always has a packet; "media" makes frames at the controller's target; a
            number makes frames at that many kbit/s; a function of time gives such numbers.
        fill: fill probes with padding.
        packet_bytes: full packet with headers.
        watch: called after every report that reached the sender.
    """

    def __init__(
        self,
        controller: RateController,
        path: Path | None = None,
        *,
        source: str | float | Callable[[int], float] = "greedy",
        fill: bool = False,
        packet_bytes: int = 1240,
        watch: Callable[[int], Any] | None = None,
    ) -> None:
        self.controller = controller
        self.path = path or Path()
        self.trace = Trace()
        self.now_ns = 0
        self._source = source
        self._fill = fill
        self._packet_bytes = packet_bytes
        self.watch = watch
        self._recorder = ArrivalRecorder(
            0x99, interval_ns=self.path.report_ns, overlap=self.path.overlap
        )
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._backlog: deque[int] = deque()
        self._next_send_ns = 0
        self._send_event_ns = -1
        self._timer_ns = -1
        self._sequences = {SSRC: 0, PADDING_SSRC: 0}
        self._number = 0
        self._reports = 0
        self._queue: deque[tuple[int, int, int, int, int]] = deque()
        self._queued = 0
        self._serving = False
        self._framing = False
        self.limit(source)
        self._at(0, self._send)
        self._at(self.path.report_ns, self._report)

    @property
    def backlog_bytes(self) -> int:
        return sum(self._backlog)

    def limit(self, source: str | float | Callable[[int], float]) -> None:
        """Change the source."""
        self._source = source
        if source != "greedy" and not self._framing:
            self._framing = True
            self._at(self.now_ns, self._frame)
        self._at(self.now_ns, self._wake)

    def run(self, seconds: float) -> Trace:
        """Go on for some time."""
        end_ns = self.now_ns + round(seconds * SECOND)
        while self._events and self._events[0][0] <= end_ns:
            self.now_ns, _, call = heapq.heappop(self._events)
            call()
        self.now_ns = end_ns
        return self.trace

    def _at(self, when_ns: int, call: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (max(when_ns, self.now_ns), self._order, call))

    # --- sender ---------------------------------------------------------------------------------

    def _frame(self) -> None:
        now = self.now_ns
        source = self._source
        if source == "greedy":
            self._framing = False
            return
        if callable(source):
            kbps = source(now)
        elif isinstance(source, str):
            kbps = self.controller.target_kbps(now_ns=now)
            pacing = self.controller.pacing_kbps(now_ns=now)
            if pacing is not None:  # as the H.26x sender: work off what waits
                kbps = max(kbps / 4, kbps - self.backlog_bytes * 8 / 1000 / 0.5)
        else:
            kbps = source
        if not self._backlog and now >= self._next_send_ns:
            self.controller.on_application_limited(now_ns=now)
        size = round(kbps * FRAME_NS / 8e6)
        count = max(1, -(-size // self._packet_bytes)) if size > 0 else 0
        for i in range(count):
            share = size // count if i else size - size // count * (count - 1)
            self._backlog.append(max(share, 60))
        self._at(now + FRAME_NS, self._frame)
        self._wake()

    def _pacing_bps(self) -> float:
        pacing = self.controller.pacing_kbps(now_ns=self.now_ns)
        if pacing is None:
            pacing = 2.5 * self.controller.target_kbps(now_ns=self.now_ns)
        return pacing * 1000

    def _wake(self) -> None:
        when = max(self.now_ns, self._next_send_ns)
        if self._send_event_ns < 0 or when < self._send_event_ns:
            self._send_event_ns = when
            self._at(when, self._send)

    def _send(self) -> None:
        self._send_event_ns = -1
        now = self.now_ns
        controller = self.controller
        if now < self._next_send_ns:
            self._wake()
            return
        window = controller.window_bytes(now_ns=now)
        if window is not None and window <= 0:
            return  # the next report wakes us
        ssrc = SSRC
        if self._source == "greedy":
            size = self._packet_bytes
        elif self._backlog:
            size = self._backlog.popleft()
        elif self._fill and controller.probe_bytes(now_ns=now) > 0:
            size, ssrc = min(295, controller.probe_bytes(now_ns=now)), PADDING_SSRC
        else:
            return
        sequence = self._sequences[ssrc]
        self._sequences[ssrc] += 1
        controller.on_packet_sent(ssrc=ssrc, sequence=sequence, size_bytes=size, now_ns=now)
        self._enqueue(ssrc, sequence, size)
        self._next_send_ns = now + round(size * 8 * SECOND / self._pacing_bps())
        self._wake()
        self._arm()

    def _arm(self) -> None:
        timer = self.controller.next_timer()
        if timer is not None and (self._timer_ns <= self.now_ns or timer < self._timer_ns):
            self._timer_ns = max(timer, self.now_ns + 1)
            self._at(self._timer_ns, self._timer)

    def _timer(self) -> None:
        self.controller.on_timer(now_ns=self.now_ns)
        self._timer_ns = -1
        self._arm()
        self._wake()

    # --- bottleneck -------------------------------------------------------------------------------

    def _enqueue(self, ssrc: int, sequence: int, size: int) -> None:
        number = self._number
        self._number += 1
        if self._queued + size > self.path.queue_bytes:
            self.trace.dropped += 1
            return
        self._queue.append((ssrc, sequence, size, self.now_ns, number))
        self._queued += size
        if not self._serving:
            self._serve()

    def _serve(self) -> None:
        if not self._queue:
            self._serving = False
            return
        self._serving = True
        kbps = self.path.kbps(self.now_ns)
        if kbps <= 0:
            self._at(self.now_ns + 5 * MS, self._serve)
            return
        size = self._queue[0][2]
        self._at(self.now_ns + round(size * 8e6 / kbps), self._served)

    def _served(self) -> None:
        ssrc, sequence, size, entered, number = self._queue.popleft()
        self._queued -= size
        self.trace.queueing.append((entered, self.now_ns - entered))
        if not self.path.lose(number, entered):
            at = self.now_ns + self.path.delay_ns + self.path.extra_ns(number, entered)
            if self.path.batch_ns:
                at = -(-at // self.path.batch_ns) * self.path.batch_ns
            self._at(at, lambda: self._arrive(ssrc, sequence, size))
        self._serve()

    # --- receiver ---------------------------------------------------------------------------------

    def _arrive(self, ssrc: int, sequence: int, size: int) -> None:
        self.trace.delivered.append((self.now_ns, size))
        self._recorder.on_packet(ssrc, sequence, now_ns=self.now_ns)

    def _report(self) -> None:
        report = self._recorder.report(now_ns=self.now_ns)
        if report is not None:
            data = pack_rtcp([report])
            for extra in self.path.feedback(self._reports):
                at = self.now_ns + self.path.delay_ns + extra
                self._at(at, lambda: self._feedback(data))
            self._reports += 1
        self._at(self.now_ns + self.path.report_ns, self._report)

    def _feedback(self, data: bytes) -> None:
        now = self.now_ns
        if not self._backlog and now >= self._next_send_ns and self._source != "greedy":
            self.controller.on_application_limited(now_ns=now)
        for message in parse_rtcp(data):
            assert isinstance(message, CongestionFeedback)
            self.controller.on_feedback(message, now_ns=now)
        self.trace.states.append((now, self.controller.state))
        self.trace.estimates.append((now, self.controller.estimate_kbps(now_ns=now)))
        if self.watch is not None:
            self.watch(now)
        self._arm()
        self._wake()
