"""BBR as a rate controller: reports in, target, pacing and window out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from testbed.errors import ScenarioError
from testbed.protocol.congestion.base import CONTROLLERS, ControllerDefaults
from testbed.protocol.congestion.bbr.draft06 import BbrConfig, BbrDraft06
from testbed.protocol.congestion.bbr.machine import State
from testbed.protocol.congestion.bbr.realtime import BbrDraft06Realtime, RealtimeConfig
from testbed.protocol.congestion.tracker import PacketTracker
from testbed.protocol.rtcp.congestion import CongestionFeedback

#: Shortest retransmission timeout (RFC 6298 section 2.4).
LEAST_TIMEOUT_NS: Final = 1_000_000_000
#: Longest, after doubling.
MOST_TIMEOUT_NS: Final = 8_000_000_000
#: In ProbeRTT the window alone says what may go; the source is asked for this share.
PROBE_RTT_SHARE: Final = 0.5

VARIANTS: Final = ("realtime", "draft")


@CONTROLLERS.register("bbr")
class BbrController(ControllerDefaults):
    """BBR over RFC 8888 reports.

    The receiver measures and reports; the model lives here, where it is known what was sent when,
    and whether the source had anything to send. docs/decisions/0009-congestion-control.md says why.

    Args:
        rng: injected by the world.
        variant: "realtime" (BBR with a bound on the queue, `BbrDraft06Realtime`) or "draft"
            (`BbrDraft06` to the letter).
        start_kbps: rate before the first measurement, > 0 (libwebrtc starts at 300).
        min_kbps: floor of the source's target.
        max_kbps: ceiling of the source's target and of pacing.
        media_share: share of the estimate that the source is asked for, in (0, 1]. The rest pays
            for retransmissions; without loss the pacing margin is enough.
        packet_bytes: size of a full packet, IP and UDP headers included.
        loss_threshold: loss rate above which the path is held to be overloaded (draft: 0.02).
        loss_response: answer loss at all.
        queue_target_ms: standing queue that the realtime variant tolerates.

    Raises:
        ScenarioError: a value is out of range.
    """

    tracks_packets = True

    def __init__(
        self,
        *,
        rng: np.random.Generator | None = None,
        variant: str = "realtime",
        start_kbps: float = 300.0,
        min_kbps: float = 50.0,
        max_kbps: float = 100_000.0,
        media_share: float = 1.0,
        packet_bytes: int = 1240,
        loss_threshold: float = 0.02,
        loss_response: bool = True,
        queue_target_ms: float = 30.0,
    ) -> None:
        if variant not in VARIANTS:
            raise ScenarioError(f"rate.variant: {variant!r}; known: {', '.join(VARIANTS)}")
        if not 0 < min_kbps <= start_kbps <= max_kbps < float("inf"):
            raise ScenarioError(
                "rate.min_kbps, rate.start_kbps, rate.max_kbps: need 0 < min <= start <= max, got "
                f"{min_kbps}, {start_kbps} and {max_kbps}"
            )
        for name, value, most in (
            ("media_share", media_share, 1.0),
            ("loss_threshold", loss_threshold, 0.99),
            ("queue_target_ms", queue_target_ms, 10_000.0),
        ):
            if not 0 < value <= most:
                raise ScenarioError(f"rate.{name}: {value} is not in (0, {most:g}]")
        if not 100 <= packet_bytes <= 65_535:
            raise ScenarioError(f"rate.packet_bytes: {packet_bytes} is not in 100..65535")
        rng = rng if rng is not None else np.random.Generator(np.random.PCG64(0))
        config = BbrConfig(
            packet_bytes=packet_bytes,
            initial_rate_bps=round(start_kbps * 1000),
            loss_threshold=loss_threshold,
            loss_response=loss_response,
        )
        self.bbr: BbrDraft06 = (
            BbrDraft06(rng=rng, config=config)
            if variant == "draft"
            else BbrDraft06Realtime(
                rng=rng,
                config=config,
                realtime=RealtimeConfig(queue_target_ns=round(queue_target_ms * 1e6)),
            )
        )
        self.tracker = PacketTracker()
        self._start_kbps = start_kbps
        self._min_kbps = min_kbps
        self._max_kbps = max_kbps
        self._media_share = media_share
        self._packet_bytes = packet_bytes
        self._progress_ns = 0  # last time at which something was sent into an empty path, or acked
        self._timeouts = 0
        self.malformed_reports = 0

    # --- what the sender asks -----------------------------------------------------------------

    @property
    def state(self) -> str:
        """Name of BBR's state."""
        return self.bbr.state.value

    def estimate_kbps(self, *, now_ns: int) -> float:  # noqa: ARG002 - part of the contract
        """BBR.bw; the start rate before the first sample."""
        return self.bbr.bw / 1000 or self._start_kbps

    def target_kbps(self, *, now_ns: int) -> float:
        """A share of the estimate, less where the state wants the path to drain."""
        gain = min(1.0, self.bbr.machine.gains.pacing)
        if self.bbr.state is State.PROBE_RTT:
            gain = PROBE_RTT_SHARE
        target = self._media_share * gain * self.estimate_kbps(now_ns=now_ns)
        return min(max(target, self._min_kbps), self._max_kbps)

    def pacing_kbps(self, *, now_ns: int) -> float:
        """BBR's pacing rate."""
        return min(max(self.bbr.pacing_at(now_ns) / 1000, self._min_kbps), self._max_kbps)

    def window_bytes(self, *, now_ns: int) -> int:  # noqa: ARG002 - part of the contract
        """What the congestion window has left."""
        return self.bbr.cwnd - self.bbr.sampler.inflight

    def probe_bytes(self, *, now_ns: int) -> int:
        """While probing: what the window has left, up to one packet at a time."""
        if not self.bbr.probing_at(now_ns) or self.estimate_kbps(now_ns=now_ns) >= self._max_kbps:
            return 0
        return max(0, min(self._packet_bytes, self.window_bytes(now_ns=now_ns)))

    # --- what the sender tells -----------------------------------------------------------------

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        """A packet left."""
        if not self.tracker.outstanding:
            self._progress_ns = now_ns
        packet = self.tracker.on_packet_sent(
            ssrc=ssrc, sequence=sequence, size_bytes=size_bytes, now_ns=now_ns
        )
        self.bbr.on_packet_sent(packet)

    def on_application_limited(self, *, now_ns: int) -> None:  # noqa: ARG002 - contract
        """There was nothing to send."""
        self.bbr.on_application_limited()

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        """An RFC 8888 report; anything else is ignored."""
        if not isinstance(report, CongestionFeedback):
            return
        ack = self.tracker.on_report(report, now_ns=now_ns)
        if ack is None:
            return
        if ack.acked:
            self._progress_ns = now_ns
            self._timeouts = 0
        self.bbr.on_acknowledgement(ack, now_ns=now_ns)

    # --- retransmission timeout ------------------------------------------------------------------

    def next_timer(self) -> int | None:
        """When everything under way will be taken for lost; None with nothing under way."""
        if not self.tracker.outstanding:
            return None
        tracker = self.tracker
        timeout_ns = max(LEAST_TIMEOUT_NS, tracker.smoothed_rtt_ns + 4 * tracker.rtt_deviation_ns)
        return self._progress_ns + min(timeout_ns << self._timeouts, MOST_TIMEOUT_NS)

    def on_timer(self, *, now_ns: int) -> None:
        """Nothing was heard for too long: start again with one packet."""
        at_ns = self.next_timer()
        if at_ns is None or now_ns < at_ns:
            return
        self.bbr.on_timeout(self.tracker.give_up_all())
        self._progress_ns = now_ns
        self._timeouts = min(self._timeouts + 1, 10)
