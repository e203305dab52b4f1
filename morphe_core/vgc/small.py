"""The `small` and `base` tokenizers: a learned transform around a closed-form one.

Every picture is cut into 8x8 blocks. The I tokens are a linear transform of a block (initialised
with its Karhunen-Loeve transform) plus what a small convolutional trunk at 1/8 resolution adds; the
P tokens are the same of the 8x8x8 block of what the motion field cannot predict of the eight P
pictures. Synthesis mirrors this. Everything is causal as in the paper's Figure 5: I decodes alone,
P needs I.

A token that was not sent is a *hole*, whatever the reason. Holes of I are filled from the picture
before, carried on along its motion; holes of P leave the prediction as it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from morphe_core.vgc.layers import Trunk
from morphe_core.vgc.motion import at_knots, predict
from morphe_core.vgc.pictures import PATCH_CHANNELS, Picture, from_patches, to_patches
from morphe_core.vgc.tokens import GOP_FRAMES, MOTION_CHANNELS, MOTION_COLS

#: Networks see pixels in these units, so that activations are about one.
UNIT = 32.0
P_CHANNELS_IN = PATCH_CHANNELS * (GOP_FRAMES - 1)
#: Beside pixels a trunk sees: was it sent, the logarithm of the step.
FLAGS = 2


@dataclass(frozen=True, slots=True)
class SmallConfig:
    """Sizes of the tokenizer.

    Attributes:
        i_channels: numbers of an I token, at most 96.
        p_channels: numbers of a P token, at most 768.
        width: width of the trunks.
        encoder_blocks: blocks of each analysis trunk.
        decoder_blocks: blocks of each synthesis trunk.
    """

    i_channels: int = 64
    p_channels: int = 96
    width: int = 160
    encoder_blocks: int = 2
    decoder_blocks: int = 4

    def as_dict(self) -> dict[str, int]:
        """For the weights file."""
        return asdict(self)


class DecodedI(NamedTuple):
    """The decoded I picture, its patches and the features that P and super resolution lean on."""

    picture: Picture
    features: Tensor


class DecodedP(NamedTuple):
    """The eight decoded P pictures (8 N) and their shared features (N, width, h, w)."""

    pictures: Picture
    features: Tensor


class Predicted(NamedTuple):
    """What P leans on.

    Attributes:
        patches: (N, 768, h, w), the P pictures as motion predicts them from the I picture.
        features: (N, width, h, w), of the decoded I picture.
        vectors: (N, 8, rows, cells), the motion at the knots, in motion steps.
    """

    patches: Tensor
    features: Tensor
    vectors: Tensor


class SmallTokenizer(nn.Module):
    """Analysis and synthesis; quantisation lies between them and outside."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.i_basis = nn.Parameter(torch.eye(config.i_channels, PATCH_CHANNELS))
        self.i_synthesis = nn.Parameter(torch.eye(config.i_channels, PATCH_CHANNELS).T.contiguous())
        self.p_basis = nn.Parameter(torch.eye(config.p_channels, P_CHANNELS_IN))
        self.p_synthesis = nn.Parameter(torch.eye(config.p_channels, P_CHANNELS_IN).T.contiguous())
        self.i_analyse = Trunk(PATCH_CHANNELS, width, config.encoder_blocks, config.i_channels)
        self.i_decode = Trunk(
            2 * PATCH_CHANNELS + FLAGS + 1, width, config.decoder_blocks, PATCH_CHANNELS
        )
        self.p_analyse = Trunk(
            P_CHANNELS_IN + width, width, config.encoder_blocks, config.p_channels
        )
        self.p_decode = Trunk(
            P_CHANNELS_IN + width + FLAGS + MOTION_CHANNELS, width, config.decoder_blocks,
            P_CHANNELS_IN,
        )  # fmt: skip

    def set_transforms(self, i_basis: Tensor, p_basis: Tensor) -> None:
        """Start from closed-form transforms with orthonormal rows, (C_i, 96) and (C_p, 768)."""
        with torch.no_grad():
            self.i_basis.copy_(i_basis)
            self.i_synthesis.copy_(i_basis.T)
            self.p_basis.copy_(p_basis)
            self.p_synthesis.copy_(p_basis.T)

    def analyse_i(self, picture: Picture) -> Tensor:
        """I token values before quantisation, (N, i_channels, h, w)."""
        patches = to_patches(picture)
        added, _ = self.i_analyse(patches / UNIT)
        values: Tensor = _linear(self.i_basis, patches) + added * UNIT
        return values

    def synthesise_i(
        self, values: Tensor, sent: Tensor, step: Tensor, before: Picture | None
    ) -> DecodedI:
        """The I picture from dequantised tokens.

        Args:
            values: (N, i_channels, h, w), zero in holes.
            sent: (N, 1, h, w), 1 where the token is there.
            step: (N, 1, 1, 1), the quantisation step.
            before: what the picture before predicts of this one; None after a cut or at the start.
        """
        own = _linear(self.i_synthesis, values)
        other = torch.zeros_like(own) if before is None else to_patches(before)
        known = torch.full_like(sent, 0.0 if before is None else 1.0)
        base = own * sent + other * (1 - sent)
        seen = torch.cat(
            [base / UNIT, (other - base) * known / UNIT, sent, _plane(step, sent), known], dim=1
        )
        added, features = self.i_decode(seen)
        return DecodedI(from_patches(base + added * UNIT), features)

    def predict(self, decoded: DecodedI, field: Tensor) -> Predicted:
        """What the decoded I pictures and the motion tell of the P pictures.

        Args:
            decoded: the decoded I pictures, N.
            field: (N, 9, 2, rows, cells) in motion steps, see `vgc.motion.field_of`.
        """
        patches = _stack(to_patches(predict(decoded.picture, field)))
        return Predicted(patches, decoded.features, at_knots(field))

    def analyse_p(self, pictures: Picture, predicted: Predicted) -> Tensor:
        """P token values before quantisation, (N, p_channels, h, w).

        Args:
            pictures: the eight P pictures of N GoPs (8 N).
            predicted: what is known of them.
        """
        residual = self.p_residual(pictures, predicted)
        added, _ = self.p_analyse(torch.cat([residual / UNIT, predicted.features], dim=1))
        values: Tensor = _linear(self.p_basis, residual) + added * UNIT
        return values

    def p_residual(self, pictures: Picture, predicted: Predicted) -> Tensor:
        """What is not predicted of the P pictures, (N, 768, h, w)."""
        return _stack(to_patches(pictures)) - predicted.patches

    def synthesise_p(
        self, values: Tensor, sent: Tensor, step: Tensor, predicted: Predicted
    ) -> DecodedP:
        """The P pictures from dequantised tokens; arguments as above."""
        base = predicted.patches + _linear(self.p_synthesis, values * sent)
        vectors = predicted.vectors.repeat_interleave(MOTION_COLS, dim=3) / UNIT
        seen = torch.cat(
            [base / UNIT, predicted.features, vectors, sent, _plane(step, sent)], dim=1
        )
        added, features = self.p_decode(seen)
        return DecodedP(from_patches(_unstack(base + added * UNIT)), features)


def _linear(matrix: Tensor, values: Tensor) -> Tensor:
    """`matrix` (out, in) applied at every place of (N, in, h, w)."""
    return nn.functional.conv2d(values, matrix[:, :, None, None])


def _plane(step: Tensor, like: Tensor) -> Tensor:
    """The step as the trunks see it: its logarithm, the same everywhere."""
    return ((step / UNIT).log2() * 0.5).expand_as(like)


def _stack(patches: Tensor) -> Tensor:
    """(8 N, 96, h, w) to (N, 768, h, w)."""
    return patches.reshape(-1, P_CHANNELS_IN, *patches.shape[-2:])


def _unstack(values: Tensor) -> Tensor:
    """(N, 768, h, w) to (8 N, 96, h, w)."""
    return values.reshape(-1, PATCH_CHANNELS, *values.shape[-2:])


def config_from(facts: dict[str, Any]) -> SmallConfig:
    """The configuration that a weights file states."""
    return SmallConfig(**{name: int(facts[name]) for name in SmallConfig.__dataclass_fields__})
