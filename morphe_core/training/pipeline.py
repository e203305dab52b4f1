"""What one training step runs: the whole codec on a batch of windows, differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from morphe_core.training.data import FLOW_CELL, SIDE
from morphe_core.training.rate import RateModel
from morphe_core.vgc.concealment import fill_motion, fill_rows_from_neighbours
from morphe_core.vgc.motion import at_knots, carry_on, field_of
from morphe_core.vgc.motion_coding import ORDER, lead_of
from morphe_core.vgc.pictures import Picture, shrink, to_patches, unpack
from morphe_core.vgc.quantiser import COARSEST_STEP, coding_cost, quantise, quantise_through
from morphe_core.vgc.selection import select_by_share
from morphe_core.vgc.small import DecodedI, DecodedP, SmallTokenizer
from morphe_core.vgc.state import to_array, to_tensor
from morphe_core.vgc.tokens import (
    CAMERA_AT,
    GOP_FRAMES,
    KNOTS,
    MOTION_CHANNELS,
    MOTION_COLS,
    MOTION_MAX,
    MOTION_STEPS_PER_PIXEL,
    TOKEN_SIDE,
)

#: Share of samples whose motion is sent as it was found, and the furthest that the others' may be
#: from it: an encoder pays for motion and so gives neighbours one vector.
_PRECISE_SHARE, _MOST_CALM = 0.25, 6.0
#: Share of batches in which nothing of the picture before is where the motion says.
_ASTRAY_SHARE = 0.15
#: Share of rows of the picture before, in samples with losses, that losses before have blurred.
_STALE_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Draw:
    """How strongly the batch is impaired.

    Attributes:
        finest_step, coarsest_step: range of the P tokens' step, drawn log-uniformly.
        loss_share: share of samples that lose rows.
        max_row_loss: rows lost of such a sample, drawn uniformly from 0 up to this.
        drop_share: share of samples whose most redundant P tokens are dropped.
        max_drop: share of tokens dropped of such a sample (paper: 0.25).
        no_before: share of batches that start without a picture before.
        spare_share: share of lost rows of which a coarse copy of the I tokens came.
    """

    finest_step: float = 16.0
    coarsest_step: float = 170.0
    loss_share: float = 0.3
    max_row_loss: float = 0.5
    drop_share: float = 0.2
    max_drop: float = 0.25
    no_before: float = 0.15
    spare_share: float = 0.4


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch at the coded size, and its source."""

    source: Picture  # 10 N pictures of the source size, the one before the GoP first
    before: Picture  # N
    first: Picture  # N
    rest: Picture  # 8 N
    motion: Tensor  # (N, 8, rows, cells), whole motion steps, beyond the camera's
    camera: Tensor  # (N, 9, 2)
    scale: int

    @property
    def size(self) -> int:
        """Windows."""
        return self.motion.shape[0]


@dataclass(frozen=True, slots=True)
class Coded:
    """What came out of the codec."""

    i: DecodedI
    p: DecodedP
    i_bits: Tensor  # (N, 1, h, w)
    p_bits: Tensor
    p_step: Tensor  # (N, 1, 1, 1)
    impaired: Tensor  # (N,) bool: rows or tokens were lost on purpose
    before: DecodedI | None = None  # the picture before, at its own time; takes no gradient


