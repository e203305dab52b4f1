"""Motion fields: exact, and cheap where the field is calm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.motion_coding import (
    LEAD,
    LEVELS,
    NEW,
    ORDER,
    SAME,
    MotionCoder,
    MotionModel,
    choose,
    lead_of,
)
from morphe_core.vgc.motion_fit import fit_motion
from morphe_core.vgc.range_coding import Meter, Reader, Writer
from morphe_core.vgc.tokens import CAMERA_SHAPE, KNOTS, MOTION_CHANNELS, MOTION_MAX

CAMERA = np.zeros(CAMERA_SHAPE, np.int16)
#: Bits that say how restless a unit is: of the choices and of the differences at each knot.
LEVEL_BITS = 2 * len(KNOTS) * np.log2(LEVELS)


def straight(ways: np.ndarray) -> np.ndarray:
    """Vectors (..., 2) that are reached by the first knot, and as much again at each other one."""
    return np.concatenate([(number + 1) * ways for number in range(len(KNOTS))], axis=-1)


def pan(seed: int, rows: int = 20, cells: int = 30) -> np.ndarray:
    """A panning camera, an object that moves otherwise, and a still part."""
    generator = np.random.default_rng(seed)
    field = np.zeros((rows, cells, MOTION_CHANNELS), np.int16)
    camera, thing = generator.integers(-30, 30, (2, 2))
    field[:, 8:] = straight(camera)
    field[5:15, 12:20] = straight(thing)
    field += (generator.random(field.shape) < 0.05).astype(np.int16)
    return field


def model_of(fields: list[np.ndarray]) -> MotionModel:
    return fit_motion(fields, [CAMERA] * len(fields))


MODEL = model_of([pan(seed) for seed in range(30)])


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
    field = generator.integers(-peak, peak, (rows, cells, MOTION_CHANNELS), endpoint=True)
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
    row = np.array([[0, 0], [0, 0], [3, 0], [3, 0], [3, 1], [0, 0], [0, 0], [3, 1]])
    lead = np.array([[0, 0], [9, 9], [9, 9], [9, 9], [9, 9], [0, 0], [9, 9], [3, 1]])
    wanted = [SAME, SAME, NEW, SAME, NEW, LEAD, SAME, LEAD]
    assert choose(row[None], lead[None])[0].tolist() == wanted
    # Of the first knot the lead is none: to stop is as a choice of its own.
    assert choose(row[None], 0 * lead[None])[0].tolist() == [*wanted[:-1], NEW]
    # A row begins beside a still one, and knows nothing of the row above.
    rows = np.array([[[3, 1]], [[3, 1]], [[0, 0]]])
    leads = np.array([[[3, 1]], [[4, 1]], [[0, 0]]])
    assert choose(rows, leads)[:, 0].tolist() == [LEAD, NEW, SAME]


@given(st.integers(0, 2**32 - 1))
def test_a_lead_lies_straight_between_what_is_known(seed: int) -> None:
    """`numpy.interp` from no motion at the I picture through the knots known so far."""
    vectors = np.random.default_rng(seed).integers(
        -MOTION_MAX, MOTION_MAX, (2, 3, len(KNOTS), 2), endpoint=True
    )
    times = np.array(KNOTS)
    for number, knot in enumerate(ORDER):
        known = sorted(ORDER[:number])
        got = lead_of(number, vectors.astype(np.int16))
        assert got.dtype == np.int64
        if not number:
            assert not got.any()
            continue
        for place in np.ndindex(2, 3, 2):
            row, cell, axis = place
            values = [0, *vectors[row, cell, known, axis]]
            exact = np.interp(times[knot], [0, *times[known]], values)
            assert got[place] == np.floor(exact + 0.5)
        # What is not known yet does not matter.
        unknown = vectors.copy()
        unknown[:, :, [n for n in range(len(KNOTS)) if n not in known]] = 99
        np.testing.assert_array_equal(lead_of(number, unknown), got)


def test_the_order_is_from_the_last_knot_inwards() -> None:
    assert [KNOTS[knot] for knot in ORDER] == [8, 4, 2, 6]


def test_straight_motion_follows_its_lead_everywhere() -> None:
    ways = np.random.default_rng(6).integers(-MOTION_MAX // 4, MOTION_MAX // 4, (9, 9, 2))
    field = straight(ways).reshape(9, 9, len(KNOTS), 2)
    for number, knot in enumerate(ORDER[1:], 1):
        np.testing.assert_array_equal(lead_of(number, field), field[..., knot, :])
        assert not (choose(field[..., knot, :], lead_of(number, field)) == NEW).any()


def test_a_calm_field_costs_next_to_nothing() -> None:
    still = np.zeros((20, 30, MOTION_CHANNELS), np.int16)
    assert bits(still) < LEVEL_BITS + 0.05 * still[..., 0].size
    # Unrelated vectors in every cell take some 70.
    assert bits(pan(50)) < 8 * still[..., 0].size


def test_bits_are_those_of_the_stream_and_of_the_cells() -> None:
    field = pan(51)
    meter = Meter()
    coder = MotionCoder(MODEL, meter, np.array([0, 20]), 30, field)
    coder.run()
    writer = Writer(1)
    MotionCoder(MODEL, writer, np.array([0, 20]), 30, field).run()
    assert 8 * len(writer.finish()[0]) == pytest.approx(meter.total, abs=10)
    assert coder.bits.sum() == pytest.approx(meter.total - LEVEL_BITS, rel=1e-4)
    assert coder.bits[:, 9:12].mean() < coder.bits[:, [8]].mean()


@given(st.binary(max_size=60))
def test_hostile_bytes_stay_within_range(data: bytes) -> None:
    reader = Reader([data])
    found = MotionCoder(MODEL, reader, np.array([0, 5]), 12, None).run()
    assert np.abs(found).max() <= MOTION_MAX


def test_hostile_bytes_fail_their_unit_alone() -> None:
    field = pan(52)
    bounds = np.array([0, 7, 12, 20])
    writer = Writer(3)
    MotionCoder(MODEL, writer, bounds, 30, field).run()
    payloads = writer.finish()
    noise, failed = np.random.default_rng(1), 0
    for _ in range(10):
        reader = Reader([payloads[0], noise.bytes(60), payloads[2]])
        found = MotionCoder(MODEL, reader, bounds, 30, None).run()
        assert reader.failed <= {1}
        failed += bool(reader.failed)
        assert np.abs(found).max() <= MOTION_MAX
        np.testing.assert_array_equal(found[:7], field[:7])
        np.testing.assert_array_equal(found[12:], field[12:])
    assert failed


def test_knots_lean_on_those_around_them() -> None:
    """Straight motion costs little beyond its last knot."""
    generator = np.random.default_rng(3)
    ways = generator.integers(-25, 25, (40, 30, 2))
    fields = straight(ways)
    model = model_of([fields[:20]])
    # The same vectors at each knot, of which each is that of another cell.
    knots = fields[20:].reshape(-1, len(KNOTS), 2)
    shuffled = np.stack([generator.permutation(knots[:, n]) for n in range(len(KNOTS))], axis=1)
    noise = shuffled.reshape(20, 30, MOTION_CHANNELS)
    # The model knows nothing of them but how long they are: 200 numbers an axis.
    assert bits(fields[20:], model) < 1.1 * 600 * 2 * np.log2(200)
    assert bits(fields[20:], model) < 0.3 * bits(noise, model)
