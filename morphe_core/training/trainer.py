"""Training the Morphe codec's network: what a step of each stage is (`training.loop` has the rest).

At the end of a run its folder holds the network's weights, beside the log and the checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from morphe_core.network import Network
from morphe_core.training.adversarial import Discriminator
from morphe_core.training.data import Windows
from morphe_core.training.klt import Covariance
from morphe_core.training.loop import Clock, StagedTraining
from morphe_core.training.pipeline import Batch, Coded, Draw, Pipeline, prepare
from morphe_core.training.rate import RateModel
from morphe_core.training.stage_losses import coding_loss, shown_loss
from morphe_core.vgc.motion import field_of
from morphe_core.vgc.pictures import to_patches
from morphe_core.vgc.quantiser import quantise

#: Windows of a batch at each scale, so that a step costs about the same.
BATCH_BY_SCALE = {1: 2, 2: 8, 3: 16}


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage of training.

    Attributes:
        name: `base`, `sr`, `joint`, `robust` or `whole`.
        seconds: how long it lasts (wall clock); 0 = by `steps`.
        steps: how many steps; the learning rate falls along whichever is given.
        learning_rate: at its highest.
        scales: share of batches by scale, {1: 0.1, 2: 0.55, 3: 0.35}.
        draw: how strongly batches are impaired.
        losses: weights of the losses after super resolution, by the names of
            `stage_losses.LOSSES`; all but `base` have them.
        batch_factor: times the windows of `BATCH_BY_SCALE` in a step; a GPU has room for more.
    """

    name: str
    seconds: float = 0.0
    steps: int = 0
    learning_rate: float = 1e-3
    scales: dict[int, float] = field(default_factory=lambda: {1: 0.1, 2: 0.55, 3: 0.35})
    draw: Draw = field(default_factory=Draw)
    losses: dict[str, float] = field(default_factory=dict)
    batch_factor: int = 1


def learns_codec(stage: StageConfig) -> bool:
    """The tokenizer and the rate models learn."""
    return stage.name != "sr"


def learns_upscalers(stage: StageConfig) -> bool:
    """Super resolution learns; otherwise it is frozen, as in the paper's second step."""
    return stage.name in ("sr", "whole")


def learns_discriminator(stage: StageConfig) -> bool:
    """The adversarial loss is weighed, so what it asks must learn too."""
    return stage.name != "base" and bool(stage.losses.get("adversarial"))


def initialise(network: Network, windows: Windows, *, batches: int, seed: int) -> None:
    """Set the closed-form transforms from `batches` batches (see `klt`)."""
    generator = np.random.default_rng(seed)
    tokenizer = network.tokenizer
    device = next(network.parameters()).device
    i_moments = Covariance(tokenizer.i_basis.shape[1])
    seen: list[Batch] = []
    for number in range(batches):
        batch = prepare(*windows.batch(12, generator), 2 + number % 2, device)
        i_moments.add(to_patches(batch.first).cpu())
        seen.append(batch)
    i_basis = i_moments.basis(tokenizer.config.i_channels).to(device)
    tokenizer.set_transforms(i_basis, tokenizer.p_basis.detach())
    p_moments = Covariance(tokenizer.p_basis.shape[1])
    step = torch.full((1, 1, 1, 1), 28.0, device=device)
    with torch.no_grad():
        for batch in seen:
            values = quantise(tokenizer.analyse_i(batch.first), step) * step
            sent = torch.ones_like(values[:, :1])
            decoded = tokenizer.synthesise_i(values, sent, step, None)
            field = field_of(batch.motion, batch.camera)
            residual = tokenizer.p_residual(batch.rest, tokenizer.predict(decoded, field))
            p_moments.add(residual.cpu())
    tokenizer.set_transforms(i_basis, p_moments.basis(tokenizer.config.p_channels).to(device))


