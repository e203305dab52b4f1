"""Google Congestion Control as a rate controller, fed by RFC 8888 reports."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from testbed.errors import ScenarioError
from testbed.protocol.congestion.base import CONTROLLERS, ControllerDefaults
from testbed.protocol.congestion.gcc import constants as c
from testbed.protocol.congestion.gcc.detector import OveruseDetector, Usage
from testbed.protocol.congestion.gcc.filters import DelayFilter, KalmanFilter, TrendLine
from testbed.protocol.congestion.gcc.groups import ArrivalGroups
from testbed.protocol.congestion.gcc.loss_based import (
    DraftLossBased,
    LibwebrtcLossBased,
    LossBasedControl,
)
from testbed.protocol.congestion.gcc.rate_control import AimdRateControl
from testbed.protocol.congestion.tracker import Acknowledgement, PacketTracker
from testbed.protocol.rtcp.congestion import CongestionFeedback

#: A packet of which nothing is heard for so long leaves the record.
SILENCE_NS: Final = 2_000_000_000

VARIANTS: Final = ("draft", "libwebrtc")


class ReceivedRate:
    """R_hat: what arrived over the last `RECEIVED_WINDOW_NS`, on the receiver's clock."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._first_ns: int | None = None

    def add(self, arrival_ns: int, size_bytes: int) -> None:
        """A packet; late ones count where they are reported."""
        if self._first_ns is None:
            self._first_ns = arrival_ns
        self._arrivals.append((arrival_ns, size_bytes))
        self._bytes += size_bytes

    def bps(self, report_ns: int) -> float:
        """The rate at a report; 0 before half a window has passed."""
        arrivals = self._arrivals
        before_ns = report_ns - c.RECEIVED_WINDOW_NS
        while arrivals and arrivals[0][0] <= before_ns:
            self._bytes -= arrivals.popleft()[1]
        if self._first_ns is None:
            return 0.0
        window_ns = min(c.RECEIVED_WINDOW_NS, report_ns - self._first_ns)
        if window_ns < c.RECEIVED_WINDOW_NS // 2:
            return 0.0
        return self._bytes * 8e9 / window_ns


