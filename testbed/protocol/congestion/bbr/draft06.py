"""BBR as draft-ietf-ccwg-bbr-06 (2026-07) describes it, often called BBRv3.

The steps and their order are the draft's; method names follow it, in our spelling. What the draft
leaves to the transport is named where it is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from testbed.protocol.congestion.bbr import constants as c
from testbed.protocol.congestion.bbr.machine import PROBE_BW, PROBING, Event, State, StateMachine
from testbed.protocol.congestion.bbr.path import Aggregation, Bounds, FullPipe, MinRtt, Rounds
from testbed.protocol.congestion.bbr.probing import ProbeCycle
from testbed.protocol.congestion.bbr.sampler import DeliveryRateSampler, RateSample
from testbed.protocol.congestion.bbr.window import Window
from testbed.protocol.congestion.tracker import Acknowledgement, SentPacket


@dataclass(frozen=True, slots=True)
class BbrConfig:
    """What a flow is told about itself.

    Attributes:
        packet_bytes: SMSS, the size of a full packet with IP and UDP headers.
        initial_rate_bps: nominal bandwidth before the first sample; 0: the initial window in 1 ms,
            the draft's value for an unknown round trip.
        initial_cwnd_packets: initial window.
        loss_threshold: BBR.LossThresh; above 1 no loss rate is ever too high.
        loss_response: react to loss at all. False is BBRv1's behaviour, for paths whose loss has
            nothing to do with congestion.
        min_rtt_tolerance_ns: see `MinRtt`; the draft has 0.
    """

    packet_bytes: int = 1240
    initial_rate_bps: int = 0
    initial_cwnd_packets: int = c.INITIAL_CWND_PACKETS
    loss_threshold: float = c.LOSS_THRESHOLD
    loss_response: bool = True
    min_rtt_tolerance_ns: int = 0


class BbrDraft06:
    """One flow.

    Driven by `on_packet_sent`, `on_application_limited`, `on_acknowledgement` (one report) and
    `on_timeout`; read through `pacing_bps`, `cwnd`, `state` and the model.

    Args:
        rng: draws the time between probes.
        config: see there.
    """

    def __init__(self, *, rng: np.random.Generator, config: BbrConfig | None = None) -> None:
        self.config = config or BbrConfig()
        self.sampler = DeliveryRateSampler()
        self.machine = StateMachine()
        self.rounds = Rounds()
        self.full_pipe = FullPipe()
        self.bounds = Bounds()
        self.min_rtt = MinRtt(tolerance_ns=self.config.min_rtt_tolerance_ns)
        self.aggregation = Aggregation()
        self.window = Window(self)
        self.cycle = ProbeCycle(self, rng)
        self.idle_restart = False
        self.drain_start_round = 0
        self.loss_ranges_in_round = 0
        self._last_lost = -2
        self._probe_rtt_done_ns = 0
        self._probe_rtt_round_done = False
        self._undo: _Undo | None = None
        self.in_recovery = False
        self._recovery_until = -1
        self._last_sent = -1
        nominal_bps = self.config.initial_rate_bps or (
            self.window.cwnd * 8 * c.SECOND_NS // c.INITIAL_RTT_NS
        )
        #: Pacing rate in bit/s.
        self.pacing_bps = int(c.STARTUP_PACING_GAIN * nominal_bps)

    # --- what can be read ------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state machine's state."""
        return self.machine.state

    @property
    def cwnd(self) -> int:
        """Bytes that may be in flight."""
        return self.window.cwnd

    @property
    def max_bw(self) -> int:
        """BBR.max_bw in bit/s; 0 before the first sample."""
        return self.bounds.max_bw

    @property
    def bw(self) -> int:
        """BBR.bw in bit/s: `max_bw` within the short-term bound."""
        return self.bounds.bw

    @property
    def probing(self) -> bool:
        """The flow tries to send more than it believes the path to carry."""
        return self.machine.gains.pacing > 1

    def pacing_at(self, now_ns: int) -> int:  # noqa: ARG002 - for derived classes
        """Pacing rate at a time, bit/s."""
        return self.pacing_bps

    def probing_at(self, now_ns: int) -> bool:  # noqa: ARG002 - for derived classes
        """`probing` at a time."""
        return self.probing

    def may_probe(self) -> bool:
        """The path may be probed for bandwidth when the time has come; always, after the draft."""
        return True

    # --- events ------------------------------------------------------------------------------

    def on_packet_sent(self, packet: SentPacket) -> None:
        """OnTransmit, and the sampler's part of it."""
        sampler = self.sampler
        if sampler.inflight == 0 and sampler.app_limited:
            self._restart_from_idle(packet.send_ns)
        sampler.on_packet_sent(packet)
        self._last_sent = packet.number
        self.window.note_limited()

    def on_application_limited(self) -> None:
        """CheckIfApplicationLimited: there was nothing to send although sending was allowed."""
        if self.sampler.inflight < self.window.cwnd:
            self.sampler.mark_application_limited()

    def on_acknowledgement(self, ack: Acknowledgement, *, now_ns: int) -> RateSample:
        """UpdateOnACK: a report brought something new."""
        self._check_recovery(ack)
        self._note_losses(ack.lost)
        sample = self.sampler.on_acknowledgement(ack)
        if self.config.loss_response:
            for packet in ack.lost:
                self._on_lost(packet, now_ns)
        if ack.acked:
            self._update_model_and_state(sample, now_ns)
            self._update_control(sample)
        return sample

    def on_timeout(self, lost: list[SentPacket]) -> None:
        """OnEnterRTO: all that was under way is taken for lost, and one packet may go.

        Args:
            lost: what was under way, in order of sending.
        """
        self._note_losses(lost)
        if lost and self.config.loss_response:
            self.bounds.note_loss(delivered=self.sampler.delivered)
        self.window.collapse()

    # --- one acknowledgement ------------------------------------------------------------------

    def _update_model_and_state(self, sample: RateSample, now_ns: int) -> None:
        """UpdateModelAndState, in the draft's order."""
        bounds, sampler = self.bounds, self.sampler
        bounds.update_latest(sample, delivered=sampler.delivered)
        self._update_congestion_signals(sample)
        self.aggregation.update(
            sample,
            bw=bounds.bw,
            cwnd=self.window.cwnd,
            rounds=self.rounds.count,
            filled=self.full_pipe.reached,
            now_ns=now_ns,
        )
        self._check_full_pipe(sample)
        self._check_startup_done()
        self._check_drain_done(now_ns)
        self.cycle.update(sample, now_ns=now_ns)
        self.min_rtt.update(sample.rtt_ns, now_ns=now_ns)
        self._check_probe_rtt(sample, now_ns)
        bounds.advance_latest(sample)
        self._bound_bandwidth(sample)
        if bounds.loss_round_start:
            self.loss_ranges_in_round = 0

    def _update_congestion_signals(self, sample: RateSample) -> None:
        """UpdateCongestionSignals: the filter, and once a round the answer to loss."""
        bounds = self.bounds
        self.rounds.update(sample, delivered=self.sampler.delivered)
        bounds.update_max_bw(sample)
        if not bounds.loss_round_start:
            return
        if bounds.loss_in_round:
            self._check_startup_high_loss(sample)
            if self.state not in PROBING:
                bounds.lower_after_loss(cwnd=self.window.cwnd)
        bounds.loss_in_round = False

    def _check_full_pipe(self, sample: RateSample) -> None:
        """CheckFullBWReached."""
        self.full_pipe.update(sample, round_start=self.rounds.start)

    def _bound_bandwidth(self, sample: RateSample) -> None:  # noqa: ARG002 - for derived classes
        """BoundBWForModel."""
        self.bounds.bound()

    def _update_control(self, sample: RateSample) -> None:
        """UpdateControlParameters."""
        self._set_pacing(self.machine.gains.pacing)
        self.window.update(sample)

    def _set_pacing(self, gain: float) -> None:
        """SetPacingRateWithGain: until the pipe was full, the rate only rises."""
        rate_bps = int(gain * self.bounds.bw * (100 - c.PACING_MARGIN_PERCENT) / 100)
        if self.full_pipe.reached or rate_bps > self.pacing_bps:
            self.pacing_bps = rate_bps

    # --- Startup and Drain ---------------------------------------------------------------------

    def _check_startup_done(self) -> None:
        if self.state is State.STARTUP and self.full_pipe.reached:
            self.machine.apply(Event.PIPE_FULL)
            self.drain_start_round = self.rounds.count

    def _check_startup_high_loss(self, sample: RateSample) -> None:
        """CheckStartupHighLoss, at the end of a round in recovery."""
        if (
            self.state is State.STARTUP
            and self.loss_ranges_in_round >= c.STARTUP_FULL_LOSS_COUNT
            and self.inflight_too_high(sample.lost, sample.tx_in_flight)
        ):
            if self._undo is not None:
                self._undo.event = Event.UNDO_STARTUP
            self.full_pipe.set()
            self.bounds.inflight_longterm = max(self.window.bdp(), self.bounds.inflight_latest)

    def _check_drain_done(self, now_ns: int) -> None:
        if self.state is State.DRAIN and (
            self.sampler.inflight <= self.window.inflight(1.0)
            or self.rounds.count > self.drain_start_round + c.DRAIN_ROUNDS
        ):
            self.machine.apply(Event.DRAINED)
            self.cycle.enter_down(now_ns=now_ns)

    # --- ProbeRTT and idleness -------------------------------------------------------------------

    def _check_probe_rtt(self, sample: RateSample, now_ns: int) -> None:
        if self.state is not State.PROBE_RTT and self.min_rtt.expired and not self.idle_restart:
            self.window.save(in_recovery=self.in_recovery)
            self.machine.apply(Event.MIN_RTT_STALE)
            self._probe_rtt_done_ns = 0
            self.cycle.stop_feedback()
            self.rounds.restart(self.sampler.delivered)
        if self.state is State.PROBE_RTT:
            self._handle_probe_rtt(now_ns)
        if sample.delivered > 0:
            self.idle_restart = False

    def _handle_probe_rtt(self, now_ns: int) -> None:
        self.sampler.mark_application_limited()
        if self._probe_rtt_done_ns == 0:
            if self.sampler.inflight <= self.window.probe_rtt_cwnd():
                self._probe_rtt_done_ns = now_ns + c.PROBE_RTT_DURATION_NS
                self._probe_rtt_round_done = False
                self.rounds.restart(self.sampler.delivered)
            return
        if self.rounds.start:
            self._probe_rtt_round_done = True
        if self._probe_rtt_round_done:
            self._check_probe_rtt_done(now_ns)

    def _check_probe_rtt_done(self, now_ns: int) -> None:
        if self._probe_rtt_done_ns == 0 or now_ns <= self._probe_rtt_done_ns:
            return
        self.min_rtt.postpone(now_ns=now_ns)
        self.window.restore()
        self.bounds.reset_short_term()
        if self.full_pipe.reached:
            self.machine.apply(Event.MIN_RTT_DONE)
            self.cycle.enter_down(now_ns=now_ns)
            self.machine.apply(Event.HEADROOM)
        else:
            self.machine.apply(Event.MIN_RTT_DONE_UNFILLED)

    def _restart_from_idle(self, now_ns: int) -> None:
        """HandleRestartFromIdle."""
        self.idle_restart = True
        self.aggregation.restart(now_ns=now_ns)
        if self.state in PROBE_BW:
            self._set_pacing(1.0)
        elif self.state is State.PROBE_RTT:
            self._check_probe_rtt_done(now_ns)

    # --- loss ------------------------------------------------------------------------------------

    def inflight_too_high(self, lost: int, tx_in_flight: int) -> bool:
        """IsInflightTooHigh; reports are selective acknowledgements."""
        return self.config.loss_response and lost > tx_in_flight * self.config.loss_threshold

    def _on_lost(self, packet: SentPacket, now_ns: int) -> None:
        """HandleLostPacket."""
        if packet.number != self._last_lost + 1:
            self.loss_ranges_in_round += 1
        self._last_lost = packet.number
        self.bounds.note_loss(delivered=self.sampler.delivered)
        if not self.cycle.is_probe_sample:
            return
        lost = self.sampler.lost - packet.lost
        if self.inflight_too_high(lost, packet.tx_in_flight):
            self.cycle.on_inflight_too_high(
                self._inflight_at_loss(packet, lost),
                app_limited=packet.app_limited,
                now_ns=now_ns,
            )

    def _inflight_at_loss(self, packet: SentPacket, lost: int) -> int:
        """InflightAtLoss: the volume at which losses crossed the threshold."""
        threshold = self.config.loss_threshold
        before = packet.tx_in_flight - packet.size_bytes
        lost_before = lost - packet.size_bytes
        return int(before + (threshold * before - lost_before) / (1 - threshold))

    def _save_state(self) -> None:
        """SaveStateUponLoss."""
        bounds = self.bounds
        self.window.save(in_recovery=self.in_recovery)
        self._undo = _Undo(bounds.bw_shortterm, bounds.inflight_shortterm, bounds.inflight_longterm)

    def note_probe_aborted(self) -> None:
        """A loss ended ProbeBW_UP; should the loss be none, the flow probes again."""
        if self._undo is not None:
            self._undo.event = Event.UNDO_PROBE

    def _note_losses(self, lost: list[SentPacket]) -> None:
        """Account for losses; the first ones begin an episode.

        It lasts until a packet is acknowledged that was sent after its beginning. The draft saves
        the state to undo to with the first loss of a round as well as with the beginning of
        recovery. A loss that ends a probe begins a new round, and with it the next loss would
        overwrite what the first had saved. So it is the episode that counts here.
        """
        for packet in lost:
            self.sampler.on_lost(packet)
        if not lost:
            return
        if not self.in_recovery:
            self._save_state()
            self.in_recovery = True
            self._recovery_until = self._last_sent
        if self._undo is not None:
            self._undo.missing.update(packet.number for packet in lost)

    def _check_recovery(self, ack: Acknowledgement) -> None:
        """Whether losses turned out to be none, and whether recovery is over."""
        undo = self._undo
        if ack.spurious and undo is not None:
            undo.missing.difference_update(packet.number for packet in ack.spurious)
            if not undo.missing:
                self._on_spurious_loss(undo)
        newest = ack.newest
        if self.in_recovery and newest is not None and newest.number > self._recovery_until:
            self.in_recovery = False
            self.window.restore()

    def _on_spurious_loss(self, undo: _Undo) -> None:
        """HandleSpuriousLossDetection: nothing of the episode is missing any more."""
        self._undo = None
        self.window.restore()
        bounds = self.bounds
        bounds.loss_in_round = False
        self.full_pipe.reset()
        bounds.bw_shortterm = max(bounds.bw_shortterm, undo.bw_shortterm)
        bounds.inflight_shortterm = max(bounds.inflight_shortterm, undo.inflight_shortterm)
        bounds.inflight_longterm = max(bounds.inflight_longterm, undo.inflight_longterm)
        if undo.event is Event.UNDO_STARTUP and self.state is not State.STARTUP:
            self.full_pipe.reached = False
            if self.state is not State.PROBE_RTT:
                self.machine.apply(Event.UNDO_STARTUP)
        elif undo.event is Event.UNDO_PROBE and self.state in PROBE_BW - {State.PROBE_BW_UP}:
            self.machine.apply(Event.UNDO_PROBE)
            self.cycle.enter_refill()


@dataclass(slots=True)
class _Undo:
    """What a loss episode may have to give back."""

    bw_shortterm: int
    inflight_shortterm: int
    inflight_longterm: int
    event: Event | None = None
    missing: set[int] = field(default_factory=set)
