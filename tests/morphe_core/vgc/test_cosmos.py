"""The loader for Cosmos files, with small TorchScript modules of exactly their interface."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from morphe_core.errors import CodecConfigError, WeightsError
from morphe_core.vgc.cosmos import ChannelScales, CosmosTokenizer, from_rgb, to_rgb
from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.tokens import TOKEN_MAX


class Encoder(nn.Module):
    """16 numbers of an 8x8 block: means of 2x2 samples of all colours. Causal, 1 + 8 k pictures."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        grey = x.mean(dim=1)  # (1, T, H, W)
        first = grey[:, :1]
        rest = grey[:, 1:].unflatten(1, [-1, 8]).mean(dim=2)
        small = functional.avg_pool2d(torch.cat([first, rest], dim=1), 2)
        latent = functional.pixel_unshuffle(small.transpose(0, 1), 4)  # (1 + k, 16, h, w)
        latent = latent.transpose(0, 1)[None] * self.gain.view(1, -1, 1, 1, 1)
        return latent, (torch.zeros(1), torch.zeros(1))


class Decoder(nn.Module):
    """The reverse; 1.5 times too strong, so that its output leaves the range."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1,), 1.5))

    def forward(self, z: Tensor) -> Tensor:
        small = functional.pixel_shuffle(z[0].transpose(0, 1), 4)  # (1 + k, 1, 4 h, 4 w)
        large = functional.interpolate(small * self.gain, scale_factor=2.0, mode="nearest")
        pictures = torch.cat([large[:1], large[1:].repeat_interleave(8, dim=0)])
        return pictures.expand(-1, 3, -1, -1).transpose(0, 1)[None]


class Bare(nn.Module):
    """No tuple."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x.mean(1)[:, :2], 8)[:, None].expand(-1, 16, -1, -1, -1)


class NineToThree(Encoder):
    """Compresses four times in time, as CV4x8x8 does."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        latent = functional.avg_pool2d(x.mean(1)[:, ::4], 8)[:, None].expand(-1, 16, -1, -1, -1)
        return latent, (torch.zeros(1), torch.zeros(1))


class NeedsMore(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(1, 3, 9, 1, 1)


def save(module: nn.Module, path: Path, trace: Tensor | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(module) if trace is None else torch.jit.trace(module, trace)
        script.save(str(path))


@pytest.fixture(scope="module", params=["script", "trace"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cosmos")
    traced = request.param == "trace"
    save(Encoder(), path / "encoder.jit", torch.zeros(1, 3, 9, 32, 32) if traced else None)
    save(Decoder(), path / "decoder.jit", torch.zeros(1, 16, 2, 4, 4) if traced else None)
    return path


@pytest.fixture
def folder(files: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(files, tmp_path / "weights"))


def gop(height: int = 48, width: int = 80, seed: int = 1) -> Tensor:
    """Grey pictures that are constant over 2x2 samples; pictures 2 to 9 are equal."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(2, 1, height // 2, width // 2, generator=generator) * 2 - 1
    large = functional.interpolate(small, scale_factor=2, mode="nearest").expand(-1, 3, -1, -1)
    return torch.cat([large[:1], large[1:].expand(8, -1, -1, -1)])


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"]
)
def test_there_and_back(folder: Path, dtype: torch.dtype, error: float) -> None:
    tokenizer = CosmosTokenizer.load(folder, dtype=dtype)
    pictures = gop()
    i, p = tokenizer.encode(pictures)
    for latent in (i, p):
        assert (latent.shape, latent.dtype) == ((6, 10, 16), np.float32)
    decoded = tokenizer.decode(i, p)
    assert (decoded.shape, decoded.dtype) == ((9, 3, 48, 80), torch.float32)
    assert (decoded - (1.5 * pictures).clamp(-1, 1)).abs().max() < error
    assert decoded.abs().max() == 1  # the decoder's own output goes to 1.5


def test_bfloat16_is_the_default(folder: Path) -> None:
    i, _ = CosmosTokenizer.load(folder).encode(gop())
    assert (i == torch.from_numpy(i).bfloat16().float().numpy()).all()
    exact, _ = CosmosTokenizer.load(folder, dtype=torch.float32).encode(gop())
    assert (exact != i).any()


