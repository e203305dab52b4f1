"""Signed numbers: exact up to what two vectors can differ by, and as cheap as their table says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.counting import Counter, flat_table, frequencies
from morphe_core.vgc.number_coding import NUMBER_SYMBOLS, code_numbers
from morphe_core.vgc.range_coding import Meter, Reader, Table, Writer
from morphe_core.vgc.tokens import MOTION_MAX

CONTEXTS = 3
LARGEST = 2 * MOTION_MAX
FLAT = flat_table(CONTEXTS, NUMBER_SYMBOLS)


def fitted(numbers: np.ndarray, contexts: np.ndarray) -> Table:
    """The table that counting these numbers gives."""
    counter = Counter()
    code_numbers(counter, FLAT, contexts, np.array([0, len(numbers)]), numbers)
    return frequencies(counter.counts(FLAT) + 0.5)


def bits(numbers: np.ndarray, table: Table = FLAT, context: int = 0) -> float:
    meter = Meter()
    contexts = np.full(len(numbers), context)
    code_numbers(meter, table, contexts, np.array([0, len(numbers)]), numbers)
    return meter.total


def test_every_number_there_can_be_comes_back() -> None:
    numbers = np.arange(-LARGEST, LARGEST + 1)
    contexts, bounds = numbers % CONTEXTS, np.array([0, 100, 100, len(numbers)])
    writer = Writer(3)
    written = code_numbers(writer, FLAT, contexts, bounds, numbers)
    reader = Reader(writer.finish())
    found = code_numbers(reader, FLAT, contexts, bounds, None)
    assert not reader.failed
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(written, numbers)


@given(
    st.lists(st.tuples(st.integers(-LARGEST, LARGEST), st.integers(0, CONTEXTS - 1)), max_size=30),
    st.data(),
)
def test_any_numbers_in_any_units_come_back(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    numbers, contexts = np.array(drawn, np.int64).reshape(-1, 2).T
    cuts = data.draw(st.lists(st.integers(0, len(drawn)), max_size=3))
    bounds = np.array([0, *sorted(cuts), len(drawn)])
    writer = Writer(len(bounds) - 1)
    code_numbers(writer, FLAT, contexts, bounds, numbers)
    payloads = writer.finish()
    reader = Reader(payloads)
    np.testing.assert_array_equal(code_numbers(reader, FLAT, contexts, bounds, None), numbers)
    assert not reader.failed
    # A unit is the same alone.
    for payload, low, high in zip(payloads, bounds, bounds[1:], strict=False):
        alone = Writer(1)
        own = slice(low, high)
        code_numbers(alone, FLAT, contexts[own], np.array([0, high - low]), numbers[own])
        assert alone.finish() == [payload]


@given(st.binary(max_size=40))
def test_hostile_bytes_give_some_numbers(data: bytes) -> None:
    contexts = np.arange(20) % CONTEXTS
    found = code_numbers(Reader([data]), FLAT, contexts, np.array([0, 20]), None)
    assert found.shape == (20,)
    # As far as the last bucket reaches; whoever asks knows what is too much.
    assert np.abs(found).max() < 2 * LARGEST


def test_damage_of_one_unit_leaves_the_others() -> None:
    numbers = np.random.default_rng(1).integers(-LARGEST, LARGEST, 60)
    bounds, contexts = np.array([0, 20, 40, 60]), np.zeros(60, np.intp)
    writer = Writer(3)
    code_numbers(writer, FLAT, contexts, bounds, numbers)
    payloads = writer.finish()
    payloads[1] = b"\xff" * 30
    reader = Reader(payloads)
    found = code_numbers(reader, FLAT, contexts, bounds, None)
    assert reader.failed <= {1}
    for span in (slice(0, 20), slice(40, 60)):
        np.testing.assert_array_equal(found[span], numbers[span])


def test_counted_numbers_cost_their_entropy() -> None:
    """Shannon: no table does better than the numbers' own shares, and counting comes near."""
    numbers = np.random.default_rng(2).choice([0, 1, -1, 4], 4000, p=[0.7, 0.1, 0.1, 0.1])
    _, counts = np.unique(numbers, return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum()
    # The sign of a four, which is never negative, costs a bit all the same.
    wanted = entropy + (numbers == 4).sum()
    found = bits(numbers, fitted(numbers, np.zeros(4000, np.intp)))
    assert found == pytest.approx(wanted, rel=0.01)


def test_contexts_have_tables_of_their_own() -> None:
    numbers = np.concatenate([np.zeros(400, np.int64), np.full(400, 3)])
    table = fitted(numbers, np.repeat([0, 2], 400))
    assert bits(np.zeros(100, np.int64), table, 0) < 0.05 * 100
    assert bits(np.full(100, 3), table, 2) < 1.05 * 100  # the sign
    assert bits(np.zeros(100, np.int64), table, 2) > 7 * 100


def test_bits_are_told_number_by_number() -> None:
    numbers = np.array([0, 1, -7, 300, 0, -510])
    meter = Meter()
    told = np.zeros(len(numbers))

    def note(which: np.ndarray) -> None:
        np.add.at(told, which, meter.last)

    code_numbers(meter, FLAT, np.zeros(6, np.intp), np.array([0, 6]), numbers, note)
    assert told.sum() == pytest.approx(meter.total, rel=1e-6)
    for number, its in zip(numbers, told, strict=True):
        assert its == pytest.approx(bits(np.array([number])), rel=1e-6)
    # A symbol each; a sign where there is one; the place in its bucket where this is wide.
    symbol = np.log2(NUMBER_SYMBOLS)
    np.testing.assert_allclose(told[[0, 1, 4]], [symbol, symbol + 1, symbol], rtol=1e-2)
    assert told[3] > told[2] == pytest.approx(symbol + 1, rel=1e-2)
