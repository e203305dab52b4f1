"""The losses of a stage: of coding, at the coded size; and of what is shown, at the source size.

Beside `pixel`, `vif` and `detail`, which look at single pictures, a stage may weigh the paper's
three others (section 4.2 and Appendix A.2):

* `flow` (Eq. 5 and 7): a picture of the group against the one before it, and the I picture against
  the last of the group before, along the motion of the source. After super resolution, as the
  paper trains it with this loss too and nothing else would reach it; so one picture more of each
  window is enlarged. It is the relative form: a flicker of the source itself is not charged.
* `boundary` (Eq. 1 with n = 1, as a window holds one picture before): the I picture against the
  last of the group before, both as shown. Motion between them is charged too.
* `adversarial` (Eq. 6): what a discriminator, which learns beside the codec, takes for real.

In training the group before is not decoded. Its last picture stands in for it: coded as an I
picture of its own, at up to three times the step and with no row lost. The codec takes no gradient
from it, as what has been shown cannot be changed: it learns to begin a group near it. Super
resolution does, as it enlarges both alike. Batches without a picture before (`Draw.no_before`) have
no boundary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from morphe_core.rsa.super_resolution import SuperResolution, enlarge
from morphe_core.training.adversarial import Discriminator, adversarial_loss, balance
from morphe_core.training.flow import flow_batch
from morphe_core.training.losses import boundary_loss, flow_loss
from morphe_core.training.perceptual import detail_kept, vif_kept
from morphe_core.training.pipeline import Batch, Coded, distortion
from morphe_core.vgc.pictures import MIDDLE, Picture, to_bytes
from morphe_core.vgc.quantiser import LAGRANGIAN
from morphe_core.vgc.tokens import GOP_FRAMES

#: Losses of single pictures against their source.
FIDELITY_LOSSES: Final = ("pixel", "vif", "detail")
#: Every loss that a stage can weigh by name.
LOSSES: Final = (*FIDELITY_LOSSES, "flow", "boundary", "adversarial")
#: Weight of samples with losses: they must not outweigh what everyone sees.
IMPAIRED_WEIGHT: Final = 0.8
#: Side in pixels of the part of each picture that the discriminator is shown in a step: a fourth of
#: the area for a fourth of the time. Whole pictures take a CPU longer than the rest of the step.
JUDGED_SIDE: Final = 144

Facts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """Two pictures of every window at the source size: the I picture and one P picture.

    Attributes:
        luma: (2 N, 1, H, W), after super resolution; the N I pictures come first.
        wanted: the same of the source.
        before: (N, 1, H, W), the last picture of the group before; or None.
        times: (N,) which P picture, 1..8.
        weights: (N,) of the windows.
    """

    luma: Tensor
    wanted: Tensor
    before: Tensor | None
    times: Tensor
    weights: Tensor


def coding_loss(batch: Batch, coded: Coded) -> tuple[Tensor, Facts]:
    """Squared error and estimated bits at the coded size, and what is worth logging."""
    square = coded.p_step.flatten().square()
    i_error = distortion(coded.i.picture, batch.first)
    p_error = distortion(coded.p.pictures, batch.rest).unflatten(0, (batch.size, -1)).mean(1)
    error = (i_error + (GOP_FRAMES - 1) * p_error) / GOP_FRAMES
    samples = 96 * GOP_FRAMES
    bits = (coded.i_bits + coded.p_bits).flatten(1).mean(1) / samples
    cost = error / square + LAGRANGIAN * bits
    # The logarithm, because the cost at the finest step is fifty times that at the coarsest and
    # would be all that training looks at.
    loss = (torch.log(cost + 1e-6) * _weights(coded)).mean()
    with torch.no_grad():
        clean = ~coded.impaired
        facts = {"cost": float(torch.log2(cost[clean]).mean())}
        facts["psnr"] = float((10 * torch.log10(255**2 / error[clean])).mean())
        facts["i_bits"] = float(coded.i_bits[clean].mean())
        facts["p_bits"] = float(coded.p_bits[clean].mean())
        hurt = error[coded.impaired]
        facts["impaired_psnr"] = float((10 * torch.log10(255**2 / hurt)).mean())
        facts = {name: value for name, value in facts.items() if math.isfinite(value)}
    return loss, facts


def shown_loss(
    weights: Mapping[str, float], batch: Batch, coded: Coded, upscaler: SuperResolution,
    generator: np.random.Generator, discriminator: Discriminator | None,
) -> tuple[Tensor, Facts]:  # fmt: skip
    """The weighted losses of a few pictures at the source size, after super resolution.

    Args:
        weights: by the names of `LOSSES`; a loss that is missing or 0 costs no time, but the
            fidelity losses, which are logged all the same.
        batch: the windows.
        coded: what the codec made of them.
        upscaler: super resolution of the batch's scale.
        generator: draws pictures, and where the discriminator looks.
        discriminator: learns a step on these pictures where `adversarial` is weighed; must then be
            there, and one of the fidelity losses too.

    Returns:
        The loss, and what is worth logging.
    """
    across = bool(weights.get("flow") or weights.get("boundary"))
    shown = _shown(batch, coded, upscaler, generator, across=across)
    loss, facts = _fidelity(weights, shown)
    terms: dict[str, Tensor] = {}
    if weights.get("flow"):
        terms["flow"] = _flow(batch, coded, upscaler, shown)
    if weights.get("boundary") and shown.before is not None:
        first = shown.luma[: batch.size]
        terms["boundary"] = boundary_loss(first, shown.before, 1, weights=shown.weights)
    for name, value in terms.items():
        loss = loss + weights[name] * value
        facts[f"sr_{name}"] = float(value.detach())
    if weights.get("adversarial"):
        assert discriminator is not None
        # After the others: its weight is its share of their gradient.
        term, more = _adversarial(shown, loss, generator, discriminator)
        loss = loss + weights["adversarial"] * term
        facts.update(more)
    return loss, facts


def _weights(coded: Coded) -> Tensor:
    return torch.where(coded.impaired, IMPAIRED_WEIGHT, 1.0)


def _shown(
    batch: Batch, coded: Coded, upscaler: SuperResolution, generator: np.random.Generator, *,
    across: bool,
) -> Shown:  # fmt: skip
    """Two pictures of each window, and with `across` the one before the group."""
    device = batch.motion.device
    count = batch.size
    times = torch.from_numpy(generator.integers(1, GOP_FRAMES, count)).to(device)
    rows = torch.arange(count, device=device)
    chosen = rows * (GOP_FRAMES - 1) + times - 1
    both = coded.i.picture.joined(coded.p.pictures.take(chosen))
    luma = enlarge(upscaler, both, torch.cat([coded.i.features, coded.p.features]))
    source = _source(batch)
    wanted = torch.cat([source[:, 1], source[rows, times + 1]])
    before = None
    if across and coded.before is not None:
        before = enlarge(upscaler, coded.before.picture, coded.before.features)
    return Shown(luma, wanted, before, times, _weights(coded))


def _source(batch: Batch) -> Tensor:
    """Luma of the windows, (N, 10, 1, H, W); 0 is the picture before the group."""
    luma: Tensor = batch.source.luma.unflatten(0, (batch.size, GOP_FRAMES + 1))
    return luma


def _fidelity(weights: Mapping[str, float], shown: Shown) -> tuple[Tensor, Facts]:
    luma, wanted = shown.luma, shown.wanted
    terms = {
        "pixel": (luma - wanted).abs().flatten(1).mean(1),
        "vif": 1 - vif_kept(luma + MIDDLE, wanted + MIDDLE),
        "detail": 1 - detail_kept(luma + MIDDLE, wanted + MIDDLE),
    }
    weight = shown.weights.repeat(2)
    loss = torch.zeros((), device=luma.device)
    facts = {}
    for name, value in terms.items():
        if weights.get(name):
            loss = loss + weights[name] * (value * weight).mean()
        facts[f"sr_{name}"] = float(value.detach().mean())
    return loss, facts


def _flow(batch: Batch, coded: Coded, upscaler: SuperResolution, shown: Shown) -> Tensor:
    """The P pictures against those before them, the I pictures against the groups before."""
    count = batch.size
    rows = torch.arange(count, device=shown.times.device)
    source = _source(batch)
    earlier = enlarge(upscaler, *_earlier(coded, shown.times))
    pairs = [(earlier, shown.luma[count:], source[rows, shown.times], shown.wanted[count:])]
    if shown.before is not None:
        pairs.append((shown.before, shown.luma[:count], source[:, 0], shown.wanted[:count]))
    before, now, source_before, source_now = (
        torch.cat(pictures) for pictures in zip(*pairs, strict=True)
    )
    luma = to_bytes(torch.cat([source_before, source_now], dim=1)).cpu().numpy()
    flow = flow_batch(luma, now.device)[:, 0]
    return flow_loss(
        (before, now), (source_before, source_now), flow, relative=True,
        weights=shown.weights.repeat(len(pairs)),
    )  # fmt: skip


def _earlier(coded: Coded, times: Tensor) -> tuple[Picture, Tensor]:
    """The decoded picture before the P picture `times` of each window, and its features."""
    count = len(times)
    rows = torch.arange(count, device=times.device)
    planes = (
        torch.cat([i[:, None], p.unflatten(0, (count, GOP_FRAMES - 1))], dim=1)[rows, times - 1]
        for i, p in zip(coded.i.picture, coded.p.pictures, strict=True)
    )
    is_first = (times == 1)[:, None, None, None]
    return Picture(*planes), torch.where(is_first, coded.i.features, coded.p.features)


def _adversarial(
    shown: Shown, others: Tensor, generator: np.random.Generator, discriminator: Discriminator
) -> tuple[Tensor, Facts]:
    """The discriminator learns, then judges; its gradient is made as long as that of `others`."""
    places = [max(0, side - JUDGED_SIDE) for side in shown.luma.shape[2:]]
    y, x = (int(generator.integers(most + 1)) for most in places)
    part = (..., slice(y, y + JUDGED_SIDE), slice(x, x + JUDGED_SIDE))
    judged, real = shown.luma[part] + MIDDLE, shown.wanted[part] + MIDDLE
    told = discriminator.learn(judged, real)
    value = adversarial_loss(discriminator.judge, judged)
    factor = balance(others, value, shown.luma)
    return factor * value, {"sr_adversarial": float(value.detach()), "discriminator": told}
