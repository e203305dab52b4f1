"""A model and moving pictures for the tests of the whole codec."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from morphe_core.models import Model, load_model

Packed = npt.NDArray[np.uint8]


class Clip:
    """A texture that moves; every picture is packed yuv420p of `width` x `height`."""

    def __init__(self, width: int, height: int, *, seed: int = 1, speed: float = 1.5) -> None:
        self.width, self.height, self.speed = width, height, speed
        noise = np.random.default_rng(seed).normal(0, 1, (height + 40, 3 * width + 400))
        texture = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2.2)
        self._texture = 120 + texture * (35 / texture.std())

    def picture(self, number: int) -> Packed:
        """The picture of this number, 0 or more."""
        shift = np.array([[1, 0, -self.speed * number], [0, 1, -10]], np.float32)
        moved = cv2.warpAffine(self._texture, shift, (self.width, self.height))
        luma = np.clip(moved, 16, 235)
        small = cv2.resize(luma, (self.width // 2, self.height // 2), interpolation=cv2.INTER_AREA)
        planes = (luma, small, 255 - small)
        return np.concatenate([plane.astype(np.uint8).ravel() for plane in planes])

    def gop(self, number: int, frames: int = 9) -> list[Packed]:
        """The first `frames` pictures of a GoP."""
        return [self.picture(9 * number + n) for n in range(frames)]

    def psnr(self, one: list[Packed], other: list[Packed]) -> float:
        """Of luma, in dB, over all pictures."""
        pixels = self.width * self.height
        pairs = zip(one, other, strict=True)
        errors = [np.square(a[:pixels].astype(np.float64) - b[:pixels]).mean() for a, b in pairs]
        return float(10 * np.log10(255**2 / np.mean(errors)))


@pytest.fixture(scope="session")
def model() -> Model:
    """The shipped small model; do not change it."""
    return load_model("small")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
