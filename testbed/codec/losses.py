"""Losing units as a network would: one unit is one packet, in sending order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.errors import InputError
from testbed.network.loss import make_loss
from testbed.network.packet import Packet
from testbed.network.spec import LossSpec
from testbed.randomness import generator


@dataclass(frozen=True, slots=True)
class LossCondition:
    """What is lost.

    Attributes:
        rate: share of the units, 0 <= rate < 1.
        burst: mean run of losses in units, >= 1; 1 = each unit on its own (Bernoulli), more =
            Gilbert-Elliott. Gilbert-Elliott with mean burst 1 would be something else: it never
            loses two in a row.
        seed: of the realisation, >= 0.

    Raises:
        InputError: a value outside these, or losses too frequent for so short bursts.
    """

    rate: float = 0.0
    burst: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise InputError(f"--loss {self.rate:g}: must be >= 0 and < 1")
        if not 1 <= self.burst < math.inf:
            raise InputError(f"--burst {self.burst:g}: must be >= 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: must be >= 0")
        UnitLoss(self)

    def spec(self) -> LossSpec:
        """The testbed's loss model for it."""
        if not self.rate:
            return LossSpec()
        if self.burst == 1:
            return LossSpec("bernoulli", {"rate": self.rate})
        return LossSpec("gilbert-elliott", {"rate": self.rate, "mean_burst": self.burst})


class UnitLoss:
    """Decides unit by unit.

    Attributes:
        sent: units so far.
        lost: how many of them were lost.
    """

    def __init__(self, condition: LossCondition) -> None:
        rng = generator(condition.seed, "loss/units")
        self._model = make_loss(condition.spec(), rng)
        self.sent = 0
        self.lost = 0

    def keep(self, units: Sequence[bytes]) -> list[bytes]:
        """Those of the next `units` that arrive."""
        kept = []
        for unit in units:
            if self._model.lost(Packet(len(unit), number=self.sent), 0):
                self.lost += 1
            else:
                kept.append(unit)
            self.sent += 1
        return kept
