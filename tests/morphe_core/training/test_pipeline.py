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
from morphe_core.training import pipeline as pipeline_module
from morphe_core.training.data import SIDE
from morphe_core.training.pipeline import (
    Batch,
    Coded,
    Draw,
    Pipeline,
    calmed_motion,
    distortion,
    prepare,
    received_motion,
)
from morphe_core.training.rate import RateModel
from morphe_core.vgc import decoder as decoder_module
from morphe_core.vgc.bitstream import Part, read_unit
from morphe_core.vgc.concealment import fill_rows_from_neighbours
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.decoder import Decoder
from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.motion import field_of
from morphe_core.vgc.motion_coding import LEAD, NEW, ORDER, SAME, choose, lead_of
from morphe_core.vgc.packing import GopFacts, empty_tokens, pack_units
from morphe_core.vgc.pictures import Picture, from_patches, to_patches
from morphe_core.vgc.quantiser import COARSEST_STEP, quantise
from morphe_core.vgc.small import DecodedI, DecodedP, Predicted, SmallConfig, SmallTokenizer
from morphe_core.vgc.state import field_tensor, to_tensor
from morphe_core.vgc.tokens import CAMERA_AT, GOP_FRAMES, KNOTS, MOTION_CHANNELS

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
    flow = generator.uniform(-4, 4, (count, len(CAMERA_AT), 2, 36, 36)).astype(np.float32)
    return np.clip(pictures, 0, 255).astype(np.uint8), flow


def batch(count: int = 2, seed: int = 1) -> Batch:
    return prepare(*windows(count, seed), 3, CPU)


