"""A codec with the core's face and none of its networks, for tests of what is around it.

A GoP is its mean picture, coarsely: each unit holds some rows of 8x8 blocks as one byte of luma a
block, and is filled up so that the budget is met. Lost rows keep the picture before; dropped blocks
are black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.bitstream import Kind, Part, UnitHeader, read_unit, write_unit
from testbed.codec.core import Settings
from testbed.codec.drops import DropCondition

SHA256 = "ab" * 32
HEADER = 16
BLOCK = 8
UNITS = 6
Picture = npt.NDArray[np.uint8]


class FakeConfig:
    least_units = UNITS


@dataclass(frozen=True)
class Gop:
    index: int
    scale: int
    frames: int
    units: tuple[bytes, ...]
    facts: dict[str, float]
    budgeted: tuple[int, ...]

    @property
    def mode(self) -> SimpleNamespace:
        return SimpleNamespace(value=f"{self.scale}x")


class FakeEncoder:
    def __init__(
        self, width: int, height: int, miss: float, scale: int, drop: DropCondition | None = None
    ) -> None:
        self.size = (height, width)
        self.miss = miss
        self.scale = scale or 1
        self.drop = drop
        self.index = 0
        self.budgets: list[int] = []

    def encode(self, pictures: Sequence[Picture], *, budget_bytes: int) -> Gop:
        self.budgets.append(budget_bytes)
        height, width = self.size
        rows, cols = height // BLOCK, width // BLOCK
        luma = np.mean([p[: height * width].reshape(height, width) for p in pictures], axis=0)
        blocks = luma[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK)
        levels = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
        each = max(0, round(budget_bytes * self.miss / UNITS) - HEADER)
        budgeted = (each + HEADER,) * UNITS
        if self.drop is not None:
            each = round(each * (1 - self.drop.share))
            # Every n-th block goes: those that are darkest, or any.
            noise = np.random.default_rng(self.index).random(levels.shape)
            score = noise if self.drop.selection == "random" else 255.0 - levels
            levels[score > np.quantile(score, 1 - self.drop.share)] = 16
        units = []
        for unit in range(UNITS):
            header = UnitHeader(
                Kind.TOKENS, Part.JOINT, self.index % 65536, unit, UNITS, self.scale,
                len(pictures), width, height, 10, 20, False, 0,
            )  # fmt: skip
            payload = levels[unit::UNITS].tobytes()
            units.append(write_unit(header, payload + bytes(max(0, each - len(payload)))))
        self.index += 1
        return Gop(self.index - 1, self.scale, len(pictures), tuple(units), {}, budgeted)


class FakeDecoder:
    def __init__(self, width: int, height: int) -> None:
        self.size = (height, width)
        self.refused_units = 0
        self.levels = np.full((height // BLOCK, width // BLOCK), 16, np.uint8)
        self.received: list[int] = []

    def decode(self, units: Sequence[bytes], *, frames: int = 9) -> list[Picture]:
        self.received.append(len(units))
        height, width = self.size
        for data in units:
            unit = read_unit(data)
            frames = unit.header.frames
            mine = self.levels[unit.header.unit :: UNITS]
            mine[:] = np.frombuffer(unit.payload[: mine.size], np.uint8).reshape(mine.shape)
        luma = np.full(self.size, 16, np.uint8)
        large = self.levels.repeat(BLOCK, 0).repeat(BLOCK, 1)
        luma[: large.shape[0], : large.shape[1]] = large
        chroma = np.full(height * width // 2, 128, np.uint8)
        picture = np.concatenate([luma.reshape(-1), chroma])
        return [picture.copy() for _ in range(frames)]


class FakeCore:
    """Stands in for `testbed.codec.core.Core`."""

    name = "small"
    sha256 = SHA256

    def __init__(self, miss: float = 1.0) -> None:
        self.miss = miss
        self.encoders: list[FakeEncoder] = []
        self.decoders: list[FakeDecoder] = []

    def encoder(self, *, width: int, height: int, fps: Fraction, settings: Settings) -> FakeEncoder:
        drop = settings.drop
        self.encoders.append(FakeEncoder(width, height, self.miss, settings.scale, drop))
        return self.encoders[-1]

    def decoder(self, *, width: int, height: int, smoothing: int | None = None) -> FakeDecoder:
        self.decoders.append(FakeDecoder(width, height))
        return self.decoders[-1]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256, "parameters": 0}
