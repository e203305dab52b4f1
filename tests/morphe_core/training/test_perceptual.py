from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from morphe_core.errors import TrainingError
from morphe_core.training.perceptual import detail_kept, vif_kept, vif_scales

Picture = npt.NDArray[np.uint8]


def clipped(values: npt.NDArray[np.float64]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def textured(height: int = 192, width: int = 256) -> Picture:
    """Noise with the spectrum of photographs, edges, and a flat part."""
    noise = np.random.default_rng(3).normal(size=(height, width))
    spectrum = np.fft.rfft2(noise)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    picture = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1e-2), (height, width))
    picture = 120 + 35 * picture / picture.std()
    picture[40:90, 30:90] = 200
    picture[100:, 150:200] += 40
    return clipped(picture)


def impaired(reference: Picture, how: str) -> Picture:
    values = reference.astype(np.float64)
    if how == "noise":
        return clipped(values + np.random.default_rng(4).normal(0, 8, values.shape))
    if how == "blur":
        return clipped(gaussian_filter(values, 1.5))
    if how == "sharp":
        return clipped(values + 0.8 * (values - gaussian_filter(values, 2.0)))
    return clipped(0.7 * values)


def tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture).float()[None, None]


def libvmaf(folder: Path, reference: Picture, distorted: Picture, model: str) -> dict[str, float]:
    """What libvmaf measures on one picture."""
    height, width = reference.shape
    for name, picture in (("reference", reference), ("distorted", distorted)):
        grey = bytes([128]) * (height * width // 2)
        (folder / name).write_bytes(picture.tobytes() + grey)
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-i"]
    measure = f"[0][1]libvmaf=model=version={model}:log_fmt=json:log_path=log.json"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, "distorted", *raw]
    command += ["reference", "-lavfi", measure, "-f", "null", "-"]
    subprocess.run(command, cwd=folder, check=True)
    metrics: dict[str, float] = json.loads((folder / "log.json").read_text())["frames"][0][
        "metrics"
    ]
    return metrics


@pytest.mark.parametrize("how", ["noise", "blur", "sharp", "dark"])
@pytest.mark.parametrize(("model", "limit"), [("vmaf_v0.6.1", 100.0), ("vmaf_v0.6.1neg", 1.0)])
def test_agrees_with_libvmaf(tmp_path: Path, how: str, model: str, limit: float) -> None:
    reference = textured()
    distorted = impaired(reference, how)
    oracle = libvmaf(tmp_path, reference, distorted, model)

    kept, whole = vif_scales(tensor(distorted), tensor(reference), gain_limit=limit)
    expected = [next(v for k, v in oracle.items() if f"vif_scale{n}" in k) for n in range(4)]
    np.testing.assert_allclose((kept / whole)[0], expected, atol=5e-4)

    detail = detail_kept(tensor(distorted), tensor(reference), gain_limit=limit, border=0.1)
    assert detail.item() == pytest.approx(
        next(v for k, v in oracle.items() if "adm2" in k), abs=2e-3
    )


Measure = Callable[..., Tensor]


@pytest.fixture(params=[vif_kept, detail_kept])
def kept(request: pytest.FixtureRequest) -> Measure:
    """Both measures in turn."""
    measure: Measure = request.param
    return measure


@pytest.fixture
def loss(kept: Measure) -> Measure:
    """What training makes of a measure: one less its mean over the pictures."""
    return lambda *pictures, **settings: 1.0 - kept(*pictures, **settings).mean()


