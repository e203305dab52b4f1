from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from morphe_core.training.rate import FLOOR, LEADING, RateModel

CHANNELS = 12
STEP = torch.full((1, 1, 1, 1), 32.0)


def plain(channels: int, width: float) -> RateModel:
    """A model that leans on nothing: a Laplace of one width."""
    model = RateModel(channels).requires_grad_(False)
    for value in model.parameters():
        value.zero_()
    model.bias.fill_(math.log(width))
    return model


def symbols(scale: float, *shape: int, seed: int = 1) -> torch.Tensor:
    values = np.random.default_rng(seed).laplace(0, scale, shape)
    return torch.from_numpy(np.rint(values).astype(np.float32))


def everywhere(values: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(values[:, :1])


@pytest.mark.parametrize("width", [0.3, 1.0, 7.5])
def test_bits_are_the_code_length_of_a_laplace(width: float) -> None:
    values = torch.arange(-6.0, 7).reshape(1, 1, 1, 13)
    got = plain(1, width)(values, STEP, everywhere(values))
    law = stats.laplace(scale=width)
    integers = np.arange(-6, 7)
    probability = law.cdf(integers + 0.5) - law.cdf(integers - 0.5)
    wanted = -np.log2(np.maximum(probability, FLOOR))
    np.testing.assert_allclose(got[0, 0, 0], wanted, rtol=1e-4)


def test_all_symbols_together_are_as_likely_as_one() -> None:
    values = torch.arange(-60.0, 61).reshape(1, 1, 1, 121)
    bits = plain(1, 2.0)(values, STEP, everywhere(values))
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=2e-5)


def test_bits_of_a_place_are_the_sum_over_its_channels() -> None:
    values = symbols(1.0, 2, CHANNELS, 3, 4)
    got = plain(CHANNELS, 0.8)(values, STEP, everywhere(values))
    assert got.shape == (2, 1, 3, 4)
    one = plain(1, 0.8)
    parts = [one(part, STEP, everywhere(values)) for part in values.split(1, dim=1)]
    torch.testing.assert_close(got, torch.stack(parts).sum(0))


@given(st.integers(0, 50), st.floats(1.2, 8))
def test_bits_fall_as_symbols_shrink(seed: int, factor: float) -> None:
    model = RateModel(CHANNELS)
    large = symbols(6.0, 1, CHANNELS, 4, 6, seed=seed)
    small = torch.round(large / factor)
    with torch.no_grad():
        most = model(large, STEP, everywhere(large)).sum()
        less = model(small, STEP, everywhere(small)).sum()
        none = model(0 * large, STEP, everywhere(large)).sum()
    assert none < less < most


def test_holes_cost_nothing_and_tell_nothing() -> None:
    model = RateModel(CHANNELS)
    values = symbols(3.0, 1, CHANNELS, 4, 6)
    sent = torch.ones(1, 1, 4, 6)
    sent[..., 1, :] = 0
    sent[..., 2, 3] = 0
    other = torch.where(sent > 0, values, values + 40)
    with torch.no_grad():
        bits = model(values, STEP, sent)
        assert not bits[sent == 0].any()
        assert bool((bits[sent > 0] > 0).all())
        torch.testing.assert_close(model(other, STEP, sent), bits)


def test_a_row_decodes_by_itself() -> None:
    """What the model leans on must be inside of a unit: never in the row above or below."""
    model = RateModel(CHANNELS)
    values = symbols(3.0, 1, CHANNELS, 5, 6)
    other = values.clone()
    other[..., 2, :] += 30
    with torch.no_grad():
        changed = model(values, STEP, everywhere(values)) != model(other, STEP, everywhere(values))
    assert changed[..., 2, :].all()
    changed[..., 2, :] = False
    assert not changed.any()


