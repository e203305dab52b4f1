"""What BBR believes of the path: estimators without a state machine.

Sections of draft-ietf-ccwg-bbr-06 are named at each class. Every class is plain arithmetic that is
driven by `BbrDraft06`.
"""

from __future__ import annotations

from testbed.protocol.congestion.bbr import constants as c
from testbed.protocol.congestion.bbr.sampler import RateSample
from testbed.protocol.congestion.filters import CycleMax, WindowedMax


class Rounds:
    """Packet-timed round trips ("BBR.round_count").

    Attributes:
        count: rounds so far.
        start: the last acknowledgement began a round.
        since_probe: rounds since the last probe for bandwidth.
    """

    __slots__ = ("_next_delivered", "count", "since_probe", "start")

    def __init__(self) -> None:
        self._next_delivered = 0
        self.count = 0
        self.start = False
        self.since_probe = 0

    def update(self, sample: RateSample, *, delivered: int) -> None:
        """UpdateRound."""
        self.start = sample.newly_acked > 0 and sample.prior_delivered >= self._next_delivered
        if self.start:
            self.restart(delivered)
            self.count += 1
            self.since_probe += 1

    def restart(self, delivered: int) -> None:
        """StartRound: the round ends when a packet sent from now on is acknowledged."""
        self._next_delivered = delivered


class FullPipe:
    """Whether sending faster still brings more ("Exiting Acceleration Based on Bandwidth Plateau").

    Attributes:
        now: the pipe was found full since the last reset.
        reached: it was found full at some time.
        baseline: rate against which growth is measured, bit/s.
        count: rounds without growth.
    """

    __slots__ = ("baseline", "count", "now", "reached")

    def __init__(self) -> None:
        self.now = False
        self.reached = False
        self.baseline = 0
        self.count = 0

    def reset(self, baseline: int = 0) -> None:
        """ResetFullBW, with the rate to grow from."""
        self.now = False
        self.count = 0
        self.baseline = baseline

    def update(self, sample: RateSample, *, round_start: bool) -> None:
        """CheckFullBWReached. Rounds limited by the application prove nothing."""
        if self.now or not round_start or sample.app_limited:
            return
        if sample.delivery_rate >= self.baseline * c.FULL_BW_GROWTH:
            self.reset(sample.delivery_rate)
            return
        self.count += 1
        if self.count >= c.FULL_BW_ROUNDS:
            self.set()

    def set(self) -> None:
        """The pipe is full, for whatever reason."""
        self.now = self.reached = True


class MinRtt:
    """Smallest round trip, and when to look for it again ("ProbeRTT Logic").

    Attributes:
        value_ns: BBR.min_rtt; INFINITE before the first sample.
        expired: BBR.probe_rtt_expired: no new minimum for `PROBE_RTT_INTERVAL_NS`.
    """

    __slots__ = (
        "_delay_at_ns",
        "_delay_ns",
        "_tolerance_ns",
        "_value_at_ns",
        "expired",
        "value_ns",
    )

    def __init__(self, *, tolerance_ns: int = 0) -> None:
        self.value_ns = c.INFINITE
        self.expired = False
        self._value_at_ns = 0
        self._delay_ns = c.INFINITE
        self._delay_at_ns = 0
        self._tolerance_ns = tolerance_ns

    def update(self, rtt_ns: int, *, now_ns: int) -> None:
        """UpdateMinRTT; `rtt_ns` is -1 without a sample.

        With a tolerance, a sample within it of the minimum refreshes the minimum's age: the queue
        was as empty as it can be seen to be. The draft has none.
        """
        self.expired = now_ns > self._delay_at_ns + c.PROBE_RTT_INTERVAL_NS
        if rtt_ns >= 0:
            if rtt_ns < self._delay_ns or self.expired:
                self._delay_ns = rtt_ns
                self._delay_at_ns = now_ns
            elif rtt_ns <= self._delay_ns + self._tolerance_ns and self._tolerance_ns:
                self._delay_at_ns = now_ns
        if self._delay_ns < self.value_ns or now_ns > self._value_at_ns + c.MIN_RTT_FILTER_NS:
            self.value_ns = self._delay_ns
            self._value_at_ns = self._delay_at_ns

    def postpone(self, *, now_ns: int) -> None:
        """ProbeRTT is over; the next is due in a full interval."""
        self._delay_at_ns = now_ns


