"""The training loop: stages, checkpoints, exact resume, and a log of numbers.

A run folder holds `metrics.jsonl` (one line each reporting interval), `checkpoint.pt` (everything
that the next step depends on) and, at the end, the network's weights. Started again in the same
folder, training goes on at the step of the checkpoint and gives the same weights as a run that was
never stopped (on the same machine and number of threads).
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from morphe_core.errors import TrainingError
from morphe_core.network import Network
from morphe_core.training.adversarial import Discriminator
from morphe_core.training.data import Windows
from morphe_core.training.klt import Covariance
from morphe_core.training.pipeline import Batch, Coded, Draw, Pipeline, prepare
from morphe_core.training.rate import RateModel
from morphe_core.training.report import METRICS_FILE, read_log
from morphe_core.training.stage_losses import coding_loss, shown_loss
from morphe_core.vgc.motion import field_of
from morphe_core.vgc.pictures import to_patches
from morphe_core.vgc.quantiser import quantise

#: Windows of a batch at each scale, so that a step costs about the same.
BATCH_BY_SCALE = {1: 2, 2: 8, 3: 16}
#: Steps over which the learning rate rises at the start of a stage.
WARM_UP_STEPS = 50

#: What PyTorch raises on a file that is no checkpoint, beside a `RuntimeError`.
_UNREADABLE = (pickle.UnpicklingError, EOFError, IndexError)

Clock = Callable[[], float]


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
    """

    name: str
    seconds: float = 0.0
    steps: int = 0
    learning_rate: float = 1e-3
    scales: dict[int, float] = field(default_factory=lambda: {1: 0.1, 2: 0.55, 3: 0.35})
    draw: Draw = field(default_factory=Draw)
    losses: dict[str, float] = field(default_factory=dict)


def learns_codec(stage: StageConfig) -> bool:
    """The tokenizer and the rate models learn."""
    return stage.name != "sr"


def learns_upscalers(stage: StageConfig) -> bool:
    """Super resolution learns; otherwise it is frozen, as in the paper's second step."""
    return stage.name in ("sr", "whole")


def learns_discriminator(stage: StageConfig) -> bool:
    """The adversarial loss is weighed, so what it asks must learn too."""
    return stage.name != "base" and bool(stage.losses.get("adversarial"))


@dataclass(slots=True)
class Progress:
    """Where training stands."""

    stage: int = 0
    step: int = 0
    total_steps: int = 0
    stage_seconds: float = 0.0
    total_seconds: float = 0.0


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


