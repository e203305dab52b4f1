"""The network: motion and residual autoencoders over the last reconstruction.

Everything works on 8x8 patches (`morphe_core.vgc.pictures`), so that all layers run at an eighth,
a sixteenth or a thirty-second of the picture's size. Each autoencoder is an orthonormal linear
transform (a DCT of the flow, a Karhunen-Loeve transform of the residual) plus a trunk that starts
at zero: the untrained network is already a codec, and training goes on from there. The decoding
trunks are told which elements arrived, and leave alone what nothing was sent for.

    flow -> motion latents -> flow' ; reference warped along flow' -> prediction
    picture - prediction -> residual latents -> residual' ; filter(prediction + residual')

Motion comes from a classical estimator (OpenCV's DIS) where GRACE has a network (SpyNet).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from grace_style.geometry import MOTION_CHANNELS, MOTION_VECTORS, RESIDUAL_SIDE
from morphe_core.vgc.layers import Trunk
from morphe_core.vgc.pictures import PATCH_CHANNELS, Picture, from_patches, to_patches
from morphe_core.vgc.quantiser import quantise_through
from morphe_core.vgc.tokens import TOKEN_SIDE

_SHRINK: Final = RESIDUAL_SIDE // TOKEN_SIDE
#: Numbers of a residual position before the transform.
BLOCK_CHANNELS: Final = PATCH_CHANNELS * _SHRINK * _SHRINK
#: Sample values are divided by this before they enter a trunk.
SAMPLE_SCALE: Final = 32.0
#: What a trunk adds to samples is multiplied by this: it is a few steps of the 8-bit scale, and the
#: optimiser moves all weights alike, so that a larger scale would only make it noisy.
ADDED_SCALE: Final = 4.0
#: Flow in pixels is divided by this before it enters a trunk.
FLOW_SCALE: Final = 8.0
#: The residual step at which motion has its learned steps; both are in steps of the 8-bit scale.
MIDDLE_STEP: Final = 24.0
#: A quarter of a pixel in the mean of 4 x 4 vectors (orthonormal DCT).
MOTION_STEP: Final = 0.25 * MOTION_VECTORS


@dataclass(frozen=True, slots=True)
class GraceConfig:
    """Sizes of everything that has weights.

    Attributes:
        channels: elements of a residual position.
        motion_width, motion_blocks: of the motion trunks, at 1/32.
        encoder_width, encoder_blocks: of the residual encoder, at 1/16.
        decoder_width, decoder_blocks: of the residual decoder, at 1/16.
        filter_width, filter_blocks: of the trunks on prediction and reconstruction, at 1/8.
    """

    channels: int = 128
    motion_width: int = 96
    motion_blocks: int = 2
    encoder_width: int = 144
    encoder_blocks: int = 2
    decoder_width: int = 176
    decoder_blocks: int = 4
    filter_width: int = 64
    filter_blocks: int = 2

    def as_dict(self) -> dict[str, int]:
        """JSON values, for the weights file."""
        return asdict(self)


class Latents(NamedTuple):
    """Elements as they are sent, in steps (whole numbers), and which of them arrived.

    Attributes:
        motion: (N, 32, H/32, W/32).
        residual: (N, channels, H/16, W/16).
        motion_here, residual_here: 1 where an element arrived, else 0; shaped as these.
    """

    motion: Tensor
    residual: Tensor
    motion_here: Tensor
    residual_here: Tensor


class Reference(NamedTuple):
    """What the next picture refers to.

    Attributes:
        picture: the last reconstruction.
        flow: that it was predicted with, (N, 2, H/8, W/8) in pixels; where motion is missing, the
            decoder may lean on it.
    """

    picture: Picture
    flow: Tensor

    @classmethod
    def still(cls, picture: Picture) -> Reference:
        """A reference of which no motion is known."""
        count, _, height, width = picture.luma.shape
        size = (count, 2, height // TOKEN_SIDE, width // TOKEN_SIDE)
        return cls(picture, picture.luma.new_zeros(size))


class Network(nn.Module):
    """Encoder and decoder; see the module's text."""

    dct: Tensor

    def __init__(self, config: GraceConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("dct", _flow_transform(), persistent=False)
        channels = config.channels
        self.motion_log_step = nn.Parameter(torch.zeros(MOTION_CHANNELS))
        self.residual_log_step = nn.Parameter(torch.zeros(channels))
        self.analysis = nn.Parameter(torch.eye(channels, BLOCK_CHANNELS))
        self.synthesis = nn.Parameter(torch.eye(channels, BLOCK_CHANNELS))
        self.motion_encoder = Trunk(
            3 * MOTION_CHANNELS + 1, config.motion_width, config.motion_blocks, MOTION_CHANNELS
        )
        self.motion_decoder = Trunk(
            3 * MOTION_CHANNELS + 1, config.motion_width, config.motion_blocks, MOTION_CHANNELS
        )
        self.prediction_filter = Trunk(
            PATCH_CHANNELS + 3, config.filter_width, config.filter_blocks, PATCH_CHANNELS
        )
        self.residual_encoder = Trunk(
            2 * BLOCK_CHANNELS + 1, config.encoder_width, config.encoder_blocks, channels
        )
        self.residual_decoder = Trunk(
            2 * channels + BLOCK_CHANNELS + 1, config.decoder_width, config.decoder_blocks,
            BLOCK_CHANNELS,
        )  # fmt: skip
        self.picture_filter = Trunk(
            2 * PATCH_CHANNELS + 1, config.filter_width, config.filter_blocks, PATCH_CHANNELS
        )

    def use_half(self, half: bool) -> None:
        """Run the trunks in bfloat16 or in float32."""
        for module in self.modules():
            if isinstance(module, Trunk):
                module.reduced = half

    # -- motion ----------------------------------------------------------------------------------

    def motion_steps(self, step: Tensor) -> Tensor:
        """Quantisation steps of motion, (N, 32, 1, 1), at a residual step (N, 1, 1, 1)."""
        coarser = (step / MIDDLE_STEP) ** 0.2
        return MOTION_STEP * coarser * self.motion_log_step.exp()[:, None, None]

    def analyse_motion(
        self, flow: Tensor, picture: Picture, reference: Reference, step: Tensor
    ) -> Tensor:
        """Motion latents, not yet rounded.

        Args:
            flow: (N, 2, H/8, W/8), where each patch was in the reference, in pixels.
            picture: to be coded.
            reference: what it refers to.
            step: (N, 1, 1, 1), of the residual.

        Returns:
            (N, 32, H/32, W/32), in pixels (of the transform).
        """
        plain = self.to_frequencies(flow)
        moved = warp(reference.picture, flow)
        known = [
            plain / FLOW_SCALE,
            self.to_frequencies(reference.flow) / FLOW_SCALE,
            _differences(picture, reference.picture),
            _differences(picture, moved),
        ]
        size = plain.shape[-2:]
        inputs = torch.cat([*known, _step_plane(step, size)], dim=1)
        values: Tensor = plain + self.motion_encoder(inputs)[0]
        return values

    def synthesise_motion(
        self, values: Tensor, here: Tensor, reference: Reference, step: Tensor
    ) -> Tensor:
        """Flow (N, 2, H/8, W/8) from motion latents (in pixels; zero where nothing arrived)."""
        before = self.to_frequencies(reference.flow)
        inputs = [values / FLOW_SCALE, before / FLOW_SCALE, here]
        added, _ = self.motion_decoder(
            torch.cat([*inputs, _step_plane(step, values.shape[-2:])], dim=1)
        )
        return self.from_frequencies(values + added * _concerned(values, here))

    def to_frequencies(self, flow: Tensor) -> Tensor:
        """(N, 2, H/8, W/8) to (N, 32, H/32, W/32): orthonormal DCT of each motion position."""
        blocks = functional.pixel_unshuffle(flow, MOTION_VECTORS)
        return functional.conv2d(blocks, self.dct[..., None, None])

    def from_frequencies(self, values: Tensor) -> Tensor:
        """The inverse of `to_frequencies`."""
        blocks = functional.conv2d(values, self.dct.T[..., None, None])
        return functional.pixel_shuffle(blocks, MOTION_VECTORS)

    def predict(self, reference: Reference, flow: Tensor, step: Tensor) -> Tensor:
        """The prediction in patches, (N, 96, H/8, W/8)."""
        moved = to_patches(warp(reference.picture, flow))
        inputs = [moved / SAMPLE_SCALE, flow / FLOW_SCALE, _step_plane(step, moved.shape[-2:])]
        added, _ = self.prediction_filter(torch.cat(inputs, dim=1))
        patches: Tensor = moved + ADDED_SCALE * added * _moving(flow)
        return patches

    # -- residual --------------------------------------------------------------------------------

    def residual_steps(self, step: Tensor) -> Tensor:
        """Quantisation steps of the residual, (N, channels, 1, 1)."""
        return step * self.residual_log_step.exp()[:, None, None]

    def analyse_residual(self, patches: Tensor, prediction: Tensor, step: Tensor) -> Tensor:
        """Residual latents, not yet rounded, (N, channels, H/16, W/16)."""
        residual = functional.pixel_unshuffle(patches - prediction, _SHRINK)
        around = functional.pixel_unshuffle(prediction, _SHRINK)
        plain = functional.conv2d(residual, self.analysis[..., None, None])
        inputs = [residual / SAMPLE_SCALE, around / SAMPLE_SCALE]
        planes = torch.cat([*inputs, _step_plane(step, plain.shape[-2:])], dim=1)
        values: Tensor = plain + ADDED_SCALE * self.residual_encoder(planes)[0]
        return values

    def synthesise(self, values: Tensor, here: Tensor, prediction: Tensor, step: Tensor) -> Picture:
        """The reconstruction from residual latents (zero where nothing arrived)."""
        around = functional.pixel_unshuffle(prediction, _SHRINK)
        plain = functional.conv2d(values, self.synthesis.T[..., None, None])
        inputs = [values / SAMPLE_SCALE, here, around / SAMPLE_SCALE]
        planes = torch.cat([*inputs, _step_plane(step, plain.shape[-2:])], dim=1)
        concerned = _concerned(values, here)
        blocks = plain + ADDED_SCALE * self.residual_decoder(planes)[0] * concerned
        raw = prediction + functional.pixel_shuffle(blocks, _SHRINK)
        seen = torch.cat([raw / SAMPLE_SCALE, prediction / SAMPLE_SCALE,
                          _step_plane(step, raw.shape[-2:])], dim=1)  # fmt: skip
        wide = functional.interpolate(concerned, scale_factor=_SHRINK, mode="nearest")
        return from_patches(raw + ADDED_SCALE * self.picture_filter(seen)[0] * wide)

    # -- both ------------------------------------------------------------------------------------

    def decode(self, latents: Latents, reference: Reference, step: Tensor) -> Reference:
        """The next reference from what arrived."""
        motion_values = latents.motion * self.motion_steps(step) * latents.motion_here
        flow = self.synthesise_motion(motion_values, latents.motion_here, reference, step)
        prediction = self.predict(reference, flow, step)
        values = latents.residual * self.residual_steps(step) * latents.residual_here
        return Reference(self.synthesise(values, latents.residual_here, prediction, step), flow)

    def encode_through(
        self, picture: Picture, flow: Tensor, reference: Reference, step: Tensor
    ) -> tuple[Latents, Tensor, Tensor]:
        """All elements, rounded, with the gradient of the identity (for training).

        Returns:
            The elements; and those of motion and of the residual before they were rounded.
        """
        steps = self.motion_steps(step)
        exact_motion = self.analyse_motion(flow, picture, reference, step)
        motion = quantise_through(exact_motion, steps)
        here = torch.ones_like(motion)
        decoded = self.synthesise_motion(motion * steps, here, reference, step)
        prediction = self.predict(reference, decoded, step)
        values = self.analyse_residual(to_patches(picture), prediction, step)
        residual_steps = self.residual_steps(step)
        residual = quantise_through(values, residual_steps)
        latents = Latents(motion, residual, here, torch.ones_like(residual))
        return latents, exact_motion / steps, values / residual_steps

    def set_transform(self, basis: Tensor) -> None:
        """The closed-form start: orthonormal rows (channels, 384) for analysis and synthesis."""
        with torch.no_grad():
            self.analysis.copy_(basis)
            self.synthesis.copy_(basis)


def warp(picture: Picture, flow: Tensor) -> Picture:
    """`picture` sampled where `flow` (N, 2, H/8, W/8; pixels) points, edges repeated.

    With OpenCV's Lanczos kernel of 8 x 8 taps: what is sampled again picture after picture loses
    its detail to a bicubic one (1.1 dB more after 30 pictures of bbb-720p at 640x360; `python
    benchmarks/flow.py`). Where a gradient is wanted, it is that of bicubic sampling.
    """
    return Picture(_sample(picture.luma, flow, 1.0), _sample(picture.chroma, flow, 0.5))


def _sample(plane: Tensor, flow: Tensor, shrink: float) -> Tensor:
    height, width = plane.shape[-2:]
    dense = functional.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
    dense = dense * shrink
    sharp = _lanczos(plane.detach(), dense.detach())
    if not (plane.requires_grad or flow.requires_grad):
        return sharp
    soft = _bicubic(plane, dense)
    return soft + (sharp - soft).detach()


def _lanczos(plane: Tensor, dense: Tensor) -> Tensor:
    height, width = plane.shape[-2:]
    where = dense.cpu().numpy().astype(np.float32, copy=False)
    across = where[:, 0] + np.arange(width, dtype=np.float32)
    down = where[:, 1] + np.arange(height, dtype=np.float32)[:, None]
    out = np.empty(plane.shape, np.float32)
    for number, channels in enumerate(plane.cpu().numpy()):
        for channel, samples in enumerate(channels):
            cv2.remap(
                np.ascontiguousarray(samples), across[number], down[number], cv2.INTER_LANCZOS4,
                dst=out[number, channel], borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
    return torch.from_numpy(out).to(plane.device)


def _bicubic(plane: Tensor, dense: Tensor) -> Tensor:
    height, width = plane.shape[-2:]
    across = (torch.arange(width, device=plane.device, dtype=plane.dtype) * 2 + 1) / width - 1
    down = (torch.arange(height, device=plane.device, dtype=plane.dtype) * 2 + 1) / height - 1
    grid = torch.stack(
        [
            across[None, None, :] + dense[:, 0] * (2 / width),
            down[None, :, None] + dense[:, 1] * (2 / height),
        ],
        dim=-1,
    )
    return functional.grid_sample(
        plane, grid, mode="bicubic", padding_mode="border", align_corners=False
    )


def _differences(one: Picture, other: Picture) -> Tensor:
    """Mean luma difference of each patch, (N, 16, H/32, W/32), scaled."""
    mean = functional.avg_pool2d((one.luma - other.luma).abs(), TOKEN_SIDE)
    return functional.pixel_unshuffle(mean, MOTION_VECTORS) / SAMPLE_SCALE


def _concerned(values: Tensor, here: Tensor) -> Tensor:
    """Where a decoding trunk may add anything, (N, 1, h, w) within 0..1.

    Within a position of an element that is not zero, and as far as elements are missing. All else
    must stay exactly as it is: what a trunk adds to a still picture adds up, picture after picture,
    to a pattern of its blocks.
    """
    busy = (values.detach().abs().amax(dim=1, keepdim=True) > 0).float()
    around = functional.max_pool2d(busy, 3, stride=1, padding=1)
    return torch.maximum(around, 1 - here.mean(dim=1, keepdim=True))


def _moving(flow: Tensor) -> Tensor:
    """Where a patch moves, (N, 1, h, w) within 0..1: from a quarter of a pixel on wholly."""
    return (flow.detach().abs().amax(dim=1, keepdim=True) * 4).clamp_max(1.0)


def _step_plane(step: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """The step as a plane, (N, 1, h, w): octaves from the middle."""
    return (step / MIDDLE_STEP).log2().expand(-1, 1, *size)


def _flow_transform() -> Tensor:
    """(32, 32): x and y each under an orthonormal 4x4 DCT, as `pixel_unshuffle` orders them."""
    side = MOTION_VECTORS
    row = torch.arange(side, dtype=torch.float64)
    one = torch.cos(math.pi * (row[None, :] + 0.5) * row[:, None] / side) * math.sqrt(2 / side)
    one[0] /= math.sqrt(2)
    both = torch.kron(one, one)
    transform: Tensor = torch.block_diag(both, both).float()
    return transform
