from __future__ import annotations

import numpy as np
import torch

from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.pictures import Picture, to_patches
from morphe_core.vgc.small import DecodedP, SmallConfig, SmallTokenizer
from morphe_core.vgc.state import (
    Memory,
    conceal_i,
    decode_i,
    decode_p,
    field_tensor,
    mask_tensor,
    step_tensor,
    to_array,
    to_tensor,
)
from morphe_core.vgc.tokens import CAMERA_AT, CAMERA_SHAPE, KNOTS, MOTION_CHANNELS

CPU = torch.device("cpu")
GENERATOR = np.random.default_rng(4)


def tokens(*shape: int) -> np.ndarray:
    return GENERATOR.integers(-50, 51, shape).astype(np.int16)


def tokenizer() -> SmallTokenizer:
    config = SmallConfig(32, 64, width=8, encoder_blocks=1, decoder_blocks=1)
    return SmallTokenizer(config).requires_grad_(False)


def test_tokens_become_planes_and_return() -> None:
    values = tokens(3, 4, 5)
    tensor = to_tensor(values, CPU)
    assert tensor.shape == (1, 5, 3, 4)
    assert tensor.dtype == torch.float32
    assert tensor[0, 2, 1, 3] == values[1, 3, 2]
    back = to_array(tensor)
    assert back.dtype == np.int16
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, values)


def test_integers_of_motion_become_a_field_in_motion_steps() -> None:
    motion, camera = tokens(3, 2, MOTION_CHANNELS), tokens(*CAMERA_SHAPE)
    field = field_tensor(motion, camera, CPU)
    assert field.shape == (1, len(CAMERA_AT), 2, 3, 2)
    assert field.dtype == torch.float32
    for number, knot in enumerate(KNOTS):
        at = CAMERA_AT.index(knot)
        wanted = motion[..., 2 * number : 2 * number + 2] + camera[at]
        np.testing.assert_array_equal(field[0, at].permute(1, 2, 0), wanted)


def test_masks_and_steps_have_the_shapes_of_the_tokenizer() -> None:
    sent = np.array([[True, False], [False, False], [True, True]])
    assert mask_tensor(sent, CPU).tolist() == [[[[1, 0], [0, 0], [1, 1]]]]
    step = step_tensor(2.5, CPU)
    assert step.shape == (1, 1, 1, 1)
    assert step.item() == 2.5


def test_integers_times_the_step_are_what_is_synthesised() -> None:
    """With the transforms at identity the first coefficients are the first samples themselves."""
    values, sent = tokens(2, 4, 32), GENERATOR.random((2, 4)) < 0.5
    i = decode_i(tokenizer(), values, sent, 0.5, None)
    got = to_patches(i.picture)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got[..., :32], values * 0.5 * sent[..., None], atol=1e-4)
    assert not got[..., 32:].any()

    field = torch.zeros(1, len(CAMERA_AT), 2, 2, 2)
    p_values, p_sent = tokens(2, 4, 64), GENERATOR.random((2, 4)) < 0.5
    p = decode_p(tokenizer(), p_values, p_sent, 2.0, tokenizer().predict(i, field))
    assert p.pictures.luma.shape == (8, 1, 16, 32)
    added = (p.pictures.luma - i.picture.luma)[:1]
    added = to_patches(Picture(added, torch.zeros(1, 2, 8, 16)))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(added[..., :64], p_values * 2.0 * p_sent[..., None], atol=1e-3)
    # 64 channels are the luma of the second picture of the GoP; the others are as predicted.
    torch.testing.assert_close(p.pictures.luma[7:], i.picture.luma, rtol=0, atol=1e-3)


def test_holes_of_i_take_the_picture_before() -> None:
    before = Picture(torch.full((1, 1, 16, 32), 21.0), torch.full((1, 2, 8, 16), -9.0))
    nothing = np.zeros((2, 4), bool)
    i = decode_i(tokenizer(), tokens(2, 4, 32), nothing, 1.0, before)
    assert torch.equal(i.picture.luma, before.luma)


