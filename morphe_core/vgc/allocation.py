"""Rate control: the qualities, and the tokens left out, that bring a GoP to its budget.

Nothing here runs a network. The bits of token values at a quality come from the entropy coder's own
tables (`vgc.entropy.token_bits`), so a search over qualities costs milliseconds; what the estimate
gets wrong is learnt from GoP to GoP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from morphe_core.nasc.rate_control import BITS_SLOPE
from morphe_core.vgc.bitstream import HEADER_BYTES
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.entropy import (
    Beside,
    EntropyModel,
    camera_bits,
    measured_bits,
    token_bits,
)
from morphe_core.vgc.estimate import Motion
from morphe_core.vgc.quantiser import DEAD_ZONE, coding_cost, step_of
from morphe_core.vgc.rounding import (
    DEAD_ZONE_BEFORE,
    Values,
    quantise_array,
    without_the_dear,
)
from morphe_core.vgc.selection import Candidates, select_by_similarity, strategy
from morphe_core.vgc.tokens import (
    INDICES_PER_OCTAVE,
    MOTION_COLS,
    QUALITIES,
    Grid,
    Mask,
    Tokens,
)

#: I tokens are quantised finer than P tokens, as eight pictures are predicted from the I picture:
#: by sixteen indices, which is half the step. Of 8, 16 and 24 it gave the best VMAF on three clips
#: (44.22, 44.89 and 44.73) with early weights.
I_FINER = 16
#: Coarsest quality that is worth sending; below it tokens are dropped instead (step 215).
COARSEST = 4
#: P tokens are never finer than I tokens by more than this; our choice.
P_FINER_AT_MOST = 4
#: Search steps for a quality at most (3 or 4 are usual): each costs an estimate over some rows.
_TRIES = 10
#: Natural logarithm of a ratio of bits that counts as nothing: a third of what one index changes.
_NEAR = 0.01
#: The same that says that bits do not grow as a secant takes them to: what three indices change.
_FAR = 0.1
#: The same for I: what it misses, P makes up for.
_I_NEAR = 0.03
#: The same for P: half of what one index changes; what is above it is left out by selection.
_P_NEAR = 0.045
#: Rows that a search looks at, at least; more rows add time and hardly certainty.
_SAMPLE_ROWS = 8
#: Octaves of bits per octave of the step, of P tokens alone: where their search starts.
_P_SLOPE = 2.0
#: Bits of a mask per token when it is neither all nor none: small beside the tokens, learnt away.
_MASK_BITS = 0.7


@dataclass(slots=True)
class Share:
    """What is learnt from GoP to GoP.

    Attributes:
        quality: I quality of the GoP before.
        coarser: how many indices its P quality was below that.
        bias: real bits over estimated ones.
        rounding: bits after rounding by cost over those before it.
        hint: P values of the GoP before, (rows, cols, channels); None at the start.
        whole_bytes: what the GoP before would have come to with all of its P tokens.
    """

    quality: int = 48
    coarser: int = I_FINER
    bias: float = 1.0
    rounding: float = 1.0
    hint: Values | None = None
    whole_bytes: float = 0.0

    def learn(self, plan: IPlan, p_quality: int, budget: TokenBudget, size_bytes: int) -> None:
        """After a GoP was packed."""
        self.quality, self.coarser = plan.quality, plan.quality - p_quality
        real = 8 * size_bytes - 8 * HEADER_BYTES * budget.units
        if budget.estimated > 500:
            seen = min(max(real / budget.estimated, 0.7), 1.4)
            self.bias += 0.5 * (seen - self.bias)
            self.rounding += 0.5 * (budget.rounding - self.rounding)
        self.whole_bytes = budget.whole * self.bias / 8 + HEADER_BYTES * budget.units


@dataclass(frozen=True, slots=True)
class IPlan:
    """The I tokens as they will be sent; `row_bits` (rows,) is what `bits` says of each row."""

    quality: int
    tokens: Tokens
    sent: Mask
    bits: float
    row_bits: Values


@dataclass(frozen=True, slots=True)
class PPlan:
    """The P tokens as they will be sent.

    `whole` are those before any was left out, `row_bits` (rows,) those of I, motion and P.
    """

    quality: int
    tokens: Tokens
    whole: Tokens
    sent: Mask
    bits: float
    motion_bits: float
    row_bits: Values


class _AllOfP(NamedTuple):
    """All P tokens, their bits, and the bits that rounding by cost saved of each."""

    quality: int
    tokens: Tokens
    bits: Values
    saved: Values


class TokenBudget:
    """Spends the budget of one GoP.

    Attributes:
        units: how many units are expected.
        bits: bits for tokens, masks and motion.
        estimated: bits that the plan should cost, by the tables.
        whole: the same if no P token were left out.
    """

    def __init__(
        self, entropy: EntropyModel, config: EncoderConfig, budget_bytes: int, motion: Motion
    ) -> None:
        self._entropy = entropy
        self._config = config
        self._motion = motion
        self._dead_zone = DEAD_ZONE_BEFORE if config.rounding else DEAD_ZONE
        rows, cells = motion.cells.shape[:2]
        self.units = expected_units(config, budget_bytes, Grid(rows, cells * MOTION_COLS))
        self.bits = max(64.0, 8.0 * (budget_bytes - HEADER_BYTES * self.units))
        self._motion_rows = np.zeros(rows, np.float32)
        self._motion_bits = 0.0
        if config.motion:
            self._motion_rows = token_bits(entropy, motion.cells, 0, "motion").sum(axis=1)
            camera = self.units * camera_bits(entropy, motion.camera)
            self._motion_bits = float(self._motion_rows.sum()) + camera
        self.estimated = 0.0
        self.whole = 0.0
        self._saved = 0.0

    @property
    def rounding(self) -> float:
        """Bits after rounding by cost over those before it."""
        return self.whole / max(self.whole + self._saved, 1.0)

    @property
    def motion_share(self) -> float:
        """Share of the budget that the motion of the cells takes, 0 or more."""
        return float(self._motion_rows.sum()) / self.bits

    def plan_i(
        self, values: Values, stay: Values | None, hint: Values, share: Share,
        change: Callable[[], Values],
    ) -> IPlan:  # fmt: skip
        """Choose the I tokens' quality so that I and P together meet the budget.

        Args:
            values: (rows, cols, i_channels), before quantisation.
            stay: (rows, cols), squared error of keeping what the GoP before shows; None = cannot.
            hint: P values of about this GoP, for its share.
            share: what was learnt.
            change: gives (rows, cols), squared error where a token is not sent; asked for only when
                not even the coarsest quality is cheap enough for all of them.
        """
        sample = _sample(values.shape[0])
        some = slice(None, None, sample)
        stay_there = None if stay is None else stay[some]

        def cost(quality: int) -> float:
            plan = self._i_at(values[some], stay_there, quality)
            p_quality = max(COARSEST, quality - I_FINER)
            p = quantise_array(hint[some], step_of(p_quality), self._dead_zone)
            beside = self._motion.cells[some]
            bits = plan.bits + float(self._p_bits(p, p_quality, plan, beside).sum())
            return float(bits * share.rounding * values.shape[0] / p.shape[0])

        if self._config.fixed_quality >= 0:
            # The paper's form: the quality is given, unless the I tokens alone are too much.
            top = self._config.fixed_quality
            target = 0.8 * self.bits / share.bias
            plan = self._i_at(values, stay, top)
            if plan.bits > target:
                top = min(top, search(lambda q: self._i_at(values, stay, q).bits, target, top))
            return self._i_within(target, self._i_at(values, stay, top, final=True), values, change)
        wanted = self.bits / share.bias - self._motion_bits
        quality = search(cost, wanted, share.quality, near=_I_NEAR)
        return self._i_within(wanted, self._i_at(values, stay, quality, final=True), values, change)

    def _i_within(
        self, wanted: float, plan: IPlan, values: Values, change: Callable[[], Values]
    ) -> IPlan:
        """Of I tokens that are too much as they are, those that gain most a bit."""
        if plan.bits <= wanted * math.exp(_P_NEAR):
            return plan
        step = step_of(plan.quality)
        bits = token_bits(self._entropy, plan.tokens, plan.quality, "i", sent=plan.sent)
        error = np.square(values - plan.tokens * np.float32(step)).sum(axis=2)
        gain = np.where(plan.sent, (change() - error) / np.maximum(bits, 1), -np.inf)
        order = np.argsort(-gain, axis=None, kind="stable")
        spent = np.cumsum(bits.ravel()[order])
        left = wanted - _MASK_BITS * bits.size
        chosen = order[(spent <= left) & (gain.ravel()[order] > 0)]
        sent = np.zeros(bits.shape, np.bool_)
        sent.flat[chosen] = True
        rows: Values = (bits * sent).sum(axis=1)
        tokens = np.where(sent[..., None], plan.tokens, np.int16(0))
        total = float(rows.sum()) + _MASK_BITS * bits.size * min(1.0, 4 * float(sent.mean()))
        return IPlan(plan.quality, tokens, sent, total, rows)

    def _i_at(
        self, values: Values, stay: Values | None, quality: int, *, final: bool = False
    ) -> IPlan:
        """The I tokens at a quality; rounded by cost only if `final`."""
        step = step_of(quality)
        tokens = quantise_array(values, step, self._dead_zone)
        saved = np.zeros(tokens.shape[:2], np.float32)
        if final and self._config.rounding:
            bits, savings = measured_bits(self._entropy, tokens, quality, "i")
            tokens, saved = without_the_dear(values, tokens, savings, step, self._config.rounding)
            bits = bits - saved
        else:
            bits = token_bits(self._entropy, tokens, quality, "i")
        sent = np.ones(bits.shape, np.bool_)
        if stay is not None:
            error = np.square(values - tokens * np.float32(step)).sum(axis=2)
            sent = stay >= coding_cost(error, bits, step)
            tokens = np.where(sent[..., None], tokens, np.int16(0))
        self._saved = float(saved[sent].sum())
        rows: Values = (bits * sent).sum(axis=1)
        total = float(rows.sum())
        if not sent.all():
            total += _MASK_BITS * sent.size * min(1.0, 4 * float(sent.mean()))
        return IPlan(quality, tokens, sent, total, rows)

    def plan_p(
        self, values: Values, plan: IPlan, share: Share, *,
        in_i_space: Callable[[], tuple[Values, Values]], generator: np.random.Generator,
    ) -> PPlan:  # fmt: skip
        """Choose the P tokens' quality, and what is left out, for what the I tokens left over.

        Args:
            values: (rows, cols, p_channels), before quantisation.
            plan: of the I tokens.
            share: what was learnt.
            in_i_space: see `selection.Candidates`.
            generator: for random selection.
        """
        wanted = self.bits / share.bias - plan.bits - self._motion_bits
        if self._config.fixed_quality >= 0:
            p = self._p_at(values, plan, plan.quality)
        else:
            p = self._p_within(wanted, values, plan, share)
        quality, whole, bits, saved = p
        self.whole = plan.bits + self._motion_bits + float(bits.sum())
        self._saved += float(saved.sum())
        sent, tokens = np.ones(bits.shape, np.bool_), whole
        if bits.sum() > max(0.0, wanted) * math.exp(_P_NEAR):
            score = strategy(self._selection())(Candidates(whole, in_i_space, generator))
            sent = select_by_similarity(score, bits, max(0.0, wanted)).sent
            tokens = np.where(sent[..., None], whole, np.int16(0))
        rows: Values = (bits * sent).sum(axis=1)
        total = float(rows.sum())
        self.estimated = plan.bits + self._motion_bits + total
        rows = rows + plan.row_bits + self._motion_rows
        return PPlan(quality, tokens, whole, sent, total, self._motion_bits, rows)

    def _p_within(self, wanted: float, values: Values, plan: IPlan, share: Share) -> _AllOfP:
        """All P tokens at the quality at which they cost about `wanted` bits."""
        tried: dict[int, _AllOfP] = {}

        def cost(quality: int) -> float:
            tried[quality] = self._p_at(values, plan, quality)
            return float(tried[quality].bits.sum())

        finest = min(QUALITIES - 1, plan.quality + P_FINER_AT_MOST)
        start = max(COARSEST, plan.quality - share.coarser)
        quality = min(finest, search(cost, max(1.0, wanted), start, near=_P_NEAR, slope=_P_SLOPE))
        return tried[quality] if quality in tried else self._p_at(values, plan, quality)

    def _selection(self) -> str:
        """The strategy; the same for all where `drop_share` is to compare them at equal steps.

        Each leaves other bytes, so that the rate control would learn something else from each.
        """
        return "energy" if self._config.drop_share else self._config.selection

    def _p_at(self, values: Values, plan: IPlan, quality: int) -> _AllOfP:
        step, price = step_of(quality), self._config.rounding
        tokens = quantise_array(values, step, self._dead_zone)
        if not price:
            bits = self._p_bits(tokens, quality, plan, self._motion.cells)
            return _AllOfP(quality, tokens, bits, np.zeros_like(bits))
        name, beside = self._beside(plan, self._motion.cells)
        bits, savings = measured_bits(self._entropy, tokens, quality, name, **beside)
        tokens, saved = without_the_dear(values, tokens, savings, step, price)
        return _AllOfP(quality, tokens, bits - saved, saved)

    def _p_bits(self, tokens: Tokens, quality: int, plan: IPlan, motion: Tokens) -> Values:
        name, beside = self._beside(plan, motion)
        return token_bits(self._entropy, tokens, quality, name, **beside)

    def _beside(self, plan: IPlan, motion: Tokens) -> tuple[str, Beside]:
        """P tokens as the packing will code them: beside their I tokens, or alone."""
        if self._config.packing == "rows":
            return "p_alone", {"motion": motion}
        return "p", {"i_tokens": plan.tokens, "i_sent": plan.sent, "motion": motion}


def expected_units(config: EncoderConfig, budget_bytes: int, grid: Grid) -> int:
    """Units of a GoP of this size.

    Args:
        config: settings.
        budget_bytes: of the GoP.
        grid: token matrices.
    """
    if config.packing == "rows":
        return 2 * grid.rows
    whole = -(-budget_bytes // config.unit_bytes)
    least = min(config.least_units, max(1, budget_bytes // 150))
    return min(grid.rows, max(whole, least))


def search(
    cost: Callable[[int], float], wanted: float, start: int, *, near: float = _NEAR,
    slope: float = BITS_SLOPE,
) -> int:  # fmt: skip
    """The finest quality whose cost is within `wanted`, or one whose cost is near it.

    Bits grow nearly geometrically with the quality, so a secant in the logarithm lands at once.
    Where they leap instead (tokens that were kept so far are all sent), the secant would creep
    along one end, so a step that does not halve what is left is followed by one that does, and by
    nothing else once a secant was far off.

    Args:
        cost: bits at a quality; grows with it.
        wanted: bits.
        start: first guess.
        near: natural logarithm of a ratio of bits that counts as nothing.
        slope: octaves of bits per octave of the step, about.

    Returns:
        The quality; `COARSEST` when none is cheap enough.
    """
    below, above = COARSEST - 1, QUALITIES
    below_miss = above_miss = 0.0
    quality = min(max(start, COARSEST), QUALITIES - 1)
    pace = INDICES_PER_OCTAVE / (slope * math.log(2))
    left = span = above - below
    aimed = creeps = False
    for attempt in range(_TRIES):
        miss = math.log(max(cost(quality), 1.0) / max(wanted, 1.0))
        fits = miss <= near
        if fits:
            below, below_miss = quality, miss
        else:
            above, above_miss = quality, miss
        span, left = left, above - below
        if left <= 1 or -near <= miss <= near:
            break
        if below < COARSEST or above == QUALITIES:
            guess = quality - miss * pace * 2 ** max(0, attempt - 1)
        else:
            slow = attempt > 1 and left > span / 2
            creeps = creeps or (aimed and slow and abs(miss) > _FAR)
            aimed = not (slow or creeps)
            share = below_miss / (below_miss - above_miss) if aimed else 0.5
            guess = below + (above - below) * share
        quality = min(max(round(guess), below + 1), above - 1)
    return max(below, COARSEST)


def _sample(rows: int) -> int:
    """Every how many rows a search looks at."""
    return max(1, rows // _SAMPLE_ROWS)
