"""The encoder: pictures and a budget in, units out.

It runs the decoder's own synthesis (the paper's proxy model, section 4.3: at 1/8 resolution it is
cheap enough to be the decoder itself), so it knows what the receiver will have, losses aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from morphe_core.errors import CodecConfigError
from morphe_core.models import Model
from morphe_core.nasc.rate_control import Anchors, Mode, ModeControl, StreamModes
from morphe_core.threads import one_blas_thread
from morphe_core.vgc.allocation import (
    I_FINER,
    IPlan,
    PPlan,
    Share,
    TokenBudget,
)
from morphe_core.vgc.bitstream import GOP_MODULO
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.dropping import i_candidates
from morphe_core.vgc.enhancement import Enhancer
from morphe_core.vgc.enlarging import shown_pictures
from morphe_core.vgc.estimate import Luma, Motion, estimate_motion, motion_price
from morphe_core.vgc.geometry import Geometry, Packed
from morphe_core.vgc.packing import GopFacts, pack_units
from morphe_core.vgc.pictures import Picture, to_bytes, to_patches
from morphe_core.vgc.quantiser import step_of
from morphe_core.vgc.refresh import Refresh
from morphe_core.vgc.rounding import Values
from morphe_core.vgc.selection import Candidates, select_by_share, select_of_both, strategy
from morphe_core.vgc.small import DecodedI, DecodedP, Predicted
from morphe_core.vgc.state import Memory, conceal_i, decode_p, field_tensor, to_values
from morphe_core.vgc.tokens import GopTokens

#: A GoP that is larger than its budget by more than this is coded once more.
_MOST_OVER = 1.07
#: The most that one GoP tells of how wrong the estimate is; what is beyond comes of something else.
_MOST_WRONG = 2.0
#: Share of a budget that the motion of the cells may take; our choice.
_MOST_MOTION = 0.4


@dataclass(frozen=True, slots=True)
class EncodedGop:
    """One GoP as units.

    Attributes:
        index: number of the GoP, from 0.
        mode: how it is sent (Algorithm 1).
        frames: real pictures in it.
        units: in sending order.
        facts: qualities, shares of tokens sent, bits by kind (before `drop_share`), units and bytes
            of the residual.
        budgeted: sizes of the units that the budget gave. `drop_share` sends others, but rate
            control must go on from these, or what is dropped would come back as finer steps.
    """

    index: int
    mode: Mode
    frames: int
    units: tuple[bytes, ...]
    facts: dict[str, float]
    budgeted: tuple[int, ...]

    @property
    def scale(self) -> int:
        """Source pixels per coded pixel."""
        return self.mode.scale

    @property
    def size_bytes(self) -> int:
        """Bytes of all units, their own headers included, packet headers not."""
        return sum(map(len, self.units))


@dataclass(slots=True)
class _Work:
    """What is known of the GoP that is being encoded; `field` is `motion` for the networks."""

    geometry: Geometry
    pictures: Picture
    motion: Motion
    field: Tensor
    before: Picture | None
    budget: TokenBudget
    again: bool = False

    @property
    def first(self) -> Picture:
        return self.pictures.take(slice(1))

    @property
    def rest(self) -> Picture:
        return self.pictures.take(slice(1, None))


class _Coded(NamedTuple):
    """What became of a GoP's pictures."""

    i_plan: IPlan
    i: DecodedI
    predicted: Predicted
    tokens: GopTokens
    p_plan: PPlan
    units: list[bytes]