class Trainer(StagedTraining[StageConfig]):
    """Runs stages on a network."""

    def __init__(
        self, network: Network, windows: Windows, stages: list[StageConfig], folder: Path, *,
        seed: int, clock: Clock, checkpoint_seconds: float = 180.0, report_steps: int = 50,
    ) -> None:  # fmt: skip
        super().__init__(
            stages, folder, device=next(network.parameters()).device, clock=clock,
            checkpoint_seconds=checkpoint_seconds, report_steps=report_steps,
        )  # fmt: skip
        self.network = network
        self.windows = windows
        self.seed = seed
        self.generator = np.random.default_rng(seed)
        config = network.config.tokenizer
        self.i_rate = RateModel(config.i_channels).to(self.device)
        self.p_rate = RateModel(config.p_channels).to(self.device)
        self.pipeline = Pipeline(network.tokenizer, self.i_rate, self.p_rate, self.generator)
        #: Only there from the first stage on that weighs the adversarial loss; not in the weights.
        self.discriminator: Discriminator | None = None
        self._begin_stage()

    # -- stages ----------------------------------------------------------------------------------

    def _label(self, stage: StageConfig) -> str:
        return stage.name

    def _use_learning_rate(self, rate: float) -> None:
        super()._use_learning_rate(rate)
        if self.discriminator is not None:
            self.discriminator.set_learning_rate(rate)

    def _begin_stage(self) -> None:
        """New optimisers; a discriminator that is there goes on from what it has learnt."""
        self.optimiser = self._new_optimiser()
        if self.discriminator is not None:
            self.discriminator.restart()
        elif learns_discriminator(self.stages[self.progress.stage]):
            self.discriminator = Discriminator(seed=self.seed, device=self.device)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        """Adam over what the stage trains; transforms move slower than trunks."""
        stage = self.stages[self.progress.stage]
        tokenizer = self.network.tokenizer
        transforms = [
            tokenizer.i_basis, tokenizer.i_synthesis, tokenizer.p_basis, tokenizer.p_synthesis,
        ]  # fmt: skip
        chosen = {id(value) for value in transforms}
        trunks = [value for value in tokenizer.parameters() if id(value) not in chosen]
        rates = [*self.i_rate.parameters(), *self.p_rate.parameters()]
        upscalers = list(self.network.super_resolution.parameters())
        groups: list[dict[str, Any]] = []
        if learns_codec(stage):
            groups += [
                {"params": transforms, "factor": 0.1},
                {"params": trunks, "factor": 1.0},
                {"params": rates, "factor": 10.0},
            ]
        if learns_upscalers(stage):
            groups.append({"params": upscalers, "factor": 1.0})
        for value in (*transforms, *trunks, *rates):
            value.requires_grad_(learns_codec(stage))
        for value in upscalers:
            value.requires_grad_(learns_upscalers(stage))
        return torch.optim.Adam(groups, lr=stage.learning_rate, betas=(0.9, 0.98))

    # -- one step --------------------------------------------------------------------------------

    def step(self, stage: StageConfig) -> dict[str, float]:
        """One step of a stage; returns what is worth logging."""
        scales = list(stage.scales)
        weights = np.array([stage.scales[scale] for scale in scales])
        scale = scales[int(self.generator.choice(len(scales), p=weights / weights.sum()))]
        size = BATCH_BY_SCALE[scale] * stage.batch_factor
        pictures, flow = self.windows.batch(size, self.generator)
        batch = prepare(pictures, flow, scale, self.device)
        if stage.name == "sr":
            with torch.no_grad():
                coded = self.pipeline.run(batch, stage.draw)
        else:
            coded = self.pipeline.run(batch, stage.draw)
        loss, facts = self._loss(stage, batch, coded)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
        if math.isfinite(norm):
            self.optimiser.step()
        return {**facts, "norm": min(norm, 1e6)}

    def _loss(
        self, stage: StageConfig, batch: Batch, coded: Coded
    ) -> tuple[Tensor, dict[str, float]]:
        loss, facts = coding_loss(batch, coded)
        if stage.name != "base":
            extra, more = shown_loss(
                stage.losses, batch, coded, self.network.upscaler(batch.scale), self.generator,
                self.discriminator,
            )  # fmt: skip
            facts.update(more)
            loss = extra if stage.name == "sr" else loss + extra
        return loss, facts

    # -- keeping ---------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        state = {
            "network": self.network.state_dict(),
            "i_rate": self.i_rate.state_dict(),
            "p_rate": self.p_rate.state_dict(),
            "generator": self.generator.bit_generator.state,
            "torch": torch.get_rng_state(),
        }
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state()
        return state

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.i_rate.load_state_dict(state["i_rate"])
        self.p_rate.load_state_dict(state["p_rate"])
        kept = state.get("discriminator")
        if kept is not None:
            self.discriminator = Discriminator(seed=self.seed, device=self.device)
        begun = self._resume_stage(state)
        if kept is not None and self.discriminator is not None:
            self.discriminator.load(kept, optimiser=begun)
        self.generator.bit_generator.state = state["generator"]
        torch.set_rng_state(state["torch"].cpu())
