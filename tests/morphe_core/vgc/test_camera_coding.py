"""The camera's motion: exact, safe, and nearly free while the camera is calm."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.camera_coding import CAMERA_CONTEXTS, LEVELS, code_camera
from morphe_core.vgc.counting import Counter, flat_table, smoothed
from morphe_core.vgc.number_coding import NUMBER_SYMBOLS, code_numbers
from morphe_core.vgc.range_coding import Meter, Reader, Table, Writer
from morphe_core.vgc.tokens import CAMERA_AT, CAMERA_SHAPE, MOTION_MAX

#: How far a camera of constant speed has got, backwards before the GoP as after its start.
DISTANCES = np.abs(np.array(CAMERA_AT))[:, None]


def steady(x: float, y: float) -> np.ndarray:
    """A camera that gets (x, y) motion steps far in eight pictures."""
    return np.floor(np.array([x, y]) * DISTANCES / 8 + 0.5).astype(np.int16)


def shaking(seed: int, size: float, way: float = 20.0) -> np.ndarray:
    """A camera that strays from its way by about `size` motion steps."""
    generator = np.random.default_rng(seed)
    moved = steady(*generator.normal(0, way, 2)) + generator.normal(0, size, CAMERA_SHAPE)
    return np.clip(np.rint(moved), -MOTION_MAX, MOTION_MAX).astype(np.int16)


@cache
def table() -> Table:
    """Counted on cameras that stand, pan and shake."""
    flat, counter = flat_table(CAMERA_CONTEXTS, NUMBER_SYMBOLS), Counter()
    seen = [shaking(seed, [0.0, 0.5, 2.0, 8.0][seed % 4], 20 * (seed % 3)) for seed in range(400)]
    code_camera(counter, flat, len(seen), np.stack(seen))
    return smoothed(counter.counts(flat), CAMERA_CONTEXTS)


def bits(camera: np.ndarray) -> float:
    meter = Meter()
    code_camera(meter, table(), 1, camera[None])
    return meter.total


def written(cameras: np.ndarray) -> list[bytes]:
    writer = Writer(len(cameras))
    code_camera(writer, table(), len(cameras), cameras)
    return writer.finish()


cameras = st.builds(
    lambda seed, peak, density: np.where(
        np.random.default_rng(seed).random(CAMERA_SHAPE) < density,
        np.random.default_rng(seed + 1).integers(-peak, peak, CAMERA_SHAPE, endpoint=True),
        0,
    ).astype(np.int16),
    st.integers(0, 2**32 - 2),
    st.sampled_from([0, 1, 20, MOTION_MAX]),
    st.sampled_from([0.1, 0.5, 1.0]),
)


@given(st.lists(cameras, min_size=1, max_size=4))
def test_any_camera_comes_back(these: list[np.ndarray]) -> None:
    together = np.stack(these)
    reader = Reader(written(together))
    found = code_camera(reader, table(), len(these), None)
    assert not reader.failed
    np.testing.assert_array_equal(found, together)


@given(st.integers(-MOTION_MAX, MOTION_MAX), st.integers(-MOTION_MAX, MOTION_MAX))
def test_the_longest_ways_and_their_contraries_come_back(x: int, y: int) -> None:
    """Nothing strays further than where the way leads the other way."""
    astray = np.broadcast_to(-np.sign([[x, y]]) * MOTION_MAX, CAMERA_SHAPE).copy()
    astray[CAMERA_AT.index(8)] = x, y
    both = np.stack([steady(x, y), astray])
    reader = Reader(written(both))
    np.testing.assert_array_equal(code_camera(reader, table(), 2, None), both)
    assert not reader.failed


def test_units_know_nothing_of_each_other() -> None:
    these = np.stack([shaking(seed, 3.0 * (seed % 2)) for seed in range(5)])
    for camera, payload in zip(these, written(these), strict=True):
        assert written(camera[None]) == [payload]


@given(st.binary(max_size=40), st.booleans())
def test_hostile_bytes_stay_within_range_or_fail(data: bytes, counted: bool) -> None:
    known = table() if counted else flat_table(CAMERA_CONTEXTS, NUMBER_SYMBOLS)
    found = code_camera(Reader([data]), known, 1, None)
    assert found.shape == (1, *CAMERA_SHAPE)
    assert np.abs(found).max() <= MOTION_MAX


def test_bytes_that_lead_too_far_fail_their_unit_alone() -> None:
    these = np.stack([shaking(seed, 3.0) for seed in range(3)])
    known = flat_table(CAMERA_CONTEXTS, NUMBER_SYMBOLS)
    writer = Writer(3)
    code_camera(writer, known, 3, these)
    honest = writer.finish()
    # Written as if there were no limit: 200 steps astray of a way of 200, and a way of 300.
    beyond = np.zeros((2, *CAMERA_SHAPE), np.int16)
    beyond[0] = steady(200, 0)
    beyond[0, CAMERA_AT.index(7), 0] += 200
    beyond[1, CAMERA_AT.index(8), 1] = -300
    writer = Writer(2)
    code_camera(writer, known, 2, beyond)
    for damage in writer.finish():
        reader = Reader([honest[0], damage, honest[2]])
        found = code_camera(reader, known, 3, None)
        assert reader.failed == {1}
        assert np.abs(found).max() <= MOTION_MAX
        np.testing.assert_array_equal(found[[0, 2]], these[[0, 2]])


def test_a_camera_that_stands_costs_next_to_nothing() -> None:
    # A level, and twice a zero.
    assert bits(np.zeros(CAMERA_SHAPE, np.int16)) < np.log2(LEVELS) + 5
    assert len(written(np.zeros((1, *CAMERA_SHAPE), np.int16))[0]) <= 1


@given(st.integers(-MOTION_MAX, MOTION_MAX), st.integers(-MOTION_MAX, MOTION_MAX))
def test_a_steady_pan_costs_its_way_only(x: int, y: int) -> None:
    """A level and two numbers, whatever the speed: sixteen more would be some five times that."""
    meter, way = Meter(), np.array([x, y])
    code_numbers(meter, table(), np.zeros(2, np.intp), np.array([0, 2]), way)
    assert bits(steady(x, y)) == pytest.approx(np.log2(LEVELS) + meter.total)


def test_shake_costs_little_and_more_the_wilder_it_is() -> None:
    means = [
        np.mean([bits(shaking(seed, size)) for seed in range(1000, 1040)])
        for size in (0.0, 0.5, 2.0, 8.0, 32.0)
    ]
    assert (np.diff(means) > 0).all()
    # Sixteen numbers stray; a normal one of two steps has 3.1 bits.
    assert means[2] < 16 * 3.1 + means[0] + 16
    assert means[1] < 60


def test_the_meter_counts_what_is_written() -> None:
    for seed, size in enumerate((0.0, 1.0, 10.0)):
        camera = shaking(seed, size)
        assert 8 * len(written(camera[None])[0]) == pytest.approx(bits(camera), abs=9)
