"""Outages: for a while, every packet that passes is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from testbed.errors import InputError
from testbed.network.loss.base import LOSS_MODELS, IndexedBy, LossModel
from testbed.network.options import number, reject_unknown
from testbed.network.packet import Packet

_NS_PER_S: Final = 1_000_000_000
#: Shortest mean interval that is accepted; far below it, intervals round to 0 ns.
_SHORTEST_S: Final = 1e-6


class RandomOutage:
    """Up and down by turns, each for an exponential time (mm-onoff, F22, in ns and seeded).

    Args:
        mean_up_s: mean time between outages, >= 1e-6.
        mean_down_s: mean length of an outage, >= 1e-6.
        rng: one draw an interval.

    It starts up, as mm-onoff does in effect. In the long run mean_down/(mean_up+mean_down) of the
    time is lost.
    """

    indexed_by: IndexedBy = "time"

    def __init__(self, mean_up_s: float, mean_down_s: float, rng: np.random.Generator) -> None:
        self._means_ns = (mean_up_s * _NS_PER_S, mean_down_s * _NS_PER_S)
        self._rng = rng
        self._down = 0
        self._until_ns = self._draw()

    def _draw(self) -> int:
        return round(self._rng.exponential(self._means_ns[self._down]))

    def lost(self, packet: Packet, now_ns: int) -> bool:  # noqa: ARG002
        """See `LossModel`."""
        while now_ns >= self._until_ns:
            self._down ^= 1
            self._until_ns += self._draw()
        return self._down == 1


class PeriodicOutage:
    """Down for `duration_s` in every `period_s`, first at `offset_s`.

    The shape of a satellite link that changes satellites every 15 s.
    """

    indexed_by: IndexedBy = "time"

    def __init__(self, period_s: float, duration_s: float, offset_s: float) -> None:
        self._period_ns = round(period_s * _NS_PER_S)
        self._duration_ns = round(duration_s * _NS_PER_S)
        self._offset_ns = round(offset_s * _NS_PER_S)

    def lost(self, packet: Packet, now_ns: int) -> bool:  # noqa: ARG002
        """See `LossModel`."""
        since_ns = now_ns - self._offset_ns
        return since_ns >= 0 and since_ns % self._period_ns < self._duration_ns


@LOSS_MODELS.register("outage")
def _outage(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:
    owner = "loss outage"
    reject_unknown(owner, options, ("mean_up_s", "mean_down_s"))
    return RandomOutage(
        number(owner, options, "mean_up_s", low=_SHORTEST_S),
        number(owner, options, "mean_down_s", low=_SHORTEST_S),
        rng,
    )


@LOSS_MODELS.register("periodic-outage")
def _periodic_outage(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:  # noqa: ARG001
    owner = "loss periodic-outage"
    reject_unknown(owner, options, ("period_s", "duration_s", "offset_s"))
    period_s = number(owner, options, "period_s", default=15.0, low=_SHORTEST_S)
    duration_s = number(owner, options, "duration_s", default=0.5)
    if duration_s > period_s:
        raise InputError(f"{owner}: duration_s is {duration_s:g}; must be <= period_s {period_s:g}")
    return PeriodicOutage(period_s, duration_s, number(owner, options, "offset_s", default=0.0))
