"""Delay-based rate control: increase, hold, decrease (draft-ietf-rmcat-gcc-02 section 5.5).

The table is the draft's: over-use decreases from any state; the rate is held while the queue
drains (under-use) and for one verdict after a decrease; normal use then increases. Entries where
nothing changes are written out, so that every pair has one.

Increase is multiplicative (8 % a second) far from what the path was last seen to carry, and
additive (about half a packet a response time) near it. Decrease goes to 85 % of what arrives.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from testbed.protocol.congestion.gcc import constants as c
from testbed.protocol.congestion.gcc.detector import Usage


class RateState(Enum):
    """What the rate does."""

    HOLD = "hold"
    INCREASE = "increase"
    DECREASE = "decrease"


_S, _U = RateState, Usage

TRANSITIONS: Final[dict[tuple[RateState, Usage], RateState]] = {
    (_S.HOLD, _U.OVERUSE): _S.DECREASE,
    (_S.INCREASE, _U.OVERUSE): _S.DECREASE,
    (_S.DECREASE, _U.OVERUSE): _S.DECREASE,
    (_S.HOLD, _U.NORMAL): _S.INCREASE,
    (_S.INCREASE, _U.NORMAL): _S.INCREASE,
    (_S.DECREASE, _U.NORMAL): _S.HOLD,
    (_S.HOLD, _U.UNDERUSE): _S.HOLD,
    (_S.INCREASE, _U.UNDERUSE): _S.HOLD,
    (_S.DECREASE, _U.UNDERUSE): _S.HOLD,
}


class AimdRateControl:
    """A_hat.

    Args:
        start_bps: first estimate.

    Attributes:
        rate_bps: the estimate, bit/s.
        state: see the table; the draft starts in INCREASE.
    """

    def __init__(self, start_bps: float) -> None:
        self.rate_bps = start_bps
        self.state = RateState.INCREASE
        self._updated_ns: int | None = None
        self._mean: float | None = None  # of received rates at decreases, bit/s
        self._variance = 0.0

    @property
    def near_convergence(self) -> bool:
        """The rate is close to where the path was last over-used."""
        return self._mean is not None

    def update(self, usage: Usage, *, received_bps: float, rtt_ns: int, now_ns: int) -> None:
        """A verdict came.

        Args:
            usage: of the detector.
            received_bps: R_hat; 0 when unknown.
            rtt_ns: round trip.
            now_ns: the time.
        """
        self.state = TRANSITIONS[self.state, usage]
        elapsed_ms = 0.0
        if self._updated_ns is not None:
            elapsed_ms = (now_ns - self._updated_ns) / 1e6
        self._updated_ns = now_ns
        if self.state is RateState.DECREASE:
            self._decrease(received_bps)
        elif self.state is RateState.INCREASE:
            self._increase(elapsed_ms, received_bps, rtt_ns)

    def _increase(self, elapsed_ms: float, received_bps: float, rtt_ns: int) -> None:
        if self._mean is not None and received_bps > self._mean + self._spread():
            self._mean = None  # the path carries more than it did
        if self._mean is not None:
            response_ms = c.RESPONSE_MS + rtt_ns / 1e6
            share = 0.5 * min(elapsed_ms / response_ms, 1.0)
            increase = max(c.LEAST_INCREASE_BPS * elapsed_ms / 1000, share * self._packet_bits())
        else:
            increase = self.rate_bps * (c.INCREASE_PER_SECOND ** min(elapsed_ms / 1000, 1.0) - 1)
        rate = self.rate_bps + increase
        if received_bps:
            # Never lowered by the cap: a source that sends less does not make the path smaller.
            rate = min(rate, max(c.RECEIVED_CAP * received_bps, self.rate_bps))
        self.rate_bps = rate

    def _decrease(self, received_bps: float) -> None:
        if not received_bps:
            return
        if self._mean is not None and received_bps < self._mean - self._spread():
            self._mean = None  # the path carries less than it did
        self._remember(received_bps)
        self.rate_bps = min(self.rate_bps, c.DECREASE_FACTOR * received_bps)

    def _remember(self, received_bps: float) -> None:
        if self._mean is None:
            self._mean = received_bps
            self._variance = (0.1 * received_bps) ** 2
            return
        weight = c.CONVERGENCE_SMOOTHING
        error = received_bps - self._mean
        self._mean += (1 - weight) * error
        self._variance = weight * self._variance + (1 - weight) * error * error

    def _spread(self) -> float:
        return c.CONVERGENCE_DEVIATIONS * math.sqrt(self._variance)

    def _packet_bits(self) -> float:
        """expected_packet_size_bits: of a frame at 30 fps in packets of equal size."""
        frame_bits = self.rate_bps / c.ASSUMED_FPS
        return frame_bits / max(1, math.ceil(frame_bits / c.ASSUMED_PACKET_BITS))
