"""Motion of a GoP: a field of small vectors, and the P pictures that it predicts.

Each cell (one token row by two token columns) has the backward motion of the fifth and of the
ninth picture against the first; in between it is linear. Pictures are predicted by sampling the
decoded I picture along the field, smoothly interpolated between cells, so that no block edges
arise. This is our addition to the paper, whose P tokens know motion only through the network: a
network of a few million parameters cannot find it by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import GOP_FRAMES, MOTION_STEPS_PER_PIXEL

#: Pictures of the GoP (0 = I) where the field is given.
KNOTS = (4, 8)


def field_at(motion: Tensor, time: float) -> Tensor:
    """The field at picture `time` (0 = I; beyond 8 or below 0 it goes on straight).

    Args:
        motion: (N, 4, rows, cells): x4, y4, x8, y8 in motion steps.
        time: picture number.

    Returns:
        (N, 2, rows, cells), x and y in motion steps.
    """
    first, second = motion[:, :2], motion[:, 2:]
    if time <= KNOTS[0]:
        return first * (time / KNOTS[0])
    return first + (second - first) * ((time - KNOTS[0]) / (KNOTS[1] - KNOTS[0]))


def predict(reference: Picture, motion: Tensor) -> Picture:
    """The eight P pictures as the motion field predicts them from the I picture.

    Args:
        reference: the decoded I picture, N pictures.
        motion: (N, 4, rows, cells) in motion steps.

    Returns:
        8 N pictures, the eight of the first GoP first.
    """
    fields = torch.stack([field_at(motion, time) for time in range(1, GOP_FRAMES)], dim=1)
    fields = fields.flatten(0, 1)  # (8 N, 2, rows, cells)
    repeat = GOP_FRAMES - 1
    luma = reference.luma.repeat_interleave(repeat, dim=0)
    chroma = reference.chroma.repeat_interleave(repeat, dim=0)
    return Picture(sample(luma, fields, 1.0), sample(chroma, fields, 0.5))


def advance(last: Picture, motion: Tensor) -> Picture:
    """The picture after the last of a GoP, if the motion of its second half goes on."""
    step = (motion[:, 2:] - motion[:, :2]) / (KNOTS[1] - KNOTS[0])
    return Picture(sample(last.luma, step, 1.0), sample(last.chroma, step, 0.5))


def sample(plane: Tensor, field: Tensor, shrink: float) -> Tensor:
    """`plane` (N, C, H, W) sampled along `field` (N, 2, rows, cells), bilinear, edges repeated.

    Args:
        plane: what is sampled.
        field: motion in motion steps of luma.
        shrink: size of the plane relative to luma.
    """
    height, width = plane.shape[-2:]
    dense = functional.interpolate(field, (height, width), mode="bilinear", align_corners=False)
    scale = shrink / MOTION_STEPS_PER_PIXEL
    # grid_sample counts in half planes from the centre; these are its coordinates of pixel centres.
    across = (torch.arange(width, device=plane.device, dtype=plane.dtype) * 2 + 1) / width - 1
    down = (torch.arange(height, device=plane.device, dtype=plane.dtype) * 2 + 1) / height - 1
    grid = torch.stack(
        [
            across[None, None, :] + dense[:, 0] * (2 * scale / width),
            down[None, :, None] + dense[:, 1] * (2 * scale / height),
        ],
        dim=-1,
    )
    return functional.grid_sample(
        plane, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