def at_rest(these: Batch) -> Batch:
    """The same pictures, and a field that does not move."""
    motion, camera = torch.zeros_like(these.motion), torch.zeros_like(these.camera)
    return replace(these, motion=motion, camera=camera)


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
    """The camera's is the median of all cells; what they do beyond it is their own."""
    pictures, flow = windows()
    flow += np.linspace(-3, 3, 18, dtype=np.float32).reshape(9, 2, 1, 1)
    made = prepare(pictures, flow, scale, CPU)
    side, cells = 36 // scale, 36 // scale // 2
    assert made.motion.shape == (2, MOTION_CHANNELS, side, cells)
    means = flow.reshape(2, 9, 2, side, scale, cells, 2 * scale).mean(axis=(4, 6)) * (4 / scale)
    # Of an even number of cells, the lower one of the two in the middle.
    ranked = np.sort(means.reshape(2, 9, 2, -1), axis=3)
    camera = np.rint(ranked[..., (side * cells - 1) // 2])
    np.testing.assert_array_equal(made.camera, camera)
    at_knots = [CAMERA_AT.index(knot) for knot in KNOTS]
    own = (means - camera[..., None, None])[:, at_knots]
    np.testing.assert_array_equal(made.motion, np.rint(own).reshape(made.motion.shape))


def test_motion_stays_within_what_can_be_sent() -> None:
    pictures, flow = windows()
    assert prepare(pictures, flow * 100, 1, CPU).motion.abs().max() == 255
    assert bool((prepare(pictures, flow + 100, 1, CPU).camera == 255).all())
    assert bool((prepare(pictures, flow - 100, 1, CPU).camera == -255).all())


# -- motion as an encoder sends it --------------------------------------------------------------


def drawn_motion(seed: int, peak: int = 12, count: int = 3) -> torch.Tensor:
    shape = (count, MOTION_CHANNELS, 4, 5)
    some = np.random.default_rng(seed).integers(-peak, peak, shape, endpoint=True)
    return torch.from_numpy(some).float()


def vectors_of(motion: torch.Tensor) -> np.ndarray:
    """(N * rows, cells, 4, 2)."""
    last = motion.permute(0, 2, 3, 1).numpy().astype(np.int64)
    return last.reshape(-1, motion.shape[3], len(KNOTS), 2)


def choices(motion: torch.Tensor) -> np.ndarray:
    """What the coder would choose, (4, N * rows, cells)."""
    known = vectors_of(motion)
    pairs = [(known[..., knot, :], lead_of(number, known)) for number, knot in enumerate(ORDER)]
    return np.stack([choose(*pair) for pair in pairs])


@given(st.integers(0, 2**32 - 1))
def test_motion_that_is_paid_for_stays_near_what_was_found(seed: int) -> None:
    motion, calm = drawn_motion(seed), np.array([0.0, 2.7, 6.0])
    sent = calmed_motion(motion, calm)
    assert sent.dtype == motion.dtype
    assert sent.shape == motion.shape
    assert torch.equal(sent, sent.round())
    moved = (sent - motion).abs().flatten(1).amax(1)
    assert torch.equal(sent[0], motion[0])
    assert moved[1] <= 2
    assert moved[2] <= 6
    # Each by itself.
    assert torch.equal(calmed_motion(motion[1:2], calm[1:2]), sent[1:2])


@given(st.integers(0, 2**32 - 1))
def test_calm_motion_is_cheap(seed: int) -> None:
    """What could be the cell's to the left, or its lead, is."""
    motion = drawn_motion(seed)
    sent = calmed_motion(motion, np.full(3, 5.0))
    found, kept = vectors_of(motion), vectors_of(sent)
    for number, (knot, chosen) in enumerate(zip(ORDER, choices(sent), strict=True)):
        here = found[..., knot, :]
        left = np.zeros_like(here)
        left[:, 1:] = kept[:, :-1, knot]
        near_left = (np.abs(here - left) <= 5).all(axis=2)
        near_lead = (np.abs(here - lead_of(number, kept)) <= 5).all(axis=2)
        assert (chosen[near_left] == SAME).all()
        assert (chosen[near_lead] != NEW).all()
    assert (choices(sent) == NEW).sum() < (choices(motion) == NEW).sum()


def test_calm_motion_step_by_step() -> None:
    """A row whose last knot is 20, 22, 23, 40, and whose others are near the straight way."""
    motion = torch.zeros(1, MOTION_CHANNELS, 1, 4)
    motion[0, 6, 0] = torch.tensor([20.0, 22, 23, 40])  # x at the last knot
    motion[0, 2, 0] = torch.tensor([11.0, 13, 10, 30])
    motion[0, 0, 0] = torch.tensor([5.0, 5, 5, 15])
    motion[0, 4, 0] = torch.tensor([15.0, 15, 15, 35])
    sent = calmed_motion(motion, np.array([2.0]))
    assert sent[0, 6, 0].tolist() == [20, 20, 23, 40]  # 23 is 3 from what is left of it now
    assert sent[0, 2, 0].tolist() == [10, 13, 12, 30]  # leads: 10, 10, 12, 20
    assert sent[0, 0, 0].tolist() == [5, 5, 5, 15]  # leads: 5, 7, 6, 15; left beats them
    assert sent[0, 4, 0].tolist() == [15, 15, 15, 35]
    assert not sent[0, 1::2].any()
    assert choices(sent)[:, 0].tolist() == [
        [NEW, SAME, NEW, NEW], [LEAD, NEW, LEAD, NEW], [LEAD, SAME, SAME, LEAD],
        [LEAD, SAME, SAME, LEAD],
    ]  # fmt: skip


def test_a_quarter_of_the_samples_is_as_it_was_found() -> None:
    pipeline = Pipeline(tokenizer(), RateModel(12), RateModel(16), np.random.default_rng(1))
    motion = drawn_motion(1, count=400)
    away = (pipeline._sent_motion(motion) - motion).abs().flatten(1).amax(1)
    # Whoever may be off by less than a step is not either.
    assert 0.25 < float((away == 0).float().mean()) < 0.5
    assert away.max() == 5  # below six
    assert len(away.unique()) == 6


# -- rows of motion -----------------------------------------------------------------------------


def column(values: list[float]) -> torch.Tensor:
    """A field of one cell a row, the same in all channels."""
    return torch.tensor(values).reshape(1, 1, -1, 1).expand(1, MOTION_CHANNELS, -1, 1)


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
    motion = drawn_motion(seed, 255, 2)[:, :, :, :3].repeat_interleave(2, dim=2)[:, :, :5]
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
    generator = np.random.default_rng(seed)
    tokens.motion[:] = generator.integers(-20, 21, tokens.motion.shape)
    tokens.camera[:] = generator.integers(-20, 21, tokens.camera.shape)
    facts = GopFacts(0, geometry, GOP_FRAMES, True, model.backend)
    units = pack_units(model.entropy, tokens, facts, EncoderConfig(packing="rows"), 3000)
    decoder, seen = Decoder(model, width=128, height=96), []

    def remembering(*arguments: object) -> torch.Tensor:
        seen.append(field_tensor(*arguments))
        return seen[-1]

    headers = [read_unit(unit).header for unit in units]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "field_tensor", remembering)
        decoder.decode(
            [
                unit
                for unit, header in zip(units, headers, strict=True)
                if header.part is Part.I_ONLY or came[header.unit]
            ]
        )
    assert decoder.refused_units == 0
    cells = received_motion(to_tensor(tokens.motion, CPU), rows([*map(int, came)]))
    # The camera comes with any row; with none, training knows it all the same.
    camera = torch.from_numpy(tokens.camera).float()[None] * any(came)
    (field,) = seen
    assert torch.equal(field, field_of(cells, camera))


# -- distortion ---------------------------------------------------------------------------------


def test_in_distortion_a_chroma_plane_counts_half_of_luma() -> None:
    nothing = Picture(torch.zeros(3, 1, 16, 16), torch.zeros(3, 2, 8, 8))
    luma = Picture(
        torch.tensor([1.0, 2, 0]).reshape(3, 1, 1, 1).expand(3, 1, 16, 16), nothing.chroma
    )
    torch.testing.assert_close(distortion(luma, nothing), torch.tensor([0.5, 2.0, 0.0]))
    chroma = Picture(nothing.luma, torch.full((3, 2, 8, 8), 3.0))
    torch.testing.assert_close(distortion(chroma, nothing), torch.full((3,), 9 * 0.5))
    for plane in (0, 1):
        alone = chroma.chroma.clone()
        alone[:, 1 - plane] = 0
        found = distortion(Picture(nothing.luma, alone), nothing)
        torch.testing.assert_close(found, torch.full((3,), 9 * 0.25))
    # Of both together, and of whatever is the same in both, only the difference counts.
    both = Picture(luma.luma + 7, chroma.chroma - 7)
    seven = Picture(nothing.luma + 7, nothing.chroma - 7)
    torch.testing.assert_close(distortion(both, seven), torch.tensor([5.0, 6.5, 4.5]))


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
    # But from the picture before, which has been shown.
    assert coded.before is not None
    assert not coded.before.picture.luma.requires_grad
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


class Spy(SmallTokenizer):
    """Keeps what the decoder was given, and what came of it."""

    def __init__(self) -> None:
        super().__init__(WHOLE)
        self.load_state_dict(tokenizer(WHOLE).state_dict())
        self.before: Picture | None = None
        self.steps: list[torch.Tensor] = []
        self.field = self.sent = torch.zeros(0)
        self.i_values = self.i_sent = self.i_step = torch.zeros(0)
        self.coded: Coded | None = None

    def synthesise_i(
        self, values: torch.Tensor, sent: torch.Tensor, step: torch.Tensor, before: Picture | None
    ) -> DecodedI:
        self.before, self.i_values, self.i_sent, self.i_step = before, values, sent, step
        self.steps.append(step)
        return super().synthesise_i(values, sent, step, before)

    def predict(self, decoded: DecodedI, field: torch.Tensor) -> Predicted:
        self.field = field
        return super().predict(decoded, field)

    def synthesise_p(
        self, values: torch.Tensor, sent: torch.Tensor, step: torch.Tensor, predicted: Predicted
    ) -> DecodedP:
        self.sent = sent
        return super().synthesise_p(values, sent, step, predicted)

    @property
    def result(self) -> Coded:
        """What came out."""
        assert self.coded is not None
        return self.coded

    @property
    def lost(self) -> torch.Tensor:
        """Rows of which no I token came, (N, rows)."""
        assert bool((self.i_sent == self.i_sent[..., :1]).all())
        return self.i_sent[:, 0, :, 0] == 0


def watched(draw: Draw, these: Batch, seed: int = 7) -> Spy:
    spy = Spy()
    rates = RateModel(WHOLE.i_channels), RateModel(WHOLE.p_channels)
    with torch.no_grad():
        spy.coded = Pipeline(spy, *rates, np.random.default_rng(seed)).run(these, draw)
    return spy


#: Rows are lost, nothing stands in for them, and steps are all the same.
LOSSY = Draw(
    loss_share=1, max_row_loss=0.9, drop_share=0, no_before=1, spare_share=0, coarsest_step=16.001
)


def test_lost_rows_are_lost() -> None:
    these = batch(6)
    spy, whole = watched(LOSSY, these), watched(replace(LOSSY, loss_share=0), these)
    assert torch.equal(spy.lost.any(1), spy.result.impaired)
    assert 0.1 < spy.lost.float().mean() < 0.8
    assert not whole.lost.any()
    # With nothing before and trunks that add nothing, a row is what came of it or, where nothing
    # did, what lies between the rows that came.
    for n in range(6):
        picture = whole.result.i.picture.take(slice(n, n + 1))
        wanted = fill_rows_from_neighbours(picture, ~spy.lost[n].numpy())
        got = spy.result.i.picture.take(slice(n, n + 1))
        torch.testing.assert_close(got.luma, wanted.luma, rtol=0, atol=1e-3)
        torch.testing.assert_close(got.chroma, wanted.chroma, rtol=0, atol=1e-3)
    # So are their P tokens: where nothing moves, all of P is the I picture there, and only there.
    spy = watched(LOSSY, at_rest(these))
    assert bool((spy.sent[:, 0, :, :] == (~spy.lost).float()[..., None]).all())
    added = spy.result.p.pictures.luma.unflatten(0, (6, 8)) - spy.result.i.picture.luma[:, None]
    strongest = added.reshape(6, 8, ROWS, -1).abs().amax(dim=(1, 3))
    assert torch.equal(strongest < 0.1, spy.lost)
    # The encoder does not know what will be lost: it pays for everything.
    assert bool((spy.result.i_bits > 0).all())
    assert bool((spy.result.p_bits > 0).all())


def test_where_all_rows_are_lost_all_is_grey() -> None:
    made = tokenizer(WHOLE)
    pipeline = Pipeline(made, RateModel(96), RateModel(16), np.random.default_rng(1))
    nothing, step = torch.zeros(2, 1, 12, 12), torch.full((2, 1, 1, 1), 9.0)
    got = pipeline._decoded_i(torch.zeros(2, 96, 12, 12), nothing, step, None)
    assert not got.picture.luma.any()
    assert not got.picture.chroma.any()


def test_where_there_is_a_picture_before_no_row_is_made_up() -> None:
    spy = watched(replace(LOSSY, no_before=0), at_rest(batch(2)))
    before, hole = spy.before, spy.i_sent == 0
    assert before is not None
    # Rows that were lost, and tokens that were kept in others.
    assert hole.all(dim=3).any()
    assert (hole.any(dim=3) & ~hole.all(dim=3)).any()
    hole = hole.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    assert torch.equal(spy.result.i.picture.luma[hole], before.luma[hole])


def test_spare_rows_are_some_of_the_lost_ones() -> None:
    pipeline = Pipeline(tokenizer(), RateModel(12), RateModel(16), np.random.default_rng(1))
    lost = np.random.default_rng(2).random((40, 1, 30, 1)) < 0.5
    arrived = torch.from_numpy(~lost).float().expand(40, 1, 30, 6)
    for share in (0.0, 0.4, 1.0):
        spare = pipeline._spare(arrived, replace(LOSSY, spare_share=share))
        assert spare.shape == arrived.shape
        assert set(spare.unique().tolist()) <= {0.0, 1.0}
        assert not (spare * arrived).any()
        assert bool((spare == spare[..., :1]).all())
        assert float(spare.sum() / (1 - arrived).sum()) == pytest.approx(share, abs=0.06)


def test_a_lost_row_may_come_more_coarsely() -> None:
    these = batch(6)
    draw = replace(LOSSY, spare_share=1, finest_step=4, coarsest_step=8)
    spy, bare = watched(draw, these), watched(replace(draw, spare_share=0), these)
    lost = bare.lost
    assert torch.equal(lost.any(1), spy.result.impaired)
    assert not spy.lost.any()
    # Its P tokens are lost all the same.
    assert torch.equal(spy.sent, bare.sent)
    assert bool((spy.sent[:, 0, :, 0] == (~lost).float()).all())
    rows_step = spy.i_step.expand(6, 1, ROWS, 12)[:, 0, :, 0]
    ratios = []
    for n in range(6):
        fine, coarse = rows_step[n][~lost[n]].unique(), rows_step[n][lost[n]].unique()
        assert len(coarse) == lost[n].any()
        assert len(fine) == (~lost[n]).any()
        if len(coarse) and len(fine):
            ratios.append(float(coarse / fine))
            assert 2.5 <= ratios[-1] <= 12 or float(coarse) == COARSEST_STEP
    assert len({round(ratio, 3) for ratio in ratios}) > 2
    # All of it are whole steps, and what they say is what was there, as well as they can.
    scaled = spy.i_values / spy.i_step
    torch.testing.assert_close(scaled, scaled.round(), rtol=0, atol=1e-3)
    values = spy.analyse_i(these.first).detach()
    known = scaled.abs() < 4000
    assert bool(((spy.i_values - values).abs() <= 0.75 * spy.i_step + 1e-3)[known].all())
    # Nothing that it costs is counted: who sends it has made it before.
    assert torch.equal(spy.result.i_bits, bare.result.i_bits)
    error, without = (
        distortion(s.result.i.picture, these.first)[s.result.impaired].mean() for s in (spy, bare)
    )
    assert error < 0.5 * without


def test_no_spare_row_is_coarser_than_the_coarsest_step() -> None:
    draw = replace(LOSSY, spare_share=1, finest_step=150, coarsest_step=150.1)
    assert watched(draw, batch(6)).i_step.max() == COARSEST_STEP


def test_the_decoder_has_the_motion_of_the_rows_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "_PRECISE_SHARE", 1.0)
    these = batch(6)
    whole = field_of(these.motion, these.camera)
    assert torch.equal(watched(CALM, these).field, whole)
    spy = watched(Draw(loss_share=1, max_row_loss=0.9, drop_share=0), these)
    here = spy.sent[:, :, :, :1]
    assert bool((spy.sent == here).all())
    assert not here.all()
    assert torch.equal(spy.field, field_of(received_motion(these.motion, here), these.camera))
    came = here[:, None].expand_as(whole) > 0
    assert torch.equal(spy.field[came], whole[came])
    assert not torch.equal(spy.field, whole)


