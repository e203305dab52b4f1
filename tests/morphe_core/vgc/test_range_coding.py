"""The range coder's wrapping: exact models, shortest ends, hostile bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError
from morphe_core.vgc.range_coding import FREQUENCY_SUM, Meter, Reader, Table, Writer

TABLE = Table(np.array([[65532, 2], [30000, 30000], [1, 1]], np.uint16))


def symbols(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    contexts = generator.integers(0, 3, count)
    drawn = (generator.random((count, 1)) > TABLE.probabilities[contexts].cumsum(1)).sum(1)
    return contexts, np.minimum(drawn, 2).astype(np.int32)


def write(contexts: np.ndarray, drawn: np.ndarray) -> tuple[bytes, list[np.ndarray]]:
    writer, bounds = Writer(1), np.array([0, len(drawn)])
    sizes = (drawn * 5 + 2).astype(np.int32)
    writer.categorical(TABLE, contexts, bounds, drawn)
    writer.uniform(sizes, bounds, sizes - 1)
    writer.coins(bounds, drawn & 1)
    return writer.finish()[0], [drawn, sizes - 1, drawn & 1]


def read(data: bytes, contexts: np.ndarray, drawn: np.ndarray) -> list[np.ndarray]:
    reader, bounds = Reader([data]), np.array([0, len(drawn)])
    sizes = (drawn * 5 + 2).astype(np.int32)
    found = [
        reader.categorical(TABLE, contexts, bounds, None),
        reader.uniform(sizes, bounds, None),
        reader.coins(bounds, None),
    ]
    reader.check(0)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_symbols_come_back(seed: int, count: int) -> None:
    contexts, drawn = symbols(seed, count)
    data, wanted = write(contexts, drawn)
    for found, right in zip(read(data, contexts, drawn), wanted, strict=True):
        np.testing.assert_array_equal(found, right)


def test_ends_are_as_short_as_can_be() -> None:
    excess = []
    for seed in range(200):
        contexts, drawn = symbols(seed, 40)
        data, wanted = write(contexts, drawn)
        meter, bounds = Meter(), np.array([0, 40])
        meter.categorical(TABLE, contexts, bounds, drawn)
        meter.uniform((drawn * 5 + 2).astype(np.int32), bounds, wanted[1])
        meter.coins(bounds, wanted[2])
        excess.append(8 * len(data) - meter.total)
        # One byte less cannot say it, whatever the byte before becomes.
        for last in (data[-2:-1], bytes([(data[-2] + 1) % 256])):
            shorter = data[:-2] + last
            try:
                found = read(shorter, contexts, drawn)
            except BitstreamError:
                continue
            assert any((a != b).any() for a, b in zip(found, wanted, strict=True))
    assert 0 <= np.mean(excess) < 8


def test_a_trailing_zero_is_not_sent() -> None:
    for seed in range(300):
        contexts, drawn = symbols(seed, 25)
        data, _ = write(contexts, drawn)
        assert not data.endswith(b"\0")


def test_nothing_is_no_bytes() -> None:
    assert Writer(3).finish() == [b"", b"", b""]


def test_models_are_exact_fractions() -> None:
    assert TABLE.probabilities.dtype == np.float32
    exact = TABLE.probabilities.astype(np.float64) * FREQUENCY_SUM
    np.testing.assert_array_equal(exact, [[65532, 2, 2], [30000, 30000, 5536], [1, 1, 65534]])
    np.testing.assert_allclose(
        2.0 ** -TABLE.bits.astype(np.float64), TABLE.probabilities, rtol=1e-5
    )


def test_units_do_not_touch_each_other() -> None:
    contexts, drawn = symbols(4, 90)
    bounds = np.array([0, 30, 30, 90])
    writer = Writer(3)
    writer.categorical(TABLE, contexts, bounds, drawn)
    together = writer.finish()
    assert together[1] == b""
    for low, high, data in ((0, 30, together[0]), (30, 90, together[2])):
        alone = Writer(1)
        alone.categorical(TABLE, contexts[low:high], np.array([0, high - low]), drawn[low:high])
        assert alone.finish() == [data]


def test_a_unit_that_cannot_be_read_gives_zeros_and_is_told() -> None:
    contexts, drawn = symbols(5, 60)
    bounds = np.array([0, 30, 60])
    writer = Writer(2)
    writer.categorical(TABLE, contexts, bounds, drawn)
    writer.coins(bounds, drawn & 1)
    good = writer.finish()[1]
    reader = Reader([b"\xff" * 12, good])
    found = reader.categorical(TABLE, contexts, bounds, None)
    np.testing.assert_array_equal(found[30:], drawn[30:])
    np.testing.assert_array_equal(reader.coins(bounds, None)[30:], drawn[30:] & 1)
    assert reader.failed == {0}
    reader.check(1)
    with pytest.raises(BitstreamError):
        reader.check(0)


def test_units_are_given_up_by_the_places_of_their_symbols() -> None:
    bounds = np.array([0, 3, 3, 5, 9])
    for places, units in (([0, 2], {0}), ([3], {2}), ([4, 5, 8], {2, 3})):
        reader = Reader([b""] * 4)
        reader.fail(bounds, np.array(places))
        assert reader.failed == units
        assert not reader.coins(np.array([0, 0, 0, 0, 0]), None).size


def test_impossible_tables_are_seen() -> None:
    assert TABLE.is_valid
    assert not Table(np.array([[65535, 1]], np.uint16)).is_valid
    assert not Table(np.array([[0, 5]], np.uint16)).is_valid