@pytest.mark.parametrize(
    ("channels", "column"),
    [(slice(None), 3), (slice(None), 5), (slice(0, LEADING), 4)],
    ids=["left", "right", "own first"],
)
def test_what_lies_around_announces_a_value(channels: slice, column: int) -> None:
    model = RateModel(CHANNELS).requires_grad_(False)
    model.bias.fill_(2.0)

    def price(around: torch.Tensor) -> float:
        """Bits that a 1 in a later channel of the fifth place costs beyond a 0 there."""
        one = around.clone()
        one[:, LEADING, :, 4] = 1
        both = [model(values, STEP, everywhere(values))[0, 0, 0, 4] for values in (one, around)]
        return float(both[0] - both[1])

    quiet = torch.zeros(1, CHANNELS, 1, 9)
    busy, far = quiet.clone(), quiet.clone()
    busy[:, channels, :, column] = 5
    far[..., 8] = 5
    assert price(busy) < price(quiet) - 1
    assert price(far) == price(quiet)


def test_the_first_channels_lean_on_neighbours_and_not_on_themselves() -> None:
    model = RateModel(LEADING).requires_grad_(False)
    model.by_neighbours.zero_()

    def bits(values: torch.Tensor) -> float:
        return float(model(values, STEP, everywhere(values))[0, 0, 0, 1])

    zeros = torch.zeros(1, LEADING, 1, 3)
    one, two, busy = zeros.clone(), zeros.clone(), zeros.clone()
    one[:, 0, :, 1] = 1
    two[:, :2, :, 1] = 1
    busy[..., 0] = 5
    second = zeros + two - one
    # Nothing in the token itself changes what a value costs; a neighbour does.
    assert bits(two) - bits(one) == pytest.approx(bits(second) - bits(zeros), rel=1e-4)
    assert bits(busy + one) - bits(busy) < 0.5 * (bits(one) - bits(zeros))


@pytest.mark.parametrize("bias", [-1000.0, -60.0, -7.0, 0.0, 7.0, 60.0, 1000.0])
@pytest.mark.parametrize("size", [0.0, 0.49, 0.5, 1.0, 4095.0])
def test_gradients_stay_finite(bias: float, size: float) -> None:
    model = RateModel(CHANNELS)
    torch.nn.init.constant_(model.bias, bias)
    values = (size * torch.ones(1, CHANNELS, 2, 3)).requires_grad_()
    bits = model(values, STEP, everywhere(values))
    bits.sum().backward()
    assert values.grad is not None
    for gradient in (values.grad, *(value.grad for value in model.parameters())):
        assert gradient is not None
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("sign", [-1, 1])
def test_widths_end_at_a_thousandth_and_at_a_thousand_steps(sign: int) -> None:
    values = torch.arange(-3.0, 4).reshape(1, 1, 1, 7)
    far, end = (plain(1, 1e3**sign) for _ in range(2))
    far.bias.fill_(sign * 1000.0)
    torch.testing.assert_close(
        far(values, STEP, everywhere(values)), end(values, STEP, everywhere(values))
    )


def test_the_gradient_is_that_of_finite_differences() -> None:
    model = plain(CHANNELS, 1.3).double()
    values = symbols(3.0, 1, CHANNELS, 2, 3).double()
    values[values == 0] = 1  # at 0 the estimate is flat
    values.requires_grad_()
    sent = torch.ones(1, 1, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: model(v, STEP.double(), sent), (values,))


def test_the_best_width_codes_the_data_with_its_entropy() -> None:
    values = symbols(2.0, 4, 1, 32, 32)

    def bits(log_width: float) -> float:
        model = plain(1, math.exp(log_width))
        return float(model(values, STEP, everywhere(values)).mean())

    best = optimize.minimize_scalar(bits, bounds=(-3, 3), method="bounded")
    assert math.exp(best.x) == pytest.approx(2.0, rel=0.05)
    law = stats.laplace(scale=2.0)
    integers = np.arange(-60, 61)
    entropy = stats.entropy(law.cdf(integers + 0.5) - law.cdf(integers - 0.5), base=2)
    assert best.fun == pytest.approx(entropy, rel=0.02)
