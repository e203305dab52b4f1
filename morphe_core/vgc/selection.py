"""Which tokens are worth sending (paper, section 4.3, Eq. 3, and the ablation in its A.4).

Every strategy gives each token a *score*; tokens with the highest scores are dropped first, and
which scores are dropped depends on the bytes there are. The paper's score is the similarity of a P
token to the I token at its place. Where P tokens are residuals already (the `small` backend), that
similarity says nothing, and a token's own energy is what the picture loses without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from morphe_core.errors import CodecConfigError

Score = npt.NDArray[np.float32]
Values = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

#: Odd, near 2**32 / golden ratio: its multiples modulo 2**32 spread evenly (Knuth, The Art of
#: Computer Programming, vol. 3, section 6.4): tokens of equal score go from everywhere.
_SPREAD = 2654435769


class Selection(NamedTuple):
    """Which tokens are sent.

    Attributes:
        sent: (rows, cols) bool.
        threshold: the paper's tau: every token with a score above it is dropped. Tokens whose
            score equals it may be dropped too, in a fixed order that spreads them. `-inf` when
            nothing is sent, `inf` when everything is.
    """

    sent: Mask
    threshold: float


def cosine_similarity(p: Values, i: Values) -> Score:
    """Similarity of P tokens to the I tokens at their places (Eq. 3).

    Args:
        p: (rows, cols, channels) finite dequantised values.
        i: the same, in the same space.

    Returns:
        (rows, cols) within -1 and 1. Two zero vectors are equal, so 1; a zero vector is like no
        other vector, so 0.

    Raises:
        CodecConfigError: other shapes.
    """
    if p.ndim != 3 or p.shape != i.shape:
        raise CodecConfigError(
            f"similarity of tokens {p.shape} and {i.shape}: both must be (rows, cols, channels)"
        )
    one, two = _unit_vectors(p), _unit_vectors(i)
    product = np.einsum("rck,rck->rc", one, two)
    both_zero = ~one.any(axis=2) & ~two.any(axis=2)
    result: Score = np.where(both_zero, 1.0, np.clip(product, -1.0, 1.0)).astype(np.float32)
    return result


def select_by_similarity(score: Score, bits: Values, budget_bits: float) -> Selection:
    """Drop the tokens with the highest scores until the rest fits.

    A smaller budget drops a superset of what a larger one drops.

    Args:
        score: (rows, cols); see `STRATEGIES`.
        bits: (rows, cols) what each token costs, 0 or more.
        budget_bits: for all tokens that are sent.

    Raises:
        CodecConfigError: shapes differ, or a cost is negative.
    """
    if score.shape != bits.shape:
        raise CodecConfigError(f"scores {score.shape} and bits {bits.shape}: must be of one shape")
    if bits.size and bits.min() < 0:
        raise CodecConfigError(f"bits of a token {bits.min():g}: must be 0 or more")
    order = _order(score)
    spent = np.cumsum(bits.ravel()[order], dtype=np.float64)
    return _first(score, order, int(np.searchsorted(spent, budget_bits, side="right")))


def select_by_share(score: Score, share: float) -> Selection:
    """Drop the `share` of tokens with the highest scores: round(share * tokens) of them.

    Raises:
        CodecConfigError: share is not within 0 and 1.
    """
    _check_share(share)
    return _first(score, _order(score), score.size - round(share * score.size))


def select_of_both(
    i: Score, p: Score, i_there: Mask, share: float, *, mixed: bool
) -> tuple[Mask, Mask]:
    """Drop the `share` of the tokens of both matrices with the highest scores.

    Args:
        i: (rows, cols) scores of the I tokens.
        p: (rows, cols) scores of the P tokens.
        i_there: (rows, cols) bool; I tokens that are not there to be dropped are not counted.
        share: of the tokens that are there.
        mixed: P and I tokens alike, so that their scores must be comparable; otherwise an I token,
            from which eight pictures are predicted, goes only when no P token is left.

    Returns:
        The I tokens and the P tokens that are sent.

    Raises:
        CodecConfigError: share is not within 0 and 1, or shapes differ.
    """
    _check_share(share)
    if not i.shape == p.shape == i_there.shape:
        raise CodecConfigError(
            f"scores {i.shape} and {p.shape} of tokens {i_there.shape}: must be of one shape"
        )
    both = np.stack([i, p])
    there = np.stack([i_there, np.ones_like(i_there)])
    group = np.where(there, 0, 2)
    if not mixed:
        group[1] = 1
    order = _order(both, group)
    count = int(there.sum())
    sent = _first(both, order, count - round(share * count)).sent
    return sent[0], sent[1]


def select_randomly(
    shape: tuple[int, int], share: float, generator: np.random.Generator
) -> Selection:
    """Drop round(share * tokens) tokens, any with equal chance: the ablation's other half.

    Raises:
        CodecConfigError: share is not within 0 and 1.
    """
    return select_by_share(generator.random(shape, dtype=np.float32), share)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tokens of a GoP not all of which are sent, and what may help to choose among them.

    Attributes:
        tokens: (rows, cols, channels), quantised: integers, in steps; what the picture loses
            without them.
        in_i_space: gives the P tokens and the I tokens at their places in the space of the latter,
            dequantised, (rows, cols, channels) each. A function, as that takes a transform. Where
            I tokens are chosen among: these, and what stands in for them.
        generator: for chance.
    """

    tokens: npt.NDArray[np.integer[Any]]
    in_i_space: Callable[[], tuple[Values, Values]]
    generator: np.random.Generator