class Encoder:
    """Encodes the GoPs of one stream, in order.

    Args:
        model: see `morphe_core.models.load_model`.
        width: luma width of the source, even.
        height: luma height of the source, even.
        fps: frame rate; the codec itself does not depend on it.
        config: settings.

    Raises:
        CodecConfigError: a size that cannot be coded.
    """

    def __init__(
        self, model: Model, *, width: int, height: int, fps: Fraction, config: EncoderConfig
    ) -> None:
        if fps <= 0:
            raise CodecConfigError(f"fps {fps}: must be more than 0")
        self.model = model
        self.config = config
        self.fps = fps
        self._geometries = {scale: Geometry.of(width, height, scale) for scale in (1, 2, 3)}
        self._enhancer = Enhancer(config)
        self._generator = np.random.default_rng(config.seed)
        self._memory: Memory | None = None
        self._last_luma: Luma | None = None
        self._share = Share()
        self._index = 0
        self._modes = StreamModes(
            scale=config.scale, quality_is_given=config.fixed_quality >= 0,
            control=ModeControl(hysteresis=config.hysteresis, dwell_gops=config.dwell_gops),
        )  # fmt: skip
        self._refresh = Refresh(config.refresh_gops)

    @property
    def anchors(self) -> Anchors | None:
        """The anchors of Algorithm 1, measured on the GoP before; None at the start."""
        return self._modes.anchors

    def report(self, gop: int, missing: npt.NDArray[np.bool_] | None) -> None:
        """Learn from the receiver what did not come: with `keep`, it is sent anew at once.

        Without `keep` every I token is sent anyway, and a report changes nothing.

        Args:
            gop: `EncodedGop.index`; one that was not encoded yet is ignored.
            missing: (rows,) of its token matrices, as `Decoder.missing_rows` has it; None when
                nothing came.
        """
        if 0 <= gop < self._index:
            self._refresh.report(gop, missing)

    @one_blas_thread
    @torch.inference_mode()
    def encode(self, pictures: Sequence[Packed], *, budget_bytes: int) -> EncodedGop:
        """Encode the next GoP.

        Args:
            pictures: 1 to 9 packed yuv420p pictures of the source size, uint8.
            budget_bytes: for all units with their own headers (packet headers not counted).

        Raises:
            CodecConfigError: no or too many pictures, a wrong size, or a budget below 1.
        """
        if budget_bytes < 1:
            raise CodecConfigError(f"budget_bytes {budget_bytes}: must be at least 1")
        tokens_bytes = self._enhancer.tokens_bytes(budget_bytes)
        source = self._geometries[1]
        source_pixels = source.width * source.height * max(1, len(pictures))
        mode = self._modes.choose(tokens_bytes, source_pixels)
        work = self._begin(self._geometries[mode.scale], pictures, tokens_bytes)
        i_plan, i, predicted, tokens, p_plan, units = self._code(work, len(pictures), tokens_bytes)
        budgeted = [*map(len, units)]
        if self.config.drop_share:
            tokens, i = self._drop(work, tokens, i_plan, p_plan, i)
            predicted = self.model.network.tokenizer.predict(i, work.field)
            units = self._pack(work, tokens, len(pictures), tokens_bytes)
        p = self._finish(work, tokens, predicted)
        facts = self._facts(work, len(pictures))
        residual = self._enhance(pictures, i, p, facts, budget_bytes - sum(budgeted))
        self._share.learn(i_plan, tokens.p_quality, work.budget, sum(budgeted))
        self._modes.learn(mode, self._share.whole_bytes, tokens.p_quality)
        gop = EncodedGop(
            self._index, mode, len(pictures), (*units, *residual),
            {
                "i_quality": tokens.i_quality,
                "p_quality": tokens.p_quality,
                "i_sent": float(tokens.i_sent.mean()),
                "p_sent": float(tokens.p_sent.mean()),
                "i_bits": float(i_plan.bits),
                "p_bits": p_plan.bits,
                "motion_bits": p_plan.motion_bits,
                "residual_units": len(residual),
                "residual_bytes": sum(map(len, residual)),
            },
            (*budgeted, *map(len, residual)),
        )  # fmt: skip
        self._index += 1
        self._refresh.done()
        return gop

    # -- steps -----------------------------------------------------------------------------------

    def _begin(self, geometry: Geometry, pictures: Sequence[Packed], budget_bytes: int) -> _Work:
        coded = geometry.coded(pictures, self.model.device)
        motion = Motion.none(geometry.grid)
        if self.config.motion:
            luma = _bytes(coded.luma[:, 0])
            price = motion_price(step_of(max(0, self._share.quality - I_FINER)))
            last = self._last_luma
            if last is not None and last.shape != luma.shape[1:]:
                last = None
            motion = estimate_motion(luma, geometry.grid, price=price, before=last)
        budget = TokenBudget(self.model.entropy, self.config, budget_bytes, motion)
        if budget.motion_share > _MOST_MOTION:
            # A budget for next to nothing: what little of the picture can be sent is worth more.
            motion = Motion(np.zeros_like(motion.cells), motion.camera)
            budget = TokenBudget(self.model.entropy, self.config, budget_bytes, motion)
        field = field_tensor(*motion, self.model.device)
        before = None
        if self.config.lean and self._memory is not None:
            before = self._memory.carried_on(geometry, field)
        return _Work(geometry, coded, motion, field, before, budget)

    def _code(self, work: _Work, frames: int, budget_bytes: int) -> _Coded:
        """Tokens and units; once more where the estimate was so wrong that they are far too large.

        That is so at most at a start or a cut, before anything is learnt of what comes.
        """
        while True:
            i_plan, i = self._code_i(work)
            predicted = self.model.network.tokenizer.predict(i, work.field)
            tokens, p_plan = self._code_p(work, i_plan, predicted)
            units = self._pack(work, tokens, frames, budget_bytes, p_plan.row_bits)
            over = sum(map(len, units)) / budget_bytes
            if over <= _MOST_OVER or work.again or self.config.drop_share:
                return _Coded(i_plan, i, predicted, tokens, p_plan, units)
            work.again = True
            self._share.bias *= min(over, _MOST_WRONG)

    def _code_i(self, work: _Work) -> tuple[IPlan, DecodedI]:
        tokenizer = self.model.network.tokenizer
        array = to_values(tokenizer.analyse_i(work.first))
        stay = None
        if self.config.keep and work.before is not None:
            stay = self._change(work, array)
            stay[self._refresh.due(work.geometry.grid.rows, self._index)] = np.inf
        hint = self._share.hint
        if hint is None or hint.shape[:2] != (work.geometry.grid.rows, work.geometry.grid.cols):
            hint = self._linear_hint(work)
        plan = work.budget.plan_i(
            array, stay, hint, self._share, partial(self._change, work, array)
        )
        if not plan.sent.all():
            work.before = self._before(work)
        i = conceal_i(tokenizer, plan.tokens, plan.sent, step_of(plan.quality), work.before)
        return plan, i

    def _before(self, work: _Work) -> Picture | None:
        """What the decoder fills holes from, also where `lean` is off."""
        if work.before is None and self._memory is not None:
            return self._memory.carried_on(work.geometry, work.field)
        return work.before

    def _change(self, work: _Work, values: Values) -> Values:
        """Squared error of each I token that is not sent."""
        before = self._before(work)
        if before is None:
            energy: Values = np.square(values).sum(axis=2)
            return energy
        change = to_patches(work.first) - to_patches(before)
        squared: Values = change.square().sum(1)[0].cpu().numpy()
        return squared

    def _linear_hint(self, work: _Work) -> npt.NDArray[np.float32]:
        """P values as if the I picture were perfect: for the first GoP's shares only."""
        tokenizer = self.model.network.tokenizer
        perfect = DecodedI(work.first, torch.empty(0))
        residual = tokenizer.p_residual(work.rest, tokenizer.predict(perfect, work.field))
        values = torch.einsum("oc,nchw->nhwo", tokenizer.p_basis, residual)[0]
        array: npt.NDArray[np.float32] = values.cpu().numpy()
        return array

    def _code_p(self, work: _Work, plan: IPlan, predicted: Predicted) -> tuple[GopTokens, PPlan]:
        array = to_values(self.model.network.tokenizer.analyse_p(work.rest, predicted))
        p = work.budget.plan_p(
            array, plan, self._share,
            in_i_space=partial(self._in_i_space, work, plan), generator=self._generator,
        )  # fmt: skip
        tokens = GopTokens(
            plan.tokens, p.tokens, plan.sent, p.sent, *work.motion, plan.quality, p.quality
        )
        self._share.hint = array
        return tokens, p

    def _drop(
        self, work: _Work, tokens: GopTokens, plan: IPlan, p_plan: PPlan, i: DecodedI
    ) -> tuple[GopTokens, DecodedI]:
        """What `drop_share` leaves of the finished tokens, and the I picture that comes of it.

        P tokens are not made anew for the holes in the I picture: they would mend them at the cost
        of more bytes than were dropped.
        """
        share, p = self.config.drop_share, p_plan.whole
        score = strategy(self.config.selection)
        p_score = score(Candidates(p, partial(self._in_i_space, work, plan), self._generator))
        i_sent, p_sent = tokens.i_sent, select_by_share(p_score, share).sent
        if self.config.drop_scope == "all":
            before = self._before(work)
            step, tokenizer = step_of(plan.quality), self.model.network.tokenizer
            i_score = score(i_candidates(tokenizer, plan.tokens, step, before, self._generator))
            mixed = self.config.selection == "random"
            i_sent, p_sent = select_of_both(i_score, p_score, i_sent, share, mixed=mixed)
            if not i_sent.all():
                # The decoder fills holes from the GoP before, also where `keep` is off.
                work.before = before
                i = conceal_i(tokenizer, tokens.i, i_sent, step, before)
        left = replace(
            tokens, i=tokens.i * i_sent[..., None], p=p * p_sent[..., None], i_sent=i_sent,
            p_sent=p_sent,
        )  # fmt: skip
        return left, i

    def _enhance(
        self, pictures: Sequence[Packed], i: DecodedI, p: DecodedP, facts: GopFacts,
        left_bytes: int,
    ) -> list[bytes]:  # fmt: skip
        """Units with what the tokens lost, if what they left over is worth it."""
        if not self._enhancer.wants(left_bytes):
            return []
        shown = shown_pictures(self.model.network, i, p, facts.geometry)
        return self._enhancer.units(pictures, shown, facts, left_bytes)

    def _facts(self, work: _Work, frames: int) -> GopFacts:
        return GopFacts(
            self._index % GOP_MODULO, work.geometry, frames, work.before is None,
            self.model.backend,
        )  # fmt: skip

    def _pack(
        self, work: _Work, tokens: GopTokens, frames: int, budget_bytes: int,
        row_bits: Values | None = None,
    ) -> list[bytes]:  # fmt: skip
        facts = self._facts(work, frames)
        return pack_units(self.model.entropy, tokens, facts, self.config, budget_bytes, row_bits)

    def _in_i_space(
        self, work: _Work, plan: IPlan
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """For Eq. 3: the mean of the P pictures as I tokens, and the I tokens, dequantised."""
        tokenizer = self.model.network.tokenizer
        mean = to_patches(work.rest).mean(dim=0, keepdim=True)
        p = torch.einsum("oc,nchw->nhwo", tokenizer.i_basis, mean)[0].cpu().numpy()
        return p, plan.tokens.astype(np.float32) * step_of(plan.quality)

    def _finish(self, work: _Work, tokens: GopTokens, predicted: Predicted) -> DecodedP:
        """Keep what the next GoP leans on."""
        p = decode_p(
            self.model.network.tokenizer, tokens.p, tokens.p_sent, step_of(tokens.p_quality),
            predicted,
        )  # fmt: skip
        self._memory = Memory.of(p, work.geometry.scale)
        self._last_luma = _bytes(work.pictures.luma[-1, 0])
        return p


def _bytes(plane: Tensor) -> Luma:
    """A plane as OpenCV takes it."""
    array: Luma = to_bytes(plane).cpu().numpy()
    return array
