"""Small models, made once: random weights do for everything but quality."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from grace_style.activity import classes_of
from grace_style.models import Model
from grace_style.network import GraceConfig, Network
from grace_style.tables import EntropyModel, fit

CHANNELS = 12
SMALL = GraceConfig(
    channels=CHANNELS, motion_width=8, motion_blocks=1, encoder_width=8, encoder_blocks=1,
    decoder_width=8, decoder_blocks=1, filter_width=8, filter_blocks=1,
)  # fmt: skip


def random_elements(
    generator: np.random.Generator, shape: tuple[int, int, int], busy: float
) -> np.ndarray:
    """Elements that are zero but for a share, the later channels smaller; some cells empty."""
    sizes = generator.geometric(0.4, shape) * generator.choice([-1, 1], shape)
    here = generator.random(shape) < busy
    here[:, : shape[1] // 2, : shape[2] // 2] = False
    return np.where(here, sizes, 0).clip(-255, 255).astype(np.int16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors, and other tests beside these: threads that wait for each other cost most."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def entropy() -> EntropyModel:
    """Tables of random elements."""
    generator = np.random.default_rng(1)

    def samples():
        for _ in range(4):
            motion = random_elements(generator, (32, 6, 8), 0.05)
            residual = random_elements(generator, (CHANNELS, 12, 16), 0.1)
            cells = (3, 4)
            yield motion, classes_of(motion, cells), residual, classes_of(residual, cells)

    return fit(samples())


@pytest.fixture(scope="session")
def model(entropy: EntropyModel) -> Model:
    """A small network with trunks that do something."""
    torch.manual_seed(3)
    network = Network(SMALL)
    basis = torch.linalg.qr(torch.randn(384, CHANNELS))[0].T.contiguous()
    network.set_transform(basis)
    for name, value in network.named_parameters():
        if "head" in name:
            torch.nn.init.normal_(value, std=0.002)
    network.eval()
    network.requires_grad_(False)
    return Model("0" * 64, network, entropy, {})


def picture(generator: np.random.Generator, width: int, height: int, shift: int) -> np.ndarray:
    """A smooth picture that moves with `shift`, packed yuv420p."""
    x = np.arange(width)[None, :] + shift
    y = np.arange(height)[:, None]
    luma = 128 + 50 * np.sin(x / 9) * np.cos(y / 7) + generator.normal(0, 1, (height, width))
    chroma = 128 + 20 * np.sin((x[:, ::2] + y[::2]) / 11)
    flat = [luma.reshape(-1), chroma.reshape(-1), (255 - chroma).reshape(-1)]
    return np.concatenate(flat).clip(0, 255).astype(np.uint8)