class Strategy(Protocol):
    """Gives each token a score; a higher one is dropped first."""

    def __call__(self, candidates: Candidates, /) -> Score:
        """(rows, cols) scores."""


def similarity_score(candidates: Candidates, /) -> Score:
    """The paper's: what is like the I token can be spared."""
    return cosine_similarity(*candidates.in_i_space())


def energy_score(candidates: Candidates, /) -> Score:
    """For P tokens that are residuals: a weak one changes little; minus the energy."""
    energy: Score = np.square(candidates.tokens.astype(np.float32)).sum(axis=2)
    return -energy


def random_score(candidates: Candidates, /) -> Score:
    """No idea at all, for the ablation."""
    return candidates.generator.random(candidates.tokens.shape[:2]).astype(np.float32)


#: Strategies by name, as `EncoderConfig.selection` calls them.
STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {"similarity": similarity_score, "random": random_score, "energy": energy_score}
)


def strategy(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        CodecConfigError: no such strategy; lists the known ones.
    """
    if name not in STRATEGIES:
        raise CodecConfigError(f"selection {name!r}: known are {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[name]


def _unit_vectors(values: Values) -> npt.NDArray[np.float64]:
    """Each vector over its length; a zero vector stays zero."""
    wide = values.astype(np.float64)
    # Over the largest component first: squares of very large or small values leave the range.
    largest = np.abs(wide).max(axis=2, keepdims=True, initial=0.0)
    wide /= np.where(largest > 0, largest, 1.0)
    length = np.sqrt(np.einsum("rck,rck->rc", wide, wide))[..., None]
    return wide / np.where(length > 0, length, 1.0)


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise CodecConfigError(f"share of dropped tokens {share:g}: must be within 0 and 1")


def _order(score: Score, group: npt.NDArray[np.integer[Any]] | None = None) -> npt.NDArray[np.intp]:
    """Flat indices from the token to keep longest to the one to drop first; low groups stay."""
    spread = np.arange(score.size, dtype=np.uint64) * _SPREAD % 2**32
    keys = (spread, score.ravel())
    return np.lexsort(keys if group is None else (*keys, group.ravel()))


def _first(score: Score, order: npt.NDArray[np.intp], count: int) -> Selection:
    """The first `count` tokens of `order`."""
    sent = np.zeros(score.size, dtype=np.bool_)
    sent[order[:count]] = True
    if count == score.size:
        threshold = np.inf
    else:
        threshold = float(score.flat[order[count - 1]]) if count else -np.inf
    return Selection(sent.reshape(score.shape), threshold)
