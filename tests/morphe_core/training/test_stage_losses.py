from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from morphe_core.network import Network
from morphe_core.rsa.super_resolution import SuperResolution
from morphe_core.training import trainer as trainer_module
from morphe_core.training.adversarial import Discriminator
from morphe_core.training.data import Windows
from morphe_core.training.pipeline import Batch, Coded, Draw, prepare
from morphe_core.training.stage_losses import (
    IMPAIRED_WEIGHT,
    JUDGED_SIDE,
    LOSSES,
    _earlier,
    coding_loss,
    shown_loss,
)
from morphe_core.training.trainer import StageConfig, Trainer
from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.small import DecodedI, DecodedP
from tests.morphe_core.training.conftest import TINY

CPU = torch.device("cpu")
CALM = Draw(finest_step=40, coarsest_step=41, loss_share=0, drop_share=0, no_before=0)


@pytest.fixture
def seen(windows: Windows) -> Batch:
    return prepare(*windows.batch(3, np.random.default_rng(1)), 1, CPU)


def perfect(seen: Batch, *, before: bool = True) -> Coded:
    """What a codec that loses nothing would give."""
    nothing = torch.zeros(seen.size, TINY.tokenizer.width, *seen.first.luma.shape[2:])
    features = nothing[..., ::8, ::8]
    zero = torch.zeros_like(features[:, :1])
    return Coded(
        DecodedI(seen.first, features), DecodedP(seen.rest, features), zero, zero,
        torch.ones(seen.size, 1, 1, 1), torch.zeros(seen.size, dtype=torch.bool),
        DecodedI(seen.before, features) if before else None,
    )  # fmt: skip


def with_luma(coded: Coded, add: Tensor) -> Coded:
    """The P pictures, (N, 8), brighter by `add`."""
    pictures = coded.p.pictures
    brighter = Picture(pictures.luma + add.reshape(-1, 1, 1, 1), pictures.chroma)
    return replace(coded, p=DecodedP(brighter, coded.p.features))


def upscaler(scale: int = 1) -> SuperResolution:
    """One that adds nothing yet."""
    torch.manual_seed(4)
    return Network(TINY).upscaler(scale)


def value(
    name: str, seen: Batch, coded: Coded, seed: int = 1, weights: dict[str, float] | None = None
) -> tuple[float, dict[str, float]]:
    """The loss with one name weighed, and what is logged."""
    loss, facts = shown_loss(
        weights or {name: 1.0}, seen, coded, upscaler(), np.random.default_rng(seed), None
    )
    return float(loss.detach()), facts


