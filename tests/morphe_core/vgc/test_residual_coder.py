"""Adaptive tables and the range coder behind the residual layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError
from morphe_core.vgc.residual_coder import LEARN, SCALE, ContextTables, UnitReader, UnitWriter


def tables(contexts: int = 3, symbols: int = 5) -> ContextTables:
    return ContextTables("test", np.full((contexts, symbols), 20))


def messages(seed: int, parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, 60, parts)
    return [
        (generator.integers(0, 3, n), np.minimum(generator.geometric(0.4, n) - 1, 4)) for n in sizes
    ]


@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_round_trip(seed: int, parts: int) -> None:
    writer, written = UnitWriter(), tables()
    for contexts, values in messages(seed, parts):
        assert writer.code(written, contexts, values) is values
        writer.code_uniform(1000, values * 7)
    data = writer.finish()
    reader, read = UnitReader(data), tables()
    for contexts, values in messages(seed, parts):
        assert (reader.code(read, contexts, np.zeros_like(values)) == values).all()
        assert (reader.code_uniform(1000, np.zeros_like(values)) == values * 7).all()
    reader.finish()
    assert (read.probabilities() == written.probabilities()).all()


@given(st.lists(st.lists(st.integers(1, 10**6), min_size=4, max_size=4), min_size=1, max_size=5))
def test_probabilities_are_exact_and_never_zero(counts: list[list[int]]) -> None:
    shares = ContextTables("test", np.array(counts)).probabilities().astype(np.float64) * SCALE
    assert (shares == np.rint(shares)).all()
    assert (shares >= 1).all()
    assert (shares.sum(axis=1) == SCALE).all()
    ideal = np.array(counts) / np.sum(counts, axis=1, keepdims=True)
    assert np.abs(shares / SCALE - ideal).max() < 1e-3


def test_tables_learn_what_they_see() -> None:
    one = tables()
    one.learn(np.array([1, 1, 1, 2]), np.array([4, 4, 0, 3]))
    expected = np.full((3, 5), 20)
    expected[1, 4] += 2 * LEARN
    expected[1, 0] += LEARN
    expected[2, 3] += LEARN
    ideal = expected / expected.sum(axis=1, keepdims=True)
    assert one.probabilities() == pytest.approx(ideal, abs=1e-3)


def test_size_is_the_entropy() -> None:
    generator = np.random.default_rng(4)
    weights = np.array([0.9, 0.06, 0.02, 0.01, 0.01])
    values = generator.choice(5, 20_000, p=weights)
    writer, learning = UnitWriter(), tables()
    for part in np.split(values, 1000):
        writer.code(learning, np.zeros(part.size, np.int64), part)
    entropy_bytes = -20_000 * (weights * np.log2(weights)).sum() / 8
    assert len(writer.finish()) == pytest.approx(entropy_bytes, rel=0.02)


def test_nothing_takes_no_bytes() -> None:
    assert UnitWriter().finish() == b""
    UnitReader(b"").finish()


def test_bytes_left_over() -> None:
    reader = UnitReader(bytes(range(1, 41)))
    reader.code_uniform(4, np.zeros(3, np.int64))
    with pytest.raises(BitstreamError, match="left over"):
        reader.finish()


@given(st.binary(max_size=40))
def test_any_bytes_give_symbols_or_our_error(data: bytes) -> None:
    reader, learning = UnitReader(data), tables()
    try:
        for _ in range(10):
            values = reader.code(learning, np.zeros(7, np.int64), np.zeros(7, np.int64))
            assert values.min() >= 0
            assert values.max() < 5
            rest = reader.code_uniform(9, values)
            assert rest.min() >= 0
            assert rest.max() < 9
        reader.finish()
    except BitstreamError:
        pass
