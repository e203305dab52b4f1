from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from morphe_core.vgc.motion import field_of, predict
from morphe_core.vgc.pictures import Picture, pack, to_patches
from morphe_core.vgc.quantiser import quantise
from morphe_core.vgc.small import DecodedI, SmallConfig, SmallTokenizer, config_from
from morphe_core.vgc.tokens import CAMERA_AT, KNOTS, MOTION_CHANNELS

SIZES = [(1, 2), (2, 2), (3, 4), (5, 6)]
NARROW = {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1}
#: Small, and yet 4095 steps hold any coefficient of a picture of noise.
STEP = torch.full((1, 1, 1, 1), 0.125)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def pictures(count: int, rows: int, cols: int) -> Picture:
    """Noise of whole byte values."""
    planes = (torch.rand(count, n, rows * 32 // s, cols * 32 // s) for n, s in ((1, 4), (2, 8)))
    return Picture(*((plane * 256).floor() - 128 for plane in planes))


def orthonormal(channels: int, size: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0][:channels].float()


def field(rows: int, cols: int, count: int = 1) -> Tensor:
    """Cells and camera that move anyhow."""
    motion = torch.randint(-12, 13, (count, MOTION_CHANNELS, rows, cols // 2)).float()
    return field_of(motion, torch.randint(-12, 13, (count, len(CAMERA_AT), 2)).float())


def still(rows: int, cols: int, count: int = 1) -> Tensor:
    return torch.zeros(count, len(CAMERA_AT), 2, rows, cols // 2)


def linear(i_channels: int = 96, p_channels: int = 768) -> SmallTokenizer:
    """A tokenizer as training starts it: transforms, and trunks that add nothing yet."""
    tokenizer = SmallTokenizer(SmallConfig(i_channels, p_channels, **NARROW)).requires_grad_(False)
    tokenizer.set_transforms(orthonormal(i_channels, 96), orthonormal(p_channels, 768))
    return tokenizer


def awake(**sizes: int) -> SmallTokenizer:
    """A tokenizer whose trunks add something."""
    tokenizer = SmallTokenizer(SmallConfig(**{**NARROW, **sizes})).requires_grad_(False)
    for name, value in tokenizer.named_parameters():
        if name.endswith("head.weight"):
            nn.init.normal_(value, std=0.05)
    return tokenizer


def decoded(tokenizer: SmallTokenizer, first: Picture, before: Picture | None = None) -> DecodedI:
    values = tokenizer.analyse_i(first)
    return tokenizer.synthesise_i(values, torch.ones_like(values[:, :1]), STEP, before)


@pytest.mark.parametrize("size", SIZES)
def test_with_all_channels_it_starts_as_a_perfect_codec(size: tuple[int, int]) -> None:
    tokenizer = linear()
    first, rest, motion = pictures(2, *size), pictures(16, *size), field(*size, count=2)
    i_values = quantise(tokenizer.analyse_i(first), STEP) * STEP
    assert i_values.shape == (2, 96, *size)
    sent = torch.ones_like(i_values[:, :1])
    i = tokenizer.synthesise_i(i_values, sent, STEP, None)
    assert torch.equal(pack(i.picture), pack(first))
    p_values = quantise(tokenizer.analyse_p(rest, tokenizer.predict(i, motion)), STEP) * STEP
    assert p_values.shape == (2, 768, *size)
    p = tokenizer.synthesise_p(p_values, sent, STEP, tokenizer.predict(i, motion))
    assert torch.equal(pack(p.pictures), pack(rest))
    assert p.features.shape == (2, 8, *size)


def test_fewer_channels_keep_what_the_transform_spans() -> None:
    tokenizer = linear(i_channels=20, p_channels=30)
    first, rest, motion = pictures(1, 2, 4), pictures(8, 2, 4), field(2, 4)
    i = decoded(tokenizer, first)
    basis = tokenizer.i_basis.numpy()
    patches = to_patches(first).numpy().reshape(96, -1)
    got = to_patches(i.picture).numpy().reshape(96, -1)
    np.testing.assert_allclose(got, basis.T @ (basis @ patches), atol=1e-2)

    residual = tokenizer.p_residual(rest, tokenizer.predict(i, motion))
    values = tokenizer.analyse_p(rest, tokenizer.predict(i, motion))
    p = tokenizer.synthesise_p(
        values, torch.ones_like(values[:, :1]), STEP, tokenizer.predict(i, motion)
    )
    basis = tokenizer.p_basis.numpy()
    left = tokenizer.p_residual(p.pictures, tokenizer.predict(i, motion)).numpy().reshape(768, -1)
    wanted = basis.T @ (basis @ residual.numpy().reshape(768, -1))
    np.testing.assert_allclose(left, wanted, atol=1e-2)


def test_the_residual_lists_pictures_then_patch_channels() -> None:
    tokenizer = linear()
    rest = pictures(16, 2, 2)
    nothing = DecodedI(Picture(torch.zeros(2, 1, 16, 16), torch.zeros(2, 2, 8, 8)), torch.zeros(0))
    residual = tokenizer.p_residual(rest, tokenizer.predict(nothing, still(2, 2, count=2)))
    for number in range(16):
        part = residual[number // 8, 96 * (number % 8) :][:96]
        assert torch.equal(part, to_patches(rest)[number])


def test_holes_of_i_show_the_picture_before() -> None:
    tokenizer = linear(i_channels=24)
    first, before = pictures(1, 3, 4), pictures(1, 3, 4)
    sent = torch.ones(1, 1, 3, 4)
    sent[..., 1, :] = 0
    sent[..., 0, 2] = 0
    values = tokenizer.analyse_i(first)
    got = tokenizer.synthesise_i(values * sent, sent, STEP, before).picture
    whole = decoded(tokenizer, first).picture
    hole = sent.logical_not().repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(got.luma[hole], before.luma[hole])
    torch.testing.assert_close(got.luma[~hole], whole.luma[~hole])
    hole = hole[..., ::2, ::2].expand(1, 2, -1, -1)
    torch.testing.assert_close(got.chroma[hole], before.chroma[hole], rtol=1e-6, atol=1e-5)
    # With nothing before, they are grey.
    assert not tokenizer.synthesise_i(values * sent, sent, STEP, None).picture.chroma[hole].any()


def test_holes_of_p_leave_the_prediction() -> None:
    tokenizer = linear(p_channels=40)
    first, rest, motion = pictures(1, 3, 4), pictures(8, 3, 4), field(3, 4)
    i = decoded(tokenizer, first)
    predicted = predict(i.picture, motion)
    sent = torch.zeros(1, 1, 3, 4)
    values = tokenizer.analyse_p(rest, tokenizer.predict(i, motion))
    got = tokenizer.synthesise_p(values, sent, STEP, tokenizer.predict(i, motion)).pictures
    torch.testing.assert_close(got.luma, predicted.luma, rtol=0, atol=1e-4)
    torch.testing.assert_close(got.chroma, predicted.chroma, rtol=0, atol=1e-4)
    sent[..., 2, 3] = 1
    got = tokenizer.synthesise_p(values, sent, STEP, tokenizer.predict(i, motion)).pictures
    changed = (got.luma - predicted.luma).abs() > 1e-3
    assert changed[..., 16:, 24:].any(dim=(1, 2, 3)).all()
    changed[..., 16:, 24:] = False
    assert not changed.any()


def test_a_hole_is_a_hole_whatever_lies_in_it() -> None:
    tokenizer = awake()
    first, rest, before, motion = (
        pictures(1, 3, 4), pictures(8, 3, 4), pictures(1, 3, 4), field(3, 4)
    )  # fmt: skip
    sent = (torch.rand(1, 1, 3, 4) < 0.5).float()
    values = tokenizer.analyse_i(first)
    clean = tokenizer.synthesise_i(values * sent, sent, STEP, before)
    dirty = tokenizer.synthesise_i(values, sent, STEP, before)
    assert torch.equal(clean.picture.luma, dirty.picture.luma)
    values = tokenizer.analyse_p(rest, tokenizer.predict(clean, motion))
    one = tokenizer.synthesise_p(values * sent, sent, STEP, tokenizer.predict(clean, motion))
    other = tokenizer.synthesise_p(values, sent, STEP, tokenizer.predict(clean, motion))
    assert torch.equal(one.pictures.luma, other.pictures.luma)
    assert torch.equal(one.pictures.chroma, other.pictures.chroma)


def test_the_trunks_know_of_holes_of_steps_and_of_the_picture_before() -> None:
    tokenizer = awake()
    first, before = pictures(1, 2, 2), pictures(1, 2, 2)
    values, all_of_it = tokenizer.analyse_i(first), torch.ones(1, 1, 2, 2)
    plain = tokenizer.synthesise_i(values, all_of_it, STEP, None).picture.luma
    assert not torch.equal(tokenizer.synthesise_i(values, all_of_it, 8 * STEP, None)[0].luma, plain)
    assert not torch.equal(tokenizer.synthesise_i(values, all_of_it, STEP, before)[0].luma, plain)
    i = decoded(tokenizer, first)
    nothing = torch.zeros(1, 96, 2, 2)
    shown = [
        tokenizer.synthesise_p(nothing, sent, step, tokenizer.predict(i, still(2, 2))).pictures.luma
        for sent, step in ((all_of_it, STEP), (all_of_it, 8 * STEP), (0 * all_of_it, STEP))
    ]
    assert all((luma - shown[0]).abs().max() > 0.01 for luma in shown[1:])


def test_p_leans_on_the_picture_the_features_and_the_motion() -> None:
    tokenizer = awake()
    rest, sent = pictures(8, 2, 4), torch.ones(1, 1, 2, 4)
    flat = Picture(torch.full((1, 1, 16, 32), 9.0), torch.zeros(1, 2, 8, 16))
    other = Picture(flat.luma + 1, flat.chroma)
    features, nothing = torch.randn(1, 8, 2, 4), torch.zeros(1, 96, 2, 4)
    motion = field(2, 4)
    # A flat picture looks the same along any motion: what differs, only the trunk can have seen.
    cases = [
        (DecodedI(flat, features), motion),
        (DecodedI(other, features), motion),
        (DecodedI(flat, features + 1), motion),
        (DecodedI(flat, features), motion + 30),
    ]
    shown = [
        tokenizer.synthesise_p(nothing, sent, STEP, tokenizer.predict(*case)).pictures.luma
        for case in cases
    ]
    assert all((luma - shown[0]).abs().max() > 0.01 for luma in shown[1:])
    values = [tokenizer.analyse_p(rest, tokenizer.predict(*case)) for case in cases]
    assert all((tokens - values[0]).abs().max() > 0.01 for tokens in values[1:3])


def test_the_trunk_is_told_of_the_whole_motion_at_the_knots() -> None:
    """Of a flat picture, so that nothing else can tell."""
    tokenizer = awake()
    sent, nothing = torch.ones(1, 1, 2, 4), torch.zeros(1, 96, 2, 4)
    flat = Picture(torch.full((1, 1, 16, 32), 9.0), torch.zeros(1, 2, 8, 16))
    i = DecodedI(flat, torch.randn(1, 8, 2, 4))

    def shown(field: Tensor) -> Tensor:
        return tokenizer.synthesise_p(
            nothing, sent, STEP, tokenizer.predict(i, field)
        ).pictures.luma

    calm = shown(still(2, 4))
    for number, time in enumerate(CAMERA_AT):
        camera = torch.zeros(1, len(CAMERA_AT), 2)
        camera[:, number] = 40
        moving = shown(field_of(torch.zeros(1, MOTION_CHANNELS, 2, 2), camera))
        assert ((moving - calm).abs().max() > 0.01) == (time in KNOTS)


def test_a_step_may_differ_from_token_to_token() -> None:
    tokenizer = awake()
    values, sent = tokenizer.analyse_i(pictures(1, 8, 2)), torch.ones(1, 1, 8, 2)
    alike = tokenizer.synthesise_i(values, sent, STEP, None)
    same = tokenizer.synthesise_i(values, sent, STEP.expand(1, 1, 8, 2), None)
    assert torch.equal(same.picture.luma, alike.picture.luma)
    assert torch.equal(same.features, alike.features)
    steps = STEP.repeat(1, 1, 8, 2)
    steps[..., 0, :] *= 8
    other = tokenizer.synthesise_i(values, sent, steps, None).picture.luma - alike.picture.luma
    assert other[..., :8, :].abs().max() > 0.01


def test_i_knows_nothing_of_p() -> None:
    """Figure 5 of the paper: no gradient leads from the I side to P pictures or P weights."""
    tokenizer = awake().requires_grad_()
    first, rest, motion = pictures(1, 2, 4), pictures(8, 2, 4), field(2, 4)
    rest.luma.requires_grad_()
    i = decoded(tokenizer, first)
    values = tokenizer.analyse_p(rest, tokenizer.predict(i, motion))
    p = tokenizer.synthesise_p(values, torch.ones(1, 1, 2, 4), STEP, tokenizer.predict(i, motion))
    inputs = [rest.luma, *(w for n, w in tokenizer.named_parameters() if n.startswith("p_"))]
    of_i = torch.autograd.grad(
        i.picture.luma.sum() + i.features.sum(), inputs, allow_unused=True, retain_graph=True
    )
    assert all(gradient is None for gradient in of_i)
    of_p = torch.autograd.grad(
        p.pictures.luma.square().sum() + p.features.sum(), [*inputs, tokenizer.i_basis]
    )
    assert all(gradient.abs().sum() > 0 for gradient in of_p)


def test_gops_of_a_batch_do_not_see_each_other() -> None:
    tokenizer = awake()
    first, rest, motion = pictures(2, 2, 4), pictures(16, 2, 4), field(2, 4, count=2)
    i = decoded(tokenizer, first)
    values = tokenizer.analyse_p(rest, tokenizer.predict(i, motion))
    both = tokenizer.synthesise_p(
        values, torch.ones(2, 1, 2, 4), STEP, tokenizer.predict(i, motion)
    ).pictures
    second = decoded(tokenizer, Picture(*(plane[1:] for plane in first)))
    its = Picture(*(plane[8:] for plane in rest))
    torch.testing.assert_close(i.picture.luma[1:], second.picture.luma, rtol=1e-4, atol=1e-3)
    own = tokenizer.analyse_p(its, tokenizer.predict(second, motion[1:]))
    torch.testing.assert_close(values[1:], own, rtol=1e-4, atol=1e-3)
    alone = tokenizer.synthesise_p(
        own, torch.ones(1, 1, 2, 4), STEP, tokenizer.predict(second, motion[1:])
    ).pictures
    torch.testing.assert_close(both.luma[8:], alone.luma, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(both.chroma[8:], alone.chroma, rtol=1e-4, atol=1e-3)


def test_its_sizes_survive_a_weights_file() -> None:
    config = SmallConfig(48, 80, width=24, encoder_blocks=3, decoder_blocks=5)
    facts = {name: str(value) for name, value in config.as_dict().items()}
    assert config_from(facts) == config
    with pytest.raises(KeyError, match="width"):
        config_from({name: value for name, value in facts.items() if name != "width"})
