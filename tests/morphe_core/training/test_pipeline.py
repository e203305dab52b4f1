from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from morphe_core.models import load_model
from morphe_core.training.data import SIDE
from morphe_core.training.pipeline import (
    Batch,
    Coded,
    Draw,
    Pipeline,
    distortion,
    prepare,
    received_motion,
)
from morphe_core.training.rate import RateModel
from morphe_core.vgc.bitstream import Part, read_unit
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.decoder import Decoder
from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.packing import GopFacts, empty_tokens, pack_units
from morphe_core.vgc.pictures import Picture, from_patches, to_patches
from morphe_core.vgc.quantiser import quantise
from morphe_core.vgc.small import DecodedI, DecodedP, SmallConfig, SmallTokenizer
from morphe_core.vgc.state import to_tensor
from morphe_core.vgc.tokens import GOP_FRAMES

CPU = torch.device("cpu")
TINY = SmallConfig(12, 16, width=8, encoder_blocks=1, decoder_blocks=1)
#: Its I tokens hold a block completely.
WHOLE = replace(TINY, i_channels=96)
CALM = Draw(loss_share=0, drop_share=0)
ROWS = SIDE // 24  # token rows of a window at a third of its size


def windows(count: int = 2, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Smooth random windows with an arbitrary small flow."""
    generator = np.random.default_rng(seed)
    coarse = gaussian_filter(generator.normal(size=(count, 10, 54, 36)), (0, 1, 2, 2))
    pictures = (128 + 250 * coarse).repeat(8, axis=2).repeat(8, axis=3)
    flow = generator.uniform(-4, 4, (count, 2, 2, 36, 36)).astype(np.float32)
    return np.clip(pictures, 0, 255).astype(np.uint8), flow


def batch(count: int = 2, seed: int = 1) -> Batch:
    return prepare(*windows(count, seed), 3, CPU)


def tokenizer(config: SmallConfig = TINY) -> SmallTokenizer:
    """As training starts it, with transforms that keep the mean of a block first."""
    torch.manual_seed(2)
    made = SmallTokenizer(config)
    bases = []
    for channels, size in ((config.i_channels, 96), (config.p_channels, 768)):
        wide = torch.randn(size, size)
        wide[:, 0] = 1
        bases.append(torch.linalg.qr(wide)[0].T[:channels])
    made.set_transforms(*bases)
    return made


def code(
    draw: Draw, these: Batch | None = None, seed: int = 7, config: SmallConfig = TINY
) -> Coded:
    rates = RateModel(config.i_channels), RateModel(config.p_channels)
    pipeline = Pipeline(tokenizer(config), *rates, np.random.default_rng(seed))
    with torch.no_grad():
        return pipeline.run(these or batch(), draw)


# -- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pictures_are_in_their_places_and_shrunk(scale: int) -> None:
    pictures, flow = windows()
    made = prepare(pictures, flow, scale, CPU)
    assert made.size == 2
    assert made.scale == scale
    assert made.source.luma.shape == (20, 1, SIDE, SIDE)

    def wanted(window: int, number: int) -> np.ndarray:
        luma = pictures[window, number, :SIDE].astype(np.float32) - 128
        size = (SIDE // scale, SIDE // scale)
        return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)

    for window in range(2):
        np.testing.assert_allclose(made.before.luma[window, 0], wanted(window, 0), atol=1e-3)
        np.testing.assert_allclose(made.first.luma[window, 0], wanted(window, 1), atol=1e-3)
        for number in range(8):
            got = made.rest.luma[8 * window + number, 0]
            np.testing.assert_allclose(got, wanted(window, 2 + number), atol=1e-3)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_motion_is_the_mean_flow_in_quarters_of_coded_pixels(scale: int) -> None:
    pictures, flow = windows()
    motion = prepare(pictures, flow, scale, CPU).motion
    side, cells = 36 // scale, 36 // scale // 2
    assert motion.shape == (2, 4, side, cells)
    means = flow.reshape(2, 4, side, scale, cells, 2 * scale).mean(axis=(3, 5))
    np.testing.assert_array_equal(motion, np.rint(means * 4 / scale))


def test_motion_stays_within_what_can_be_sent() -> None:
    pictures, flow = windows()
    motion = prepare(pictures, flow * 100, 1, CPU).motion
    assert motion.abs().max() == 255


# -- rows of motion -----------------------------------------------------------------------------


def column(values: list[float]) -> torch.Tensor:
    """A field of one cell a row, the same in all four channels."""
    return torch.tensor(values).reshape(1, 1, -1, 1).expand(1, 4, -1, 1)


def rows(came: list[int]) -> torch.Tensor:
    return torch.tensor(came).float().reshape(1, 1, -1, 1).expand(1, 1, -1, 2)


@pytest.mark.parametrize(
    ("came", "wanted"),
    [
        ([1, 1, 1, 1, 1, 1], [10, 20, 30, 40, 50, 60]),
        ([1, 0, 1, 1, 1, 1], [10, 20, 30, 40, 50, 60]),  # between two: their mean
        ([1, 0, 0, 1, 1, 1], [10, 25, 25, 40, 50, 60]),  # however far they are
        ([0, 0, 1, 1, 1, 0], [30, 30, 30, 40, 50, 50]),  # at the edges
        ([0, 0, 0, 0, 1, 0], [50, 50, 50, 50, 50, 50]),
        ([1, 0, 0, 0, 1, 1], [10, 30, 30, 30, 50, 60]),
        ([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),  # none came
    ],
)
def test_motion_of_lost_rows_comes_from_the_nearest(came: list[int], wanted: list[float]) -> None:
    sent = [10.0, 20, 30, 40, 50, 60]
    field = column(sent)
    assert received_motion(field, rows(came))[0, 0, :, 0].tolist() == wanted
    # What the lost rows held does not matter.
    spoilt = column([value if here else -999.0 for value, here in zip(sent, came, strict=True)])
    assert torch.equal(received_motion(spoilt, rows(came)), received_motion(field, rows(came)))


@settings(max_examples=15)
@given(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), st.integers(0, 99))
def test_each_sample_is_filled_by_itself(came: list[bool], seed: int) -> None:
    motion = torch.randint(-255, 256, (2, 4, 5, 3), generator=torch.Generator().manual_seed(seed))
    motion = motion.float()
    arrived = torch.cat([rows([int(here) for here in came]), rows([1, 0, 1, 0, 1])])
    both = received_motion(motion, arrived)
    assert torch.equal(both[:1], received_motion(motion[:1], arrived[:1]))
    assert torch.equal(both[1:], received_motion(motion[1:], arrived[1:]))


@settings(max_examples=15)
@given(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 99))
def test_training_has_the_motion_that_the_decoder_has(came: list[bool], seed: int) -> None:
    """Whichever rows are lost, from real units through the real decoder."""
    model, geometry = load_model("small"), Geometry.of(128, 96, 1)
    tokens = empty_tokens(model.entropy, geometry.grid, 40, 30)
    tokens.i_sent[0] = True  # one unit without motion comes always
    tokens.motion[:] = np.random.default_rng(seed).integers(-20, 21, tokens.motion.shape)
    facts = GopFacts(0, geometry, GOP_FRAMES, True, model.backend)
    units = pack_units(model.entropy, tokens, facts, EncoderConfig(packing="rows"), 3000)
    decoder = Decoder(model, width=128, height=96)
    headers = [read_unit(unit).header for unit in units]
    decoder.decode(
        [
            unit
            for unit, header in zip(units, headers, strict=True)
            if header.part is Part.I_ONLY or came[header.unit]
        ]
    )
    assert decoder.refused_units == 0
    assert decoder._memory is not None
    whole = to_tensor(tokens.motion, CPU)
    assert torch.equal(decoder._memory.motion, received_motion(whole, rows([*map(int, came)])))


# -- distortion ---------------------------------------------------------------------------------


def test_distortion_weighs_a_luma_sample_as_patches_do() -> None:
    nothing = Picture(torch.zeros(3, 1, 16, 16), torch.zeros(3, 2, 8, 8))
    luma = Picture(
        torch.tensor([1.0, 2, 0]).reshape(3, 1, 1, 1).expand(3, 1, 16, 16), nothing.chroma
    )
    torch.testing.assert_close(distortion(luma, nothing), torch.tensor([0.8, 3.2, 0.0]))
    chroma = Picture(nothing.luma, torch.full((3, 2, 8, 8), 3.0))
    torch.testing.assert_close(distortion(chroma, nothing), torch.full((3,), 9 * 0.2))
    # In patches chroma samples count 0.7 squared: the same shares, to a few per cent.
    energy = [float(to_patches(p)[:1].square().sum()) for p in (luma, chroma)]
    assert energy[1] / energy[0] == pytest.approx(9 * 0.2 / 0.8, rel=0.03)


# -- runs ---------------------------------------------------------------------------------------


def everything(coded: Coded) -> list[torch.Tensor]:
    return [
        *coded.i.picture, coded.i.features, *coded.p.pictures, coded.p.features,
        coded.i_bits, coded.p_bits, coded.p_step, coded.impaired,
    ]  # fmt: skip


def test_a_run_is_finite_and_follows_its_generator() -> None:
    draw = Draw(loss_share=0.5, drop_share=0.5)
    one, other, third = code(draw), code(draw), code(draw, seed=8)
    assert one.p.pictures.luma.shape == (16, 1, 96, 96)
    for value, again in zip(everything(one), everything(other), strict=True):
        assert bool(value.isfinite().all())
        assert torch.equal(value, again)
    assert not torch.equal(one.p_step, third.p_step)


def test_gradients_reach_every_weight() -> None:
    rates = RateModel(TINY.i_channels), RateModel(TINY.p_channels)
    made = tokenizer()
    for name, value in made.named_parameters():
        if name.endswith("head.weight"):
            torch.nn.init.normal_(value, std=0.02)
    these = batch()
    coded = Pipeline(made, *rates, np.random.default_rng(1)).run(these, Draw(no_before=0))
    error = distortion(coded.i.picture, these.first).sum()
    error = error + distortion(coded.p.pictures, these.rest).sum()
    (error + coded.i_bits.mean() + coded.p_bits.mean()).backward()
    for part in (made, *rates):
        for name, value in part.named_parameters():
            assert value.grad is not None, name
            assert bool(value.grad.isfinite().all()), name
            assert bool(value.grad.any()), name


def test_steps_are_drawn_from_their_range() -> None:
    these = batch(8)
    steps = torch.cat(
        [
            code(replace(CALM, finest_step=20, coarsest_step=40), these, seed).p_step
            for seed in (1, 2)
        ]
    )
    assert steps.min() >= 20
    assert steps.max() <= 40
    assert steps.std() > 2


def test_finer_steps_cost_more_and_show_more() -> None:
    these = batch()
    fine = code(replace(CALM, finest_step=6, coarsest_step=6.001, no_before=1), these)
    coarse = code(replace(CALM, finest_step=150, coarsest_step=150.1, no_before=1), these)
    assert fine.i_bits.mean() > 1.5 * coarse.i_bits.mean()
    assert fine.p_bits.mean() > 1.5 * coarse.p_bits.mean()
    finer, coarser = (distortion(c.i.picture, these.first).sum() for c in (fine, coarse))
    assert finer < coarser


def test_without_losses_nothing_is_impaired() -> None:
    assert not code(CALM, batch(8)).impaired.any()


def grey_rows(picture: Picture, count: int) -> torch.Tensor:
    """Which token rows of which picture hold nothing at all, (N, rows)."""
    return (picture.luma.reshape(count, ROWS, -1) == 0).all(dim=2)


def test_lost_rows_are_lost() -> None:
    # With nothing before and trunks that add nothing, a lost row of I is grey.
    draw = Draw(loss_share=1, max_row_loss=0.9, drop_share=0, no_before=1, coarsest_step=16.001)
    these = batch(6)
    # Not even one sample of the source's rows is zero throughout.
    assert not grey_rows(these.first, 6).any()
    coded, whole = code(draw, these), code(replace(draw, loss_share=0), these)
    lost = grey_rows(coded.i.picture, 6)
    assert not grey_rows(whole.i.picture, 6).any()
    assert torch.equal(lost.any(1), coded.impaired)
    assert 0.1 < lost.float().mean() < 0.8
    # So are their P tokens: where nothing moves, all of P is grey as well, and only there.
    still = replace(these, motion=torch.zeros_like(these.motion))
    coded = code(draw, still)
    lost = grey_rows(coded.i.picture, 6)
    strongest = coded.p.pictures.luma.reshape(6, 8, ROWS, -1).abs().amax(dim=(1, 3))
    assert torch.equal(strongest < 0.1, lost)
    # The encoder does not know what will be lost: it pays for everything.
    assert bool((coded.i_bits > 0).all())


class Spy(SmallTokenizer):
    """Keeps what the decoder was given."""

    def __init__(self) -> None:
        super().__init__(WHOLE)
        self.load_state_dict(tokenizer(WHOLE).state_dict())
        self.before: Picture | None = None
        self.motion = torch.zeros(0)
        self.sent = torch.zeros(0)

    def synthesise_i(
        self, values: torch.Tensor, sent: torch.Tensor, step: torch.Tensor, before: Picture | None
    ) -> DecodedI:
        self.before = before
        return super().synthesise_i(values, sent, step, before)

    def synthesise_p(
        self, values: torch.Tensor, sent: torch.Tensor, step: torch.Tensor, decoded: DecodedI,
        motion: torch.Tensor,
    ) -> DecodedP:  # fmt: skip
        self.motion, self.sent = motion, sent
        return super().synthesise_p(values, sent, step, decoded, motion)


def watched(draw: Draw, these: Batch, seed: int = 7) -> Spy:
    spy = Spy()
    rates = RateModel(WHOLE.i_channels), RateModel(WHOLE.p_channels)
    with torch.no_grad():
        Pipeline(spy, *rates, np.random.default_rng(seed)).run(these, draw)
    return spy


def test_the_decoder_has_the_motion_of_the_rows_that_came() -> None:
    these = batch(6)
    assert torch.equal(watched(CALM, these).motion, these.motion)
    spy = watched(Draw(loss_share=1, max_row_loss=0.9, drop_share=0), these)
    here = spy.sent[:, :, :, :1]
    assert bool((spy.sent == here).all())
    assert not here.all()
    assert torch.equal(spy.motion, received_motion(these.motion, here))
    assert torch.equal(spy.motion * here, these.motion * here)
    assert not torch.equal(spy.motion, these.motion)


def test_the_picture_before_is_carried_on_by_one_picture() -> None:
    these = batch(1)
    shifted = (torch.arange(96) + 2).clamp(max=95)
    luma, half = these.before.luma[..., shifted], (torch.arange(48) + 1).clamp(max=47)
    first = Picture(luma, these.before.chroma[..., half])
    motion = torch.zeros_like(these.motion)
    motion[:, 0], motion[:, 2] = 4 * 2 * 4, 8 * 2 * 4  # two coded pixels a picture
    moving = replace(these, first=first, motion=motion)
    errors = []
    for seed in range(8):
        before = watched(Draw(0.5, 0.501, no_before=0), moving, seed).before
        assert before is not None
        errors.append(float(distortion(before, first).sqrt()))
    # In some batches on purpose not, as after a change of motion.
    assert min(errors) < 1
    assert sum(error < 1 for error in errors) > 4
    assert max(errors) > 3


def test_interleaved_packets_are_lost_too() -> None:
    draw = Draw(loss_share=1, max_row_loss=0.9, drop_share=0, no_before=1)
    these = batch(6)
    patterns = torch.cat([grey_rows(code(draw, these, seed).i.picture, 6) for seed in range(4)])
    patterns = patterns[patterns.any(1)]
    every_fourth = (patterns.reshape(-1, ROWS // 4, 4) == patterns[:, None, :4]).all(2).all(1)
    assert 0.25 < every_fourth.float().mean() < 0.75


def test_lost_rows_show_the_picture_before_when_there_is_one() -> None:
    these = batch(4)
    same = replace(these, before=these.first, motion=torch.zeros_like(these.motion))
    draw = Draw(loss_share=1, max_row_loss=0.9, drop_share=0, coarsest_step=16.001)
    errors = {}
    for name, share in (("before", 0.0), ("nothing", 1.0)):
        coded = code(replace(draw, no_before=share), same, config=WHOLE)
        assert coded.impaired.any()
        errors[name] = float(distortion(coded.i.picture, same.first)[coded.impaired].mean())
    assert errors["before"] < 0.3 * errors["nothing"]


def test_what_the_picture_before_shows_is_not_sent_again() -> None:
    these = batch(4)
    same = replace(these, before=these.first, motion=torch.zeros_like(these.motion))
    cut = replace(these, before=Picture(*(plane.flip(0) + 60 for plane in these.first)))
    draw = replace(CALM, no_before=0, coarsest_step=17.0)
    # How strict the choice is, is drawn.
    shares = {
        name: [
            float((code(draw, what, seed, WHOLE).i_bits == 0).float().mean()) for seed in range(6)
        ]
        for name, what in (("same", same), ("cut", cut))
    }
    assert min(shares["same"]) > 0.9
    assert max(shares["cut"]) < 0.1


def test_what_no_token_can_carry_is_no_reason_to_send_one() -> None:
    """Coding would lose it as well."""
    made = tokenizer()
    pipeline = Pipeline(made, RateModel(12), RateModel(16), np.random.default_rng(3))
    first, step = batch().first, torch.ones(2, 1, 1, 1)
    basis = made.i_basis.detach()
    patches = to_patches(first)
    carried = torch.einsum("oc,op,nphw->nchw", basis, basis, patches)
    assert (patches - carried).square().sum(1).min() > 100 * step.square().max()
    values = made.analyse_i(first).detach()
    scaled = quantise(values, step)
    bits = torch.full_like(values[:, :1], 20.0)
    seen = carried + 9 * step * basis[0][:, None, None]
    for shown, wanted in ((carried, 1.0), (seen, 0.0)):
        kept = pipeline._kept(first, from_patches(shown), values, scaled, bits, step)
        assert bool((kept == wanted).all())


@pytest.mark.parametrize("most", [0.1, 0.25])
def test_the_weakest_p_tokens_are_dropped(most: float) -> None:
    these = batch(6)
    draw = Draw(0.5, 0.501, loss_share=0, drop_share=1, max_drop=most, no_before=1)
    coded, whole = code(draw, these), code(replace(draw, drop_share=0), these)
    assert coded.impaired.all()
    dropped = (coded.p_bits == 0).flatten(1)
    shares = dropped.float().mean(1)
    assert shares.max() <= most + 1 / 144
    assert shares.mean() > 0.2 * most
    assert not (whole.p_bits == 0).any()
    # What is dropped was cheaper than what stays.
    for gone, price in zip(dropped, whole.p_bits.flatten(1), strict=True):
        assert price[gone].mean() < price[~gone].mean()


def test_of_equal_p_tokens_no_more_than_the_share_is_dropped() -> None:
    """Where all are zero, all are equally weak."""
    draw = Draw(1e5, 1.001e5, loss_share=0, drop_share=1, max_drop=0.25, no_before=1)
    shares = 1 - watched(draw, batch(6)).sent.flatten(1).mean(1)
    assert bool((shares <= 0.25 + 1 / 144).all())
    assert shares.mean() > 0.05
    assert len(shares.unique()) > 3


def test_decoded_i_does_not_depend_on_p_pictures() -> None:
    draw = Draw(loss_share=0.5, drop_share=0.5)
    these = batch()
    other = replace(these, rest=Picture(*(plane.flip(0) for plane in these.rest)))
    one, two = code(draw, these), code(draw, other)
    assert torch.equal(one.i.picture.luma, two.i.picture.luma)
    assert torch.equal(one.i_bits, two.i_bits)
    assert not torch.equal(one.p_bits, two.p_bits)


def test_what_i_shows_costs_no_p_bits() -> None:
    these = batch()
    eight = Picture(*(plane.repeat_interleave(8, 0) for plane in these.first))
    still = replace(these, rest=eight, motion=torch.zeros_like(these.motion))
    draw = replace(CALM, finest_step=100, coarsest_step=101)
    quiet, busy = (code(draw, what, config=WHOLE).p_bits for what in (still, these))
    assert quiet.mean() < 0.3 * busy.mean()
