"""NVIDIA's Cosmos tokenizer CV8x8x8, from the TorchScript files of a user who has them.

The weights are under NVIDIA's Open Model License and not shipped here. A folder holds `encoder.jit`
and `decoder.jit` and may hold `mean_std.pt`. A TorchScript file is a program: load only what you
trust.

Interface of the files (github.com/NVIDIA/Cosmos-Tokenizer, `cosmos_tokenizer/video_lib.py`): the
encoder takes (1, 3, 1 + 8 k, H, W) within -1 and 1 and returns a tuple whose first entry is the
latent (1, 16, 1 + k, H / 8, W / 8); the decoder takes the latent and returns pictures near that
range. Both are causal: the first latent is the first picture's alone. So one call with nine
pictures gives the two token matrices of a GoP (paper, section 4.3).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from morphe_core.errors import CodecConfigError, WeightsError
from morphe_core.vgc.pictures import MIDDLE, Picture
from morphe_core.vgc.tokens import GOP_FRAMES, TOKEN_MAX, TOKEN_SIDE, Tokens

#: Channels of a latent.
CHANNELS: Final = 16
#: Latents of a GoP: one of the I picture, one of the eight P pictures.
LATENTS: Final = 2
#: Side of the pictures that try out a file on loading.
_PROBE_SIDE: Final = 64
#: A channel that hardly varies is not quantised finer than this.
_LEAST_STD: Final = 1e-3
#: ITU-R BT.709-6, item 3.2: luma weights of red and blue.
_RED, _BLUE = 0.2126, 0.0722
_GREEN: Final = 1 - _RED - _BLUE
#: ITU-R BT.709-6, item 4.6: limited range at 8 bits.
_BLACK, _LUMA_RANGE, _CHROMA_RANGE = 16.0, 219.0, 224.0

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ChannelScales:
    """Mean and spread of a latent's channels; the unit of its quantisation steps.

    Attributes:
        mean: (16,) float32; what a token of zeros stands for.
        std: (16,) float32, more than 0.
    """

    mean: Values
    std: Values

    @classmethod
    def of(cls, values: Values) -> ChannelScales:
        """Measured on (rows, cols, 16) values."""
        flat = values.reshape(-1, CHANNELS).astype(np.float64)
        std = np.maximum(flat.std(axis=0), _LEAST_STD)
        return cls(flat.mean(axis=0).astype(np.float32), std.astype(np.float32))

    def quantise(self, values: Values, step: float) -> Tokens:
        """(rows, cols, 16) integers: round((values - mean) / (std * step)), within `TOKEN_MAX`."""
        scaled = np.rint((values - self.mean) / (self.std * np.float32(step)))
        tokens: Tokens = np.clip(scaled, -TOKEN_MAX, TOKEN_MAX).astype(np.int16)
        return tokens

    def dequantise(self, tokens: Tokens, step: float) -> Values:
        """What the integers stand for."""
        values: Values = tokens * (self.std * np.float32(step)) + self.mean
        return values.astype(np.float32)


class CosmosTokenizer:
    """Pictures of a GoP to two latents and back.

    Attributes:
        i_channels, p_channels: numbers of a token.
        scales: of the I and of the P latent; None until `calibrate`, unless the folder has them.
            A decoder needs the encoder's.
    """

    i_channels = CHANNELS
    p_channels = CHANNELS

    def __init__(
        self,
        encoder: torch.jit.ScriptModule,
        decoder: torch.jit.ScriptModule,
        *,
        device: torch.device,
        dtype: torch.dtype,
        scales: tuple[ChannelScales, ChannelScales] | None = None,
    ) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._device, self._dtype = device, dtype
        self.scales = scales

    @classmethod
    def load(
        cls,
        folder: Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> CosmosTokenizer:
        """Load the files of a folder and try them on a small GoP.

        Args:
            folder: holds encoder.jit, decoder.jit and perhaps mean_std.pt.
            device: where they run.
            dtype: of their weights and what they are given; NVIDIA's files are bfloat16.

        Raises:
            WeightsError: a file is missing, no TorchScript or of another interface.
        """
        place = torch.device(device)
        encoder = _load_script(folder / "encoder.jit", place, dtype)
        decoder = _load_script(folder / "decoder.jit", place, dtype)
        statistics = folder / "mean_std.pt"
        scales = _load_scales(statistics) if statistics.exists() else None
        tokenizer = cls(encoder, decoder, device=place, dtype=dtype, scales=scales)
        tokenizer._try_out(folder)
        return tokenizer

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> tuple[Values, Values]:
        """The two latents of a GoP.

        Args:
            pictures: (9, 3, H, W) RGB within -1 and 1; padded to multiples of 8 at the right and
                lower edges.

        Returns:
            I and P values, (rows, cols, 16) float32.

        Raises:
            CodecConfigError: another shape.
        """
        if pictures.ndim != 4 or tuple(pictures.shape[:2]) != (GOP_FRAMES, 3):
            raise CodecConfigError(
                f"pictures {tuple(pictures.shape)}: must be ({GOP_FRAMES}, 3, height, width)"
            )
        height, width = pictures.shape[2:]
        padding = (0, -width % TOKEN_SIDE, 0, -height % TOKEN_SIDE)
        padded = functional.pad(pictures, padding, mode="replicate")
        batch = padded.permute(1, 0, 2, 3)[None].to(self._device, self._dtype)
        latent = self._encoder(batch)[0][0].float().permute(1, 2, 3, 0).cpu().numpy()
        return np.ascontiguousarray(latent[0]), np.ascontiguousarray(latent[1])

    @torch.inference_mode()
    def decode(self, i: Values, p: Values) -> Tensor:
        """The pictures of a GoP.

        Args:
            i: (rows, cols, 16) values.
            p: the same of the P pictures.

        Returns:
            (9, 3, 8 * rows, 8 * cols) float32 RGB, within -1 and 1.

        Raises:
            CodecConfigError: another shape.
        """
        if i.ndim != 3 or i.shape != p.shape or i.shape[2] != CHANNELS:
            raise CodecConfigError(
                f"latents {i.shape} and {p.shape}: both must be (rows, cols, {CHANNELS})"
            )
        latent = torch.from_numpy(np.stack([i, p])).permute(3, 0, 1, 2)[None]
        pictures: Tensor = self._decoder(latent.to(self._device, self._dtype))
        return pictures[0].float().permute(1, 0, 2, 3).clamp(-1.0, 1.0)

    def calibrate(self, i: Values, p: Values) -> tuple[ChannelScales, ChannelScales]:
        """Measure `scales` on the values of a GoP, and keep and return them."""
        self.scales = ChannelScales.of(i), ChannelScales.of(p)
        return self.scales

    def _try_out(self, folder: Path) -> None:
        """Nine small pictures there and back: the shapes say whether the files are ours.

        Raises:
            WeightsError: they are not.
        """
        side = _PROBE_SIDE
        batch = torch.zeros(1, 3, GOP_FRAMES, side, side, device=self._device, dtype=self._dtype)
        latent_shape = (1, CHANNELS, LATENTS, side // TOKEN_SIDE, side // TOKEN_SIDE)
        output = _call(self._encoder, batch, folder / "encoder.jit")
        if not (isinstance(output, tuple) and output and isinstance(output[0], Tensor)):
            raise WeightsError(
                f"{folder / 'encoder.jit'}: gives {type(output).__name__}, must give a tuple that "
                "begins with the latent"
            )
        _expect_shape(output[0], latent_shape, folder / "encoder.jit")
        pictures = _call(self._decoder, output[0], folder / "decoder.jit")
        if not isinstance(pictures, Tensor):
            raise WeightsError(
                f"{folder / 'decoder.jit'}: gives {type(pictures).__name__}, must give a tensor"
            )
        _expect_shape(pictures, tuple(batch.shape), folder / "decoder.jit")


def to_rgb(picture: Picture) -> Tensor:
    """yuv420p pictures (BT.709, limited range) as (N, 3, H, W) RGB within -1 and 1."""
    luma = (picture.luma + (MIDDLE - _BLACK)) / _LUMA_RANGE
    height, width = luma.shape[-2:]
    chroma = functional.interpolate(
        picture.chroma, (height, width), mode="bilinear", align_corners=False
    )
    blue_difference, red_difference = (chroma / _CHROMA_RANGE).split(1, dim=1)
    red = luma + 2 * (1 - _RED) * red_difference
    blue = luma + 2 * (1 - _BLUE) * blue_difference
    green = (luma - _RED * red - _BLUE * blue) / _GREEN
    return (torch.cat([red, green, blue], dim=1) * 2 - 1).clamp(-1.0, 1.0)


def from_rgb(pictures: Tensor) -> Picture:
    """The reverse of `to_rgb`; chroma is the mean of 2x2 samples."""
    red, green, blue = ((pictures + 1) / 2).split(1, dim=1)
    luma = _RED * red + _GREEN * green + _BLUE * blue
    blue_difference = (blue - luma) / (2 * (1 - _BLUE))
    red_difference = (red - luma) / (2 * (1 - _RED))
    chroma = functional.avg_pool2d(torch.cat([blue_difference, red_difference], dim=1), 2)
    return Picture(luma * _LUMA_RANGE + (_BLACK - MIDDLE), chroma * _CHROMA_RANGE)


def _load_script(path: Path, device: torch.device, dtype: torch.dtype) -> torch.jit.ScriptModule:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            # PyTorch would rather have torch.export files; NVIDIA published TorchScript.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: no TorchScript module: {_reason(error)}") from error
    module.eval()
    loaded: torch.jit.ScriptModule = module.to(dtype)
    return loaded


def _load_scales(path: Path) -> tuple[ChannelScales, ChannelScales]:
    """(mean, std), each with 16 rows of one number a latent, as in NVIDIA's diffusion models."""
    try:
        mean, std = torch.load(path, map_location="cpu", weights_only=True)
        means, stds = (values.float().reshape(CHANNELS, -1).numpy() for values in (mean, std))
    except Exception as error:  # torch.load and the unpacking raise many kinds
        raise WeightsError(
            f"{path}: must hold (mean, std) of {CHANNELS} channels: {_reason(error)}"
        ) from error
    finite = np.isfinite(means).all() and np.isfinite(stds).all()
    if means.shape != stds.shape or not (finite and (stds > 0).all()):
        raise WeightsError(f"{path}: mean and std must be finite, of one shape, std more than 0")
    columns = (0, min(1, means.shape[1] - 1))
    i, p = (ChannelScales(means[:, column], stds[:, column]) for column in columns)
    return i, p


def _call(module: torch.jit.ScriptModule, argument: Tensor, path: Path) -> Any:
    try:
        with torch.inference_mode():
            return module(argument)
    except (RuntimeError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: does not take {tuple(argument.shape)}: {_reason(error)}"
        ) from error


def _expect_shape(output: Tensor, shape: tuple[int, ...], path: Path) -> None:
    if tuple(output.shape) != shape:
        raise WeightsError(f"{path}: gives {tuple(output.shape)}, must give {shape}")


def _reason(error: Exception) -> str:
    """What went wrong; where TorchScript tells of its stack first, that is the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]
