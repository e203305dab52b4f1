"""What a step may look at, and that looking is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.contexts import INPUT_MAX, Contexts, Layout, level
from morphe_core.vgc.symbols import BUCKET_SIZES, BUCKET_STARTS, bounded, bucket_of
from morphe_core.vgc.tables import EXACT, HIDDEN, HIDDEN_MAX, Net
from morphe_core.vgc.tokens import TOKEN_MAX

LAYOUT = Layout.of_tokens(20, 3)


def walk(values: np.ndarray, sent: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """What is known before each step."""
    extras = np.zeros((*sent.shape, 3), np.float32)
    contexts = Contexts(LAYOUT, sent, np.array([0, len(sent)]), 40, extras)
    known = []
    for group, (low, high) in enumerate(LAYOUT.groups):
        for odd in (0, 1):
            signed = np.zeros((0, 0))
            if LAYOUT.leading(group):
                signed = contexts.signed_known(group, odd).copy()
            known.append((contexts.known(group, odd).copy(), signed))
            own = contexts.columns[odd].pick(values[:, odd::2, low:high].astype(np.int32))
            contexts.publish(group, odd, own)
    return known


def draw(seed: int, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    sent = generator.random((rows, cols)) < 0.8
    values = generator.integers(-TOKEN_MAX, TOKEN_MAX, (rows, cols, 20), endpoint=True)
    return values * sent[..., None], sent


def test_nothing_is_seen_before_it_is_coded() -> None:
    values, sent = draw(0, 4, 9)
    before = walk(values, sent)
    step = 0
    for low, high in LAYOUT.groups:
        for odd in (0, 1):
            changed = values.copy()
            # Everything that this step and the later ones code becomes something else.
            changed[:, :, high:] = 7 * sent[..., None]
            changed[:, odd::2, low:high] = 7 * sent[:, odd::2, None]
            if not odd:
                changed[:, 1::2, low:high] = 9 * sent[:, 1::2, None]
            after = walk(changed, sent)[step]
            for was, now in zip(before[step], after, strict=True):
                np.testing.assert_array_equal(was, now)
            step += 1


def test_what_is_known_grows_and_is_used() -> None:
    values, sent = draw(1, 3, 8)
    values[sent] = np.where(values[sent] == 0, 5, values[sent])
    for step, (known, _) in enumerate(walk(values, sent)):
        group, odd = divmod(step, 2)
        assert known.shape[1] == LAYOUT.known(group, odd)
        if step > 1:
            assert known[:, LAYOUT.known(group - 1, odd) :].any(axis=0).all()


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 9))
def test_inputs_are_small_integers(seed: int, rows: int, cols: int) -> None:
    for known, signed in walk(*draw(seed, rows, cols)):
        for numbers in (known, signed):
            np.testing.assert_array_equal(numbers, np.rint(numbers))
        assert known.size == 0 or (known.min() >= 0 and known.max() <= INPUT_MAX)


def test_rows_know_nothing_of_each_other() -> None:
    values, sent = draw(2, 3, 10)
    together = walk(values, sent)
    for row in range(3):
        alone = walk(values[row : row + 1], sent[row : row + 1])
        for step, (known, _) in enumerate(alone):
            columns = sent[:, step % 2 :: 2]
            mine = np.repeat(np.arange(3), columns.sum(axis=1)) == row
            np.testing.assert_array_equal(together[step][0][mine], known)


def test_levels_are_quarter_octaves() -> None:
    magnitudes = np.arange(64)
    expected = [math.floor(4 * math.log2(1 + m) + 0.5) for m in magnitudes]
    np.testing.assert_array_equal(level(magnitudes), expected)
    np.testing.assert_array_equal(level(-magnitudes), expected)
    assert level(np.array([TOKEN_MAX])) == 24 == INPUT_MAX // 2


def test_every_magnitude_has_one_bucket() -> None:
    magnitudes = np.arange(2, 16384)
    bucket = bucket_of(magnitudes.astype(np.int32))
    within = magnitudes - BUCKET_STARTS[bucket]
    assert (within >= 0).all()
    assert (within < BUCKET_SIZES[bucket]).all()
    assert bucket[-1] == len(BUCKET_SIZES) - 1
    assert 2 * 2 * TOKEN_MAX < 16384 == BUCKET_STARTS[-1] + BUCKET_SIZES[-1]
    assert (BUCKET_SIZES[:6] == 1).all()


@given(st.lists(st.integers(-(2**40), 2**40)), st.integers(0, 2**20))
def test_bounded_is_numpy_clip(numbers: list[int], limit: int) -> None:
    array = np.array(numbers, np.int64)
    np.testing.assert_array_equal(bounded(array, limit), np.clip(array, -limit, limit))


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 40))
def test_networks_compute_exactly(seed: int, inputs: int, channels: int) -> None:
    """Float32 sums in whatever order equal those of Python's integers."""
    generator = np.random.default_rng(seed)
    top = (EXACT - 40_000) // (INPUT_MAX * inputs)
    high = (EXACT - 2**18) // (HIDDEN_MAX * HIDDEN)
    parts = (
        generator.integers(-min(top, 32767), min(top, 32767), (inputs, HIDDEN), endpoint=True),
        generator.integers(-30_000, 30_000, HIDDEN),
        generator.integers(-high, high, (HIDDEN, channels), endpoint=True),
        generator.integers(0, 2**17, channels),
    )
    net = Net(*(part.astype(np.float32) for part in parts))
    assert net.is_exact
    seen = generator.integers(0, INPUT_MAX, (5, inputs), endpoint=True)
    first, bias, second, start = (part.astype(object) for part in parts)
    hidden = np.clip((seen.astype(object) @ first + bias) // 64, 0, HIDDEN_MAX)
    wanted = np.clip((hidden @ second + start) // 4096, 0, 39).astype(int)
    np.testing.assert_array_equal(net.classes(seen.astype(np.float32)), wanted)
    order = generator.permutation(inputs)
    turned = Net(net.first[order], net.first_bias, net.second, net.second_bias)
    np.testing.assert_array_equal(turned.classes(seen[:, order].astype(np.float32)), wanted)


def test_a_network_that_could_be_inexact_is_seen() -> None:
    blank = np.zeros((3, HIDDEN), np.float32), np.zeros(HIDDEN, np.float32)
    out = np.zeros((HIDDEN, 1), np.float32), np.zeros(1, np.float32)
    assert Net(*blank, *out).is_exact
    large = np.full((3, HIDDEN), EXACT / INPUT_MAX / 3, np.float32)
    assert not Net(large, blank[1], *out).is_exact
    assert not Net(*blank, out[0], np.full(1, EXACT, np.float32)).is_exact


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 16, 64, 96, 768])
def test_layouts(channels: int) -> None:
    layout = Layout.of_tokens(channels, 5)
    covered = [channel for low, high in layout.groups for channel in range(low, high)]
    assert covered == list(range(channels))
    assert layout.predicted in (0, *layout.ends)
    last = len(layout.ends) - 1
    assert layout.known(last, 1) <= layout.width
