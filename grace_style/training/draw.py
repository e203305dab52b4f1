"""What a training step draws: clips that go on from step to step, rates, losses.

A session codes hundreds of pictures in a row, and what a network does a little wrong adds up. So
clips are played to and fro, for as long as a session's scene might last, and each step goes on
where the last one stopped, from what the codec itself made of the pictures before. Each clip has a
rate, and its quantisation step follows it, as a session's does: what is hard to code is coded
coarsely.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from grace_style.flow import FlowEstimator
from grace_style.network import Latents, Reference
from grace_style.training.parallel import each
from morphe_core.training.data import SIDE, WINDOW_FRAMES, Windows
from morphe_core.vgc.pictures import Picture, from_patches, to_patches, unpack
from morphe_core.vgc.quantiser import quantise
from morphe_core.vgc.tokens import TOKEN_SIDE

#: Change of a clip's step for a rate beside its target, as an exponent; and its bounds.
STEP_FOLLOWS = 0.25
#: What an element that is not zero takes, all in all; only steps follow it.
ELEMENT_BITS = 6.5
FINEST_STEP, COARSEST_STEP = 8.0, 224.0


@dataclass(frozen=True)
class Draw:
    """Ranges that are drawn from.

    Attributes:
        pictures: P pictures in a row that a gradient goes through, 1 or more.
        clips: clips a step.
        shortest, longest: P pictures of a clip before another one takes its place, uniform.
        least_bpp, most_bpp: rate of a clip in bits a luma sample, log-uniform.
        finest_step, coarsest_step: of the residual at a clip's start, log-uniform, in steps of the
            8-bit scale.
        clean_share: of the clips of a step, those without loss (GRACE, NSDI 2024: 0.8).
        least_loss, most_loss: share of elements lost in the others, uniform (GRACE: 10 to 60 %).
    """

    pictures: int = 4
    clips: int = 4
    shortest: int = 16
    longest: int = 72
    least_bpp: float = 0.015
    most_bpp: float = 0.25
    finest_step: float = 20.0
    coarsest_step: float = 80.0
    clean_share: float = 0.8
    least_loss: float = 0.1
    most_loss: float = 0.6


@dataclass
class Clip:
    """A clip in training.

    Attributes:
        packed: (10, SIDE * 3 // 2, SIDE) uint8.
        at: picture that was coded last, counted along the to and fro.
        left: P pictures until another clip takes its place.
        step: quantisation step.
        bpp: wanted rate.
        flows: what was estimated so far: clips go to and fro, so each flow is wanted again.
    """

    packed: npt.NDArray[np.uint8]
    at: int
    left: int
    step: float
    bpp: float
    flows: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def picture(self, at: int) -> npt.NDArray[np.uint8]:
        """The picture at a place along the to and fro."""
        turn = 2 * (WINDOW_FRAMES - 1)
        place = at % turn
        picture: npt.NDArray[np.uint8] = self.packed[min(place, turn - place)]
        return picture

    def flow(self, at: int, estimate: FlowEstimator) -> npt.NDArray[np.float32]:
        """From the picture at a place to the one before it, (2, SIDE / 8, SIDE / 8)."""
        place = at % (2 * (WINDOW_FRAMES - 1))
        if place not in self.flows:
            here, before = self.picture(at), self.picture(at - 1)
            self.flows[place] = estimate(here[:SIDE], before[:SIDE])
        return self.flows[place]

    def follow(self, bpp: float) -> None:
        """Change the step after pictures of this rate."""
        step = self.step * (max(bpp, 1e-4) / self.bpp) ** STEP_FOLLOWS
        self.step = min(max(step, FINEST_STEP), COARSEST_STEP)


def rough_bpp(latents: Latents) -> Tensor:
    """About the bits a luma sample that latents take, (N,): what steps follow."""
    coded = (latents.motion.detach() != 0).sum((1, 2, 3))
    coded = coded + (latents.residual.detach() != 0).sum((1, 2, 3))
    return ELEMENT_BITS * coded / SIDE**2


def new_clip(windows: Windows, draw: Draw, generator: np.random.Generator) -> Clip:
    """A clip from anywhere in the training set."""
    packed, _ = windows.batch(1, generator)
    return Clip(
        packed[0], int(generator.integers(2 * WINDOW_FRAMES)),
        int(generator.integers(draw.shortest, draw.longest + 1)),
        _log_uniform(generator, draw.finest_step, draw.coarsest_step),
        _log_uniform(generator, draw.least_bpp, draw.most_bpp),
    )  # fmt: skip


class Pool:
    """The clips of a training and what the codec made of them so far.

    Attributes:
        here: what the clips' next pictures refer to.
    """

    def __init__(
        self, windows: Windows, draw: Draw, generator: np.random.Generator, device: torch.device
    ) -> None:
        self.windows, self.draw = windows, draw
        self.generator, self.device = generator, device
        # One for each clip: they work side by side.
        self._estimators = [FlowEstimator() for _ in range(draw.clips)]
        self.clips = [new_clip(windows, draw, generator) for _ in range(draw.clips)]
        self.here = self._begin(self.clips)

    # -- a step ----------------------------------------------------------------------------------

    def pictures(self) -> tuple[list[Picture], list[Tensor]]:
        """The next pictures of all clips, and the flow of each to the one before it."""
        ahead = range(1, self.draw.pictures + 1)
        pictures = [
            unpack(
                torch.from_numpy(np.stack([clip.picture(clip.at + n) for clip in self.clips])),
                SIDE, SIDE,
            )
            for n in ahead
        ]  # fmt: skip
        found = each(
            lambda pair: [pair[0].flow(pair[0].at + n, pair[1]) for n in ahead],
            list(zip(self.clips, self._estimators, strict=True)),
        )
        flows = [torch.from_numpy(np.stack(of_all)) for of_all in zip(*found, strict=True)]
        device = self.device
        return (
            [Picture(p.luma.to(device), p.chroma.to(device)) for p in pictures],
            [flow.to(device) for flow in flows],
        )

    @property
    def steps(self) -> Tensor:
        """(N, 1, 1, 1)."""
        return self._column([clip.step for clip in self.clips])[:, None, None, None]

    def draw_loss(self) -> Tensor:
        """Share of elements that do not arrive in this step, (N,)."""
        draw, generator = self.draw, self.generator
        shares = generator.uniform(draw.least_loss, draw.most_loss, draw.clips)
        shares[generator.random(draw.clips) < draw.clean_share] = 0.0
        return self._column(shares.tolist())

    def go_on(self, here: Reference, bpp: Tensor) -> None:
        """Keep what was made of the pictures; clips that are over make room for others.

        Args:
            here: references after the last picture.
            bpp: rate of each clip in this step, (N,).
        """
        self.here = _as_kept(here)
        for number, (clip, rate) in enumerate(zip(self.clips, bpp.tolist(), strict=True)):
            clip.at += self.draw.pictures
            clip.left -= self.draw.pictures
            clip.follow(rate)
            if clip.left <= 0:
                self._replace(number)

    def _replace(self, number: int) -> None:
        clip = new_clip(self.windows, self.draw, self.generator)
        self.clips[number] = clip
        where = torch.tensor([number], device=self.device)
        begun = self._begin([clip])
        self.here = put(self.here, where, begun)

    def _begin(self, clips: list[Clip]) -> Reference:
        """The pictures that clips begin with, as if coded a little finer than those that follow."""
        packed = np.stack([clip.picture(clip.at) for clip in clips])
        steps = self._column([clip.step for clip in clips])[:, None, None, None]
        finer = self.generator.uniform(0.4, 1.2, len(clips)).tolist()
        steps = steps * self._column(finer)[:, None, None, None]
        picture = unpack(torch.from_numpy(packed).to(self.device), SIDE, SIDE)
        return Reference.still(as_if_coded(picture, steps))

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    # -- keeping ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {
            "packed": torch.from_numpy(np.stack([clip.packed for clip in self.clips])),
            "numbers": [[clip.at, clip.left, clip.step, clip.bpp] for clip in self.clips],
            "here": [*self.here.picture, self.here.flow],
        }

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; the generator is the owner's."""
        self.clips = [
            Clip(packed.numpy(), *numbers)
            for packed, numbers in zip(state["packed"].cpu(), state["numbers"], strict=True)
        ]
        luma, chroma, flow = (value.to(self.device) for value in state["here"])
        self.here = Reference(Picture(luma, chroma), flow)


def take(reference: Reference, which: Tensor) -> Reference:
    """Some of the references."""
    return Reference(reference.picture.take(which), reference.flow[which])


def put(reference: Reference, which: Tensor, other: Reference) -> Reference:
    """`reference` with `other` in the places `which`."""
    return Reference(
        Picture(
            reference.picture.luma.index_copy(0, which, other.picture.luma),
            reference.picture.chroma.index_copy(0, which, other.picture.chroma),
        ),
        reference.flow.index_copy(0, which, other.flow),
    )


def lose(latents: Latents, loss: Tensor, generator: torch.Generator) -> Latents:
    """The same with a share of the elements missing, (N,) of them each."""

    def kept(values: Tensor) -> Tensor:
        drawn = torch.rand(values.shape, generator=generator, device=values.device)
        return (drawn >= loss[:, None, None, None]).to(values.dtype)

    return Latents(latents.motion, latents.residual, kept(latents.motion), kept(latents.residual))


def as_if_coded(picture: Picture, step: Tensor) -> Picture:
    """The picture after an 8x8 transform codec (chroma 4x4) with this step: an intra picture."""
    patches = to_patches(picture)
    luma, chroma = patches[:, : TOKEN_SIDE**2], patches[:, TOKEN_SIDE**2 :]
    wide = _dct(TOKEN_SIDE).to(patches.device)
    narrow = _dct(TOKEN_SIDE // 2).to(patches.device)
    both = torch.block_diag(narrow, narrow)
    return from_patches(torch.cat([_coarse(luma, wide, step), _coarse(chroma, both, step)], dim=1))


def _as_kept(reference: Reference) -> Reference:
    """Without gradients, and in 8 bits, as the codec keeps it."""
    planes = (plane.detach().round().clamp(-128.0, 127.0) for plane in reference.picture)
    return Reference(Picture(*planes), reference.flow.detach())


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _coarse(blocks: Tensor, transform: Tensor, step: Tensor) -> Tensor:
    values = functional.conv2d(blocks, transform[..., None, None])
    return functional.conv2d(quantise(values, step) * step, transform.T[..., None, None])


def _dct(side: int) -> Tensor:
    row = torch.arange(side, dtype=torch.float64)
    one = torch.cos(torch.pi * (row[None, :] + 0.5) * row[:, None] / side) * (2 / side) ** 0.5
    one[0] /= 2**0.5
    return torch.kron(one, one).float()
