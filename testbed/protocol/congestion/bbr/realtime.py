"""BBR for a video call: the draft with a bound on the standing queue.

Why the draft alone does not do. A video source is application-limited nearly all the time, and at
a few hundred kbit/s with reports every 100 ms a round is long and the path holds a handful of
packets. Three rules of the draft then keep a queue that a call cannot afford: a sample that is
marked application-limited cannot lower the estimate, so a falling capacity shows only once the
window is full; the estimate is a maximum over two probing cycles, several seconds; and a probe
goes on for three rounds after the rate has stopped growing.

Each report tells the delay of every packet. So the queue is seen, and six rules are added. All are
about a *standing* queue: the least queueing delay among the packets of one report, so that a burst
does not count. It is called *busy* from `busy_ns` on, since then the bottleneck was never idle, and
it *stands* beyond `queue_target_ns`.

1. A sample from a busy bottleneck is never application-limited.
2. When the packets of the last reports went through a busy bottleneck and arrived at another rate
   than they were sent, they arrived at the bottleneck's rate. That replaces the maximum: nothing
   measured before says more about now. (At the same rate they may just have arrived as sent.)
3. A probe (Startup or ProbeBW_UP) ends when the queue stands, or is busy and grows.
4. Once the queue stands, and until less than a third of the target is left, the rate is lowered by
   the share that drains the queue in `drain_ns`, except in probes.
5. Until then no probe begins.
6. A probe begins with a pulse that adds no more than the target to the queue; the rest waits for a
   round whose reports show no queue.

Queueing delay is a packet's delay less its own transmission time at the estimated rate, against the
smallest such value of the last ten seconds. When the queue stays for `patience_ns` although the
flow holds back, it is not ours (a longer path, or a competitor that will not yield): its delay
becomes the new base.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from testbed.protocol.congestion.bbr import constants as c
from testbed.protocol.congestion.bbr.draft06 import BbrConfig, BbrDraft06
from testbed.protocol.congestion.bbr.machine import PROBING, State
from testbed.protocol.congestion.bbr.sampler import RateSample
from testbed.protocol.congestion.tracker import Acknowledgement

_BYTE_SECOND: Final = 8 * c.SECOND_NS
#: Report intervals over which the rate of a busy bottleneck is measured. Links that send in bursts
#: (mahimahi's delivery opportunities) need more than one.
BUSY_REPORTS: Final = 2
#: Two rates that differ by less are the same.
SAME_RATE: Final = 0.96


@dataclass(frozen=True, slots=True)
class RealtimeConfig:
    """What the added rules go by.

    Attributes:
        queue_target_ns: a queue longer than this stands.
        busy_ns: a queue this long keeps the bottleneck busy from one report to the next.
        drain_ns: time over which a standing queue is drained.
        least_share: the rate is lowered to no less than this share of the measured one.
        patience_ns: how long a queue may withstand draining before it is taken for the path's own.
        min_rtt_tolerance_ns: see `MinRtt`; report times have steps of 1/1024 s.
    """

    queue_target_ns: int = 30_000_000
    busy_ns: int = 10_000_000
    drain_ns: int = 500_000_000
    least_share: float = 0.5
    patience_ns: int = 2_000_000_000
    min_rtt_tolerance_ns: int = 5_000_000


class _Delay(NamedTuple):
    """A packet's delay, its size, and the estimate at the time in bit/s."""

    at_ns: int
    delay_ns: int
    size_bytes: int
    bw: int


