"""Choosing elements: the finest that a picture's bits allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import torch

from grace_style.activity import ClassMap, Elements
from grace_style.geometry import MOTION_CHANNELS
from grace_style.models import Model
from grace_style.quality import QUALITIES, step_of
from grace_style.rate import PRICE, PRICES, ElementCosts, Values, costs_of, rounded

#: Motion may take this share of a picture's bits.
MOTION_SHARE: Final = 0.5
#: A budget of which so much is used is full.
FULL_SHARE: Final = 0.95
#: Prices of a bit where even the coarsest step takes too much, the dearest first.
LAST_PRICES: Final = tuple(PRICE * 2.0**number for number in range(10, 0, -1))

_S = TypeVar("_S")


@dataclass(slots=True)
class Chosen:
    """Elements of one kind.

    Attributes:
        values: whole numbers.
        quality: whose steps they are in.
        bits: what they take, with their class map in every packet.
    """

    values: Elements
    quality: int
    bits: float


class Chooser:
    """Rounds elements by cost.

    Args:
        model: network (for its steps) and tables.
        cells: rows and columns of cells.
    """

    def __init__(self, model: Model, cells: tuple[int, int]) -> None:
        self._network, self._cells = model.network, cells
        channels = model.network.config.channels
        self._motion_costs, self._costs = costs_of(model.entropy, MOTION_CHANNELS, channels)

    def motion(self, values: Values, quality: int, *, room: float, packets: int) -> Chosen:
        """Motion at this quality; coarser, or none, where that takes too much of `room` bits."""

        def at(told: int) -> Chosen:
            step = torch.full((1, 1, 1, 1), step_of(told))
            steps = self._network.motion_steps(step)[0, :, 0, 0].detach().numpy()
            return self._rounded(values, steps, told, self._motion_costs, packets)

        chosen = at(quality)
        if chosen.bits <= MOTION_SHARE * room:
            return chosen
        coarser = _last_within(range(quality), at, MOTION_SHARE * room)
        if coarser is not None:
            return coarser
        values = np.zeros_like(values)  # nothing moves
        return at(0)

    def residual(self, values: Values, *, room: float, packets: int) -> Chosen:
        """The residual at the finest quality that takes no more than `room` bits."""
        weights = self._network.residual_log_step.detach().exp().numpy()

        def at(quality: int, price: float = PRICE) -> Chosen:
            steps = weights * np.float32(step_of(quality))
            return self._rounded(values, steps, quality, self._costs, packets, price)

        best = _last_within(range(QUALITIES), at, room)
        if best is None:
            dearer = _last_within(LAST_PRICES, lambda price: at(0, price), room)
            return dearer or self._rounded(np.zeros_like(values), weights, 0, self._costs, packets)
        if best.bits < FULL_SHARE * room and best.quality + 1 < QUALITIES:
            finer = best.quality + 1
            dearer = _last_within(PRICES[::-1], lambda price: at(finer, price), room)
            if dearer is not None and dearer.bits > best.bits:
                return dearer
        return best

    def _rounded(
        self, values: Values, steps: Values, quality: int, costs: ElementCosts, packets: int,
        price: float = PRICE,
    ) -> Chosen:  # fmt: skip
        elements, classes = rounded(values, steps, costs, self._cells, price)
        return Chosen(elements, quality, _bits(costs, elements, classes, packets))


def _bits(costs: ElementCosts, elements: Elements, classes: ClassMap, packets: int) -> float:
    return float(costs.elements(elements, classes).sum()) + packets * costs.map(classes)


def _last_within(settings: Sequence[_S], at: Callable[[_S], Chosen], room: float) -> Chosen | None:
    """Of settings that take more and more bits, the last that takes no more than `room`."""
    low, high = 0, len(settings) - 1
    best = None
    while low <= high:
        middle = (low + high) // 2
        chosen = at(settings[middle])
        if chosen.bits <= room:
            best, low = chosen, middle + 1
        else:
            high = middle - 1
    return best
