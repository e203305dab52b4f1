"""Two measures that see what VMAF sees, to go beside the paper's (`morphe_core.training.losses`).

* `vif_kept`: visual information fidelity in the pixel domain [1], scale by scale.
* `detail_kept`: how much of the reference's wavelet detail is kept [2].

What is not kept, one less the measure, is the loss. L1 alone is won by blur, and blur is what VMAF
punishes: it is a regression on exactly these two (and motion). Both follow libvmaf's definitions
closely enough to be tested against it, and both limit the credit for enhancement: by default a
picture that is sharper than its reference earns nothing, as in VMAF's "NEG" model.

Pictures are luma (N, 1, H, W) of a floating type, in pixel units 0..255. Everything is computed in
float32, also under autocast. Gradients flow to the reconstruction only.

[1] Sheikh, Bovik: Image information and visual quality. IEEE Trans. Image Processing 15(2), 2006.
[2] Li, Zhang, Ma, Ngan: Image quality assessment by separately evaluating detail losses and
    additive impairments. IEEE Trans. Multimedia 13(5), 2011.
[3] Watson, Yang, Solomon, Villasenor: Visibility of wavelet quantization noise. IEEE Trans. Image
    Processing 6(8), 1997.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from morphe_core.errors import TrainingError

#: Gaussian windows of VIF's four scales; their standard deviation is a fifth of their length [1].
_VIF_TAPS: Final = (17, 9, 5, 3)
#: Variance of the eye's own noise on the 0..255 scale [1].
_VIF_NOISE: Final = 2.0
#: libvmaf's scale for new structure in flat places: (2 / 255)^2.
_VIF_FLAT: Final = (2.0 / 255.0) ** 2

_DETAIL_SCALES: Final = 4
#: Pixels a degree at three times the height of a 1080-line screen, as VMAF assumes.
_PIXELS_PER_DEGREE: Final = 3.0 * 1080.0 * math.pi / 180.0
#: Watson's luma thresholds: a, k, f0 and g of horizontal/vertical and of diagonal bands [3].
_WATSON_A, _WATSON_K, _WATSON_F0 = 0.495, 0.466, 0.401
_WATSON_G: Final = (1.0, 1.0, 0.534)
#: Amplitudes of the basis functions at each scale, for straight and for diagonal bands [3].
_WATSON_AMPLITUDES: Final = (
    (0.67234, 0.72709),
    (0.41317, 0.49428),
    (0.22727, 0.28688),
    (0.11792, 0.15214),
)
#: Share of the additive impairment around a place that hides detail there; the place itself counts
#: twice (libvmaf's contrast masking).
_MASKING: Final = 1.0 / 30.0
#: Reference and distorted edges that differ by less than this turn count as one enhanced edge.
_SAME_EDGE_COS2: Final = math.cos(math.radians(1.0)) ** 2
#: Part of a band that libvmaf adds under the cube root, so that flat pictures are kept pictures.
_BAND_FLOOR: Final = 1.0 / 32.0


def vif_kept(
    reconstruction: Tensor,
    reference: Tensor,
    *,
    gain_limit: float = 1.0,
    weights: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25),
) -> Tensor:
    """The weighted mean over four scales of VIF.

    Args:
        reconstruction: luma (N, 1, H, W), 0..255, H and W at least 72.
        reference: the same shape; takes no gradient.
        gain_limit: most contrast gain that earns credit, 1.0 (none) or more.
        weights: of the scales, full resolution first. VMAF sees the scales one by one; the VIF of
            [1] pools them before dividing, which leaves little but the first.

    Returns:
        The share of information kept in each picture, (N,) float32: 1 for equal pictures and about
        0 for unrelated ones.

    Raises:
        TrainingError: pictures do not fit together, are too small, or `gain_limit` is below 1.
    """
    kept, whole = vif_scales(reconstruction, reference, gain_limit=gain_limit)
    factors = torch.tensor(weights, dtype=kept.dtype, device=kept.device)
    return (kept / whole * factors).sum(dim=1) / sum(weights)


def vif_scales(
    reconstruction: Tensor, reference: Tensor, *, gain_limit: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Information in bits that the reconstruction keeps and that the reference holds.

    As libvmaf does, a place whose reference has less variance than the eye's noise counts as one
    bit, less what structure the reconstruction adds there. This also keeps the gradient finite: the
    gain divides by the variance only where there is some.

    Args:
        reconstruction: as for `vif_kept`.
        reference: as for `vif_kept`.
        gain_limit: as for `vif_kept`.

    Returns:
        Two (N, 4) float32: kept and whole information of each scale, as means over the picture.

    Raises:
        TrainingError: as for `vif_kept`.
    """
    _check(reconstruction, reference, gain_limit, smallest=72)
    kept, whole = [], []
    with torch.autocast(reference.device.type, enabled=False):
        one, two = _centred(reference.detach()), _centred(reconstruction)
        for scale, taps in enumerate(_VIF_TAPS):
            if scale:
                one, two = _blur(one, taps, stride=2), _blur(two, taps, stride=2)
            pair = _vif_at_scale(one, two, taps, gain_limit)
            kept.append(pair[0])
            whole.append(pair[1])
    return torch.stack(kept, 1), torch.stack(whole, 1)