class QueueMeter:
    """The standing queue behind reports, in ns of delay, and the rate at which it is served.

    Args:
        busy_ns: a queue at least so long means that the bottleneck was never idle.
        patience_ns: a queue that does not fall for so long is the path's own.
    """

    def __init__(self, *, busy_ns: int, patience_ns: int) -> None:
        self._delays: deque[_Delay] = deque()  # the least of each report
        self._busy_ns = busy_ns
        self._patience_ns = patience_ns
        self._since_ns = -1  # when the present spell of standing queue was last judged
        self._start_ns = 0  # its length then
        # Last sending, last arrival and bytes of each of the last reports, oldest first.
        self._reports: deque[tuple[int, int, int]] = deque(maxlen=BUSY_REPORTS + 1)
        #: The bottleneck had something to send all the time of the last report.
        self.busy = False
        #: Rates at which the packets of the last reports were sent and arrived, bit/s; 0: unknown.
        self.sent_bps = 0
        self.arrived_bps = 0
        #: Least queueing delay among the packets of the last report.
        self.standing_ns = 0

    def update(self, ack: Acknowledgement, *, bw: int, target_ns: int, now_ns: int) -> None:
        """Take in a report; `bw` in bit/s gives the packets' own transmission times."""
        offset_ns = ack.offset_ns
        least: _Delay | None = None
        least_ns, last_ns, size = c.INFINITE, -c.INFINITE, 0
        for packet in ack.acked:
            size += packet.size_bytes
            if packet.timed:
                last_ns = max(last_ns, packet.arrival_ns)
                delay_ns = packet.arrival_ns + offset_ns - packet.send_ns
                queued_ns = delay_ns - (packet.size_bytes * _BYTE_SECOND // bw if bw else 0)
                if queued_ns < least_ns:
                    least_ns = queued_ns
                    least = _Delay(now_ns, delay_ns, packet.size_bytes, bw)
        if least is None:
            return
        self._delays.append(least)
        self.standing_ns = least_ns - self._base_ns(bw, now_ns)
        self.busy = self.standing_ns >= self._busy_ns
        self._measure(ack, last_ns, size)
        self._judge(least_ns, target_ns, bw, now_ns)

    def _base_ns(self, bw: int, now_ns: int) -> int:
        """Smallest delay without queue and own transmission of the last ten seconds.

        An estimate that was too low makes a packet's own time too long and its queueing delay too
        short. So what was seen at a lower estimate than now is judged by the present one; what was
        seen at a higher one by that, for the path may have been faster then.
        """
        delays = self._delays
        while delays[0].at_ns < now_ns - c.MIN_RTT_FILTER_NS:
            delays.popleft()
        return min(
            entry.delay_ns - entry.size_bytes * _BYTE_SECOND // max(entry.bw, bw, 1)
            if entry.bw or bw
            else entry.delay_ns
            for entry in delays
        )

    def _measure(self, ack: Acknowledgement, last_ns: int, size: int) -> None:
        """Rates of the same packets before and behind the bottleneck."""
        reports = self._reports
        if ack.unknown:
            reports.clear()
        newest = ack.newest
        if newest is not None and (
            not reports or (newest.send_ns > reports[-1][0] and last_ns > reports[-1][1])
        ):
            reports.append((newest.send_ns, last_ns, size))
        self.sent_bps = self.arrived_bps = 0
        if len(reports) > 1:
            bits = sum(entry[2] for entry in islice(reports, 1, None)) * _BYTE_SECOND
            self.sent_bps = bits // (reports[-1][0] - reports[0][0])
            self.arrived_bps = bits // (reports[-1][1] - reports[0][1])

    @property
    def grows(self) -> bool:
        """Packets arrive more slowly than they were sent, and wait."""
        return self.busy and self.arrived_bps < SAME_RATE * self.sent_bps

    @property
    def shrinks(self) -> bool:
        """Packets arrive faster than they were sent."""
        return self.busy and self.sent_bps < SAME_RATE * self.arrived_bps

    def _judge(self, least_ns: int, target_ns: int, bw: int, now_ns: int) -> None:
        """A queue that withstood draining becomes the new base."""
        if self.standing_ns <= target_ns:
            self._since_ns = -1
            return
        if self._since_ns < 0:
            self._since_ns, self._start_ns = now_ns, self.standing_ns
            return
        if now_ns - self._since_ns < self._patience_ns:
            return
        fell = self.standing_ns < self._start_ns * 3 // 4
        if not fell:
            while self._delays[0].at_ns < self._since_ns:
                self._delays.popleft()
            self.standing_ns = least_ns - self._base_ns(bw, now_ns)
        self._since_ns = -1


class BbrDraft06Realtime(BbrDraft06):
    """`BbrDraft06` with the four rules above.

    Args:
        rng: as for the draft.
        config: as for the draft.
        realtime: see there.
    """

    def __init__(
        self,
        *,
        rng: np.random.Generator,
        config: BbrConfig | None = None,
        realtime: RealtimeConfig | None = None,
    ) -> None:
        self.realtime = realtime or RealtimeConfig()
        config = dataclasses.replace(
            config or BbrConfig(), min_rtt_tolerance_ns=self.realtime.min_rtt_tolerance_ns
        )
        super().__init__(rng=rng, config=config)
        self.queue = QueueMeter(
            busy_ns=self.realtime.busy_ns, patience_ns=self.realtime.patience_ns
        )
        self.draining = False
        self._pulse_until_ns = c.INFINITE

    @property
    def queue_stands(self) -> bool:
        """The last report showed a standing queue longer than the target."""
        return self.queue.standing_ns > self.realtime.queue_target_ns

    def on_acknowledgement(self, ack: Acknowledgement, *, now_ns: int) -> RateSample:
        """Measure the queue, then as the draft."""
        target_ns = self.realtime.queue_target_ns
        self.queue.update(ack, bw=self.bw, target_ns=target_ns, now_ns=now_ns)
        return super().on_acknowledgement(ack, now_ns=now_ns)

    def pacing_at(self, now_ns: int) -> int:
        """Rule 6: a probe begins with a pulse."""
        if self.state is State.PROBE_BW_UP and now_ns >= self._pulse_until_ns:
            return int(self.pacing_bps / self.machine.gains.pacing)
        return self.pacing_bps

    def probing_at(self, now_ns: int) -> bool:
        """Not between the pulse and what it brings."""
        return self.probing and (
            self.state is not State.PROBE_BW_UP or now_ns < self._pulse_until_ns
        )

    def _update_model_and_state(self, sample: RateSample, now_ns: int) -> None:
        """As the draft, and the pulse of a probe."""
        before = self.state
        super()._update_model_and_state(sample, now_ns)
        if self.state is State.PROBE_BW_UP:
            if before is not State.PROBE_BW_UP:
                excess = self.machine.gains.pacing - 1
                self._pulse_until_ns = now_ns + int(self.realtime.queue_target_ns / excess)
            elif self.rounds.start and not self.queue.busy:
                self._pulse_until_ns = c.INFINITE

    def _update_congestion_signals(self, sample: RateSample) -> None:
        """Rules 1 and 2."""
        if self.queue.busy:
            sample.app_limited = False
        super()._update_congestion_signals(sample)
        if self.queue.grows or self.queue.shrinks:
            self.bounds.bandwidth.reset(self.queue.arrived_bps)

    def may_probe(self) -> bool:
        """Rule 5."""
        return not self.draining

    def _check_full_pipe(self, sample: RateSample) -> None:
        """Rule 3."""
        super()._check_full_pipe(sample)
        if self.probing and (self.queue_stands or self.queue.grows):
            self.full_pipe.set()

    def _bound_bandwidth(self, sample: RateSample) -> None:
        """Rule 4."""
        super()._bound_bandwidth(sample)
        realtime, standing_ns = self.realtime, self.queue.standing_ns
        if self.queue_stands:
            self.draining = True
        elif standing_ns <= realtime.queue_target_ns // 3:
            self.draining = False
        if self.draining and self.state not in PROBING:
            share = max(realtime.least_share, 1 - standing_ns / realtime.drain_ns)
            self.bounds.bw = int(self.bounds.bw * share)
