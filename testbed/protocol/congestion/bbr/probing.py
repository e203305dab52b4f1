"""The cycle of ProbeBW (draft-ietf-ccwg-bbr-06, section "ProbeBW Algorithm Details")."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from testbed.protocol.congestion.bbr import constants as c
from testbed.protocol.congestion.bbr.machine import PROBE_BW, Event, State
from testbed.protocol.congestion.bbr.sampler import RateSample

if TYPE_CHECKING:
    from testbed.protocol.congestion.bbr.draft06 import BbrDraft06


class AckPhase(Enum):
    """What acknowledgements mean at the moment (BBR.ack_phase)."""

    INIT = "init"
    REFILLING = "refilling"
    PROBE_STARTING = "probe-starting"
    PROBE_FEEDBACK = "probe-feedback"
    PROBE_STOPPING = "probe-stopping"


class ProbeCycle:
    """When to probe for bandwidth, how far, and what was learnt.

    Attributes:
        is_probe_sample: samples come from a probe; only then is a loss held against its volume.
        ack_phase: see there.
        prev_too_high: the last probe lost too much.
        prev_precautionary: the last probe stopped at inflight_longterm out of caution.
        up_rounds: rounds for which inflight_longterm was raised in this probe.
        wait_ns: BBR.bw_probe_wait.
        stamp_ns: start of the cycle.
    """

    def __init__(self, bbr: BbrDraft06, rng: np.random.Generator) -> None:
        self._bbr = bbr
        self._rng = rng
        self.is_probe_sample = False
        self.ack_phase = AckPhase.INIT
        self.prev_too_high = False
        self.prev_precautionary = False
        self.up_rounds = 0
        self.wait_ns = 0
        self.stamp_ns = 0
        self._up_acked = 0
        self._acked_per_increment = c.INFINITE

    # --- entering a state ---------------------------------------------------------------------

    def enter_down(self, *, now_ns: int) -> None:
        """StartProbeBW_DOWN; the machine is in DOWN."""
        bbr = self._bbr
        bbr.bounds.reset_congestion_signals()
        self._acked_per_increment = c.INFINITE
        # PickProbeWait
        bbr.rounds.since_probe = int(self._rng.integers(0, 2))
        self.wait_ns = c.PROBE_WAIT_BASE_NS + int(self._rng.random() * c.PROBE_WAIT_RANDOM_NS)
        self.stamp_ns = now_ns
        self.ack_phase = AckPhase.PROBE_STOPPING
        bbr.rounds.restart(bbr.sampler.delivered)

    def enter_refill(self) -> None:
        """StartProbeBW_REFILL; the machine is in REFILL."""
        bbr = self._bbr
        bbr.bounds.reset_short_term()
        self.up_rounds = 0
        self._up_acked = 0
        self.prev_precautionary = False
        self.ack_phase = AckPhase.REFILLING
        bbr.rounds.restart(bbr.sampler.delivered)

    def _enter_up(self, sample: RateSample) -> None:
        """StartProbeBW_UP."""
        bbr = self._bbr
        self.is_probe_sample = True
        bbr.machine.apply(Event.REFILLED)
        self.ack_phase = AckPhase.PROBE_STARTING
        bbr.rounds.restart(bbr.sampler.delivered)
        bbr.full_pipe.reset(sample.delivery_rate)
        self._raise_slope()

    def stop_feedback(self) -> None:
        """ProbeRTT begins: what comes back is no longer about a probe."""
        self.ack_phase = AckPhase.PROBE_STOPPING

    def _go_down(self, now_ns: int) -> None:
        self._bbr.machine.apply(Event.PROBE_DONE)
        self.enter_down(now_ns=now_ns)

    # --- one acknowledgement --------------------------------------------------------------------

    def update(self, sample: RateSample, *, now_ns: int) -> None:
        """UpdateProbeBWCyclePhase."""
        bbr = self._bbr
        if not bbr.full_pipe.reached or self._adapt_long_term(sample):
            return
        state = bbr.state
        if state is State.PROBE_BW_DOWN:
            if not self._probe_if_due(now_ns) and self.time_to_cruise():
                bbr.machine.apply(Event.HEADROOM)
        elif state is State.PROBE_BW_CRUISE:
            self._probe_if_due(now_ns)
        elif state is State.PROBE_BW_REFILL:
            if bbr.rounds.start:
                self._enter_up(sample)
        elif state is State.PROBE_BW_UP and self.time_to_go_down(sample):
            self.prev_too_high = False
            self._go_down(now_ns)

    def _probe_if_due(self, now_ns: int) -> bool:
        """IsTimeToProbeBW."""
        if now_ns <= self.stamp_ns + self.wait_ns and not self._reno_would_probe():
            return False
        if not self._bbr.may_probe():
            return False
        self._bbr.machine.apply(Event.PROBE)
        self.enter_refill()
        return True

    def _reno_would_probe(self) -> bool:
        """IsRenoCoexistenceProbeTime."""
        packets = self._bbr.window.target() // self._bbr.config.packet_bytes
        return self._bbr.rounds.since_probe >= min(packets, c.PROBE_MAX_ROUNDS)

    def time_to_cruise(self) -> bool:
        """IsTimeToCruise."""
        bbr = self._bbr
        inflight = bbr.sampler.inflight
        return inflight <= bbr.window.with_headroom() and inflight <= bbr.window.inflight(
            1.0, bw=bbr.max_bw
        )

    def time_to_go_down(self, sample: RateSample) -> bool:
        """IsTimeToGoDown."""
        bbr = self._bbr
        longterm = bbr.bounds.inflight_longterm
        if self.prev_too_high and bbr.sampler.inflight >= longterm:
            self.prev_precautionary = True
            return True
        if bbr.window.limited and bbr.window.cwnd >= longterm:
            bbr.full_pipe.reset(sample.delivery_rate)  # it is the bound that limits the rate
            return False
        return bbr.full_pipe.now

    # --- the long-term bound --------------------------------------------------------------------

    def _adapt_long_term(self, sample: RateSample) -> bool:
        """AdaptLongTermModel; whether it moved the machine."""
        bbr = self._bbr
        probe_bw = bbr.state in PROBE_BW
        if bbr.rounds.start:
            if self.ack_phase is AckPhase.PROBE_STARTING:
                self.ack_phase = AckPhase.PROBE_FEEDBACK
            elif self.ack_phase is AckPhase.PROBE_STOPPING:
                self.is_probe_sample = False
                self.ack_phase = AckPhase.INIT
                if probe_bw and not sample.app_limited:
                    bbr.bounds.bandwidth.advance()
                if probe_bw and self.prev_precautionary and not self.prev_too_high:
                    bbr.machine.apply(Event.PROBE)
                    self.enter_refill()
                    return True
        bounds = bbr.bounds
        if bounds.inflight_longterm == c.INFINITE or bbr.inflight_too_high(
            sample.lost, sample.tx_in_flight
        ):
            return False
        bounds.inflight_longterm = max(bounds.inflight_longterm, sample.tx_in_flight)
        if bbr.state is State.PROBE_BW_UP:
            self._probe_upward(sample)
        return False

    def _raise_slope(self) -> None:
        """RaiseInflightLongtermSlope."""
        growth = 1 << self.up_rounds
        self.up_rounds = min(self.up_rounds + 1, c.PROBE_UP_MAX_ROUNDS)
        bbr = self._bbr
        self._acked_per_increment = max(bbr.window.cwnd // growth, bbr.config.packet_bytes)

    def _probe_upward(self, sample: RateSample) -> None:
        """ProbeInflightLongtermUpward."""
        bbr = self._bbr
        if not bbr.window.limited or bbr.window.cwnd < bbr.bounds.inflight_longterm:
            return
        self._up_acked += sample.newly_acked
        if self._up_acked >= self._acked_per_increment:
            increments, self._up_acked = divmod(self._up_acked, self._acked_per_increment)
            bbr.bounds.inflight_longterm += increments * bbr.config.packet_bytes
        if bbr.rounds.start:
            self._raise_slope()

    def on_inflight_too_high(self, inflight: int, *, app_limited: bool, now_ns: int) -> None:
        """HandleInflightTooHigh.

        Args:
            inflight: volume at which loss crossed the threshold.
            app_limited: of the lost packet.
            now_ns: the time.
        """
        bbr = self._bbr
        self.prev_too_high = True
        self.is_probe_sample = False  # react once a probe
        if not app_limited:
            bbr.bounds.inflight_longterm = max(inflight, int(bbr.window.target() * c.BETA))
        if bbr.state is State.PROBE_BW_UP:
            bbr.note_probe_aborted()
            self._go_down(now_ns)
