"""Fitting the entropy coder's model to tokens.

In the order in which they lean on each other: prediction weights by least squares, a small network
a step by gradient descent on the bits of an ordinal model, and, with the networks rounded to
integers, frequency tables by counting. Tables are smoothed towards what all channels have in
common, and those towards everything being possible, so every value stays codable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.errors import TrainingError
from morphe_core.vgc.contexts import PREDICTION_SHIFT, SIGN_CONTEXTS, Contexts, Layout
from morphe_core.vgc.counting import COMMON_COUNTS, Counter, flat_table, frequencies, smoothed
from morphe_core.vgc.mask_coding import code_mask, default_chances
from morphe_core.vgc.matrix_coding import MatrixCoder, even_bases, predict_odd
from morphe_core.vgc.motion_fit import fit_motion
from morphe_core.vgc.net_fit import Pool, fit_net
from morphe_core.vgc.range_coding import Floats, Index, Ints, Table
from morphe_core.vgc.symbols import LARGE_BUCKETS
from morphe_core.vgc.tables import (
    CLASSES,
    FIRST_SYMBOLS,
    LARGE_CLASSES,
    MASK_CONTEXTS,
    MASK_LEVELS,
    EntropyModel,
    MatrixModel,
    Predictor,
    layouts_of,
)
from morphe_core.vgc.tokens import GopTokens
from morphe_core.vgc.unit_coding import i_extras, motion_extras

#: Tokens of one parity that a network is trained on; more do not change it.
SAMPLES = 120_000
#: Rows that are walked through together; bounds the memory.
ROWS_AT_ONCE = 256

_Doubles = npt.NDArray[np.float64]
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Sample:
    """Rows of a matrix, of any number of GoPs: what to code and what is known before."""

    values: npt.NDArray[np.int16]
    sent: npt.NDArray[np.bool_]
    quality: Index
    extras: Floats

    def contexts(self, layout: Layout) -> Contexts:
        rows = np.array([0, len(self.values)])
        return Contexts(layout, self.sent, rows, self.quality, self.extras)

    def parity(self, contexts: Contexts, odd: int) -> Ints:
        """Values of the tokens of one parity, (tokens, channels)."""
        picked = contexts.columns[odd].pick(self.values[:, odd::2])
        return picked.astype(np.int32)


def fit(gops: Iterable[GopTokens], *, steps: int, seed: int) -> EntropyModel:
    """See `EntropyModel.fit`."""
    known = list(gops)
    if not known:
        raise TrainingError("an entropy model needs at least one GoP to be fitted to")
    sizes = {(gop.i.shape[2], gop.p.shape[2], gop.motion.shape[2]) for gop in known}
    if len(sizes) > 1:
        raise TrainingError(f"GoPs of different backends: channels {sorted(sizes)}")
    ((i_channels, p_channels, motion_channels),) = sizes
    matrices = {}
    for name, layout in layouts_of(i_channels, p_channels, motion_channels).items():
        samples = _joined([_sample(gop, name) for gop in known])
        matrices[name] = _fit_matrix(layout, samples, steps, seed)
    motion = None
    if motion_channels:
        motion = fit_motion([gop.motion for gop in known], [gop.camera for gop in known])
    masks = _fit_masks(known)
    return EntropyModel(i_channels, p_channels, motion_channels, matrices, motion, masks)


def _sample(gop: GopTokens, name: str) -> _Sample:
    nothing = np.zeros((*gop.i_sent.shape, 0), np.float32)
    rows = len(gop.i)
    if name == "i":
        return _Sample(gop.i, gop.i_sent, np.full(rows, gop.i_quality), nothing)
    extras = motion_extras(gop.motion)
    if name == "p":
        extras = np.concatenate([extras, i_extras(gop.i, gop.i_sent)], axis=2)
    return _Sample(gop.p, gop.p_sent, np.full(rows, gop.p_quality), extras)


def _joined(samples: Sequence[_Sample]) -> list[_Sample]:
    """Samples of equal width one below the other, as rows know nothing of each other."""
    parts: dict[tuple[int, int], list[_Sample]] = {}
    rows: dict[int, int] = {}
    for sample in samples:
        width = sample.values.shape[1]
        rows[width] = rows.get(width, 0) + len(sample.values)
        parts.setdefault((width, rows[width] // ROWS_AT_ONCE), []).append(sample)
    return [
        _Sample(
            np.concatenate([one.values for one in part]),
            np.concatenate([one.sent for one in part]),
            np.concatenate([one.quality for one in part]),
            np.concatenate([one.extras for one in part]),
        )
        for part in parts.values()
    ]


def _fit_matrix(layout: Layout, samples: Sequence[_Sample], steps: int, seed: int) -> MatrixModel:
    predictors = _fit_predictors(layout, samples)
    pools = _pool(layout, samples, predictors, np.random.default_rng(seed))
    nets = tuple(
        (
            fit_net(pools[0][group], steps, seed),
            fit_net(pools[1][group], steps, seed),
        )
        for group in range(len(layout.groups))
    )
    channels, predicted = layout.channels, layout.predicted
    blank = MatrixModel(
        layout,
        nets,
        predictors,
        flat_table(channels * CLASSES, FIRST_SYMBOLS),
        flat_table(channels * LARGE_CLASSES, LARGE_BUCKETS),
        flat_table(predicted * SIGN_CONTEXTS, 2),
    )
    counter = Counter()
    for sample in samples:
        contexts = sample.contexts(layout)
        MatrixCoder(blank, counter, contexts, actual=sample.values).run()
    return MatrixModel(
        layout,
        nets,
        predictors,
        smoothed(counter.counts(blank.first), channels),
        smoothed(counter.counts(blank.large), channels),
        smoothed(counter.counts(blank.signs), predicted),
    )


# ---- prediction ------------------------------------------------------------------------------


def _fit_predictors(
    layout: Layout, samples: Sequence[_Sample]
) -> tuple[tuple[Predictor, Predictor], ...]:
    """Least squares, with every token weighed down by how large its numbers are."""
    leading = [group for group in range(len(layout.groups)) if layout.leading(group)]
    sums: dict[tuple[int, int], tuple[_Doubles, _Doubles]] = {}
    for sample in samples:
        contexts = sample.contexts(layout)
        for group in leading:
            low, high = layout.groups[group]
            for odd in (0, 1):
                values = sample.parity(contexts, odd)[:, low:high]
                signed = contexts.signed_known(group, odd)
                before = _before(contexts, values) if not odd else np.zeros_like(values)
                weight = 1.0 / (1.0 + np.abs(values).mean(axis=1) + np.abs(before).mean(axis=1))
                known = np.concatenate([signed, before], axis=1)
                scaled = (known * weight[:, None]).T
                size = known.shape[1]
                gram, target = sums.setdefault(
                    (group, odd), (np.zeros((size, size)), np.zeros((size, high - low)))
                )
                gram += scaled @ known
                target += scaled @ values
                contexts.publish(group, odd, values)
    out = []
    for group in leading:
        low, high = layout.groups[group]
        pair = []
        for odd in (0, 1):
            gram, target = sums[group, odd]
            exact = np.zeros((gram.shape[0] - (high - low) + 1, high - low))
            for channel in range(high - low):
                # All signed numbers, and of the values before only the channel's own.
                used = [*range(len(exact) - 1), len(exact) - 1 + channel]
                part = gram[np.ix_(used, used)]
                ridge = np.eye(len(used)) * (1e-3 * np.trace(part) / len(used) + 1e-3)
                exact[:, channel] = np.linalg.solve(part + ridge, target[used, channel])
            exact *= 1 << PREDICTION_SHIFT
            fixed = np.clip(np.round(exact), -32767, 32767)
            weights = fixed[:-1].astype(np.float64)
            pair.append(Predictor(weights, fixed[-1].astype(np.int64)))
        out.append((pair[0], pair[1]))
    return tuple(out)


def _before(contexts: Contexts, values: Ints) -> Ints:
    """The value of the last token sent before in the same row and parity, zero before the first."""
    columns = contexts.columns[0]
    plane = columns.spread(values)
    place = np.where(columns.sent, np.arange(plane.shape[1]), -1)
    last = np.maximum.accumulate(place, axis=1)
    shifted = np.concatenate([np.full((len(plane), 1), -1), last[:, :-1]], axis=1)
    rows = np.arange(len(plane))[:, None]
    held = np.where(shifted[..., None] >= 0, plane[rows, np.maximum(shifted, 0)], 0)
    out: Ints = columns.pick(held.astype(np.int32))
    return out


# ---- networks --------------------------------------------------------------------------------


def _pool(
    layout: Layout,
    samples: Sequence[_Sample],
    predictors: tuple[tuple[Predictor, Predictor], ...],
    generator: np.random.Generator,
) -> list[list[Pool]]:
    """Inputs and magnitudes of each step, by parity and group."""
    share = min(1.0, 2 * SAMPLES / max(1, sum(int(s.sent.sum()) for s in samples)))
    rows: list[list[_Bytes]] = [[], []]
    guesses: list[list[list[_Bytes]]] = [[[] for _ in layout.groups] for _ in (0, 1)]
    coded: list[list[list[Ints]]] = [[[] for _ in layout.groups] for _ in (0, 1)]
    for sample in samples:
        contexts = sample.contexts(layout)
        chosen = [
            np.flatnonzero(generator.random(len(columns.where)) < share)
            for columns in contexts.columns
        ]
        for group, (low, high) in enumerate(layout.groups):
            for odd in (0, 1):
                values = sample.parity(contexts, odd)[:, low:high]
                rest: Ints = values
                if layout.leading(group):
                    predictor = predictors[group][odd]
                    if odd:
                        found = predict_odd(predictor, contexts.signed_known(group, 1))
                        guesses[1][group].append(found.inputs[chosen[1]].astype(np.uint8))
                        rest = values - found.base
                    else:
                        rest = values - even_bases(
                            predictor, contexts, group, values, coded_are_values=True
                        )
                coded[odd][group].append(np.abs(rest[chosen[odd]]))
                contexts.publish(group, odd, values)
        for odd in (0, 1):
            rows[odd].append(contexts.rows[odd][chosen[odd]].astype(np.uint8))
    pools: list[list[Pool]] = []
    for odd in (0, 1):
        whole = np.concatenate(rows[odd])
        steps = []
        for group in range(len(layout.groups)):
            inputs = whole[:, : layout.known(group, odd)]
            if guesses[odd][group]:
                inputs = np.concatenate([inputs, np.concatenate(guesses[odd][group])], axis=1)
            steps.append(Pool(inputs, np.concatenate(coded[odd][group])))
        pools.append(steps)
    return pools


# ---- masks -----------------------------------------------------------------------------------


def _fit_masks(gops: Sequence[GopTokens]) -> Table:
    chance = default_chances()
    blank = flat_table(MASK_LEVELS * MASK_CONTEXTS, 2)
    counter = Counter()
    for gop in gops:
        rows, cols = gop.i_sent.shape
        whole = np.array([0, rows])
        code_mask(counter, blank, whole, cols, actual=gop.i_sent, lead=None)
        code_mask(counter, blank, whole, cols, actual=gop.p_sent, lead=None)
        code_mask(counter, blank, whole, cols, actual=gop.p_sent, lead=gop.i_sent)
    start = np.stack([1 - chance, chance], axis=1) * COMMON_COUNTS
    return frequencies(counter.counts(blank) + start)
