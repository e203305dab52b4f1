from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.quantiser import (
    DEAD_ZONE,
    LAGRANGIAN,
    coding_cost,
    quality_of,
    quantise,
    quantise_through,
    step_of,
)
from morphe_core.vgc.tokens import QUALITIES, TOKEN_MAX


def test_sixteen_indices_halve_the_step() -> None:
    assert step_of(0) == 256
    assert [step_of(16 * octave) for octave in range(8)] == [2.0 ** (8 - n) for n in range(8)]
    for quality in range(QUALITIES - 16):
        assert step_of(quality + 16) == pytest.approx(step_of(quality) / 2)


def test_every_step_finds_its_index() -> None:
    assert [quality_of(step_of(quality)) for quality in range(QUALITIES)] == list(range(QUALITIES))


def test_steps_beyond_the_range_give_its_ends() -> None:
    assert quality_of(1e9) == 0
    assert quality_of(1e-9) == QUALITIES - 1


@given(st.floats(step_of(QUALITIES - 1), 256))
def test_the_index_found_is_the_nearest(step: float) -> None:
    octaves = math.log2(step / step_of(quality_of(step)))
    assert abs(octaves) <= 1 / 32 + 1e-5


def test_the_dead_zone_ends_where_it_says() -> None:
    edge = 0.5 + DEAD_ZONE
    values = torch.tensor([0, edge - 0.01, edge + 0.01, 1 + edge - 0.01, 1 + edge + 0.01, 2.5])
    assert quantise(values, 1.0).tolist() == [0, 0, 1, 1, 2, 2]
    assert quantise(-values, 1.0).tolist() == [0, 0, -1, -1, -2, -2]
    assert quantise(values * 40, 40.0).tolist() == [0, 0, 1, 1, 2, 2]


@given(st.lists(st.floats(-2e4, 2e4, width=32), min_size=1), st.integers(0, QUALITIES - 1))
def test_without_a_dead_zone_it_rounds_and_clips(values: list[float], quality: int) -> None:
    step = step_of(quality)
    scaled = torch.tensor(values) / step
    got = quantise(torch.tensor(values), step, dead_zone=0.0).numpy()
    wanted = np.clip(np.rint(scaled.numpy()), -TOKEN_MAX, TOKEN_MAX)
    halves = np.abs(np.abs(scaled.numpy()) % 1 - 0.5) < 1e-3
    np.testing.assert_array_equal(got[~halves], wanted[~halves])


@given(st.lists(st.floats(-4000, 4000, width=32), min_size=1))
def test_no_value_moves_by_more_than_the_dead_zone_allows(values: list[float]) -> None:
    exact = torch.tensor(values)
    got = quantise(exact / 3, 1 / 3.0)
    kept = got.abs() < TOKEN_MAX
    assert bool(((got - exact).abs()[kept] <= 0.5 + DEAD_ZONE + 1e-3).all())
    assert bool((got.abs() <= exact.abs() + 0.5 - DEAD_ZONE + 1e-3).all())


def test_nothing_exceeds_the_largest_token() -> None:
    assert quantise(torch.tensor([1e6, -1e6]), 2.0).tolist() == [TOKEN_MAX, -TOKEN_MAX]


def test_the_gradient_passes_straight_through() -> None:
    values = torch.linspace(-70, 70, 64).reshape(2, 2, 4, 4).requires_grad_()
    step = torch.tensor([8.0, 20.0]).reshape(2, 1, 1, 1)
    got = quantise_through(values, step)
    torch.testing.assert_close(got.detach(), quantise(values.detach(), step))
    got.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, (1 / step).expand_as(values))


@given(st.integers(0, 99), st.integers(0, QUALITIES - 1))
def test_coding_costs_its_error_and_its_bits(seed: int, quality: int) -> None:
    error, bits = np.random.default_rng(seed).gamma(2, 50, (2, 3, 4)).astype(np.float32)
    step = step_of(quality)
    wanted = error.astype(float) + LAGRANGIAN * step**2 * bits
    array = coding_cost(error, bits, step)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, wanted, rtol=1e-6)
    # The same of tensors, where each sample may have a step of its own.
    steps = torch.full((3, 1), step)
    tensor = coding_cost(torch.from_numpy(error), torch.from_numpy(bits), steps)
    np.testing.assert_allclose(tensor, wanted, rtol=1e-6)
