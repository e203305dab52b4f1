"""Training this codec's network: what a step is (`morphe_core.training.loop` has the rest).

A step codes a few pictures in a row, each against the reconstruction of the one before, and the
next step goes on from there (see `draw`). Where a clip has losses, it is decoded a second time,
with elements missing, against what that decoder made of the pictures before: the encoder does not
know yet, as it does not in a session. With the next step it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grace_style.geometry import CELL_SIDE, MOTION_CHANNELS, MOTION_SIDE, RESIDUAL_SIDE
from grace_style.network import BLOCK_CHANNELS, Latents, Network
from grace_style.training.draw import Draw, Pool, lose, put, rough_bpp, take
from grace_style.training.rate import ElementRate
from morphe_core.training.data import Windows
from morphe_core.training.klt import Covariance
from morphe_core.training.loop import Clock, StagedTraining
from morphe_core.training.perceptual import detail_kept, vif_kept
from morphe_core.vgc.pictures import MIDDLE, Picture, to_patches
from morphe_core.vgc.quantiser import LAGRANGIAN

#: The weights that training ends with are a running mean over about so many steps: single steps, of
#: few clips each, are noisy.
AVERAGED_STEPS = 250
#: What the lossy decoding counts beside the clean one.
LOSSY_WEIGHT = 1.0


@dataclass(frozen=True)
class Stage:
    """One part of the training.

    Attributes:
        seconds: it lasts so long; 0: `steps` count.
        steps: number of steps, if `seconds` is 0.
        learning_rate: at its highest; falls to a fiftieth along a cosine.
        seen_weight: of the losses of visible detail beside the logarithm of the coding cost.
        draw: see `Draw`.
    """

    seconds: float = 0.0
    steps: int = 0
    learning_rate: float = 5e-4
    seen_weight: float = 0.0
    draw: Draw = field(default_factory=Draw)


def initialise(network: Network, windows: Windows, *, batches: int, seed: int) -> None:
    """Set the residual's closed-form transform from `batches` batches."""
    generator = np.random.default_rng(seed)
    device = next(network.parameters()).device
    moments = Covariance(BLOCK_CHANNELS)
    with torch.no_grad():
        for _ in range(batches):
            pool = Pool(windows, Draw(pictures=1, clips=12), generator, device)
            pictures, flows = pool.pictures()
            prediction = network.predict(pool.here, flows[0], pool.steps)
            residual = to_patches(pictures[0]) - prediction
            moments.add(torch.nn.functional.pixel_unshuffle(residual, 2).cpu())
    network.set_transform(moments.basis(network.config.channels).to(device))


