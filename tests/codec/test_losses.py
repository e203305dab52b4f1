"""Losing units."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.codec.losses import LossCondition, UnitLoss
from testbed.errors import InputError

UNITS = [bytes([index % 256]) for index in range(20_000)]


def _runs(lost: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]])))
    return list(edges[1::2] - edges[::2])


def _fate(condition: LossCondition, group: int = 20) -> np.ndarray:
    """1 where a unit is lost, the units being asked for in groups."""
    loss = UnitLoss(condition)
    fate = []
    for begin in range(0, len(UNITS), group):
        numbered = [index.to_bytes(4, "big") for index in range(begin, begin + group)]
        kept = set(loss.keep(numbered))
        fate += [unit not in kept for unit in numbered]
    assert (loss.sent, loss.lost) == (len(UNITS), sum(fate))
    return np.array(fate, int)


@pytest.mark.parametrize(("rate", "burst"), [(0.05, 1), (0.25, 1), (0.25, 4), (0.5, 8)])
def test_share_and_run_length_are_those_asked_for(rate: float, burst: float) -> None:
    fate = _fate(LossCondition(rate, burst, seed=3))
    assert fate.mean() == pytest.approx(rate, rel=0.15)
    # Losses on their own make runs of 1 / (1 - rate) on average.
    assert np.mean(_runs(fate)) == pytest.approx(burst if burst > 1 else 1 / (1 - rate), rel=0.15)


def test_the_same_seed_loses_the_same_units_in_any_grouping() -> None:
    condition = LossCondition(0.2, 4, seed=5)
    assert (_fate(condition, 20) == _fate(condition, 1)).all()
    assert (_fate(condition) != _fate(LossCondition(0.2, 4, seed=6))).any()


def test_without_loss_everything_arrives_in_order() -> None:
    assert UnitLoss(LossCondition()).keep(UNITS) == UNITS


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ((1.0, 1, 1), "--loss 1: must be >= 0 and < 1"),
        ((-0.1, 1, 1), "--loss -0.1"),
        ((float("nan"), 1, 1), "--loss nan"),
        ((0.1, 0.5, 1), "--burst 0.5: must be >= 1"),
        ((0.1, 1, -1), "--seed -1"),
        ((0.9, 2, 1), "needs mean_burst"),
    ],
)
def test_impossible_conditions(condition: tuple[float, float, int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        LossCondition(*condition)
