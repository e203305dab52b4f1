"""Motion of a GoP: what the camera does, a field of small vectors, and the P pictures they predict.

The camera's motion is one vector a picture, so that a pan or a shake costs a few bytes. Beyond it,
each cell (one token row by two token columns) has its own motion at every second picture; in
between it is linear. All of it points backwards: what a picture shows at a place, the I picture
shows at that place plus the vector. Pictures are predicted by sampling the decoded I picture along
the field, smoothly interpolated between cells, so that no block edges arise.

This is our addition to the paper, whose P tokens know motion only through the network: a network of
a few million parameters cannot find it by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import CAMERA_AT, GOP_FRAMES, KNOTS, MOTION_STEPS_PER_PIXEL

#: Where the picture before the GoP, and the knots, are in a field.
_BEFORE = CAMERA_AT.index(-1)
_AT_KNOTS = [CAMERA_AT.index(knot) for knot in KNOTS]


def field_of(motion: Tensor, camera: Tensor) -> Tensor:
    """The whole motion of GoPs, picture by picture.

    Args:
        motion: (N, 8, rows, cells), of the cells, x and y at each of `KNOTS`, in motion steps.
        camera: (N, 9, 2), for each of `CAMERA_AT`.

    Returns:
        (N, 9, 2, rows, cells), for each of `CAMERA_AT`. Before the I picture the cells are taken to
        have moved as they do after it.
    """
    knots = motion.unflatten(1, (len(KNOTS), 2))
    fields = []
    for time in CAMERA_AT:
        above = next((n for n, knot in enumerate(KNOTS) if knot >= time), 0)
        if above == 0:
            # Backward vectors: what moves to the right points to the left, before the I picture
            # too, as it is this picture's places that are looked for in the one before.
            own = knots[:, 0] * (abs(time) / KNOTS[0])
        else:
            low, high = KNOTS[above - 1], KNOTS[above]
            share = (time - low) / (high - low)
            own = knots[:, above - 1] * (1 - share) + knots[:, above] * share
        fields.append(own)
    return torch.stack(fields, dim=1) + camera[..., None, None]


def at_knots(field: Tensor) -> Tensor:
    """The field at the knots as planes, (N, 8, rows, cells): what networks are told of it."""
    return field[:, _AT_KNOTS].flatten(1, 2)


def predict(reference: Picture, field: Tensor) -> Picture:
    """The eight P pictures as the motion field predicts them from the I picture.

    Args:
        reference: the decoded I picture, N pictures.
        field: (N, 9, 2, rows, cells), see `field_of`.

    Returns:
        8 N pictures, the eight of the first GoP first.
    """
    fields = field[:, _BEFORE + 1 :].flatten(0, 1)  # (8 N, 2, rows, cells)
    repeat = GOP_FRAMES - 1
    luma = reference.luma.repeat_interleave(repeat, dim=0)
    chroma = reference.chroma.repeat_interleave(repeat, dim=0)
    return Picture(sample(luma, fields, 1.0, mode="bicubic"), sample(chroma, fields, 0.5))


def carry_on(last: Picture, field: Tensor) -> Picture:
    """The I picture as it would be if all that the picture before it shows moves on.

    Args:
        last: the last picture of the GoP before, N pictures.
        field: of the GoP, see `field_of`.
    """
    before = field[:, _BEFORE]
    return Picture(sample(last.luma, before, 1.0, mode="bicubic"), sample(last.chroma, before, 0.5))


def sample(plane: Tensor, field: Tensor, shrink: float, *, mode: str = "bilinear") -> Tensor:
    """`plane` (N, C, H, W) sampled along `field` (N, 2, rows, cells), edges repeated.

    Luma is sampled with bicubic interpolation: what is sampled again from group to group would
    lose its detail to the bilinear one (0.6 VMAF without loss, 1 with a quarter of the rows lost,
    on four clips, with weights that were trained for the bilinear one).

    Args:
        plane: what is sampled.
        field: motion in motion steps of luma.
        shrink: size of the plane relative to luma.
        mode: interpolation of `torch.nn.functional.grid_sample`.
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
        plane, grid, mode=mode, padding_mode="border", align_corners=False
    )
