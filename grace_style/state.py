"""What encoder and decoder both do: from the last reconstruction and elements to the next one.

The reconstruction is rounded to 8 bits after each picture, so that sender and receiver, if their
floating-point units differ a little, do not drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from grace_style.activity import Elements
from grace_style.errors import BitstreamError
from grace_style.geometry import Geometry
from grace_style.intra import decode_still
from grace_style.models import Model
from grace_style.network import Reference
from grace_style.packets import Layout, Share
from grace_style.quality import step_of
from morphe_core.vgc.pictures import pack, to_patches, unpack
from morphe_core.vgc.tokens import TOKEN_SIDE

Packed = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class State:
    """The last reconstruction.

    Attributes:
        picture: packed yuv420p of the padded size, flat.
        flow: that it was predicted with, (1, 2, H/8, W/8), in pixels.
    """

    picture: Packed
    flow: Tensor


@dataclass(frozen=True, slots=True)
class Patch:
    """A square of intra samples, already decoded.

    Attributes:
        x, y, side: where, in luma samples; multiples of 16.
        samples: packed yuv420p, flat.
    """

    x: int
    y: int
    side: int
    samples: Packed


def patch_place(frame: int, geometry: Geometry, side: int) -> tuple[int, int]:
    """Where picture `frame` has its intra patch, x and y: row by row over the padded picture."""
    height, width = geometry.padded
    cols = max(1, -(-width // side))
    rows = max(1, -(-height // side))
    row, col = divmod(frame % (rows * cols), cols)
    return min(col * side, width - side), min(row * side, height - side)


class Reconstructor:
    """Runs the decoding half of the network.

    Args:
        model: network and tables.
        geometry: of the pictures.
    """

    def __init__(self, model: Model, geometry: Geometry) -> None:
        self.network = model.network
        self.geometry = geometry
        self.layout = Layout(geometry, model.network.config.channels, model.entropy)

    def begin(self, picture: Packed) -> State:
        """The state after an intra picture (packed, of the picture's own size)."""
        padded = self.geometry.pad(picture)
        height, width = self.geometry.padded
        flow = torch.zeros(1, 2, height // TOKEN_SIDE, width // TOKEN_SIDE)
        return State(padded, flow)

    def reference(self, state: State) -> Reference:
        """The state as the network takes it."""
        height, width = self.geometry.padded
        return Reference(unpack(torch.from_numpy(state.picture)[None], height, width), state.flow)

    def shown(self, state: State) -> Packed:
        """The picture of a state, packed, of its own size."""
        return self.geometry.crop(state.picture)

    @torch.no_grad()
    def prediction(
        self, values: Elements, here: Elements, reference: Reference, quality: int
    ) -> tuple[Tensor, Tensor]:
        """Prediction in patches, and the flow that led to it, from motion elements."""
        step = _step(quality)
        arrived = _tensor(here)
        motion = _tensor(values) * self.network.motion_steps(step)
        flow = self.network.synthesise_motion(motion, arrived, reference, step)
        return self.network.predict(reference, flow, step), flow

    def with_patch(self, prediction: Tensor, patch: Patch | None) -> Tensor:
        """The prediction with an intra patch in its place."""
        if patch is None:
            return prediction
        samples = unpack(torch.from_numpy(patch.samples.copy())[None], patch.side, patch.side)
        side, x, y = (value // TOKEN_SIDE for value in (patch.side, patch.x, patch.y))
        out = prediction.clone()
        out[:, :, y : y + side, x : x + side] = to_patches(samples)
        return out

    @torch.no_grad()
    def finish(
        self, values: Elements, here: Elements, prediction: Tensor, flow: Tensor, quality: int
    ) -> State:
        """The next state from residual elements and the prediction."""
        step = _step(quality)
        residual = _tensor(values) * self.network.residual_steps(step)
        picture = self.network.synthesise(residual, _tensor(here), prediction, step)
        return State(pack(picture)[0].numpy(), flow)

    def next(self, state: State, shares: Sequence[Share], patch: Patch | None) -> State:
        """The next state from the packets of one picture that arrived (one or more)."""
        motion, residual, motion_here, residual_here = self.layout.place(shares)
        header = shares[0].header
        reference = self.reference(state)
        prediction, flow = self.prediction(motion, motion_here, reference, header.motion_quality)
        prediction = self.with_patch(prediction, patch)
        return self.finish(residual, residual_here, prediction, flow, header.residual_quality)


def decode_patch(
    shares: Sequence[Share], frame: int, geometry: Geometry, sets: bytes
) -> Patch | None:
    """The intra patch among the packets of a picture, if it arrived and can be decoded."""
    for share in shares:
        if not share.patch:
            continue
        side = share.patch[0] * TOKEN_SIDE * 2
        if not 0 < side <= min(geometry.padded):
            return None
        x, y = patch_place(frame, geometry, side)
        try:
            samples = decode_still(share.patch[1:], sets, side, side)
        except BitstreamError:
            return None
        return Patch(x, y, side, samples)
    return None


def _tensor(elements: Elements) -> Tensor:
    return torch.from_numpy(elements.astype(np.float32))[None]


def _step(quality: int) -> Tensor:
    return torch.full((1, 1, 1, 1), step_of(quality))
