"""A tiny network, and windows to train it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.network import NetworkConfig
from morphe_core.training.data import SIDE, Windows, window_flow
from morphe_core.vgc.small import SmallConfig

TINY = NetworkConfig(
    SmallConfig(10, 12, width=8, encoder_blocks=1, decoder_blocks=1), sr_width=8, sr_blocks=1
)


@pytest.fixture(scope="session")
def windows_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three packed windows of textures that move steadily; do not change them."""
    folder = tmp_path_factory.mktemp("set")
    generator = np.random.default_rng(1)
    down, across = np.mgrid[:SIDE, :SIDE].astype(float)
    pictures = []
    for _ in range(3):
        noise = generator.normal(size=(SIDE, SIDE))
        layers = [gaussian_filter(noise, sigma, mode="wrap") * sigma**2 for sigma in (3, 8, 20)]
        texture = 128 + 35 * np.sum(layers, axis=0) / np.std(np.sum(layers, axis=0))
        x, y = generator.uniform(-2, 2, 2)
        luma = [
            map_coordinates(texture, [down - y * n, across - x * n], order=1, mode="grid-wrap")
            for n in range(10)
        ]
        chroma = np.full((10, SIDE // 2, SIDE), 120 + 5 * x)
        pictures.append(np.clip(np.concatenate([luma, chroma], axis=1), 0, 255).astype(np.uint8))
    np.save(folder / "pictures.npy", np.stack(pictures))
    np.save(folder / "flow.npy", np.stack([window_flow(window) for window in pictures]))
    (folder / "sources.json").write_text('[{"name": "made", "sha256": "", "windows": 3}]')
    return folder


@pytest.fixture(scope="session")
def windows(windows_folder: Path) -> Windows:
    """These windows."""
    return Windows(windows_folder)
