"""Masks: exact, and free where rows are all or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.counting import frequencies
from morphe_core.vgc.mask_coding import code_mask, default_chances
from morphe_core.vgc.range_coding import Meter, Reader, Writer

CHANCE = default_chances()
TABLE = frequencies(np.stack([1 - CHANCE, CHANCE], axis=1))


def bits(mask: np.ndarray, lead: np.ndarray | None = None) -> float:
    meter = Meter()
    code_mask(meter, TABLE, np.array([0, len(mask)]), mask.shape[1], actual=mask, lead=lead)
    return meter.total


@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(1, 12), st.booleans())
def test_any_mask_comes_back(seed: int, rows: int, cols: int, led: bool) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((rows, cols)) < generator.choice([0.0, 0.1, 0.5, 0.9, 1.0], (rows, 1))
    lead = generator.random((rows, cols)) < 0.5 if led else None
    bounds = np.array([0, rows // 2, rows // 2, rows])
    writer = Writer(3)
    code_mask(writer, TABLE, bounds, cols, actual=mask, lead=lead)
    reader = Reader(writer.finish())
    found = code_mask(reader, TABLE, bounds, cols, actual=None, lead=lead)
    np.testing.assert_array_equal(found, mask)
    assert not reader.failed


@given(st.binary(max_size=40))
def test_hostile_bytes_give_some_mask(data: bytes) -> None:
    found = code_mask(Reader([data]), TABLE, np.array([0, 4]), 9, actual=None, lead=None)
    assert found.shape == (4, 9)


def test_full_rows_cost_less_than_a_bit() -> None:
    assert bits(np.ones((40, 80), bool)) < 40
    assert bits(np.zeros((40, 80), bool)) < 3 * 40


def test_a_few_long_runs_are_cheap_and_noise_costs_a_bit() -> None:
    runs = np.zeros((40, 80), bool)
    runs[:, 20:55] = True
    assert bits(runs) < 0.25 * runs.size
    noise = np.random.default_rng(0).random((40, 80)) < 0.5
    assert bits(noise) == pytest.approx(noise.size, rel=0.1)


def test_masks_alike_help_each_other_once_counted() -> None:
    from morphe_core.vgc.counting import Counter, flat_table

    generator = np.random.default_rng(1)
    lead = np.repeat(generator.random((40, 20)) < 0.5, 4, axis=1)
    mask = lead ^ (generator.random((40, 80)) < 0.03)
    counter, blank = Counter(), flat_table(len(CHANCE), 2)
    whole = np.array([0, 40])
    code_mask(counter, blank, whole, 80, actual=mask, lead=lead)
    fitted = frequencies(counter.counts(blank) + 0.5)
    meter, alone = Meter(), Meter()
    code_mask(meter, fitted, whole, 80, actual=mask, lead=lead)
    code_mask(alone, TABLE, whole, 80, actual=mask, lead=None)
    assert meter.total < 0.7 * alone.total
