"""What a training step draws: clips, steps, losses, and the picture that coding starts from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from grace_style.flow import FlowEstimator
from grace_style.network import Latents, Reference
from morphe_core.training.data import SIDE, WINDOW_FRAMES, Windows
from morphe_core.vgc.pictures import Picture, from_patches, to_patches, unpack
from morphe_core.vgc.quantiser import quantise
from morphe_core.vgc.tokens import TOKEN_SIDE


@dataclass(frozen=True)
class Draw:
    """Ranges that are drawn from.

    Attributes:
        pictures: P pictures in a row, 1..9.
        clips: clips a step.
        finest_step, coarsest_step: of the residual, log-uniform, in steps of the 8-bit scale.
        clean_share: clips without loss (GRACE, NSDI 2024: 0.8).
        least_loss, most_loss: share of elements lost in the others, uniform (GRACE: 10 to 60 %).
    """

    pictures: int = 9
    clips: int = 2
    finest_step: float = 14.0
    coarsest_step: float = 112.0
    clean_share: float = 0.8
    least_loss: float = 0.1
    most_loss: float = 0.6


class Clips(NamedTuple):
    """What one step trains on.

    Attributes:
        start: references that the first pictures refer to, N.
        pictures: P pictures, each of N.
        flows: of each to the one before it, (N, 2, H/8, W/8).
        step: (N, 1, 1, 1).
        loss: share of elements that do not arrive, (N,).
    """

    start: Reference
    pictures: list[Picture]
    flows: list[Tensor]
    step: Tensor
    loss: Tensor


def draw_clips(
    windows: Windows, draw: Draw, generator: np.random.Generator, device: torch.device
) -> Clips:
    """Clips for one step."""
    packed, _ = windows.batch(draw.clips, generator)
    first = generator.integers(WINDOW_FRAMES - draw.pictures, size=draw.clips)
    chosen = np.stack(
        [window[at : at + draw.pictures + 1] for window, at in zip(packed, first, strict=True)]
    )
    flows = torch.from_numpy(np.stack([clip_flow(clip) for clip in chosen])).to(device)
    low, high = np.log(draw.finest_step), np.log(draw.coarsest_step)
    steps = np.exp(generator.uniform(low, high, draw.clips)).astype(np.float32)
    loss = generator.uniform(draw.least_loss, draw.most_loss, draw.clips)
    loss[generator.random(draw.clips) < draw.clean_share] = 0.0
    step = torch.from_numpy(steps).to(device)[:, None, None, None]
    frames = [
        unpack(torch.from_numpy(chosen[:, number].copy()).to(device), SIDE, SIDE)
        for number in range(draw.pictures + 1)
    ]
    finer = torch.from_numpy(generator.uniform(0.5, 1.3, draw.clips).astype(np.float32))
    start = as_if_coded(frames[0], step * finer.to(device)[:, None, None, None])
    return Clips(
        Reference.still(start), frames[1:], [flows[:, n] for n in range(draw.pictures)], step,
        torch.from_numpy(loss.astype(np.float32)).to(device),
    )  # fmt: skip


def clip_flow(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Backward flow of each picture to the one before it, averaged over patches.

    Args:
        clip: (P + 1, SIDE * 3 // 2, SIDE), packed yuv420p.

    Returns:
        (P, 2, SIDE / 8, SIDE / 8), x and y in pixels.
    """
    estimate = FlowEstimator()
    return np.stack([estimate(here[:SIDE], before[:SIDE]) for before, here in pairwise(clip)])


def as_if_coded(picture: Picture, step: Tensor) -> Picture:
    """The picture after an 8x8 transform codec (chroma 4x4) with this step: an intra picture."""
    patches = to_patches(picture)
    luma, chroma = patches[:, : TOKEN_SIDE**2], patches[:, TOKEN_SIDE**2 :]
    wide = _dct(TOKEN_SIDE).to(patches.device)
    narrow = _dct(TOKEN_SIDE // 2).to(patches.device)
    both = torch.block_diag(narrow, narrow)
    return from_patches(torch.cat([_coarse(luma, wide, step), _coarse(chroma, both, step)], dim=1))


def _coarse(blocks: Tensor, transform: Tensor, step: Tensor) -> Tensor:
    values = functional.conv2d(blocks, transform[..., None, None])
    return functional.conv2d(quantise(values, step) * step, transform.T[..., None, None])


def _dct(side: int) -> Tensor:
    row = torch.arange(side, dtype=torch.float64)
    one = torch.cos(torch.pi * (row[None, :] + 0.5) * row[:, None] / side) * (2 / side) ** 0.5
    one[0] /= 2**0.5
    return torch.kron(one, one).float()


def lose(latents: Latents, loss: Tensor, generator: torch.Generator) -> Latents:
    """The same with a share of the elements missing, (N,) of them each."""

    def kept(values: Tensor) -> Tensor:
        drawn = torch.rand(values.shape, generator=generator, device=values.device)
        return (drawn >= loss[:, None, None, None]).to(values.dtype)

    return Latents(latents.motion, latents.residual, kept(latents.motion), kept(latents.residual))
