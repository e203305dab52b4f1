"""Loss-based rate control (draft-ietf-rmcat-gcc-02 section 6, and libwebrtc's form of it)."""

from __future__ import annotations

from typing import Protocol

from testbed.protocol.congestion.filters import WindowedMin
from testbed.protocol.congestion.gcc import constants as c


class LossBasedControl(Protocol):
    """As_hat: an upper bound that follows the loss rate."""

    rate_bps: float

    def update(self, loss: float, *, rtt_ns: int, now_ns: int) -> None:
        """The share `loss` of the packets of the last interval was lost."""


class DraftLossBased:
    """Below 2 % loss: 5 % more; above 10 %: less by half the loss rate; between: the same."""

    def __init__(self, start_bps: float) -> None:
        self.rate_bps = start_bps

    def update(self, loss: float, *, rtt_ns: int, now_ns: int) -> None:  # noqa: ARG002 - contract
        """One interval."""
        if loss < c.LOSS_LOW:
            self.rate_bps *= c.LOSS_INCREASE
        elif loss > c.LOSS_HIGH:
            self.rate_bps *= 1 - c.LOSS_DECREASE * loss


class LibwebrtcLossBased:
    """The same regimes at libwebrtc's pace.

    Increases go to 8 % above the least rate of the last second; no second decrease comes before the
    first can have shown.
    """

    def __init__(self, start_bps: float) -> None:
        self.rate_bps = start_bps
        self._least = WindowedMin(c.LOSS_LIBWEBRTC_INCREASE_NS)
        self._decreased_ns = -c.LOSS_LIBWEBRTC_INCREASE_NS

    def update(self, loss: float, *, rtt_ns: int, now_ns: int) -> None:
        """One interval."""
        least = self._least.update(round(self.rate_bps), time=now_ns)
        if loss < c.LOSS_LOW:
            self.rate_bps = max(self.rate_bps, least * c.LOSS_LIBWEBRTC_INCREASE + 1000)
            return
        may_decrease = now_ns - self._decreased_ns >= c.LOSS_LIBWEBRTC_DECREASE_NS + rtt_ns
        if loss > c.LOSS_HIGH and may_decrease:
            self.rate_bps *= 1 - c.LOSS_DECREASE * loss
            self._decreased_ns = now_ns
