"""What training minimises: the losses of the paper (§4.2 and Appendix A.2).

Eq. 1 is `boundary_loss`; Eq. 5 and 7 are `codec_loss` of `pixel_loss` and `flow_loss`. Eq. 6 adds
the adversarial term of `morphe_core.training.adversarial`. Where the paper's mixture is won by
blur, the two measures of `morphe_core.training.perceptual` help.

Pictures are luma of a floating type in pixel units, 0..255 or around zero: only differences count.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from morphe_core.errors import TrainingError

#: Weight of the pixel loss against the flow loss (alpha of Eq. 5 and 7).
ALPHA: Final = 0.8
#: Most that the source may differ from its own warped predecessor, in pixel units, to be trusted as
#: the same thing moved. More is an occlusion, a light switched on, or a wrong flow; noise is less.
SAME_WITHIN: Final = 8.0


def pixel_loss(reconstruction: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference, a scalar in pixel units.

    Args:
        reconstruction: any shape.
        reference: the same shape.

    Raises:
        TrainingError: the shapes differ.
    """
    _same_shape(reconstruction, reference)
    return (reconstruction - reference).abs().mean()


def boundary_loss(
    current: Tensor, previous: Tensor, frames: int, *, weights: Tensor | None = None
) -> Tensor:
    """How much the start of a GoP jumps away from the end of the one before (Eq. 1).

    The paper compares pictures of different instants, i-th first with i-th of the last `frames`;
    motion between them is charged too, which is why `frames` is small and the weight low.

    Args:
        current: reconstruction of a GoP, (N, T, H, W).
        previous: reconstruction of the GoP before, (N, T', H, W).
        frames: n of Eq. 1, 1..min(T, T').
        weights: (N,) of the GoPs; all 1 by default.

    Returns:
        A scalar in pixel units. Gradients flow to both.

    Raises:
        TrainingError: the GoPs do not fit together or `frames` is out of range.
    """
    if current.ndim != 4 or previous.ndim != 4:
        raise TrainingError(
            f"GoPs {tuple(current.shape)}, {tuple(previous.shape)}: allowed is (N, T, H, W)"
        )
    most = min(current.shape[1], previous.shape[1])
    if not 1 <= frames <= most:
        raise TrainingError(f"frames {frames}: allowed are 1..{most}")
    start, end = current[:, :frames], previous[:, -frames:]
    if weights is None:
        return pixel_loss(start, end)
    _same_shape(start, end)
    return ((start - end).abs().flatten(1).mean(1) * weights).mean()


def flow_loss(
    reconstruction: tuple[Tensor, Tensor],
    source: tuple[Tensor, Tensor],
    flow: Tensor,
    *,
    relative: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """How much what moves changes on its way, where the source does not.

    The reconstruction of the picture before is moved along the *source's* flow and compared with
    the reconstruction of the picture itself: flicker costs, true motion does not. Places where the
    source does not follow its own flow (occlusions, new objects, the border) do not count.

    Args:
        reconstruction: the picture before and the picture, each (N, 1, H, W).
        source: the same two of the source; they take no gradient.
        flow: (N, 2, H, W), backward, x and y in pixels: the place p of the picture was at p + flow
            in the picture before (see `morphe_core.training.flow`).
        relative: take off how much the source itself changes. The plain form charges a perfect
            reconstruction of a noisy source and so has a taste for blur; this one is zero for it.
        weights: (N,) of the pictures; all 1 by default.

    Returns:
        A scalar in pixel units, the mean over the places that count; 0 where none does.

    Raises:
        TrainingError: the shapes do not fit together.
    """
    before, now = reconstruction
    source_before, source_now = (picture.detach() for picture in source)
    for other in (now, source_before, source_now):
        _same_shape(other, before)
    moved_source = warp(source_before, flow)
    counts = trusted(moved_source, source_now, flow)
    change = now - warp(before, flow)
    if relative:
        change = change - (source_now - moved_source)
    charged = change.abs() * counts
    if weights is not None:
        charged = charged * weights[:, None, None, None]
    return charged.sum() / counts.sum().clamp_min(1.0)


def codec_loss(pixel: Tensor, flow: Tensor, *, alpha: float = ALPHA) -> Tensor:
    """The mixture of Eq. 5 and 7.

    Args:
        pixel: value of `pixel_loss`.
        flow: value of `flow_loss`.
        alpha: weight of the pixel loss, 0..1.

    Raises:
        TrainingError: `alpha` is out of range.
    """
    if not 0.0 <= alpha <= 1.0:
        raise TrainingError(f"alpha {alpha}: allowed are 0..1")
    return alpha * pixel + (1.0 - alpha) * flow


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """What the picture shows at p + flow, for every place p, interpolated bilinearly.

    Args:
        picture: (N, C, H, W); beyond its border the border goes on.
        flow: (N, 2, H, W), x and y in pixels; takes no gradient.

    Returns:
        (N, C, H, W).

    Raises:
        TrainingError: picture and flow do not fit together.
    """
    x, y = _places(picture, flow)
    height, width = picture.shape[2:]
    grid = torch.stack(
        (x * (2.0 / max(1, width - 1)) - 1.0, y * (2.0 / max(1, height - 1)) - 1.0), -1
    )
    return functional.grid_sample(
        picture, grid.to(picture.dtype), padding_mode="border", align_corners=True
    )


def trusted(moved: Tensor, now: Tensor, flow: Tensor, *, within: float = SAME_WITHIN) -> Tensor:
    """Where the source follows its flow, 0 or 1.

    Args:
        moved: the source's picture before, warped along the flow, (N, 1, H, W).
        now: the source's picture, (N, 1, H, W).
        flow: as for `warp`.
        within: see `SAME_WITHIN`. Compared with the mean over 3x3 pixels of the difference, so that
            noise alone opens no holes.

    Returns:
        (N, 1, H, W), of the pictures' type.

    Raises:
        TrainingError: pictures and flow do not fit together.
    """
    x, y = _places(now, flow)
    height, width = now.shape[2:]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    difference = functional.avg_pool2d((moved - now).abs(), 3, 1, 1, count_include_pad=False)
    return ((difference <= within) & inside[:, None]).to(now.dtype)


def _places(picture: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where the flow comes from, x and y in pixels, each (N, H, W) float32."""
    count, _, height, width = picture.shape
    if tuple(flow.shape) != (count, 2, height, width):
        raise TrainingError(
            f"flow {tuple(flow.shape)}: allowed is {(count, 2, height, width)} for such pictures"
        )
    across = torch.arange(width, device=flow.device, dtype=torch.float32)
    down = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    moved = flow.detach().float()
    return across + moved[:, 0], down + moved[:, 1]


def _same_shape(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise TrainingError(
            f"pictures {tuple(one.shape)} and {tuple(other.shape)}: not the same size"
        )