class TestBothMeasures:
    def test_equal_pictures_cost_nothing(self, loss: Measure) -> None:
        picture = tensor(textured())
        assert loss(picture, picture).item() == pytest.approx(0.0, abs=1e-5)

    def test_more_blur_costs_more_and_sharpening_wins_nothing(self, loss: Measure) -> None:
        reference = textured()
        blurs = [clipped(gaussian_filter(reference.astype(float), s)) for s in (0.6, 1.2, 2.4)]
        costs = [loss(tensor(one), tensor(reference)).item() for one in blurs]
        assert 0.0 < costs[0] < costs[1] < costs[2]
        assert loss(tensor(impaired(reference, "sharp")), tensor(reference)).item() > 0.01

    def test_descending_it_restores_the_picture(self, loss: Measure) -> None:
        """The gradient leads from a blurred picture back to its reference."""
        reference = tensor(textured(96, 96))
        start = tensor(clipped(gaussian_filter(textured(96, 96).astype(float), 1.2)))
        picture = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([picture], lr=1.0)
        for _ in range(40):
            optimiser.zero_grad()
            loss(picture, reference).backward()
            optimiser.step()
        assert loss(picture, reference) < 0.5 * loss(start, reference)
        assert (picture - reference).abs().mean() < 0.9 * (start - reference).abs().mean()

    @pytest.mark.parametrize("level", [0.0, 16.0, 255.0])
    def test_gradients_are_finite_on_flat_pictures(self, loss: Measure, level: float) -> None:
        flat = torch.full((2, 1, 80, 96), level)
        textures = torch.stack([tensor(textured(80, 96))[0]] * 2)
        for one, two in ((flat, flat), (flat, textures), (textures, flat)):
            picture = one.clone().requires_grad_()
            value = loss(picture, two)
            value.backward()
            assert torch.isfinite(value)
            assert picture.grad is not None
            assert torch.isfinite(picture.grad).all()
            assert picture.grad.abs().max() < 1.0

    def test_gradient_is_the_slope(self, loss: Measure) -> None:
        """Finite differences on the way back to the reference agree with the gradient."""
        reference = tensor(textured(96, 96))
        picture = tensor(impaired(textured(96, 96), "blur")).requires_grad_()
        direction = reference - picture.detach()
        loss(picture, reference).backward()
        assert picture.grad is not None
        step = 0.01
        with torch.no_grad():
            up, down = (loss(picture + s * direction, reference) for s in (step, -step))
        slope = ((up - down) / (2 * step)).item()
        assert slope < -0.1
        assert (picture.grad * direction).sum().item() == pytest.approx(slope, rel=0.02)

    def test_half_precision_pictures_are_measured_in_full(self, loss: Measure) -> None:
        reference, distorted = tensor(textured()), tensor(impaired(textured(), "blur"))
        full = loss(distorted, reference)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert loss(distorted, reference).item() == pytest.approx(full.item(), abs=1e-6)
        half = loss(distorted.bfloat16(), reference.bfloat16())
        assert half.dtype == torch.float32

    def test_each_picture_counts_alike(self, loss: Measure, kept: Measure) -> None:
        reference = torch.cat([tensor(textured())] * 3)
        distorted = torch.cat(
            [tensor(impaired(textured(), how)) for how in ("blur", "sharp", "dark")]
        )
        alone = [loss(distorted[n : n + 1], reference[n : n + 1]).item() for n in range(3)]
        assert loss(distorted, reference).item() == pytest.approx(np.mean(alone), abs=1e-5)
        np.testing.assert_allclose(1.0 - kept(distorted, reference), alone, atol=1e-5)

    def test_odd_sizes_are_taken(self, loss: Measure) -> None:
        reference = textured(101, 75)
        assert 0.0 < loss(tensor(impaired(reference, "blur")), tensor(reference)) < 1.0

    def test_input_that_cannot_be_compared_is_refused(self, loss: Measure) -> None:
        picture = torch.zeros(1, 1, 80, 80)
        with pytest.raises(TrainingError, match=r"two luma tensors \(N, 1, H, W\)"):
            loss(picture, torch.zeros(1, 1, 80, 84))
        with pytest.raises(TrainingError, match="two luma tensors"):
            loss(torch.zeros(1, 3, 80, 80), torch.zeros(1, 3, 80, 80))
        with pytest.raises(TrainingError, match="at least"):
            loss(picture[..., :24], picture[..., :24])
        with pytest.raises(TrainingError, match=r"gain_limit 0\.5"):
            loss(picture, picture, gain_limit=0.5)


def test_vif_weights_choose_the_scales() -> None:
    reference, distorted = tensor(textured()), tensor(impaired(textured(), "blur"))
    kept, whole = vif_scales(distorted, reference)
    for scale in range(4):
        weights = tuple(2.0 if n == scale else 0.0 for n in range(4))
        (found,) = vif_kept(distorted, reference, weights=weights)
        assert found.item() == pytest.approx((kept / whole)[0, scale].item())


def test_detail_border_is_checked() -> None:
    picture = torch.zeros(1, 1, 80, 80)
    with pytest.raises(TrainingError, match=r"border 0\.5"):
        detail_kept(picture, picture, border=0.5)