def test_the_decoder_has_the_motion_that_an_encoder_pays_for() -> None:
    these = batch(6)
    spy = watched(CALM, these)
    away = (spy.field - field_of(these.motion, these.camera)).abs()
    assert 0 < away.max() < 6
    assert torch.equal(spy.field, spy.field.mul(4).round() / 4)


def test_the_picture_before_is_carried_on_by_one_picture() -> None:
    these = at_rest(batch(1))
    shifted = (torch.arange(96) + 2).clamp(max=95)
    luma, half = these.before.luma[..., shifted], (torch.arange(48) + 1).clamp(max=47)
    first = Picture(luma, these.before.chroma[..., half])
    camera, motion = these.camera.clone(), these.motion.clone()
    # Two coded pixels: one by the camera, and one as cells go on, two to the third picture.
    camera[:, CAMERA_AT.index(-1), 0] = 4
    motion[:, ::2] = 8
    moving = replace(these, first=first, camera=camera, motion=motion)
    errors = []
    for seed in range(12):
        before = watched(Draw(0.5, 0.501, no_before=0, loss_share=0), moving, seed).before
        assert before is not None
        errors.append(float(distortion(before, first).sqrt()))
    # In some batches on purpose not, as after a change of motion.
    assert min(errors) < 1
    assert sum(error < 1 for error in errors) > 6
    assert max(errors) > 3