class Aggregation:
    """Data acknowledged in bursts beyond the estimate ("BBR.extra_acked").

    Reports every 100 ms look like aggregation, and the window grows by what they hold back.

    Attributes:
        extra_bytes: BBR.extra_acked.
    """

    __slots__ = ("_delivered", "_filter", "_start_ns", "extra_bytes")

    def __init__(self) -> None:
        self._start_ns = 0
        self._delivered = 0
        self._filter = WindowedMax()
        self.extra_bytes = 0

    def restart(self, *, now_ns: int) -> None:
        """The flow comes back from idleness."""
        self._start_ns = now_ns

    def update(
        self, sample: RateSample, *, bw: int, cwnd: int, rounds: int, filled: bool, now_ns: int
    ) -> None:
        """UpdateACKAggregation."""
        expected = bw * (now_ns - self._start_ns) // (8 * c.SECOND_NS)
        if self._delivered <= expected:
            self._delivered = 0
            self._start_ns = now_ns
            expected = 0
        self._delivered += sample.newly_acked
        extra = min(self._delivered - expected, cwnd)
        length = c.EXTRA_ACKED_ROUNDS if filled else c.EXTRA_ACKED_STARTUP_ROUNDS
        self.extra_bytes = self._filter.update(extra, time=rounds, length=length)


class Bounds:
    """Bandwidth and volume, long-term and short-term.

    Sections "Updating Network Path Model Parameters" and "Updating the Model Upon Packet Loss".

    Attributes:
        bandwidth: the max_bw filter, bit/s.
        bw: BBR.bw, bit/s.
        bw_latest, inflight_latest: maxima of the current round.
        bw_shortterm, inflight_shortterm: bounds after loss; INFINITE without.
        inflight_longterm: bound after a probe that went too far; INFINITE without.
        loss_in_round: a loss in the current loss round.
        loss_round_start: the last acknowledgement ended a loss round.
    """

    __slots__ = (
        "_loss_round_delivered",
        "bandwidth",
        "bw",
        "bw_latest",
        "bw_shortterm",
        "inflight_latest",
        "inflight_longterm",
        "inflight_shortterm",
        "loss_in_round",
        "loss_round_start",
    )

    def __init__(self) -> None:
        self.bandwidth = CycleMax()
        self.bw = 0
        self.inflight_longterm = c.INFINITE
        self.loss_round_start = False
        self._loss_round_delivered = 0
        self.reset_short_term()
        self.reset_congestion_signals()

    @property
    def max_bw(self) -> int:
        """BBR.max_bw, bit/s; 0 before the first sample."""
        return self.bandwidth.value

    def reset_short_term(self) -> None:
        """ResetShortTermModel."""
        self.bw_shortterm = c.INFINITE
        self.inflight_shortterm = c.INFINITE

    def reset_congestion_signals(self) -> None:
        """ResetCongestionSignals."""
        self.loss_in_round = False
        self.bw_latest = 0
        self.inflight_latest = 0

    def note_loss(self, *, delivered: int) -> None:
        """NoteLoss: a packet was lost; the first begins a loss round."""
        if not self.loss_in_round:
            self._loss_round_delivered = delivered
        self.loss_in_round = True

    def update_latest(self, sample: RateSample, *, delivered: int) -> None:
        """UpdateLatestDeliverySignals."""
        self.loss_round_start = False
        self.bw_latest = max(self.bw_latest, sample.delivery_rate)
        self.inflight_latest = max(self.inflight_latest, sample.delivered)
        if sample.newly_acked and sample.prior_delivered >= self._loss_round_delivered:
            self._loss_round_delivered = delivered
            self.loss_round_start = True

    def advance_latest(self, sample: RateSample) -> None:
        """AdvanceLatestDeliverySignals."""
        if self.loss_round_start:
            self.bw_latest = sample.delivery_rate
            self.inflight_latest = sample.delivered

    def update_max_bw(self, sample: RateSample) -> None:
        """UpdateMaxBw, after the round was updated."""
        rate = sample.delivery_rate
        if rate > 0 and (rate >= self.max_bw or not sample.app_limited):
            self.bandwidth.update(rate)

    def lower_after_loss(self, *, cwnd: int) -> None:
        """InitLowerBounds and LossLowerBounds."""
        if self.bw_shortterm == c.INFINITE:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == c.INFINITE:
            self.inflight_shortterm = cwnd
        self.bw_shortterm = max(self.bw_latest, int(c.BETA * self.bw_shortterm))
        self.inflight_shortterm = max(self.inflight_latest, int(c.BETA * self.inflight_shortterm))

    def bound(self) -> None:
        """BoundBWForModel."""
        self.bw = min(self.max_bw, self.bw_shortterm)