# -- what each of them sees ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("before", [True, False])
def test_the_source_itself_does_not_flicker(seen: Batch, seed: int, before: bool) -> None:
    """Though it moves: by up to two pixels a picture."""
    loss, facts = value("flow", seen, perfect(seen, before=before), seed)
    assert loss == facts["sr_flow"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_flow_compares_each_picture_with_the_one_before_it(seen: Batch, seed: int) -> None:
    """Each second picture is brighter by six; that before the first P picture is the I picture."""
    brighter = torch.tensor([6.0, 0.0]).repeat(seen.size, 4)
    flicker = with_luma(perfect(seen, before=False), brighter)
    assert value("flow", seen, flicker, seed)[0] == pytest.approx(6, abs=1e-3)
    steady = with_luma(perfect(seen, before=False), torch.full((seen.size, 8), 6.0))
    # Only from the I picture to the first P picture is there a step.
    times = np.random.default_rng(seed).integers(1, 9, seen.size)
    share = float(np.mean(times == 1))
    assert value("flow", seen, steady, seed)[0] == pytest.approx(6 * share, abs=0.3)


def test_the_picture_before_comes_with_its_own_features(seen: Batch) -> None:
    """Those of the I picture before the first P picture, else those that P pictures share."""
    coded = perfect(seen)
    ones = torch.ones_like(coded.i.features)
    coded = replace(
        coded,
        i=DecodedI(coded.i.picture, ones),
        p=DecodedP(coded.p.pictures, torch.stack([2 * ones[0], 3 * ones[0], 4 * ones[0]])),
    )
    picture, features = _earlier(coded, torch.tensor([1, 4, 8]))
    assert features[:, 0, 0, 0].tolist() == [1.0, 3.0, 4.0]
    window = seen.source.luma.unflatten(0, (3, 10))
    assert torch.equal(picture.luma, torch.stack([window[0, 1], window[1, 4], window[2, 8]]))
    chroma = seen.source.chroma.unflatten(0, (3, 10))
    assert torch.equal(picture.chroma, torch.stack([chroma[0, 1], chroma[1, 4], chroma[2, 8]]))


def test_flow_sees_the_boundary_of_groups_too(seen: Batch) -> None:
    coded = perfect(seen)
    assert coded.before is not None
    darker = Picture(coded.before.picture.luma - 6, coded.before.picture.chroma)
    coded = replace(coded, before=DecodedI(darker, coded.before.features))
    # Half of the pairs: the others are within the group.
    assert value("flow", seen, coded)[0] == pytest.approx(3, abs=0.3)


def test_boundary_is_the_mean_difference_of_what_is_shown(seen: Batch) -> None:
    """Eq. 1 with n = 1; motion is charged too."""
    wanted = float((seen.first.luma - seen.before.luma).abs().mean())
    loss, facts = value("boundary", seen, perfect(seen))
    assert wanted > 1
    assert loss == facts["sr_boundary"] == pytest.approx(wanted, rel=1e-5)


def test_without_a_picture_before_there_is_no_boundary(seen: Batch) -> None:
    loss, facts = value("boundary", seen, perfect(seen, before=False))
    assert loss == 0
    assert "sr_boundary" not in facts


@pytest.mark.parametrize("name", ["flow", "boundary"])
def test_impaired_windows_count_less(seen: Batch, name: str) -> None:
    brighter = torch.tensor([6.0, 0.0]).repeat(seen.size, 4)
    coded = with_luma(perfect(seen), brighter)
    hurt = replace(coded, impaired=torch.ones(seen.size, dtype=torch.bool))
    plain, less = (value(name, seen, one)[0] for one in (coded, hurt))
    assert less == pytest.approx(IMPAIRED_WEIGHT * plain, rel=1e-4)


def test_the_discriminator_sees_a_part_of_what_is_shown(
    seen: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[tuple[Tensor, Tensor]] = []
    discriminator = Discriminator(seed=1, device=CPU)
    monkeypatch.setattr(discriminator, "learn", lambda *both: pairs.append(both) or 1.5)
    coded = perfect(seen)
    coded.p.pictures.luma.requires_grad_()
    brighter = with_luma(coded, torch.full((seen.size, 8), 1.0))
    weights = {"pixel": 1.0, "adversarial": 0.1}
    generator = np.random.default_rng(1)
    facts = shown_loss(weights, seen, brighter, upscaler(), generator, discriminator)[1]
    ((made, real),) = pairs
    assert made.shape == real.shape == (2 * seen.size, 1, JUDGED_SIDE, JUDGED_SIDE)
    # Pixel values from 0 up, the same places of both; I pictures first.
    assert 0 <= real.min() < real.max() <= 255
    added = (made - real).detach().mean((1, 2, 3))
    np.testing.assert_allclose(added, [0.0] * seen.size + [1.0] * seen.size, atol=1e-4)
    assert facts["discriminator"] == 1.5


# -- what is left as it was ----------------------------------------------------------------------


def test_losses_that_are_not_weighed_change_and_cost_nothing(seen: Batch) -> None:
    """As of old, whatever names are there with a weight of zero."""
    coded = perfect(seen)
    generators = [np.random.default_rng(1) for _ in range(2)]
    plain, zero = (
        shown_loss(weights, seen, coded, upscaler(), generator, None)
        for weights, generator in zip(
            ({"pixel": 0.3, "vif": 1.0}, dict.fromkeys(LOSSES, 0.0) | {"pixel": 0.3, "vif": 1.0}),
            generators,
            strict=True,
        )
    )
    assert torch.equal(plain[0], zero[0])
    assert plain[1] == zero[1]
    assert set(plain[1]) == {"sr_pixel", "sr_vif", "sr_detail"}
    # One draw: which P picture.
    only = np.random.default_rng(1)
    only.integers(1, 9, seen.size)
    for generator in generators:
        assert generator.bit_generator.state == only.bit_generator.state


def test_coding_costs_bits_and_error(seen: Batch) -> None:
    """Closed form of one sample's: error over squared step plus the bits' price."""
    coded = perfect(seen)
    bits = torch.full_like(coded.i_bits, 96.0 * 9)
    free, dear = (coding_loss(seen, replace(coded, p_bits=one)) for one in (0 * bits, bits))
    assert float(free[0]) == pytest.approx(np.log(1e-6), rel=1e-4)
    assert float(torch.exp(dear[0])) == pytest.approx(2 ** dear[1]["cost"], rel=1e-3)
    assert dear[1]["p_bits"] == pytest.approx(96 * 9)


# -- learning ------------------------------------------------------------------------------------


def trainer_for(
    windows: Windows, folder: Path, name: str, losses: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> Trainer:  # fmt: skip
    monkeypatch.setattr(trainer_module, "BATCH_BY_SCALE", {3: 2})
    torch.manual_seed(4)
    stage = StageConfig(name, steps=99, scales={3: 1.0}, draw=CALM, losses=losses)
    clock = iter(range(10**6)).__next__
    return Trainer(Network(TINY), windows, [stage], folder, seed=6, clock=clock)


def gradients(trainer: Trainer) -> list[Tensor]:
    """Of the tokenizer and of super resolution, by one batch, always the same."""
    trainer.generator = np.random.default_rng(3)
    trainer.pipeline.generator = trainer.generator
    (stage,) = trainer.stages
    seen = prepare(*trainer.windows.batch(2, trainer.generator), 3, CPU)
    trainer._loss(stage, seen, trainer.pipeline.run(seen, stage.draw))[0].backward()
    parts = trainer.network.tokenizer, trainer.network.upscaler(3)
    return [
        torch.cat([(v.grad if v.grad is not None else 0 * v).flatten() for v in part.parameters()])
        for part in parts
    ]


@pytest.mark.parametrize("name", ["flow", "boundary", "adversarial"])
def test_each_changes_what_the_codec_and_super_resolution_learn(
    windows: Windows, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, more = (
        gradients(trainer_for(windows, tmp_path, "whole", {"pixel": 1.0} | added, monkeypatch))
        for added in ({}, {name: 0.5})
    )
    for part, other in zip(plain, more, strict=True):
        assert part.isfinite().all()
        assert other.isfinite().all()
        assert (part - other).norm() > 1e-3 * part.norm()


def test_the_adversarial_weight_is_its_share_of_the_gradient_on_the_picture(seen: Batch) -> None:
    """That of Eq. 6 is 0.1: the term pulls a tenth as hard as all others, whatever their units."""
    judged = {}
    for scale in (1.0, 50.0):
        for weight in (0.0, 0.1):
            coded = perfect(seen)
            luma = (coded.p.pictures.luma + 3 * torch.sin(coded.p.pictures.luma)).requires_grad_()
            pictures = Picture(luma, coded.p.pictures.chroma)
            coded = replace(coded, p=DecodedP(pictures, coded.p.features))
            # I pictures have no error, but a gradient that counts would go to them too.
            loss = shown_loss(
                {"pixel": scale, "adversarial": weight}, seen, coded, upscaler(),
                np.random.default_rng(1), Discriminator(seed=1, device=CPU),
            )[0]  # fmt: skip
            (judged[scale, weight],) = torch.autograd.grad(loss, luma)
    for scale in (1.0, 50.0):
        own = judged[scale, 0.0]
        added = judged[scale, 0.1] - own
        # The I pictures have the rest of it.
        assert 0.03 < float(added.norm() / own.norm()) <= 0.101


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("flow", {"flow": 1.0}),
        ("boundary", {"boundary": 1.0}),
        ("adversarial", {"pixel": 1e-3, "adversarial": 30.0}),
    ],
)
def test_each_falls_as_the_decoded_pictures_follow_its_gradient(
    seen: Batch, name: str, weights: dict[str, float]
) -> None:
    """Before a discriminator that learns nothing more, from pictures with noise."""
    discriminator = Discriminator(seed=1, device=CPU)
    discriminator.set_learning_rate(0.0)
    torch.manual_seed(5)
    coded = perfect(seen)
    planes = [one.luma + 5 * torch.randn_like(one.luma) for one in (seen.first, seen.rest)]
    first, rest = (plane.requires_grad_() for plane in planes)
    coded = replace(
        coded,
        i=DecodedI(Picture(first, seen.first.chroma), coded.i.features),
        p=DecodedP(Picture(rest, seen.rest.chroma), coded.p.features),
    )
    optimiser = torch.optim.Adam([first, rest], lr=0.5)
    told = []
    for _ in range(6):
        loss, facts = shown_loss(
            weights, seen, coded, upscaler(), np.random.default_rng(3), discriminator
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        told.append(facts[f"sr_{name}"])
    assert (np.diff(told) < 0).all()
    assert told[-1] < told[0] - 0.05 * abs(told[0])


def test_super_resolution_cannot_close_a_gap_by_changing_one_side(seen: Batch) -> None:
    coded = perfect(seen)
    assert coded.before is not None
    network = upscaler()
    for weights in ({"flow": 1.0}, {"boundary": 1.0}):
        # It brightens both sides alike.
        loss = shown_loss(weights, seen, coded, network, np.random.default_rng(1), None)[0]
        assert network.head.bias is not None
        (pull,) = torch.autograd.grad(loss, network.head.bias)
        assert abs(float(pull.mean())) < 1e-5