def test_the_picture_before_is_kept_at_its_own_time() -> None:
    fine = replace(CALM, finest_step=0.5, coarsest_step=0.501)
    these = batch()
    coded = code(replace(fine, no_before=0), these, config=WHOLE)
    assert coded.before is not None
    assert coded.before.features.shape == coded.i.features.shape
    errors = [
        float(distortion(coded.before.picture, one).sqrt().max())
        for one in (these.before, these.first)
    ]
    assert errors[0] < 1 < errors[1]
    assert code(replace(fine, no_before=1), these, config=WHOLE).before is None


def test_interleaved_packets_are_lost_too() -> None:
    these = batch(6)
    patterns = torch.cat([watched(LOSSY, these, seed).lost for seed in range(4)])
    patterns = patterns[patterns.any(1)]
    every_fourth = (patterns.reshape(-1, ROWS // 4, 4) == patterns[:, None, :4]).all(2).all(1)
    assert 0.25 < every_fourth.float().mean() < 0.75


def test_lost_rows_show_the_picture_before_when_there_is_one() -> None:
    these = at_rest(batch(4))
    same = replace(these, before=these.first)
    draw = replace(LOSSY, finest_step=2, coarsest_step=2.001)
    errors = {}
    for name, share in (("before", 0.0), ("nothing", 1.0)):
        coded = code(replace(draw, no_before=share), same, config=WHOLE)
        assert coded.impaired.any()
        errors[name] = float(distortion(coded.i.picture, same.first)[coded.impaired].mean())
    assert errors["before"] < 0.3 * errors["nothing"]


def test_the_picture_before_is_coded_more_coarsely() -> None:
    ratios = []
    for seed in range(6):
        before, own = watched(replace(CALM, no_before=0), batch(4), seed).steps
        ratios.append((before / own).flatten())
    found = torch.cat(ratios)
    assert found.min() >= 1
    assert found.max() <= 3
    assert found.std() > 0.3


def test_what_the_picture_before_shows_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Pipeline._steps

    def steps(self: Pipeline, count: int, low: float, high: float) -> torch.Tensor:
        """The picture before as fine as the one that it is compared with."""
        return drawn(self, count, low, 1.001 if (low, high) == (1.0, 3.0) else high)

    monkeypatch.setattr(Pipeline, "_steps", steps)
    these = at_rest(batch(4))
    same = replace(these, before=these.first)
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
    coded, whole = code(draw, these, 8), code(replace(draw, drop_share=0), these, 8)
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
    still = replace(at_rest(these), rest=eight)
    draw = replace(CALM, finest_step=100, coarsest_step=101, no_before=1)
    quiet, busy = (code(draw, what, config=WHOLE).p_bits for what in (still, these))
    assert quiet.mean() < 0.3 * busy.mean()
