"""Where the residual layer's tables come from, and that they are usable ones."""

from __future__ import annotations

import numpy as np
import pytest

from morphe_core.vgc import residual_tables
from morphe_core.vgc.residual import Planes
from morphe_core.vgc.residual_fit import (
    SymbolCounter,
    count_symbols,
    decay_shares,
    smoothed,
    zero_shares,
)
from morphe_core.vgc.residual_tables import ACTIVITIES, ESCAPE, SHARES, geometric_counts

TABLES = ("LEVELS", "LUMA_EXTENTS", "CHROMA_EXTENTS", "PIXEL_BLOCKS", "PIXEL_VALUES", "PIXEL_SIGNS")


def test_shares_come_back_from_a_geometric_source() -> None:
    generator = np.random.default_rng(1)
    zeros, decays = np.linspace(0.1, 0.9, 20), np.linspace(0.1, 0.6, ACTIVITIES)
    counts = np.zeros((20, ESCAPE + 1), np.int64)
    for context in range(20):
        size = generator.geometric(1 - decays[context % ACTIVITIES], 5000)
        size *= generator.random(5000) >= zeros[context]
        counts[context] = np.bincount(np.minimum(size, ESCAPE), minlength=ESCAPE + 1)
    assert zero_shares(counts) / SHARES == pytest.approx(zeros, abs=0.03)
    assert decay_shares(counts) / SHARES == pytest.approx(decays, abs=0.02)


def test_geometric_counts() -> None:
    counts = geometric_counts((64, 32), (64, 0))
    assert counts[0].tolist()[:4] == [500, 250, 125, 62]
    assert counts[1].tolist()[:4] == [250, 750, 1, 1]
    assert counts.shape == (2, ESCAPE + 1)
    assert counts.min() == 1


def test_rare_contexts_lean_on_the_others() -> None:
    counts = np.array([[900, 100], [0, 0], [0, 3]])
    result = smoothed(counts)
    assert result[0] == pytest.approx([180, 20], abs=1)
    assert result[1] == pytest.approx([180, 20], abs=1)
    assert 20 < result[2, 1] < 60


def test_counting_sees_every_table() -> None:
    generator = np.random.default_rng(2)
    shapes = ((1, 64, 64), (1, 2, 32, 32))
    source = Planes(*(generator.normal(128, 40, shape).astype(np.float32) for shape in shapes))
    flat = Planes(*(np.full(shape, 128, np.float32) for shape in shapes))
    counts = count_symbols([(source, flat)])
    assert sorted(counts) == sorted(name.lower() for name in TABLES)
    for name in TABLES:
        assert counts[name.lower()].shape == getattr(residual_tables, name).shape
    assert counts["luma_extents"].sum() == 2 * 16  # blocks, at two coarsenesses
    assert counts["pixel_blocks"].sum() == 2 * (64 + 32)


@pytest.mark.parametrize("name", TABLES)
def test_shipped_tables_can_code_everything(name: str) -> None:
    table = getattr(residual_tables, name)
    assert table.dtype == np.int64
    assert table.min() >= 1
    assert table.sum(axis=1).max() < 2000


def test_the_counter_reads_nothing() -> None:
    values = np.array([1, 0, 1])
    assert SymbolCounter().code_uniform(2, values) is values