def counted(count: int, height: int, width: int) -> Picture:
    """Pictures whose samples are their number."""
    numbers = torch.arange(float(count)).reshape(-1, 1, 1, 1)
    return Picture(
        numbers.expand(count, 1, height, width).clone(),
        10 + numbers.expand(count, 2, height // 2, width // 2),
    )


def test_memory_keeps_the_ninth_picture() -> None:
    pictures = counted(8, 16, 32)
    features = torch.zeros(1, 8, 2, 4)
    memory = Memory.of(DecodedP(pictures, features), 1)
    assert memory.scale == 1
    assert memory.last.luma.shape == (1, 1, 16, 32)
    assert bool((memory.last.luma == 7).all())
    assert bool((memory.last.chroma == 17).all())
    pictures.luma.zero_()
    assert bool((memory.last.luma == 7).all())


def test_it_is_carried_on_along_the_next_motion_and_to_another_factor() -> None:
    before, after = Geometry.of(192, 96, 3), Geometry.of(192, 96, 2)
    across = torch.arange(before.coded_width / 1.0)
    luma = (2 * across).expand(1, 1, before.coded_height, -1)
    last = Picture(luma, torch.zeros(1, 2, before.coded_height // 2, before.coded_width // 2))
    memory = Memory(last, 3)

    def moving(geometry: Geometry) -> torch.Tensor:
        """Backwards by one coded pixel at the picture before, half of it the camera's."""
        motion = torch.zeros(geometry.grid.rows, geometry.grid.cols // 2, MOTION_CHANNELS)
        motion[..., 0] = 4  # in quarters at the third picture, so half of it a picture
        camera = np.zeros(CAMERA_SHAPE, np.int16)
        camera[CAMERA_AT.index(-1), 0] = 2
        return field_tensor(motion.numpy().astype(np.int16), camera, CPU)

    same = memory.carried_on(before, moving(before))
    inside = (..., slice(8, -8))
    torch.testing.assert_close(same.luma[inside], luma[inside] + 2, rtol=0, atol=0.01)
    other = memory.carried_on(after, moving(after))
    assert other.luma.shape[-2:] == (after.coded_height, after.coded_width)
    # Place x of the new picture is place (2 x + 1 - 1.5) / 3 of the old one; what moves on by one
    # pixel, moves on by one of the new ones.
    places = (2 * (torch.arange(after.coded_width) + 1.5) / 3) - 0.5
    wanted = (2 * places).expand_as(other.luma)
    torch.testing.assert_close(other.luma[inside], wanted[inside], rtol=0, atol=0.02)


def test_without_a_picture_before_the_rows_around_a_hole_stand_in() -> None:
    whole, sent = np.full((3, 4, 32), 7, np.int16), np.ones((3, 4), bool)
    sent[1] = False
    i = conceal_i(tokenizer(), whole, sent, 1.0, None).picture.luma
    assert (i[..., 8:16, :] - i[..., 7:8, :]).abs().max() < (
        i[..., 7, :] - i[..., 16, :]
    ).abs().max()
    known = decode_i(tokenizer(), whole, np.ones((3, 4), bool), 1.0, None)
    same = conceal_i(tokenizer(), whole, np.ones((3, 4), bool), 1.0, None)
    assert torch.equal(same.picture.luma, known.picture.luma)
    before = Picture(torch.full((1, 1, 24, 32), 21.0), torch.zeros(1, 2, 12, 16))
    filled = conceal_i(tokenizer(), whole, sent, 1.0, before).picture.luma
    assert (filled[..., 8:16, :] == 21).all()


def test_holes_show_the_picture_before_as_it_is() -> None:
    """Places that were sent are the network's, as without a look at the holes around them."""
    values, sent = tokens(3, 4, 32), np.ones((3, 4), np.bool_)
    sent[1], sent[2, 0] = False, False
    mine = tokenizer()
    before = Picture(torch.rand(1, 1, 24, 32) * 90, torch.rand(1, 2, 12, 16) * 90)
    shown = to_patches(conceal_i(mine, values, sent, 2.0, before).picture)[0].permute(1, 2, 0)
    plain = to_patches(decode_i(mine, values, sent, 2.0, before).picture)[0].permute(1, 2, 0)
    wanted = to_patches(before)[0].permute(1, 2, 0)
    there = torch.from_numpy(sent)
    assert torch.equal(shown[~there], wanted[~there])
    assert torch.equal(shown[there], plain[there])
