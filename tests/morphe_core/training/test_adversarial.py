from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from morphe_core.errors import TrainingError
from morphe_core.training.adversarial import (
    GAMMA,
    PATCH,
    Discriminator,
    PatchJudge,
    adversarial_loss,
    balance,
    judge_loss,
)


def textures(seed: int, smooth: float) -> Tensor:
    values = np.random.default_rng(seed).normal(128, 40, (4, 1, 96, 96))
    return torch.from_numpy(gaussian_filter(values, (0, 0, smooth, smooth))).float()


def test_one_verdict_sees_one_patch() -> None:
    """The receptive field is `PATCH` pixels a side, found by the gradient of one verdict."""
    judge = PatchJudge(4, seed=1).eval()
    luma = textures(1, 0.5)[:1].requires_grad_()
    verdicts = judge(luma)
    assert verdicts.shape == (1, 1, 12, 12)
    verdicts[0, 0, 6, 6].backward()
    assert luma.grad is not None
    seen = luma.grad[0, 0] != 0
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == PATCH


def test_start_follows_the_seed_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (PatchJudge(4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    luma = textures(1, 0.5)
    with torch.no_grad():
        outputs = [judge.eval()(luma) for judge in (one, same, other)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_layers_stretch_nothing() -> None:
    """Spectral normalisation: no convolution's matrix has a singular value above one."""
    judge = PatchJudge(8)
    for _ in range(30):
        judge(textures(1, 0.5))
    for layer in judge.layers:
        if isinstance(layer, torch.nn.Conv2d):
            matrix = layer.weight.detach().flatten(1)
            assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1.0, abs=0.05)


def test_hinge_loss_has_its_closed_form() -> None:
    class Fixed(PatchJudge):
        def forward(self, luma: Tensor) -> Tensor:
            return luma.mean((1, 2, 3), keepdim=True) - 10.0

    judge = Fixed(1)
    real, made = torch.full((2, 1, 54, 54), 10.25), torch.full((1, 1, 54, 54), 9.5)
    assert judge_loss(judge, made, real).item() == pytest.approx(0.75 + 0.5)
    sure = torch.full((1, 1, 54, 54), 8.0)
    assert judge_loss(judge, sure, torch.full((2, 1, 54, 54), 12.0)).item() == 0.0
    assert adversarial_loss(judge, made).item() == pytest.approx(0.5)


def test_it_learns_to_tell_blur_and_then_asks_for_texture() -> None:
    judge = PatchJudge(4, seed=2)
    optimiser = torch.optim.Adam(judge.parameters(), lr=4e-3, betas=(0.5, 0.9))
    for step in range(25):
        optimiser.zero_grad()
        judge_loss(judge, textures(2 * step, 1.5), textures(2 * step + 1, 0.5)).backward()
        optimiser.step()
    fresh, blurred = textures(1000, 0.5), textures(1000, 1.5)
    assert judge_loss(judge, blurred, fresh).item() < 1.0
    assert adversarial_loss(judge, fresh) < adversarial_loss(judge, blurred)


def test_codec_loss_leaves_the_judge_alone() -> None:
    judge = PatchJudge(4)
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    luma = textures(1, 1.0).requires_grad_()
    adversarial_loss(judge, luma).backward()
    assert luma.grad is not None
    assert luma.grad.abs().sum() > 0
    assert all(value.grad is None for value in judge.parameters())
    assert all(value.requires_grad for value in judge.parameters())
    assert judge.training
    assert all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())


def test_judge_loss_leaves_the_codec_alone() -> None:
    luma = textures(1, 1.0).requires_grad_()
    judge_loss(PatchJudge(4), luma, textures(2, 0.5)).backward()
    assert luma.grad is None


def test_balance_makes_both_gradients_alike_long() -> None:
    luma = textures(1, 1.0).requires_grad_()
    loss = 37.0 * (luma - textures(1, 0.5)).abs().mean()
    adversarial = adversarial_loss(PatchJudge(4), luma)
    factor = balance(loss, adversarial, luma)
    assert not factor.requires_grad
    (own,) = torch.autograd.grad(loss, luma, retain_graph=True)
    (other,) = torch.autograd.grad(factor * GAMMA * adversarial, luma)
    assert (other.norm() / own.norm()).item() == pytest.approx(GAMMA, rel=1e-4)


def test_balance_stays_finite_where_the_judge_is_indifferent() -> None:
    luma = textures(1, 1.0).requires_grad_()
    assert torch.isfinite(balance(luma.abs().mean(), (0.0 * luma).mean(), luma))


def taught(discriminator: Discriminator, steps: range) -> list[float]:
    """What the discriminator told at each step."""
    told = []
    for step in steps:
        discriminator.set_learning_rate(4e-3 / (1 + step))
        told.append(discriminator.learn(textures(2 * step, 1.5), textures(2 * step + 1, 0.5)))
    return told


def test_a_discriminator_learns_by_the_rate_that_is_set() -> None:
    learning, idle = (Discriminator(seed=2, device=torch.device("cpu")) for _ in range(2))
    for step in range(12):
        learning.set_learning_rate(4e-3)
        idle.set_learning_rate(0.0)
        pictures = textures(2 * step, 1.5), textures(2 * step + 1, 0.5)
        told, untaught = (one.learn(*pictures) for one in (learning, idle))
    assert told < untaught - 0.1


def test_a_discriminator_goes_on_exactly_where_its_state_was_kept() -> None:
    whole, first, again = (Discriminator(seed=n, device=torch.device("cpu")) for n in (1, 1, 8))
    wanted = taught(whole, range(4))
    assert taught(first, range(2)) == wanted[:2]
    again.load(first.state(), optimiser=True)
    assert taught(again, range(2, 4)) == wanted[2:]
    for name, value in whole.judge.state_dict().items():
        assert torch.equal(again.judge.state_dict()[name], value), name


def test_a_new_optimiser_leaves_the_judge_as_it_is() -> None:
    one, other = (Discriminator(seed=n, device=torch.device("cpu")) for n in (1, 8))
    taught(one, range(2))
    other.load(one.state(), optimiser=False)
    one.restart()
    for made in (one, other):
        assert not made.optimiser.state_dict()["state"]
    assert taught(one, range(2, 4)) == taught(other, range(2, 4))


def test_pictures_that_are_not_finite_teach_nothing() -> None:
    discriminator = Discriminator(seed=1, device=torch.device("cpu"))
    before = [value.clone() for value in discriminator.judge.parameters()]
    discriminator.learn(textures(1, 1.0) * float("nan"), textures(2, 0.5))
    for value, old in zip(discriminator.judge.parameters(), before, strict=True):
        assert torch.equal(value, old)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 64, 53), (1, 64, 64)])
def test_other_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TrainingError, match=r"allowed is \(N, 1, H, W\), at least 54x54"):
        PatchJudge(2)(torch.zeros(shape))


def test_a_judge_without_channels_is_refused() -> None:
    with pytest.raises(TrainingError, match="channels 0: allowed is 1 or more"):
        PatchJudge(0)
