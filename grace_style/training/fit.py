"""Fitting the packets' entropy tables: by counting what a trained network makes of windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from grace_style.activity import ClassMap, Elements, classes_of
from grace_style.flow import FlowEstimator
from grace_style.geometry import CELL_SIDE, MOTION_CHANNELS, Geometry
from grace_style.network import Network, Reference
from grace_style.rate import ElementCosts, costs_of, rounded
from grace_style.tables import EntropyModel, fit
from grace_style.training.draw import ELEMENT_BITS, Draw, as_if_coded, new_clip
from morphe_core.training.data import SIDE, Windows
from morphe_core.vgc.pictures import Picture, pack, to_patches, unpack
from morphe_core.vgc.quantiser import quantise

#: Pictures of a clip that are coded, and those of them that are left out: the step is not yet that
#: of the rate.
PICTURES: Final = 20
FIRST_PICTURES: Final = 6

Sample = tuple[Elements, ClassMap, Elements, ClassMap]
Costs = tuple[ElementCosts, ElementCosts]


def fit_tables(
    network: Network, windows: Windows, draw: Draw, *, count: int, seed: int
) -> EntropyModel:
    """Tables for the elements of `network`, fitted twice: rounding by cost needs tables itself.

    Args:
        network: in evaluation mode.
        windows: training windows.
        draw: the range of steps.
        count: clips that are coded.
        seed: of the windows and steps.
    """
    channels = network.config.channels
    rough = fit(_samples(network, windows, draw, None, count=max(1, count // 4), seed=seed))
    costs = costs_of(rough, MOTION_CHANNELS, channels)
    return fit(_samples(network, windows, draw, costs, count=count, seed=seed + 1))


@torch.no_grad()
def _samples(
    network: Network, windows: Windows, draw: Draw, costs: Costs | None, *, count: int, seed: int
) -> Iterator[Sample]:
    """Elements of clips played to and fro at their rates, the first pictures left out."""
    generator = np.random.default_rng(seed)
    geometry = Geometry(SIDE, SIDE)
    estimate = FlowEstimator()
    for _ in range(count):
        clip = new_clip(windows, draw, generator)
        steps = torch.full((1, 1, 1, 1), clip.step)
        before = clip.picture(clip.at)
        reference = Reference.still(as_if_coded(_padded(geometry, before), steps * 0.8))
        for number in range(PICTURES):
            here = clip.picture(clip.at + number + 1)
            flow = torch.from_numpy(estimate(here[:SIDE], before[:SIDE]))[None]
            steps = torch.full((1, 1, 1, 1), clip.step)
            sample, reference = _code(
                network, _padded(geometry, here), _spread(flow, geometry), reference, steps,
                costs, geometry.cells,
            )  # fmt: skip
            coded = np.count_nonzero(sample[0]) + np.count_nonzero(sample[2])
            clip.follow(ELEMENT_BITS * coded / SIDE**2)
            before = here
            if number >= FIRST_PICTURES:
                yield sample


def _code(
    network: Network, picture: Picture, flow: torch.Tensor, reference: Reference,
    step: torch.Tensor, costs: Costs | None, cells: tuple[int, int],
) -> tuple[Sample, Reference]:  # fmt: skip
    """One P picture: its elements with their class maps, and the next reference."""

    def whole(values: torch.Tensor, steps: torch.Tensor, kind: int) -> Elements:
        if costs is None:
            return quantise(values, steps)[0].numpy().astype(np.int16)
        return rounded(values[0].numpy(), steps[0, :, 0, 0].numpy(), costs[kind], cells)[0]

    steps = network.motion_steps(step)
    motion = whole(network.analyse_motion(flow, picture, reference, step), steps, 0)
    values = torch.from_numpy(motion.astype(np.float32))[None] * steps
    decoded = network.synthesise_motion(values, torch.ones_like(values), reference, step)
    prediction = network.predict(reference, decoded, step)
    steps = network.residual_steps(step)
    residual = whole(network.analyse_residual(to_patches(picture), prediction, step), steps, 1)
    values = torch.from_numpy(residual.astype(np.float32))[None] * steps
    shown = network.synthesise(values, torch.ones_like(values), prediction, step)
    height, width = shown.luma.shape[-2:]
    shown = unpack(pack(shown), height, width)  # 8 bits, as the codec keeps them
    sample = (motion, classes_of(motion, cells), residual, classes_of(residual, cells))
    return sample, Reference(shown, decoded)


def _padded(geometry: Geometry, packed: npt.NDArray[np.uint8]) -> Picture:
    height, width = geometry.padded
    return unpack(torch.from_numpy(geometry.pad(packed))[None], height, width)


def _spread(flow: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Flow for the padded picture: that of the edges goes on."""
    rows, cols = (side // CELL_SIDE * 8 for side in geometry.padded)
    pad = (0, cols - flow.shape[-1], 0, rows - flow.shape[-2])
    return torch.nn.functional.pad(flow, pad, mode="replicate")