class Trainer(StagedTraining[Stage]):
    """Runs stages on a network."""

    def __init__(
        self, network: Network, windows: Windows, stages: list[Stage], folder: Path, *, seed: int,
        clock: Clock, checkpoint_seconds: float = 180.0, report_steps: int = 25,
    ) -> None:  # fmt: skip
        super().__init__(
            stages, folder, device=next(network.parameters()).device, clock=clock,
            checkpoint_seconds=checkpoint_seconds, report_steps=report_steps,
        )  # fmt: skip
        self.network, self.windows = network, windows
        self.generator = np.random.default_rng(seed)
        self.losses = torch.Generator(self.device).manual_seed(seed)
        self.residual_rate = ElementRate(network.config.channels).to(self.device)
        self.motion_rate = ElementRate(MOTION_CHANNELS).to(self.device)
        self._pool: Pool | None = None
        self._kept_pool: dict[str, Any] | None = None
        self._kept_generator: dict[str, Any] = {}
        self._average: dict[str, Tensor] = {}
        self._begin_stage()

    @torch.no_grad()
    def start_rates(self, batches: int, draw: Draw) -> None:
        """Set the rate models in closed form from what the network codes now."""
        pool = Pool(self.windows, draw, self.generator, self.device)
        kinds = (
            (self.motion_rate, CELL_SIDE // MOTION_SIDE),
            (self.residual_rate, CELL_SIDE // RESIDUAL_SIDE),
        )
        totals = [torch.zeros(3, *rate.some.shape, device=self.device) for rate, _ in kinds]
        for _ in range(batches):
            here, bpp = pool.here, torch.zeros(draw.clips, device=self.device)
            for picture, flow in zip(*pool.pictures(), strict=True):
                latents, *_ = self.network.encode_through(picture, flow, here, pool.steps)
                here = self.network.decode(latents, here, pool.steps)
                bpp = bpp + rough_bpp(latents) / draw.pictures
                for (rate, cell), total, elements in zip(kinds, totals, latents[:2], strict=True):
                    total += rate.moments(elements, cell)
            pool.go_on(here, bpp)
        for (rate, _), total in zip(kinds, totals, strict=True):
            rate.start(total)

    # -- stages ----------------------------------------------------------------------------------

    def _label(self, stage: Stage) -> int:  # noqa: ARG002 - stages have no names here
        return self.progress.stage

    def _enter_stage(self, stage: Stage) -> None:
        """Its clips: those of the checkpoint, or others."""
        pool = Pool(self.windows, stage.draw, self.generator, self.device)
        if self._kept_pool is not None:
            pool.load(self._kept_pool)
            self.generator.bit_generator.state = self._kept_generator
            self._kept_pool = None
        self._pool = pool

    def _begin_stage(self) -> None:
        """A new optimiser; the clips that were are over."""
        self._pool = None
        self.optimiser = self._new_optimiser()

    def _new_optimiser(self) -> torch.optim.Optimizer:
        """Adam; transforms move slower than trunks, the few numbers of the models faster."""
        network = self.network
        slow = [network.analysis, network.synthesis]
        quick = [network.motion_log_step, network.residual_log_step]
        chosen = {id(value) for value in (*slow, *quick)}
        rates = [*self.residual_rate.parameters(), *self.motion_rate.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": slow, "factor": 0.1},
            {"params": quick, "factor": 1.0},
            {"params": [p for p in network.parameters() if id(p) not in chosen], "factor": 1.0},
            {"params": rates, "factor": 10.0},
        ]
        return torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.98))

    # -- one step --------------------------------------------------------------------------------

    def step(self, stage: Stage) -> dict[str, float]:
        """One step; returns what is worth logging."""
        assert self._pool is not None
        loss, facts = self._loss(self._pool, stage.seen_weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
        if math.isfinite(norm):
            self.optimiser.step()
        self._add_to_average()
        return {**facts, "norm": min(norm, 1e6)}

    @torch.no_grad()
    def _add_to_average(self) -> None:
        """The first steps count alike, later ones decay."""
        share = 1 / min(self.progress.total_steps + 1, AVERAGED_STEPS)
        for name, value in self.network.named_parameters():
            if name in self._average:
                self._average[name].lerp_(value, share)
            else:
                self._average[name] = value.clone()

    @torch.no_grad()
    def settle(self) -> None:
        """Give the network the averaged weights; the end of training."""
        for name, value in self.network.named_parameters():
            if name in self._average:
                value.copy_(self._average[name])

    def _loss(self, pool: Pool, seen_weight: float) -> tuple[Tensor, dict[str, float]]:
        pictures, flows = pool.pictures()
        step, loss = pool.steps, pool.draw_loss()
        lossy = torch.nonzero(loss > 0)[:, 0]
        square = step[:, 0, 0, 0].square()
        here, there = pool.here, take(pool.here, lossy)
        costs, rates, sums = [], [], _Sums()
        for picture, flow in zip(pictures, flows, strict=True):
            latents, *exact = self.network.encode_through(picture, flow, here, step)
            here = self.network.decode(latents, here, step)
            pixels = picture.luma[0].numel()
            error = _squared_error(here.picture, picture) / pixels
            motion = self.motion_rate(latents.motion, exact[0], CELL_SIDE // MOTION_SIDE)
            residual = self.residual_rate(latents.residual, exact[1], CELL_SIDE // RESIDUAL_SIDE)
            motion, bits = motion / pixels, (motion + residual) / pixels
            # The logarithm, because the finest step's cost would be all that training looks at.
            costs.append(torch.log(error / square + LAGRANGIAN * bits + 1e-6).mean())
            rates.append(rough_bpp(latents))
            sums.add(psnr=_psnr(error), bits=bits, motion_bits=motion)
            if len(lossy):
                some = Latents(*(value[lossy] for value in latents))
                lost = lose(some, loss[lossy], self.losses)
                there = self.network.decode(lost, there, step[lossy])
                damage = _squared_error(there.picture, picture.take(lossy)) / pixels
                judged = torch.log(damage / square[lossy] + 1e-6).sum() / len(square)
                costs.append(LOSSY_WEIGHT * judged)
                sums.add(lossy_psnr=_psnr(damage))
        coding = torch.stack(costs).sum() / len(pictures)
        # After a step the encoder has heard of the losses, and goes on from what the decoder has.
        pool.go_on(put(here, lossy, there), torch.stack(rates).mean(0))
        facts = {**sums.means(), "cost": float(coding.detach())}
        if not seen_weight:
            return coding, facts
        seen, wanted = here.picture.luma, pictures[-1].luma
        if len(lossy):
            seen = torch.cat([seen, there.picture.luma])
            wanted = torch.cat([wanted, wanted[lossy]])
        vif = 1 - vif_kept(seen + MIDDLE, wanted + MIDDLE).mean()
        detail = 1 - detail_kept(seen + MIDDLE, wanted + MIDDLE).mean()
        facts |= {"vif": float(vif.detach()), "detail": float(detail.detach())}
        return coding + seen_weight * (vif + detail), facts

    # -- keeping ---------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "residual_rate": self.residual_rate.state_dict(),
            "motion_rate": self.motion_rate.state_dict(),
            "generator": self.generator.bit_generator.state,
            "losses": self.losses.get_state(),
            "average": self._average,
            "pool": None if self._pool is None else self._pool.state(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.residual_rate.load_state_dict(state["residual_rate"])
        self.motion_rate.load_state_dict(state["motion_rate"])
        self._resume_stage(state)
        self.generator.bit_generator.state = self._kept_generator = state["generator"]
        self.losses.set_state(state["losses"].cpu())
        self._average = dict(state["average"])
        self._kept_pool = state["pool"]


class _Sums:
    """Means of what is logged."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, **values: Tensor) -> None:
        """One more of each."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(float(value.detach().mean()))

    def means(self) -> dict[str, float]:
        """Of all so far."""
        return {name: sum(values) / len(values) for name, values in self._values.items()}


def _squared_error(one: Picture, other: Picture) -> Tensor:
    """Of each picture, (N,), chroma weighted as in patches."""
    return (to_patches(one) - to_patches(other)).square().sum((1, 2, 3))


def _psnr(error: Tensor) -> Tensor:
    """Of squared errors a luma sample, chroma counted in."""
    return 10 * torch.log10(255**2 / error.clamp_min(1e-3))
