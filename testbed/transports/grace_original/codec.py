"""The boundary to the original codec: four calls on pictures, and nothing of its inside."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

#: A picture at the boundary: (3, height, width), RGB in 0..1, both sizes multiples of 128.
Rgb = npt.NDArray[np.float32]
#: Quantised latents: (channels, rows, columns).
Latent = npt.NDArray[np.int16]

#: Frames are resized to multiples of this, and intra patches are this wide and high
#: (grace-gpu.py of the repository).
PATCH: int = 128


class PCode(NamedTuple):
    """What a P frame is coded into.

    Attributes:
        motion: latents of the motion, (channels, rows, columns).
        residual: latents of the residual, of the same rows and columns.
        size_bytes: what the codec's own entropy model estimates for both.
    """

    motion: Latent
    residual: Latent
    size_bytes: float


class OriginalCodec(Protocol):
    """Encodes and decodes one frame; the caller keeps the references."""

    def encode_i(self, picture: Rgb) -> bytes:
        """An intra picture or patch."""

    def decode_i(self, data: bytes, *, height: int, width: int) -> Rgb:
        """The same again.

        Raises:
            InputError: the decoder gives nothing for these bytes.
        """

    def encode_p(self, picture: Rgb, reference: Rgb) -> PCode:
        """A picture by its difference from the one before."""

    def decode_p(self, code: PCode, reference: Rgb) -> Rgb:
        """The picture again; latents that did not arrive are 0."""
