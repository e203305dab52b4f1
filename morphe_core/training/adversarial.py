"""The adversarial term of Eq. 6: a small judge of luma patches, trained against the codec.

The judge sees patches only (its outputs each look at 54x54 pixels), so it can ask for plausible
texture but has no say in what is shown. Spectral normalisation [1] and the hinge loss [2] keep it
from running away from a codec that is trained from a closed-form start.

A judge in training with its optimiser is a `Discriminator`. It is no part of the network: it is
kept in checkpoints, never in the weights.

[1] Miyato, Kataoka, Koyama, Yoshida: Spectral normalization for GANs. ICLR 2018.
[2] Lim, Ye: Geometric GAN. arXiv:1705.02894, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from morphe_core.errors import TrainingError

#: Weight of the adversarial term (gamma of Eq. 6).
GAMMA: Final = 0.1
#: Side of the patch that one verdict is about.
PATCH: Final = 54
#: Most that `balance` weighs the adversarial term up.
MOST_BALANCE: Final = 1e4


class PatchJudge(nn.Module):
    """Says of every patch of a luma picture how real it looks.

    Attributes:
        layers: three strided convolutions and two plain ones, all spectrally normalised.
    """

    def __init__(self, channels: int = 32, *, seed: int = 0) -> None:
        """Build the judge.

        Args:
            channels: of the first layer, at least 1; 32 give 0.3 million parameters.
            seed: of the start weights; the global generator is left alone.

        Raises:
            TrainingError: `channels` is below 1.
        """
        super().__init__()
        if channels < 1:
            raise TrainingError(f"channels {channels}: allowed is 1 or more")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = (1, channels, 2 * channels, 4 * channels)
            layers: list[nn.Module] = []
            for here, there in pairwise(widths):
                layers += [_normed(here, there, stride=2), nn.LeakyReLU(0.2)]
            layers += [_normed(widths[-1], widths[-1], stride=1), nn.LeakyReLU(0.2)]
            layers.append(_normed(widths[-1], 1, stride=1))
            self.layers = nn.Sequential(*layers)

    def forward(self, luma: Tensor) -> Tensor:
        """Verdicts, above zero for real.

        Args:
            luma: (N, 1, H, W) in pixel units 0..255, at least `PATCH` pixels a side.

        Returns:
            (N, 1, h, w), about one verdict for 8x8 pixels.

        Raises:
            TrainingError: no such pictures.
        """
        if luma.ndim != 4 or luma.shape[1] != 1 or min(luma.shape[2:]) < PATCH:
            raise TrainingError(
                f"pictures {tuple(luma.shape)}: allowed is (N, 1, H, W), at least {PATCH}x{PATCH}"
            )
        verdicts: Tensor = self.layers(luma * (1.0 / 64.0) - 2.0)
        return verdicts


class Discriminator:
    """A judge and the optimiser by which it learns beside the codec.

    Attributes:
        judge: the judge, in training mode.
        optimiser: Adam with little momentum, as what the judge is shown changes with every step.
    """

    def __init__(self, *, seed: int, device: torch.device) -> None:
        self.judge = PatchJudge(seed=seed).to(device)
        self.restart()

    def restart(self) -> None:
        """Begin with a new optimiser; what the judge has learnt stays."""
        self.optimiser = torch.optim.Adam(self.judge.parameters(), betas=(0.5, 0.9))

    def set_learning_rate(self, rate: float) -> None:
        """The rate of the steps to come."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def learn(self, reconstruction: Tensor, reference: Tensor) -> float:
        """One step of the judge on pictures as for `judge_loss`, whose value is returned.

        A loss or gradient that is not finite changes no weight.
        """
        loss = judge_loss(self.judge, reconstruction, reference)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.get_total_norm(
            [value.grad for value in self.judge.parameters() if value.grad is not None]
        )
        if math.isfinite(float(norm)):
            self.optimiser.step()
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"judge": self.judge.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: Mapping[str, Any], *, optimiser: bool) -> None:
        """Take on what `state` gave: the judge and, if asked for, how far its optimiser was."""
        self.judge.load_state_dict(state["judge"])
        if optimiser:
            self.optimiser.load_state_dict(state["optimiser"])


def judge_loss(judge: PatchJudge, reconstruction: Tensor, reference: Tensor) -> Tensor:
    """What the judge minimises: hinge loss over real and reconstructed patches.

    Args:
        judge: in training mode.
        reconstruction: (N, 1, H, W), 0..255; takes no gradient.
        reference: the same shape.

    Returns:
        A scalar; 2 for a judge that cannot tell, 0 for one that is never fooled.

    Raises:
        TrainingError: no such pictures.
    """
    # One pass over both: the power iteration of the spectral norm moves once a step.
    verdicts = judge(torch.cat((reference, reconstruction)).detach())
    real, made = verdicts.split((len(reference), len(reconstruction)))
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + made).mean()


def adversarial_loss(judge: PatchJudge, reconstruction: Tensor) -> Tensor:
    """What the codec minimises (L_adv of Eq. 6): to look real. The judge takes no gradient.

    Args:
        judge: the judge; its weights and state are left as they are.
        reconstruction: (N, 1, H, W), 0..255.

    Returns:
        A scalar, lower for what the judge takes for real.

    Raises:
        TrainingError: no such pictures.
    """
    asked = [value for value in judge.parameters() if value.requires_grad]
    training = judge.training
    judge.requires_grad_(requires_grad=False)
    judge.eval()
    try:
        verdicts: Tensor = judge(reconstruction)
    finally:
        judge.train(training)
        for value in asked:
            value.requires_grad_()
    return -verdicts.mean()


def balance(loss: Tensor, adversarial: Tensor, reconstruction: Tensor) -> Tensor:
    """Factor that makes the adversarial gradient on the picture as long as the other losses'.

    To be multiplied with `GAMMA`: the term then has the same say at any quality and whatever units
    the other losses have. Costs one pass back through the losses, not through the codec.

    Args:
        loss: the other losses, a function of `reconstruction`.
        adversarial: value of `adversarial_loss` on it.
        reconstruction: the picture between codec and losses, with a gradient.

    Returns:
        A scalar without gradient, 0..`MOST_BALANCE`.
    """
    (own,) = torch.autograd.grad(loss, reconstruction, retain_graph=True)
    (other,) = torch.autograd.grad(adversarial, reconstruction, retain_graph=True)
    ratio: Tensor = own.norm() / other.norm().clamp_min(1e-12)
    return ratio.clamp(0.0, MOST_BALANCE).detach()


def _normed(here: int, there: int, *, stride: int) -> nn.Module:
    size = 4 if stride == 2 else 3
    return spectral_norm(nn.Conv2d(here, there, size, stride, 1))
