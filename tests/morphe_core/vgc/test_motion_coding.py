"""Motion fields: exact, and cheap where the field is calm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.motion_coding import (
    NEW,
    NONE,
    SAME,
    MotionCoder,
    MotionModel,
    choose,
)
from morphe_core.vgc.motion_fit import fit_motion
from morphe_core.vgc.range_coding import Meter, Reader, Writer
from morphe_core.vgc.tokens import MOTION_MAX


def pan(seed: int, rows: int = 20, cells: int = 30) -> np.ndarray:
    """A panning camera, an object that moves otherwise, and a still part."""
    generator = np.random.default_rng(seed)
    field = np.zeros((rows, cells, 4), np.int16)
    camera, thing = generator.integers(-60, 60, (2, 2))
    field[:, 8:] = [*camera, *(2 * camera)]
    field[5:15, 12:20] = [*thing, *(2 * thing)]
    field += (generator.random(field.shape) < 0.05).astype(np.int16)
    return field


MODEL = fit_motion([pan(seed) for seed in range(30)])


def bits(field: np.ndarray, model: MotionModel = MODEL) -> float:
    meter = Meter()
    MotionCoder(model, meter, np.array([0, len(field)]), field.shape[1], field).run()
    return meter.total


def there_and_back(field: np.ndarray, unit_rows: list[int]) -> np.ndarray:
    bounds = np.array(unit_rows)
    writer = Writer(len(bounds) - 1)
    MotionCoder(MODEL, writer, bounds, field.shape[1], field).run()
    reader = Reader(writer.finish())
    found = MotionCoder(MODEL, reader, bounds, field.shape[1], None).run()
    assert not reader.failed
    return found


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9),
    st.sampled_from([0, 1, 20, MOTION_MAX]), st.sampled_from([0.1, 0.5, 1.0]),
)  # fmt: skip
def test_any_field_comes_back(seed: int, rows: int, cells: int, peak: int, density: float) -> None:
    generator = np.random.default_rng(seed)
    field = generator.integers(-peak, peak, (rows, cells, 4), endpoint=True)
    field[generator.random((rows, cells)) > density] = 0
    cut = int(generator.integers(0, rows + 1))
    np.testing.assert_array_equal(there_and_back(field, [0, cut, rows]), field)


def test_units_know_nothing_of_each_other() -> None:
    field = pan(40)
    writer = Writer(2)
    MotionCoder(MODEL, writer, np.array([0, 7, 20]), 30, field).run()
    together = writer.finish()
    for unit, rows in enumerate((field[:7], field[7:])):
        alone = Writer(1)
        MotionCoder(MODEL, alone, np.array([0, len(rows)]), 30, rows).run()
        assert alone.finish() == [together[unit]]


def test_choices() -> None:
    row = np.array([[0, 0], [0, 0], [3, 0], [3, 0], [3, 1], [0, 0], [0, 0]])
    assert choose(row[None])[0].tolist() == [SAME, SAME, NEW, SAME, NEW, NONE, SAME]


def test_a_calm_field_costs_next_to_nothing() -> None:
    still = np.zeros((20, 30, 4), np.int16)
    assert bits(still) < 0.05 * still[..., 0].size
    assert bits(pan(50)) < 5 * still[..., 0].size  # unrelated vectors in every cell take some 50


def test_bits_are_those_of_the_stream_and_of_the_cells() -> None:
    field = pan(51)
    meter = Meter()
    coder = MotionCoder(MODEL, meter, np.array([0, 20]), 30, field)
    coder.run()
    writer = Writer(1)
    MotionCoder(MODEL, writer, np.array([0, 20]), 30, field).run()
    assert 8 * len(writer.finish()[0]) == pytest.approx(meter.total, abs=10)
    levels = 4 * 3
    assert coder.bits.sum() == pytest.approx(meter.total - levels, rel=1e-4)
    assert coder.bits[:, 9:12].mean() < coder.bits[:, [8]].mean()


@given(st.binary(max_size=60))
def test_hostile_bytes_stay_within_range(data: bytes) -> None:
    reader = Reader([data])
    found = MotionCoder(MODEL, reader, np.array([0, 5]), 12, None).run()
    assert np.abs(found).max() <= MOTION_MAX


def test_the_second_knot_leans_on_the_first() -> None:
    """Straight motion costs little beyond its first half."""
    generator = np.random.default_rng(3)
    first = generator.integers(-50, 50, (40, 30, 2))
    fields = [np.concatenate([half, 2 * half], axis=2) for half in (first[:20], first[20:])]
    model = fit_motion(fields[:1])
    noise = np.concatenate([first[20:], generator.permuted(2 * first[20:], axis=0)], axis=2)
    assert bits(fields[1], model) < 0.75 * bits(noise, model)