def test_latents_lie_in_rows_and_columns(folder: Path) -> None:
    tokenizer = CosmosTokenizer.load(folder, dtype=torch.float32)
    pictures = torch.zeros(9, 3, 48, 80)
    pictures[0, :, 40:48, 8:16] = 0.5
    i, p = tokenizer.encode(pictures)
    expected = np.zeros((6, 10))
    expected[5, 1] = 0.5
    assert i.mean(axis=2) == pytest.approx(expected)
    assert not p.any()


def test_the_i_latent_is_the_first_pictures_alone(folder: Path) -> None:
    tokenizer = CosmosTokenizer.load(folder, dtype=torch.float32)
    one, other = gop(seed=1), gop(seed=2)
    other[0] = one[0]
    (i, p), (same, changed) = tokenizer.encode(one), tokenizer.encode(other)
    assert (i == same).all()
    assert (p != changed).any()
    assert (tokenizer.decode(i, p)[0] == tokenizer.decode(i, np.zeros_like(p))[0]).all()


@pytest.mark.parametrize(("height", "width"), [(48, 80), (50, 90), (16, 18)])
def test_any_size_is_padded_by_its_edges(folder: Path, height: int, width: int) -> None:
    tokenizer = CosmosTokenizer.load(folder, dtype=torch.float32)
    pictures = gop(height, width)
    i, p = tokenizer.encode(pictures)
    assert i.shape == (-(-height // 8), -(-width // 8), 16)
    decoded = tokenizer.decode(i, p)[..., :height, :width]
    assert (decoded - (1.5 * pictures).clamp(-1, 1)).abs().max() < 1e-6


def test_calibrated_tokens(folder: Path) -> None:
    tokenizer = CosmosTokenizer.load(folder, dtype=torch.float32)
    assert tokenizer.scales is None
    i, p = tokenizer.encode(gop())
    scales, p_scales = tokenizer.calibrate(i, p)
    assert tokenizer.scales == (scales, p_scales)
    assert scales.mean == pytest.approx(i.reshape(-1, 16).mean(axis=0), abs=1e-6)
    assert p_scales.std == pytest.approx(p.reshape(-1, 16).std(axis=0), abs=1e-6)
    tokens = scales.quantise(i, 0.25)
    assert tokens.dtype == np.int16
    assert tokens == pytest.approx(np.rint((i - scales.mean) / scales.std / 0.25))
    error = np.abs(scales.dequantise(tokens, 0.25) - i) / scales.std
    assert 0.1 < error.max() <= 0.125 + 1e-5
    assert (scales.quantise(scales.mean[None, None], 0.25) == 0).all()


def test_flat_channels_and_wild_values_stay_in_range() -> None:
    scales = ChannelScales.of(np.full((4, 4, 16), 3.0, np.float32))
    tokens = scales.quantise(np.full((1, 1, 16), 1e6, np.float32), 0.1)
    assert (tokens == TOKEN_MAX).all()
    assert np.isfinite(scales.dequantise(tokens, 0.1)).all()


@pytest.mark.parametrize("latents", [1, 2, 4])
def test_statistics_from_the_folder(folder: Path, latents: int) -> None:
    mean = torch.arange(16.0)[:, None] + torch.arange(latents) / 10
    torch.save((mean.reshape(1, -1), (mean + 1).reshape(1, -1)), folder / "mean_std.pt")
    scales = CosmosTokenizer.load(folder).scales
    assert scales is not None
    assert scales[0].mean == pytest.approx(np.arange(16.0))
    assert scales[1].mean == pytest.approx(np.arange(16.0) + min(latents - 1, 1) / 10)
    assert scales[1].std == pytest.approx(scales[1].mean + 1)


def test_other_shapes_are_refused(folder: Path) -> None:
    tokenizer = CosmosTokenizer.load(folder)
    with pytest.raises(CodecConfigError, match=r"must be \(9, 3, height, width\)"):
        tokenizer.encode(torch.zeros(8, 3, 16, 16))
    with pytest.raises(CodecConfigError, match=r"\(rows, cols, 16\)"):
        tokenizer.decode(np.zeros((2, 2, 16), np.float32), np.zeros((2, 3, 16), np.float32))


@pytest.mark.parametrize("name", ["encoder.jit", "decoder.jit"])
@pytest.mark.parametrize("content", [None, b"", b"not a zip", "state"])
def test_files_that_are_none(folder: Path, name: str, content: bytes | str | None) -> None:
    path = folder / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "state":
        torch.save(Encoder().state_dict(), path)
    with pytest.raises(WeightsError) as caught:
        CosmosTokenizer.load(folder)
    expected = "no such file" if content is None else "no TorchScript module"
    assert f"{path}: {expected}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("encoder.jit", Bare(), "gives Tensor, must give a tuple"),
        ("encoder.jit", NineToThree(), r"gives \(1, 16, 3, 8, 8\), must give \(1, 16, 2, 8, 8\)"),
        ("encoder.jit", Encoder(8), r"does not take \(1, 3, 9, 64, 64\): RuntimeError: .* size"),
        ("decoder.jit", Encoder(), r"does not take \(1, 16, 2, 8, 8\)"),
        ("decoder.jit", NeedsMore(), r"does not take .*: RuntimeError: shape"),
    ],
)
def test_modules_of_another_interface(
    folder: Path, name: str, module: nn.Module, message: str
) -> None:
    save(module, folder / name)
    with pytest.raises(WeightsError, match=rf"{name}: {message}") as caught:
        CosmosTokenizer.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", (torch.ones(16),), (torch.ones(15), torch.ones(15)), (torch.ones(16),) * 3]
)
def test_statistics_of_another_form(folder: Path, content: object) -> None:
    path = folder / "mean_std.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match=r"mean_std\.pt: must hold \(mean, std\)"):
        CosmosTokenizer.load(folder)