def prepare(
    pictures: npt.NDArray[np.uint8], flow: npt.NDArray[np.float32], scale: int,
    device: torch.device,
) -> Batch:  # fmt: skip
    """Windows as a batch: pictures shrunk by `scale`, motion in its units.

    Args:
        pictures: (N, 10, 432, 288) uint8.
        flow: (N, 9, 2, 36, 36) in source pixels.
        scale: 1, 2 or 3.
        device: where the step runs.
    """
    count = len(pictures)
    packed = torch.from_numpy(pictures).to(device).flatten(0, 1)
    source = unpack(packed, SIDE, SIDE)
    small = shrink(source, scale)
    window = [plane.unflatten(0, (count, GOP_FRAMES + 1)) for plane in small]
    before, first = (Picture(*(plane[:, n] for plane in window)) for n in (0, 1))
    rest = Picture(*(plane[:, 2:].flatten(0, 1) for plane in window))
    cells = torch.from_numpy(flow).to(device).flatten(1, 2)
    pooled = nn.functional.avg_pool2d(
        cells, (8 * scale // FLOW_CELL, 8 * scale * MOTION_COLS // FLOW_CELL)
    )
    # (N, 18, rows, cells) in motion steps of the coded size
    steps = (pooled * (MOTION_STEPS_PER_PIXEL / scale)).unflatten(1, (len(CAMERA_AT), 2))
    camera = steps.flatten(3).median(dim=3).values.round().clamp(-MOTION_MAX, MOTION_MAX)
    motion = at_knots(steps - camera[..., None, None]).round().clamp(-MOTION_MAX, MOTION_MAX)
    return Batch(source, before, first, rest, motion, camera, scale)


class Pipeline:
    """Runs the tokenizer on batches as an encoder and a decoder would, with simulated losses."""

    def __init__(
        self, tokenizer: SmallTokenizer, i_rate: RateModel, p_rate: RateModel,
        generator: np.random.Generator,
    ) -> None:  # fmt: skip
        self.tokenizer = tokenizer
        self.i_rate = i_rate
        self.p_rate = p_rate
        self.generator = generator

    def run(self, batch: Batch, draw: Draw) -> Coded:
        """Code one batch under random steps and losses."""
        device = batch.motion.device
        count = batch.size
        p_step = self._steps(count, draw.finest_step, draw.coarsest_step).to(device)
        i_step = p_step * self._steps(count, 0.35, 0.9).to(device)
        arrived, impaired = self._arrived(batch.motion.shape, draw)
        arrived, impaired = arrived.to(device), impaired.to(device)
        sent_motion = self._sent_motion(batch.motion)
        field = field_of(received_motion(sent_motion, arrived), batch.camera)
        decoded_before = self._before(batch, i_step, draw)
        before = None
        if decoded_before is not None:
            before = self._carried(decoded_before.picture, field, impaired)

        values = self.tokenizer.analyse_i(batch.first)
        scaled = quantise_through(values, i_step)
        bits = self.i_rate(scaled, i_step, torch.ones_like(arrived))
        kept = self._kept(batch.first, before, values, scaled, bits, i_step)
        i_bits = bits * (1 - kept)
        spare = self._spare(arrived, draw)
        coarse = (i_step * self._steps(count, 2.5, 12.0).to(device)).clamp_max(COARSEST_STEP)
        used = torch.where(spare > 0, coarse, i_step)
        dequantised = torch.where(
            spare > 0, quantise_through(values, coarse) * coarse, scaled * i_step
        )
        sent = torch.maximum(arrived * (1 - kept), spare)
        i = self._decoded_i(dequantised * sent, sent, used, before)

        predicted = self.tokenizer.predict(i, field)
        p_values = self.tokenizer.analyse_p(batch.rest, predicted)
        p_scaled = quantise_through(p_values, p_step)
        chosen, dropped = self._chosen(p_scaled, draw)
        p_bits = self.p_rate(p_scaled, p_step, chosen)
        p_sent = arrived * chosen
        p = self.tokenizer.synthesise_p(p_scaled * p_step * p_sent, p_sent, p_step, predicted)
        return Coded(i, p, i_bits, p_bits, p_step, impaired | dropped, decoded_before)

    def _steps(self, count: int, low: float, high: float) -> Tensor:
        drawn = np.exp(self.generator.uniform(np.log(low), np.log(high), (count, 1, 1, 1)))
        return torch.from_numpy(drawn.astype(np.float32))

    def _arrived(self, shape: torch.Size, draw: Draw) -> tuple[Tensor, Tensor]:
        """Which rows arrive, (N, 1, rows, cols) of 0 and 1, and which samples lose any.

        Half of the losses are random rows, half interleaved packets: every fourth row.
        """
        count, _, rows, cells = shape
        lost = np.zeros((count, rows), bool)
        hit = self.generator.random(count) < draw.loss_share
        for number in np.flatnonzero(hit):
            rate = self.generator.uniform(0, draw.max_row_loss)
            if self.generator.random() < 0.5:
                lost[number] = self.generator.random(rows) < rate
            else:
                packets = self.generator.random(4) < rate
                lost[number] = packets[np.arange(rows) % 4]
        arrived = torch.from_numpy(~lost).float()[:, None, :, None]
        return arrived.expand(count, 1, rows, cells * MOTION_COLS), torch.from_numpy(lost.any(1))

    def _sent_motion(self, motion: Tensor) -> Tensor:
        """The motion as an encoder that pays for it would send it, (N, 8, rows, cells)."""
        count = len(motion)
        calm = self.generator.uniform(0, _MOST_CALM, count)
        calm[self.generator.random(count) < _PRECISE_SHARE] = 0
        return calmed_motion(motion, calm)

    def _spare(self, arrived: Tensor, draw: Draw) -> Tensor:
        """Lost rows whose coarse copy came in another unit, (N, 1, rows, cols) of 0 and 1."""
        count, _, rows, _ = arrived.shape
        drawn = self.generator.random((count, 1, rows, 1)) < draw.spare_share
        return (1 - arrived) * torch.from_numpy(drawn).to(arrived)

    def _before(self, batch: Batch, i_step: Tensor, draw: Draw) -> DecodedI | None:
        """The picture before, coded more coarsely."""
        if self.generator.random() < draw.no_before:
            return None
        with torch.no_grad():
            step = i_step * self._steps(batch.size, 1.0, 3.0).to(i_step)
            values = self.tokenizer.analyse_i(batch.before)
            sent = torch.ones_like(values[:, :1])
            return self.tokenizer.synthesise_i(quantise(values, step) * step, sent, step, None)

    def _carried(self, decoded: Picture, field: Tensor, impaired: Tensor) -> Picture:
        """What the picture before says of the first one."""
        with torch.no_grad():
            if self.generator.random() < _ASTRAY_SHARE:
                return decoded
            return self._stale(carry_on(decoded, field), decoded, impaired)

    def _stale(self, moved: Picture, still: Picture, impaired: Tensor) -> Picture:
        """Who loses rows has lost some before: there the picture before is moved in part only."""
        rows = moved.luma.shape[-2] // TOKEN_SIDE
        hit = self.generator.random((len(impaired), 1, rows, 1)) < _STALE_SHARE
        drawn = self.generator.random(hit.shape, np.float32) * hit
        part = torch.from_numpy(drawn).to(moved.luma) * impaired[:, None, None, None]
        planes = []
        for there, here in zip(moved, still, strict=True):
            share = part.repeat_interleave(there.shape[-2] // rows, dim=2)
            planes.append(there + (here - there) * share)
        return Picture(*planes)

    def _decoded_i(
        self, values: Tensor, sent: Tensor, step: Tensor, before: Picture | None
    ) -> DecodedI:
        """The I pictures; with nothing before, holes are shown what is around them."""
        if before is None and not bool(sent.all()):
            with torch.no_grad():
                seen = self.tokenizer.synthesise_i(values, sent, step, None).picture
            known = sent[:, 0].amax(dim=2).cpu().numpy() > 0
            filled = [
                fill_rows_from_neighbours(seen.take(slice(n, n + 1)), known[n])
                for n in range(len(known))
            ]
            before = Picture(*(torch.cat(planes) for planes in zip(*filled, strict=True)))
        return self.tokenizer.synthesise_i(values, sent, step, before)

    def _kept(
        self, first: Picture, before: Picture | None, values: Tensor, scaled: Tensor,
        bits: Tensor, step: Tensor,
    ) -> Tensor:  # fmt: skip
        """Where keeping the picture before costs less than coding, (N, 1, h, w) of 0 and 1."""
        if before is None:
            return torch.zeros_like(bits)
        with torch.no_grad():
            # Of the coded channels, as the error of coding: what they cannot carry, it lacks too.
            change = to_patches(first) - to_patches(before)
            change = torch.einsum("oc,nchw->nohw", self.tokenizer.i_basis, change)
            stay = change.square().sum(1, keepdim=True)
            error = (values - scaled * step).square().sum(1, keepdim=True)
            # The price is drawn, so that the decoder sees much and little kept.
            strictness = float(np.exp(self.generator.uniform(np.log(0.3), np.log(2.0))))
            return (stay < coding_cost(error, bits, step) * strictness).float()

    def _chosen(self, scaled: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """P tokens that are sent, and which samples drop any: the weakest go first."""
        count = scaled.shape[0]
        chosen = torch.ones_like(scaled[:, :1])
        dropped = self.generator.random(count) < draw.drop_share
        energy = scaled.detach().square().sum(1).cpu().numpy()
        for number in np.flatnonzero(dropped):
            share = self.generator.uniform(0, draw.max_drop)
            sent = select_by_share(-energy[number], share).sent
            chosen[number, 0] = torch.from_numpy(sent).to(chosen)
        return chosen, torch.from_numpy(dropped).to(scaled.device)


def calmed_motion(motion: Tensor, calm: npt.NDArray[np.float64]) -> Tensor:
    """The motion with neighbours along a row, and knots on a straight way, made equal.

    Args:
        motion: (N, 8, rows, cells), whole motion steps.
        calm: (N,), furthest that a vector may be from what it was, in motion steps an axis.
    """
    array = motion.permute(0, 2, 3, 1).cpu().numpy().astype(np.int64)
    knots = array.reshape(*array.shape[:3], len(KNOTS), 2)
    limit = calm[:, None, None]
    for number, knot in enumerate(ORDER):
        lead = lead_of(number, knots)
        left = np.zeros_like(knots[:, :, 0, knot])
        for cell in range(knots.shape[2]):
            own = knots[:, :, cell, knot].copy()
            for other in (lead[:, :, cell], left):
                near = (np.abs(own - other) <= limit).all(axis=2)
                knots[:, :, cell, knot][near] = other[near]
            left = knots[:, :, cell, knot].copy()
    calmed = knots.reshape(*knots.shape[:3], MOTION_CHANNELS).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(calmed)).to(motion)


def received_motion(motion: Tensor, arrived: Tensor) -> Tensor:
    """The motion field as the decoder has it when only some rows arrived; zero where none did.

    Args:
        motion: (N, 8, rows, cells), whole motion steps.
        arrived: (N, 1, rows, cols) of 0 and 1, the same along a row.
    """
    known = arrived[:, 0, :, 0].cpu().numpy() > 0
    here = motion * arrived[..., :1]
    fields = [
        to_tensor(fill_motion(to_array(field), rows), motion.device)
        for field, rows in zip(here.split(1), known, strict=True)
    ]
    return torch.cat(fields)


def distortion(decoded: Picture, source: Picture) -> Tensor:
    """Squared error per sample place of each picture, (N,): a chroma plane counts half of luma."""
    luma = (decoded.luma - source.luma).square().flatten(1).mean(1)
    chroma = (decoded.chroma - source.chroma).square().flatten(1).mean(1)
    return (luma + chroma) / 2
