"""Token selection: closed forms of Eq. 3, and what must hold for any scores and budgets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.selection import (
    STRATEGIES,
    Candidates,
    cosine_similarity,
    select_by_share,
    select_by_similarity,
    select_of_both,
    select_randomly,
    strategy,
)

SHAPES = npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
#: Few different scores, so that there are ties.
SCORES = SHAPES.flatmap(
    lambda shape: npst.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0]))
)


def test_similarity_of_known_angles() -> None:
    i = np.zeros((2, 3, 2), np.float32)
    p = np.zeros((2, 3, 2), np.float32)
    i[0] = [3, 0]
    p[0] = [[5, 0], [0, 0.1], [-2, 0]]
    i[1] = [[1, 0], [0, 0], [0, 0]]
    p[1] = [[2, 2], [0, 0], [0, 7]]
    expected = [[1, 0, -1], [np.sqrt(0.5), 1, 0]]
    assert cosine_similarity(p, i) == pytest.approx(np.array(expected), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_similarity_is_numpys_and_ignores_length(seed: int, one: float, two: float) -> None:
    generator = np.random.default_rng(seed)
    p, i = generator.normal(size=(2, 4, 6, 5))
    product = (p * i).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(i, axis=-1)
    assert cosine_similarity(one * p, two * i) == pytest.approx(product, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_similarity_of_extreme_values(scale: float) -> None:
    p = np.full((1, 1, 4), scale, np.float32)
    assert cosine_similarity(p, -p).item() == pytest.approx(-1)


def test_similarity_needs_one_shape() -> None:
    with pytest.raises(CodecConfigError, match=r"\(2, 2, 3\) and \(2, 2, 4\)"):
        cosine_similarity(np.zeros((2, 2, 3)), np.zeros((2, 2, 4)))


@given(SCORES, st.data())
def test_what_fits_is_sent_and_tau_divides(score: np.ndarray, data: st.DataObject) -> None:
    bits = data.draw(npst.arrays(np.float32, score.shape, elements=st.integers(0, 50)))
    budget = data.draw(st.integers(0, int(bits.sum()) + 1))
    sent, threshold = select_by_similarity(score, bits, budget)
    assert bits[sent].sum() <= budget
    assert not sent[score > threshold].any()
    assert sent[score < threshold].all()
    if not sent.all():
        dropped = bits[~sent & (score == score[~sent].min())]
        assert bits[sent].sum() + dropped.sum() > budget  # one more tie class would not fit


@given(SCORES, st.data())
def test_a_smaller_budget_drops_a_superset(score: np.ndarray, data: st.DataObject) -> None:
    bits = data.draw(npst.arrays(np.float32, score.shape, elements=st.integers(0, 50)))
    budgets = sorted(data.draw(st.lists(st.integers(0, 400), min_size=2, max_size=5)))
    masks = [select_by_similarity(score, bits, budget).sent for budget in budgets]
    for less, more in itertools.pairwise(masks):
        assert (more | ~less).all()


def test_the_most_similar_go_first() -> None:
    score = np.array([[0.9, -0.5], [0.3, 1.0]], np.float32)
    sent, threshold = select_by_similarity(score, np.full((2, 2), 10.0), 25)
    assert sent.tolist() == [[False, True], [True, False]]
    assert threshold == pytest.approx(0.3)


def test_nothing_and_everything() -> None:
    score, bits = np.zeros((3, 4), np.float32), np.ones((3, 4))
    nothing = select_by_similarity(score, bits, 0.5)
    assert (nothing.sent.sum(), nothing.threshold) == (0, -np.inf)
    everything = select_by_similarity(score, bits, 12)
    assert (everything.sent.sum(), everything.threshold) == (12, np.inf)


def test_ties_are_dropped_all_over_the_picture() -> None:
    sent = select_by_share(np.zeros((16, 16), np.float32), 0.5).sent
    quarters = sent.reshape(4, 4, 4, 4).mean(axis=(1, 3))
    assert quarters.min() >= 0.3
    assert quarters.max() <= 0.7


@given(SCORES, st.floats(0, 1))
def test_share_is_exact_and_drops_the_highest(score: np.ndarray, share: float) -> None:
    sent = select_by_share(score, share).sent
    assert (~sent).sum() == round(share * score.size)
    if sent.any() and not sent.all():
        assert score[sent].max() <= score[~sent].min()


def test_random_share_is_exact_and_fair() -> None:
    generator = np.random.default_rng(3)
    masks = [select_randomly((6, 7), 0.25, generator).sent for _ in range(2000)]
    assert {int((~mask).sum()) for mask in masks} == {round(0.25 * 42)}
    rate = np.mean(masks, axis=0)
    expected = 1 - round(0.25 * 42) / 42
    assert np.abs(rate - expected).max() < 5 * np.sqrt(expected * (1 - expected) / 2000)
    again = select_randomly((6, 7), 0.25, np.random.default_rng(3)).sent
    assert (again == masks[0]).all()


#: Scores of I and P tokens, and which I tokens are there.
BOTH = SHAPES.flatmap(
    lambda shape: st.tuples(
        *[npst.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 1.0]))] * 2,
        npst.arrays(np.bool_, shape),
    )
)


@given(BOTH, st.floats(0, 1), st.booleans())
def test_a_share_of_both_is_exact_and_of_what_is_there(
    both: tuple[np.ndarray, np.ndarray, np.ndarray], share: float, mixed: bool
) -> None:
    i, p, there = both
    i_sent, p_sent = select_of_both(i, p, there, share, mixed=mixed)
    count = int(there.sum()) + p.size
    assert i_sent.sum() + p_sent.sum() == count - round(share * count)
    assert not (i_sent & ~there).any()


@given(BOTH, st.floats(0, 1))
def test_p_tokens_go_before_i_tokens_and_each_by_score(
    both: tuple[np.ndarray, np.ndarray, np.ndarray], share: float
) -> None:
    i, p, there = both
    i_sent, p_sent = select_of_both(i, p, there, share, mixed=False)
    if p_sent.any():
        assert (i_sent == there).all()
    for score, sent, dropped in ((i, i_sent, there & ~i_sent), (p, p_sent, ~p_sent)):
        if sent.any() and dropped.any():
            assert score[sent].max() <= score[dropped].min()


def test_mixed_tokens_go_by_score_alone() -> None:
    i, p = np.array([[3, 0, 9]], np.float32), np.array([[2, 1, 4]], np.float32)
    there = np.array([[True, True, False]])
    i_sent, p_sent = select_of_both(i, p, there, 0.4, mixed=True)
    assert (i_sent.tolist(), p_sent.tolist()) == ([[False, True, False]], [[True, True, False]])


def candidates(p: np.ndarray, i: np.ndarray, seed: int = 1) -> Candidates:
    return Candidates(np.rint(p).astype(np.int16), lambda: (p, i), np.random.default_rng(seed))


def test_energy_keeps_the_strong() -> None:
    p = np.zeros((1, 3, 2), np.float32)
    p[0, :, 0] = [1, -3, 2]
    score = strategy("energy")(candidates(p, p))
    assert score.tolist() == [[-1, -9, -4]]
    assert select_by_share(score, 1 / 3).sent.tolist() == [[False, True, True]]


def test_strategies_by_name() -> None:
    p, i = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    for name in STRATEGIES:
        score = strategy(name)(candidates(p, i))
        assert (score.shape, score.dtype) == ((4, 5), np.float32)
    assert (strategy("similarity")(candidates(p, i)) == cosine_similarity(p, i)).all()
    one, other, again = (strategy("random")(candidates(p, i, seed)) for seed in (1, 2, 1))
    assert (one == again).all()
    assert (one != other).all()
    with pytest.raises(CodecConfigError, match="'best': known are energy, random, similarity"):
        strategy("best")


def test_wrong_arguments_name_the_field() -> None:
    score = np.zeros((2, 2), np.float32)
    with pytest.raises(CodecConfigError, match=r"share of dropped tokens 1\.5"):
        select_by_share(score, 1.5)
    with pytest.raises(CodecConfigError, match="share of dropped tokens nan"):
        select_of_both(score, score, score > 0, float("nan"), mixed=True)
    with pytest.raises(CodecConfigError, match=r"scores \(2, 2\) and \(1, 2\)"):
        select_of_both(score, score[:1], score > 0, 0.5, mixed=True)
    with pytest.raises(CodecConfigError, match="bits of a token -1"):
        select_by_similarity(score, np.full((2, 2), -1.0), 10)
    with pytest.raises(CodecConfigError, match=r"bits \(1, 2\)"):
        select_by_similarity(score, np.zeros((1, 2)), 10)