class Trainer:
    """Runs stages on a network."""

    def __init__(
        self, network: Network, windows: Windows, stages: list[StageConfig], folder: Path, *,
        seed: int, clock: Clock, checkpoint_seconds: float = 180.0, report_steps: int = 50,
    ) -> None:  # fmt: skip
        self.network = network
        self.windows = windows
        self.stages = stages
        self.folder = folder
        self.seed = seed
        self.generator = np.random.default_rng(seed)
        self.device = next(network.parameters()).device
        config = network.config.tokenizer
        self.i_rate = RateModel(config.i_channels).to(self.device)
        self.p_rate = RateModel(config.p_channels).to(self.device)
        self.pipeline = Pipeline(network.tokenizer, self.i_rate, self.p_rate, self.generator)
        self.progress = Progress()
        self._clock = clock
        self._checkpoint_seconds = checkpoint_seconds
        self._report_steps = report_steps
        self._sums: dict[str, list[float]] = {}
        #: Only there from the first stage on that weighs the adversarial loss; not in the weights.
        self.discriminator: Discriminator | None = None
        self._begin_stage()

    # -- running ---------------------------------------------------------------------------------

    def run(self, report: Callable[[str], None] = print) -> None:
        """Run what is left of the stages."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._trim_log()
        for _ in self._stages_left():
            self._run_stage(report)
        self.save()

    def _stages_left(self) -> Iterator[StageConfig]:
        while self.progress.stage < len(self.stages):
            yield self.stages[self.progress.stage]
            self.progress = Progress(
                self.progress.stage + 1, 0, self.progress.total_steps, 0.0,
                self.progress.total_seconds,
            )  # fmt: skip
            if self.progress.stage < len(self.stages):
                self._begin_stage()
            self.save()

    def _run_stage(self, report: Callable[[str], None]) -> None:
        stage = self.stages[self.progress.stage]
        last = self._clock()
        saved = last
        while not self._done(stage):
            self._set_learning_rate(stage)
            facts = self.step(stage)
            now = self._clock()
            self.progress.step += 1
            self.progress.total_steps += 1
            self.progress.stage_seconds += now - last
            self.progress.total_seconds += now - last
            last = now
            for name, value in facts.items():
                self._sums.setdefault(name, []).append(value)
            if self.progress.step % self._report_steps == 0:
                report(self._log(stage))
            if now - saved > self._checkpoint_seconds:
                self.save()
                saved = last = self._clock()

    def _done(self, stage: StageConfig) -> bool:
        if stage.seconds:
            return self.progress.stage_seconds >= stage.seconds
        return self.progress.step >= stage.steps

    def _set_learning_rate(self, stage: StageConfig) -> None:
        done = (
            self.progress.stage_seconds / stage.seconds
            if stage.seconds
            else self.progress.step / max(1, stage.steps)
        )
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        rate = stage.learning_rate * cosine * min(1.0, (self.progress.step + 1) / WARM_UP_STEPS)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
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
        pictures, flow = self.windows.batch(BATCH_BY_SCALE[scale], self.generator)
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

    def _log(self, stage: StageConfig) -> str:
        entry: dict[str, Any] = {
            "stage": stage.name,
            "step": self.progress.total_steps,
            "seconds": round(self.progress.total_seconds, 1),
        }
        entry.update({name: round(float(np.mean(v)), 5) for name, v in self._sums.items() if v})
        self._sums = {}
        with (self.folder / METRICS_FILE).open("a") as file:
            file.write(json.dumps(entry) + "\n")
        return " ".join(f"{name} {value}" for name, value in entry.items())

    def save(self) -> None:
        """Write the checkpoint: to a temporary name, then renamed."""
        state = {
            "network": self.network.state_dict(),
            "i_rate": self.i_rate.state_dict(),
            "p_rate": self.p_rate.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.bit_generator.state,
            "torch": torch.get_rng_state(),
            "progress": {n: getattr(self.progress, n) for n in Progress.__dataclass_fields__},
            "sums": self._sums,
        }
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state()
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.progress = Progress(**state["progress"])
            self.network.load_state_dict(state["network"])
            self.i_rate.load_state_dict(state["i_rate"])
            self.p_rate.load_state_dict(state["p_rate"])
            kept = state.get("discriminator")
            if kept is not None:
                self.discriminator = Discriminator(seed=self.seed, device=self.device)
            # A stage that has not begun starts afresh, also if it was added to a finished run.
            begun = self.progress.step > 0
            if self.progress.stage < len(self.stages):
                self._begin_stage()
                if begun:
                    self.optimiser.load_state_dict(state["optimiser"])
            if kept is not None and self.discriminator is not None:
                self.discriminator.load(kept, optimiser=begun)
            self.generator.bit_generator.state = state["generator"]
            torch.set_rng_state(state["torch"].cpu())
            self._sums = state["sums"]
        except (*_UNREADABLE, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or ["damaged"])[0]
            raise TrainingError(f"{path}: does not fit this training ({reason})") from None

    def _trim_log(self) -> None:
        """Drop what was logged after the checkpoint: these steps are run, and logged, again."""
        path = self.folder / METRICS_FILE
        if not path.exists():
            return
        entries = [entry for entry in read_log(path) if entry["step"] <= self.progress.total_steps]
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        part.replace(path)
