"""Rounding: the dead zone, and what is not worth its bits."""

from __future__ import annotations

import numpy as np
import pytest

from morphe_core.vgc.quantiser import LAGRANGIAN
from morphe_core.vgc.rounding import quantise_array, without_the_dear
from morphe_core.vgc.tokens import TOKEN_MAX


@pytest.mark.parametrize("dead_zone", [0.0, 0.05, 0.1, 0.3])
def test_values_within_the_dead_zone_become_less(dead_zone: float) -> None:
    edge = 0.5 + dead_zone
    values = np.array([0, edge - 0.01, edge + 0.01, 1 + edge - 0.01, 1 + edge + 0.01], np.float32)
    wanted = [0, 0, 1, 1, 2]
    for step in (0.5, 7.0):
        assert quantise_array(values * step, step, dead_zone).tolist() == wanted
        assert quantise_array(-values * step, step, dead_zone).tolist() == [-n for n in wanted]
    assert quantise_array(np.full(1, 1e9, np.float32), 1.0, dead_zone) == TOKEN_MAX


def test_a_value_goes_exactly_where_its_bits_cost_more_than_it_is_worth() -> None:
    """By hand: a value v, coded as n, adds v squared less (v - n) squared when it becomes zero."""
    step, price = 10.0, 0.7
    values = np.array([6.0, 9.0, 16.0, -6.0, 2.0], np.float32).reshape(1, 1, 5)
    tokens = np.array([1, 1, 2, -1, 0], np.int16).reshape(1, 1, 5)
    added = np.array([0.36 - 0.16, 0.81 - 0.01, 2.56 - 0.16, 0.36 - 0.16])
    worth = added / (price * LAGRANGIAN)
    for factor, gone in ((0.999, False), (1.001, True)):
        bits = np.append(worth * factor, 0).astype(np.float32).reshape(1, 1, 5)
        left, saved = without_the_dear(values, tokens, bits, step, price)
        assert left.dtype == np.int16
        assert left.tolist() == ((tokens * 0).tolist() if gone else tokens.tolist())
        assert saved.shape == (1, 1)
        assert float(saved[0, 0]) == pytest.approx(float(bits.sum()) if gone else 0.0, rel=1e-5)


def test_what_saves_nothing_stays() -> None:
    """Predicted channels have no price: their zeros are not cheap."""
    values = np.full((2, 3, 4), 6.0, np.float32)
    tokens = np.ones((2, 3, 4), np.int16)
    left, saved = without_the_dear(values, tokens, np.zeros((2, 3, 4), np.float32), 10.0, 4.0)
    assert (left == 1).all()
    assert not saved.any()