@CONTROLLERS.register("gcc")
class GccController(ControllerDefaults):
    """The lower of a delay-based and a loss-based estimate.

    Args:
        variant: "draft" (draft-ietf-rmcat-gcc-02: Kalman filter) or "libwebrtc" (trend line, its
            gains and its loss-based form).
        start_kbps: first target, > 0 (libwebrtc: 300).
        min_kbps: floor of the target.
        max_kbps: ceiling of the target.

    Raises:
        ScenarioError: a value is out of range.
    """

    tracks_packets = True

    def __init__(
        self,
        *,
        variant: str = "draft",
        start_kbps: float = 300.0,
        min_kbps: float = 50.0,
        max_kbps: float = 100_000.0,
    ) -> None:
        if variant not in VARIANTS:
            raise ScenarioError(f"rate.variant: {variant!r}; known: {', '.join(VARIANTS)}")
        if not 0 < min_kbps <= start_kbps <= max_kbps < float("inf"):
            raise ScenarioError(
                "rate.min_kbps, rate.start_kbps, rate.max_kbps: need 0 < min <= start <= max, got "
                f"{min_kbps}, {start_kbps} and {max_kbps}"
            )
        draft = variant == "draft"
        start_bps = start_kbps * 1000
        self._paces = draft
        self._min_bps = min_kbps * 1000
        self._max_bps = max_kbps * 1000
        self.tracker = PacketTracker()
        self.delay = AimdRateControl(start_bps)
        self.loss: LossBasedControl = (
            DraftLossBased(start_bps) if draft else LibwebrtcLossBased(start_bps)
        )
        self.detector = OveruseDetector(c.DRAFT_GAINS if draft else c.LIBWEBRTC_GAINS)
        self._filter: DelayFilter = KalmanFilter() if draft else TrendLine()
        self._groups = ArrivalGroups()
        self._received = ReceivedRate()
        self._target_bps = start_bps
        self._interval = [0, 0]  # packets acknowledged and lost since the last loss-based step
        self._loss_at_ns = 0
        self._heard_ns = 0

    @property
    def state(self) -> str:
        """State of the delay-based rate control."""
        return self.delay.state.value

    def target_kbps(self, *, now_ns: int) -> float:  # noqa: ARG002 - part of the contract
        """The lower of the two estimates, within the bounds."""
        return self._target_bps / 1000

    def pacing_kbps(self, *, now_ns: int) -> float | None:  # noqa: ARG002 - contract
        """The draft paces at the target itself (section 4); libwebrtc at 2.5 times that.

        The latter is the transport's own factor, which `None` leaves in force.
        """
        return self._target_bps / 1000 if self._paces else None

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        """A packet left."""
        if not self.tracker.outstanding:
            self._heard_ns = now_ns
        self.tracker.on_packet_sent(
            ssrc=ssrc, sequence=sequence, size_bytes=size_bytes, now_ns=now_ns
        )

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        """An RFC 8888 report; anything else is ignored."""
        if not isinstance(report, CongestionFeedback):
            return
        ack = self.tracker.on_report(report, now_ns=now_ns)
        if ack is None:
            return
        self._heard_ns = now_ns
        self._update_delay(ack, now_ns)
        self._update_loss(ack, now_ns)
        target = min(self.delay.rate_bps, self.loss.rate_bps)
        target = min(max(target, self._min_bps), self._max_bps)
        self._target_bps = target
        # Neither estimate runs away from what is in force: a bound that nothing tests is no bound.
        self.loss.rate_bps = min(max(self.loss.rate_bps, self._min_bps), self.delay.rate_bps)
        self.delay.rate_bps = min(max(self.delay.rate_bps, self._min_bps), self._max_bps)
        self.loss.rate_bps = max(self.loss.rate_bps, self._min_bps)

    def next_timer(self) -> int | None:
        """When silence makes everything under way forgotten."""
        return self._heard_ns + SILENCE_NS if self.tracker.outstanding else None

    def on_timer(self, *, now_ns: int) -> None:
        """Reports have been missing for long; the draft has no answer to that, and we take none."""
        at_ns = self.next_timer()
        if at_ns is not None and now_ns >= at_ns:
            self.tracker.give_up_all()

    def _update_delay(self, ack: Acknowledgement, now_ns: int) -> None:
        verdict = None
        for packet in ack.acked:
            if not packet.timed:
                continue
            self._received.add(packet.arrival_ns, packet.size_bytes)
            delta = self._groups.add(send_ns=packet.send_ns, arrival_ns=packet.arrival_ns)
            if delta is not None:
                offset_ms = self._filter.update(delta)
                usage = self.detector.update(
                    offset_ms, sent_ms=delta.sent_ms, arrival_ns=delta.arrival_ns
                )
                verdict = _worse(verdict, usage)
        if verdict is not None:
            self.delay.update(
                verdict,
                received_bps=self._received.bps(ack.report_ns),
                rtt_ns=self.tracker.smoothed_rtt_ns,
                now_ns=now_ns,
            )

    def _update_loss(self, ack: Acknowledgement, now_ns: int) -> None:
        self._interval[0] += len(ack.acked) - len(ack.spurious)
        self._interval[1] += len(ack.lost)
        if now_ns < self._loss_at_ns + c.LOSS_INTERVAL_NS:
            return
        acked, lost = self._interval
        if acked + lost <= 0:
            return
        self._loss_at_ns = now_ns
        self._interval = [0, 0]
        self.loss.update(lost / (acked + lost), rtt_ns=self.tracker.smoothed_rtt_ns, now_ns=now_ns)


def _worse(one: Usage | None, other: Usage) -> Usage:
    """What a report says that holds several verdicts: over-use if any does, else the last."""
    return Usage.OVERUSE if one is Usage.OVERUSE else other