def test_statistics_must_be_usable(folder: Path) -> None:
    torch.save((torch.ones(16), torch.zeros(16)), folder / "mean_std.pt")
    with pytest.raises(WeightsError, match="std more than 0"):
        CosmosTokenizer.load(folder)


# -- colour --------------------------------------------------------------------------------------


def flat(y: float, cb: float, cr: float) -> Picture:
    chroma = torch.tensor([float(cb), float(cr)]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    return Picture(torch.full((1, 1, 8, 8), float(y)) - 128, chroma - 128)


@pytest.mark.parametrize(
    ("ycbcr", "rgb"),
    [  # ITU-R BT.709 colour bars at 100 %, 8 bits
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (1, 1, 1)),
        ((63, 102, 240), (1, 0, 0)),
        ((173, 42, 26), (0, 1, 0)),
        ((32, 240, 118), (0, 0, 1)),
        ((219, 16, 138), (1, 1, 0)),
    ],
)
def test_colour_bars(ycbcr: tuple[float, ...], rgb: tuple[float, ...]) -> None:
    values = to_rgb(flat(*ycbcr)).mean(dim=(0, 2, 3)).numpy()
    assert (values + 1) / 2 == pytest.approx(np.array(rgb), abs=0.006)
    back = from_rgb(torch.tensor(rgb).float().view(1, 3, 1, 1).expand(1, 3, 8, 8) * 2.0 - 1)
    assert back.luma.mean().item() + 128 == pytest.approx(ycbcr[0], abs=0.6)
    assert back.chroma.mean(dim=(0, 2, 3)).numpy() + 128 == pytest.approx(
        np.array(ycbcr[1:]), abs=0.6
    )


def test_colour_round_trip_of_smooth_pictures() -> None:
    ramp = torch.linspace(-40, 40, 32)
    luma = (ramp[:, None] + ramp[None] / 4).view(1, 1, 32, 32)
    chroma = torch.stack(
        [ramp[::2, None] / 8 + ramp[None, ::2] / 4, -ramp[::2, None] / 4 + 0 * ramp[None, ::2]]
    )[None]
    back = from_rgb(to_rgb(Picture(luma, chroma)))
    assert (back.luma - luma).abs().max() < 1e-3
    assert (back.chroma - chroma)[..., 1:-1, 1:-1].abs().max() < 1e-3
    assert (back.chroma - chroma).abs().max() < 1