def _vif_at_scale(one: Tensor, two: Tensor, taps: int, gain_limit: float) -> tuple[Tensor, Tensor]:
    mean_one, square_one = _blur(torch.cat((one, one * one), 1), taps).unbind(1)
    mean_two, square_two, product = _blur(torch.cat((two, two * two, one * two), 1), taps).unbind(1)
    var_one = (square_one - mean_one * mean_one).clamp_min(0.0)
    var_two = (square_two - mean_two * mean_two).clamp_min(0.0)
    # An inverted structure is as good as none.
    covariance = (product - mean_one * mean_two).clamp_min(0.0)
    flat = var_one < _VIF_NOISE
    gain = covariance / var_one.clamp_min(_VIF_NOISE)
    noise = (var_two - gain * covariance).clamp_min(0.0)
    signal = gain.clamp_max(gain_limit).square() * var_one
    kept = torch.where(
        flat, 1.0 - var_two * _VIF_FLAT, torch.log2(1.0 + signal / (noise + _VIF_NOISE))
    )
    whole = torch.where(flat, 1.0, torch.log2(1.0 + var_one / _VIF_NOISE))
    return kept.mean((1, 2)), whole.mean((1, 2))


def detail_kept(
    reconstruction: Tensor, reference: Tensor, *, gain_limit: float = 1.0, border: float = 0.0
) -> Tensor:
    """The share of the reference's visible detail that is kept.

    Detail is what four levels of a Daubechies-2 wavelet hold beside the lowest band. Per
    coefficient, the reconstruction is split into kept detail (between nothing and the reference's
    coefficient) and the rest, the additive impairment; the rest does not count as detail but hides
    some of it around itself. Bands are weighted by the eye's contrast sensitivity and pooled with
    exponent 3: strong edges and textures first.

    Args:
        reconstruction: luma (N, 1, H, W), 0..255, H and W at least 32.
        reference: the same shape; takes no gradient.
        gain_limit: most gain that earns credit where an edge is enhanced in its own direction, 1.0
            (none) or more.
        border: share of width and height left out at each side, 0..0.4; libvmaf has 0.1. Cut-outs
            for training have no border to spare.

    Returns:
        Of each picture, (N,) float32, from about 0 to 1 (all kept).

    Raises:
        TrainingError: pictures do not fit together, are too small, or a setting is out of range.
    """
    _check(reconstruction, reference, gain_limit, smallest=32)
    if not 0.0 <= border <= 0.4:
        raise TrainingError(f"border {border}: allowed are 0..0.4")
    with torch.autocast(reference.device.type, enabled=False):
        one, two = _centred(reference.detach()), _centred(reconstruction)
        kept = whole = torch.zeros(len(one), device=one.device)
        for scale in range(_DETAIL_SCALES):
            one, bands_one = _wavelet(one)
            two, bands_two = _wavelet(two)
            visible = _sensitivity(scale, one.device)
            held, added = _decouple(bands_one, bands_two, gain_limit)
            left = ((held * visible).abs() - _masking((added * visible).abs())).clamp_min(0.0)
            kept = kept + _pool(left, border)
            whole = whole + _pool((bands_one * visible).abs(), border)
    return kept / whole


def _decouple(one: Tensor, two: Tensor, gain_limit: float) -> tuple[Tensor, Tensor]:
    """Kept detail and additive impairment, both (N, 3, h, w)."""
    sign, limit = one.sign(), one.abs()
    if gain_limit > 1.0:
        dot = (one[:, :2] * two[:, :2]).sum(1, keepdim=True)
        power = one[:, :2].square().sum(1, keepdim=True) * two[:, :2].square().sum(1, keepdim=True)
        same = (dot >= 0.0) & (dot.square() >= _SAME_EDGE_COS2 * power)
        limit = torch.where(same.detach(), limit * gain_limit, limit)
    along = two * sign
    held = torch.minimum(along.clamp_min(0.0), limit) * sign
    return held, two - held


def _masking(added: Tensor) -> Tensor:
    """What the impairment hides: 3x3 neighbours in all three bands, the centre twice."""
    total = added.sum(1, keepdim=True)
    around = functional.avg_pool2d(total, 3, 1, 1, count_include_pad=True) * 9.0
    return (around + total) * _MASKING


