"""Super resolution: one light network a factor, on luma, leaning on the decoder's features.

Paper, section 5: "a neural super-resolution network jointly leverages VGC's decoder features to
restore full resolution". The base picture is plain bicubic interpolation; the network, which runs
at an eighth of the coded size, adds what interpolation cannot know. Chroma is interpolated only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from morphe_core.vgc.layers import Block
from morphe_core.vgc.pictures import PATCH_CHANNELS, Picture, to_patches
from morphe_core.vgc.small import UNIT
from morphe_core.vgc.tokens import TOKEN_SIDE

#: Factors between coded and source size (paper: 2 and 3; 1 for links that it did not think of).
SCALES = (1, 2, 3)


class SuperResolution(nn.Module):
    """Adds detail to interpolated luma, picture by picture."""

    def __init__(self, scale: int, *, width: int, blocks: int, features: int) -> None:
        super().__init__()
        self.scale = scale
        self.enter = nn.Conv2d(PATCH_CHANNELS, width, 1)
        self.lean = nn.Conv2d(features, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, TOKEN_SIDE * TOKEN_SIDE * scale * scale, 1)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        #: Run in bfloat16, as in `Trunk`.
        self.reduced = False

    def forward(self, picture: Picture, features: Tensor) -> Tensor:
        """Luma to add to the interpolated picture.

        Args:
            picture: N decoded pictures of the coded size.
            features: (N, features, h, w), the decoder's.

        Returns:
            (N, 1, H * scale, W * scale), in steps of the 8-bit scale.
        """
        patches = to_patches(picture) / UNIT
        with torch.autocast(patches.device.type, torch.bfloat16, enabled=self.reduced):
            out: Tensor = self.head(self.blocks(self.enter(patches) + self.lean(features)))
        return nn.functional.pixel_shuffle(out.float() * UNIT, TOKEN_SIDE * self.scale)


def interpolate(luma: Tensor, scale: int) -> Tensor:
    """Bicubic interpolation (A = -0.75, as OpenCV's), (N, 1, H, W) to `scale` times the size."""
    if scale == 1:
        return luma
    return nn.functional.interpolate(luma, scale_factor=scale, mode="bicubic", align_corners=False)


def enlarge(network: SuperResolution, picture: Picture, features: Tensor) -> Tensor:
    """Luma at the source size: interpolation plus what the network adds."""
    return torch.add(interpolate(picture.luma, network.scale), network(picture, features))
