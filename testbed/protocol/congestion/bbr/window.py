"""The congestion window (draft-ietf-ccwg-bbr-06, section "Congestion Window")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.protocol.congestion.bbr import constants as c
from testbed.protocol.congestion.bbr.machine import PROBE_BW, State
from testbed.protocol.congestion.bbr.sampler import RateSample

if TYPE_CHECKING:
    from testbed.protocol.congestion.bbr.draft06 import BbrDraft06

_BYTE_SECOND = 8 * c.SECOND_NS


class Window:
    """How many bytes may be in flight, and the volumes against which that is judged.

    Attributes:
        cwnd: the window in bytes.
    """

    __slots__ = ("_bbr", "_initial", "_limited_round", "_prior", "_smss", "cwnd")

    def __init__(self, bbr: BbrDraft06) -> None:
        self._bbr = bbr
        self._smss = bbr.config.packet_bytes
        self._initial = bbr.config.initial_cwnd_packets * self._smss
        self.cwnd = self._initial
        self._prior = 0
        self._limited_round = -2

    # --- volumes ------------------------------------------------------------------------------

    @property
    def least(self) -> int:
        """BBR.MinPipeCwnd in bytes."""
        return c.MIN_PIPE_PACKETS * self._smss

    def bdp(self, gain: float = 1.0, *, bw: int | None = None) -> int:
        """BDPMultiple: `gain` times what the path holds at `bw`, by default BBR.bw.

        The initial window before the first round trip was measured.
        """
        min_rtt_ns = self._bbr.min_rtt.value_ns
        if min_rtt_ns == c.INFINITE:
            return self._initial
        rate = self._bbr.bounds.bw if bw is None else bw
        return int(gain * (rate * min_rtt_ns // _BYTE_SECOND))

    def inflight(self, gain: float, *, bw: int | None = None) -> int:
        """Inflight: the same, and at least what keeps a pipe going."""
        return self._quantise(self.bdp(gain, bw=bw))

    def target(self) -> int:
        """TargetInflight."""
        return min(self.bdp(), self.cwnd)

    def with_headroom(self) -> int:
        """InflightWithHeadroom."""
        longterm = self._bbr.bounds.inflight_longterm
        if longterm == c.INFINITE:
            return c.INFINITE
        headroom = max(self._smss, int(c.HEADROOM * longterm))
        return max(longterm - headroom, self.least)

    def probe_rtt_cwnd(self) -> int:
        """ProbeRTTCwnd."""
        return max(self.bdp(c.PROBE_RTT_CWND_GAIN), self.least)

    # --- the window ---------------------------------------------------------------------------

    def update(self, sample: RateSample) -> None:
        """SetCwnd."""
        bbr = self._bbr
        gain = bbr.machine.gains.cwnd
        most = self._quantise(self.bdp(gain) + bbr.aggregation.extra_bytes)
        if bbr.full_pipe.reached:
            self.cwnd = min(self.cwnd + sample.newly_acked, most)
        elif self.cwnd < most or bbr.sampler.delivered < self._initial:
            self.cwnd += sample.newly_acked
        self.cwnd = max(self.cwnd, self.least)
        state = bbr.state
        if state is State.PROBE_RTT:
            self.cwnd = min(self.cwnd, self.probe_rtt_cwnd())
        self.cwnd = min(self.cwnd, self._cap(state))

    def _cap(self, state: State) -> int:
        """BoundCwndForModel."""
        bounds = self._bbr.bounds
        cap = c.INFINITE
        if state in PROBE_BW and state is not State.PROBE_BW_CRUISE:
            cap = bounds.inflight_longterm
        elif state is State.PROBE_RTT or state is State.PROBE_BW_CRUISE:
            cap = self.with_headroom()
        return max(min(cap, bounds.inflight_shortterm), self.least)

    def _quantise(self, volume: int) -> int:
        """QuantizationBudget; the offload budget is the send quantum, as for QUIC."""
        quantum = min(self._bbr.pacing_bps * c.QUANTUM_NS // _BYTE_SECOND, c.QUANTUM_MAX_BYTES)
        volume = max(volume, quantum, c.QUANTUM_MIN_PACKETS * self._smss, self.least)
        if self._bbr.state is State.PROBE_BW_UP:
            volume += 2 * self._smss
        return volume

    def note_limited(self) -> None:
        """A packet was sent; remember whether it used the window up."""
        if self._bbr.sampler.inflight + self._smss > self.cwnd:
            self._limited_round = self._bbr.rounds.count

    @property
    def limited(self) -> bool:
        """C.is_cwnd_limited: the window was used up at some time in the last round."""
        return self._bbr.rounds.count - self._limited_round <= 1

    def save(self, *, in_recovery: bool) -> None:
        """SaveCwnd."""
        if not in_recovery and self._bbr.state is not State.PROBE_RTT:
            self._prior = self.cwnd
        else:
            self._prior = max(self._prior, self.cwnd)

    def restore(self) -> None:
        """RestoreCwnd."""
        self.cwnd = max(self.cwnd, self._prior)

    def collapse(self) -> None:
        """OnEnterRTO: one packet may go."""
        self.cwnd = self._bbr.sampler.inflight + self._smss