def _pool(values: Tensor, border: float) -> Tensor:
    """Cubic pooling of each band's inside and the sum over the bands, (N,)."""
    height, width = values.shape[2:]
    top, left = int(height * border), int(width * border)
    inside = values[:, :, top : height - top, left : width - left]
    area = inside.shape[2] * inside.shape[3]
    # The small number keeps the root's slope finite where a band is empty.
    sums = inside.pow(3).sum((2, 3)) + 1e-6
    bands: Tensor = sums.pow(1.0 / 3.0) + (area * _BAND_FLOOR) ** (1.0 / 3.0)
    return bands.sum(1)


def _wavelet(picture: Tensor) -> tuple[Tensor, Tensor]:
    """One level: the lowest band (N, 1, h/2, w/2) and horizontal, vertical, diagonal detail."""
    height, width = picture.shape[2:]
    padded = functional.pad(picture, (1, 1 + width % 2, 1, 1 + height % 2), mode="reflect")
    bands = functional.conv2d(padded, _wavelet_filters(picture.device), stride=2)
    return bands[:, :1], bands[:, 1:]


@lru_cache(maxsize=8)
def _wavelet_filters(device: torch.device) -> Tensor:
    root = math.sqrt(3.0)
    low = torch.tensor([1 + root, 3 + root, 3 - root, 1 - root]) / (4.0 * math.sqrt(2.0))
    high = low.flip(0) * torch.tensor([1.0, -1.0, 1.0, -1.0])
    rows = [(low, low), (high, low), (low, high), (high, high)]
    return torch.stack([torch.outer(v, h) for v, h in rows])[:, None].to(device)


@lru_cache(maxsize=32)
def _sensitivity(scale: int, device: torch.device) -> Tensor:
    """Inverse visibility thresholds of the three bands, (1, 3, 1, 1)."""
    straight, diagonal = _WATSON_AMPLITUDES[scale]
    factors = []
    for g, amplitude in zip(_WATSON_G, (straight, straight, diagonal), strict=True):
        octaves = math.log10(2.0 ** (scale + 1) * _WATSON_F0 * g / _PIXELS_PER_DEGREE)
        threshold = 2.0 * _WATSON_A * 10.0 ** (_WATSON_K * octaves**2) / amplitude
        factors.append(1.0 / threshold)
    return torch.tensor(factors, device=device).view(1, 3, 1, 1)


def _blur(maps: Tensor, taps: int, stride: int = 1) -> Tensor:
    """Gaussian of VIF's shape over every channel, mirrored at the borders.

    As two products with banded matrices: on a CPU an order of magnitude faster than convolutions
    with one channel, forwards and backwards. TF32 products would leave nothing of a small variance
    on a bright place, so where those are allowed, double precision is taken.
    """
    height, width = maps.shape[2:]
    coarse = maps.is_cuda and torch.get_float32_matmul_precision() != "highest"
    wide = maps.double() if coarse else maps
    down = _band(height, taps, stride, maps.device).to(wide.dtype)
    across = _band(width, taps, stride, maps.device).to(wide.dtype)
    return (down @ (wide @ across.mT)).to(maps.dtype)


@lru_cache(maxsize=64)
def _band(size: int, taps: int, stride: int, device: torch.device) -> Tensor:
    """The matrix (ceil(size / stride), size) that filters one dimension."""
    half = taps // 2
    at = torch.arange(taps, dtype=torch.float64) - half
    window = torch.exp(-0.5 * (at / (taps / 5.0)) ** 2)
    window = window / window.sum()
    places = torch.arange(0, size, stride)[:, None] + torch.arange(-half, half + 1)
    places = places.abs()
    places = torch.where(places >= size, 2 * (size - 1) - places, places)
    matrix = torch.zeros(len(places), size, dtype=torch.float64)
    matrix.scatter_add_(1, places, window.expand(len(places), taps).contiguous())
    return matrix.float().to(device)


def _centred(picture: Tensor) -> Tensor:
    """In float32 around zero, where E[x^2] - E[x]^2 loses the fewest digits."""
    return picture.float() - 128.0


def _check(reconstruction: Tensor, reference: Tensor, gain_limit: float, smallest: int) -> None:
    shape = tuple(reconstruction.shape)
    if shape != tuple(reference.shape) or len(shape) != 4 or shape[1] != 1:
        raise TrainingError(
            f"pictures {shape}, {tuple(reference.shape)}: allowed are two luma tensors (N, 1, H, W)"
        )
    if min(shape[2:]) < smallest:
        raise TrainingError(f"pictures {shape[3]}x{shape[2]}: at least {smallest}x{smallest}")
    if not gain_limit >= 1.0:
        raise TrainingError(f"gain_limit {gain_limit}: allowed is 1.0 or more")
