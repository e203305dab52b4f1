from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from morphe_core.models import Model
from morphe_core.vgc.allocation import (
    COARSEST,
    IPlan,
    PPlan,
    Share,
    TokenBudget,
    expected_units,
    search,
)
from morphe_core.vgc.config import SELECTIONS, EncoderConfig
from morphe_core.vgc.estimate import Motion
from morphe_core.vgc.quantiser import quantise, step_of
from morphe_core.vgc.rounding import quantise_array
from morphe_core.vgc.selection import Candidates, strategy
from morphe_core.vgc.tokens import QUALITIES, TOKEN_MAX, Grid


class Counted:
    """A cost function that counts how often it is asked."""

    def __init__(self, cost: Callable[[int], float]) -> None:
        self.cost = cost
        self.asked: list[int] = []

    def __call__(self, quality: int) -> float:
        self.asked.append(quality)
        return self.cost(quality)


def best(cost: Callable[[int], float], wanted: float) -> int:
    """The finest quality within `wanted`, by trying all."""
    fitting = [q for q in range(COARSEST, QUALITIES) if cost(q) <= wanted]
    return max(fitting, default=COARSEST)


@given(
    octaves=st.floats(0.4, 1.2), bits=st.floats(100, 3000), wanted=st.floats(500, 1e6),
    start=st.integers(0, QUALITIES - 1),
)  # fmt: skip
def test_a_search_finds_the_finest_quality_that_fits(
    octaves: float, bits: float, wanted: float, start: int
) -> None:
    cost = Counted(lambda quality: bits * 2 ** (octaves * quality / 16))
    found = search(cost, wanted, start)
    assert abs(found - best(cost.cost, wanted)) <= 1
    assert COARSEST <= found < QUALITIES
    assert cost.cost(found) <= 1.0101 * wanted or found == COARSEST
    assert len(cost.asked) <= 8
    assert len(set(cost.asked)) == len(cost.asked)


@given(
    at=st.integers(COARSEST + 1, QUALITIES - 1), leap=st.floats(1.2, 30),
    start=st.integers(COARSEST, QUALITIES - 1), share=st.floats(0.05, 0.95),
)  # fmt: skip
@example(at=31, leap=8.0, start=119, share=0.0625)  # a secant would find too little to go on
def test_a_search_is_not_held_up_by_a_leap(at: int, leap: float, start: int, share: float) -> None:
    """Tokens that are kept up to some quality, and all sent from there on."""

    def cost(quality: int) -> float:
        return float(1000 * 2 ** (quality / 40) * (leap if quality >= at else 1))

    wanted = cost(at - 1) * leap**share
    counted = Counted(cost)
    found = search(counted, wanted, start)
    near = abs(math.log(cost(found) / wanted)) <= 0.01  # good enough, even if not the finest
    assert near or abs(found - best(cost, wanted)) <= 1
    assert len(counted.asked) <= 10


@given(st.integers(0, QUALITIES - 1))
def test_a_search_reaches_both_ends(start: int) -> None:
    assert search(lambda q: 1e6 * 1.03**q, 100, start) == COARSEST
    assert search(lambda q: 1.03**q, 1e6, start) == QUALITIES - 1
    assert search(lambda _: 0.0, 100, start) == QUALITIES - 1


def test_what_is_asked_for_at_once_is_not_searched() -> None:
    cost = Counted(lambda quality: 1000 * 2 ** (quality / 20))
    assert search(cost, 1000 * 2 ** (50 / 20), 50) == 50
    assert cost.asked == [50]


@given(quality=st.integers(0, QUALITIES - 1), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_arrays_are_quantised_as_tensors_are(quality: int, seed: int) -> None:
    step = step_of(quality)
    noise = np.random.default_rng(seed)
    # Edges of the dead zone and of the range too.
    edges = (np.arange(-40, 40) * 0.5 + 0.15) * step
    values = np.concatenate([noise.normal(0, 3 * step, 4000), noise.normal(0, 900, 4000), edges])
    values = values.astype(np.float32).reshape(-1, 2, 20)
    found = quantise_array(values, step)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, quantise(torch.from_numpy(values), step).numpy())
    assert np.abs(quantise_array(1000 * values, step)).max() <= TOKEN_MAX


def test_units_by_bytes_rows_and_form() -> None:
    grid = Grid(20, 30)
    config = EncoderConfig(unit_bytes=1000, least_units=6)
    counts = [expected_units(config, size, grid) for size in (10, 300, 900, 5999, 6001, 10**6)]
    assert counts == [1, 2, 6, 6, 7, 20]
    rows = EncoderConfig(packing="rows")
    assert expected_units(rows, 10**6, grid) == expected_units(rows, 10, grid) == 40


def p_plan(model: Model, selection: str, budget_bytes: int) -> tuple[PPlan, Candidates, int]:
    """Noise in a budget: what is sent, what it was chosen from, how often Eq. 3 was asked for."""
    grid, asked = Grid(6, 8), []
    config = EncoderConfig(selection=selection, fixed_quality=40, rounding=0)
    channels = model.network.config.tokenizer
    noise = np.random.default_rng(5)
    values = noise.normal(0, 2 * step_of(40), (6, 8, channels.p_channels)).astype(np.float32)
    pair = noise.normal(size=(2, 6, 8, channels.i_channels)).astype(np.float32)

    def in_i_space() -> tuple[np.ndarray, np.ndarray]:
        asked.append(1)
        return pair[0], pair[1]

    nothing = np.zeros((6, 8, channels.i_channels), np.int16)
    plan = TokenBudget(model.entropy, config, budget_bytes, Motion.none(grid)).plan_p(
        values, IPlan(40, nothing, np.ones((6, 8), np.bool_), 0.0, np.zeros(6, np.float32)),
        Share(), in_i_space=in_i_space, generator=np.random.default_rng(9),
    )  # fmt: skip
    calls = len(asked)
    tokens = quantise_array(values, step_of(40))
    return plan, Candidates(tokens, in_i_space, np.random.default_rng(9)), calls


@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_configured_strategy_says_what_is_left_out(model: Model, selection: str) -> None:
    plan, candidates, asked = p_plan(model, selection, 1000)
    assert 0.1 < plan.sent.mean() < 0.9
    score = strategy(selection)(candidates)
    assert score[plan.sent].max() <= score[~plan.sent].min()
    np.testing.assert_array_equal(plan.tokens, candidates.tokens * plan.sent[..., None])
    assert asked == (selection == "similarity")


@pytest.mark.parametrize("selection", SELECTIONS)
def test_no_strategy_is_asked_where_everything_fits(model: Model, selection: str) -> None:
    plan, _, asked = p_plan(model, selection, 10**6)
    assert plan.sent.all()
    assert not asked
