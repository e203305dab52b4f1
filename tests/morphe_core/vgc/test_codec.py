"""Encoder and decoder together."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from morphe_core.models import Model, load_model
from morphe_core.vgc import encoder as encoder_module
from morphe_core.vgc.bitstream import read_unit
from morphe_core.vgc.codec import Decoder, EncodedGop, Encoder, EncoderConfig, profile
from morphe_core.vgc.concealment import fill_motion
from morphe_core.vgc.entropy import EntropyModel
from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.packing import pack_units, unpack_units
from morphe_core.vgc.tokens import CAMERA_AT, GopTokens
from tests.morphe_core.vgc.conftest import Clip, Packed

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (128, 96)
BUDGET = 1200


def pair(
    model: Model, config: EncoderConfig, size: tuple[int, int] = SIZE
) -> tuple[Encoder, Decoder]:
    width, height = size
    return (
        Encoder(model, width=width, height=height, fps=Fraction(30), config=config),
        Decoder(model, width=width, height=height),
    )


def assert_in_step(encoder: Encoder, decoder: Decoder) -> None:
    """What both carry to the next GoP is the same, to the bit."""
    one, other = encoder._memory, decoder._memory
    assert one is not None
    assert other is not None
    assert one.scale == other.scale
    for mine, its in zip(one.last, other.last, strict=True):
        assert torch.equal(mine, its)


CONFIGS = {
    **{f"scale {scale}": EncoderConfig(scale=scale) for scale in (0, 1, 2, 3)},
    "paper": profile("morphe-paper"),
    "no motion": EncoderConfig(motion=False),
    "what stands still is kept": EncoderConfig(keep=True),
    "rows that keep and move": EncoderConfig(packing="rows", keep=True),
    "random": EncoderConfig(selection="random", scale=1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_encoder_knows_what_the_decoder_shows(model: Model, name: str) -> None:
    config, clip = CONFIGS[name], Clip(*SIZE)
    encoder, decoder = pair(model, config)
    for number in range(3):
        pictures = clip.gop(number)
        gop = encoder.encode(pictures, budget_bytes=BUDGET)
        assert (gop.index, gop.frames) == (number, 9)
        assert gop.scale == config.scale or not config.scale
        assert gop.size_bytes == sum(map(len, gop.units))
        shown = decoder.decode(gop.units)
        assert_in_step(encoder, decoder)
        assert len(shown) == 9
        assert all(one.dtype == np.uint8 and one.shape == pictures[0].shape for one in shown)
        # Better than the mean of the picture would be (about 17 dB).
        assert clip.psnr(shown[:1], pictures[:1]) > 18.5
    assert decoder.refused_units == 0


def test_more_bytes_look_better(model: Model) -> None:
    clip = Clip(*SIZE)
    found = []
    for budget in (500, 1500, 5000):
        encoder, decoder = pair(model, EncoderConfig())
        shown, wanted = [], []
        for number in range(3):
            wanted += clip.gop(number)
            shown += decoder.decode(encoder.encode(wanted[-9:], budget_bytes=budget).units)
        found.append(clip.psnr(shown, wanted))
    assert found[0] + 2 < found[1] < found[2] - 2


@pytest.mark.parametrize("size", [(2, 2), (16, 8), (130, 98), (62, 94)])
@pytest.mark.parametrize("scale", [1, 3])
def test_any_even_size(model: Model, size: tuple[int, int], scale: int) -> None:
    clip = Clip(*size)
    encoder, decoder = pair(model, EncoderConfig(scale=scale), size)
    for number in range(2):
        pictures = clip.gop(number)
        shown = decoder.decode(encoder.encode(pictures, budget_bytes=900).units)
        assert [one.size for one in shown] == [one.size for one in pictures]
        assert_in_step(encoder, decoder)
    assert decoder.refused_units == 0


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_a_gop_that_is_not_full_gives_its_own_pictures(model: Model, frames: int) -> None:
    clip = Clip(*SIZE)
    encoder, decoder = pair(model, EncoderConfig())
    decoder.decode(encoder.encode(clip.gop(0), budget_bytes=BUDGET).units)
    gop = encoder.encode(clip.gop(1, frames), budget_bytes=BUDGET)
    assert gop.frames == frames
    shown = decoder.decode(gop.units, frames=9)
    assert len(shown) == frames
    assert clip.psnr(shown, clip.gop(1, frames)) > 20
    assert_in_step(encoder, decoder)


def test_a_first_gop_of_one_picture(model: Model) -> None:
    clip = Clip(*SIZE)
    encoder, decoder = pair(model, EncoderConfig())
    shown = decoder.decode(encoder.encode(clip.gop(0, 1), budget_bytes=BUDGET).units)
    assert len(shown) == 1
    assert clip.psnr(shown, clip.gop(0, 1)) > 24


@pytest.mark.parametrize("name", ["scale 0", "paper", "random"])
def test_the_same_pictures_give_the_same_bytes(model: Model, name: str) -> None:
    clip = Clip(*SIZE)
    both = []
    for _ in range(2):
        encoder, _ = pair(model, CONFIGS[name])
        both.append([encoder.encode(clip.gop(n), budget_bytes=BUDGET) for n in range(2)])
    assert both[0] == both[1]


def still(model: Model, seed: int, gops: int) -> tuple[Encoder, list[EncodedGop], list[Packed]]:
    """GoPs of a picture that does not move."""
    pictures = [Clip(*SIZE, seed=seed).picture(0)] * 9
    encoder, _ = pair(model, EncoderConfig(scale=1, keep=True))
    return encoder, [encoder.encode(pictures, budget_bytes=3000) for _ in range(gops)], pictures


def test_what_stands_still_is_kept_and_refreshed(model: Model) -> None:
    encoder, gops, _ = still(model, 1, 10)
    assert gops[0].facts["i_sent"] == 1
    later = [gop.facts["i_sent"] for gop in gops[2:]]
    assert max(later) < 0.9
    rows = Geometry.of(*SIZE, 1).grid.rows
    refreshed = np.zeros(rows, np.int64)
    for gop in gops[1:9]:
        refreshed += tokens_of(model, gop).i_sent.all(axis=1)
    assert refreshed.all()
    assert encoder.config.refresh_gops == 8


def test_a_cut_keeps_nothing_of_the_scene_before(model: Model) -> None:
    encoder, _, before = still(model, 1, 3)
    clip = Clip(*SIZE, seed=2)
    after = encoder.encode([clip.picture(0)] * 9, budget_bytes=3000)
    assert after.facts["i_sent"] > 0.95
    # What is left of the old scene is not seen: as good as in a stream that starts here.
    _, decoder = pair(model, EncoderConfig())
    shown = decoder.decode(after.units)
    assert clip.psnr(shown, [clip.picture(0)] * 9) > clip.psnr(shown, before) + 8


def test_what_a_receiver_misses_is_sent_anew(model: Model) -> None:
    """A report ends an error that would stay until the refresh comes by."""
    clip, shown = Clip(*SIZE), {}
    for reporting in (False, True):
        encoder, _, pictures = still(model, 1, 0)
        decoder = Decoder(model, width=SIZE[0], height=SIZE[1])
        first = encoder.encode(pictures, budget_bytes=3000)
        decoder.decode(first.units[: len(first.units) // 2])
        lost = decoder.missing_rows
        assert lost is not None
        assert lost.any()
        assert not lost.all()
        if reporting:
            encoder.report(first.index, lost)
        second = encoder.encode(pictures, budget_bytes=3000)
        shown[reporting] = clip.psnr(decoder.decode(second.units), pictures)
        assert decoder.missing_rows is not None
        assert not decoder.missing_rows.any()
        assert tokens_of(model, second).i_sent[lost].all() == reporting
    assert shown[True] > shown[False] + 0.5
    decoder.decode([])
    assert decoder.missing_rows is None


def test_a_report_reaches_further_the_older_it_is(model: Model) -> None:
    rows = Geometry.of(*SIZE, 1).grid.rows
    missing = np.arange(rows) == rows // 2
    for age in (1, 2, 3):
        encoder, gops, pictures = still(model, 1, 4)
        encoder.report(4 - age, missing)
        sent = tokens_of(model, encoder.encode(pictures, budget_bytes=3000)).i_sent.all(axis=1)
        assert sent[rows // 2 - age : rows // 2 + age + 1].all()
    # What is of another size, or nothing, is everything; what is not yet there is nothing.
    for report, all_sent in (((3, None), True), ((3, missing[1:]), True), ((4, None), False)):
        encoder, gops, pictures = still(model, 1, 4)
        encoder.report(*report)
        gop = encoder.encode(pictures, budget_bytes=3000)
        assert (gop.facts["i_sent"] == 1) == all_sent
    assert gops[3].facts["i_sent"] < 1


def tokens_of(model: Model, gop: EncodedGop) -> GopTokens:
    """The integers in a GoP's units."""
    grid = Geometry.of(*SIZE, gop.scale).grid
    received = unpack_units(model.entropy, [read_unit(unit) for unit in gop.units], grid)
    assert received.damaged == 0
    motion = fill_motion(received.tokens.motion, received.motion_known)
    return replace(received.tokens, motion=motion)


class Jump(Clip):
    """Goes twice as far before each GoP but the first as from picture to picture in it."""

    def gop(self, number: int, frames: int = 9) -> list[Packed]:
        """The first `frames` pictures of a GoP."""
        return [self.picture(10 * number + n) for n in range(frames)]


def test_the_camera_is_followed_across_gops_of_one_size(model: Model) -> None:
    clip = Jump(*SIZE, speed=2)
    encoder, _ = pair(model, EncoderConfig(scale=1))
    # Backwards, and the texture moves to the left.
    wanted = 8 * np.abs(np.array(CAMERA_AT))
    for number in range(2):
        camera = tokens_of(model, encoder.encode(clip.gop(number), budget_bytes=3000)).camera
        # At the start nothing is known of the picture before: as if it had moved alike.
        wanted[CAMERA_AT.index(-1)] = 8 if number == 0 else 16
        np.testing.assert_array_equal(camera[:, 0], wanted)
        assert not camera[:, 1].any()
    # Another size is no picture to compare with, nor is that of a stream that begins.
    encoder._last_luma = np.zeros((40, 48), np.uint8)
    camera = tokens_of(model, encoder.encode(clip.gop(2), budget_bytes=3000)).camera
    assert camera[CAMERA_AT.index(-1), 0] == 8


def test_without_motion_nothing_moves(model: Model) -> None:
    encoder, _ = pair(model, EncoderConfig(scale=1, motion=False))
    for number in range(2):
        tokens = tokens_of(model, encoder.encode(Clip(*SIZE).gop(number), budget_bytes=3000))
        assert not tokens.motion.any()
        assert not tokens.camera.any()


@pytest.mark.parametrize("name", ["scale 0", "paper"])
def test_bytes_made_in_half_precision_are_the_same_integers_everywhere(
    model: Model, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network takes part in entropy decoding, so another device cannot disagree."""
    half, made = load_model("small"), []
    half.network.use_half(True)

    def remembering(entropy: EntropyModel, tokens: GopTokens, *rest: Any) -> list[bytes]:
        made.append(tokens)
        return pack_units(entropy, tokens, *rest)

    monkeypatch.setattr(encoder_module, "pack_units", remembering)
    encoder, _ = pair(half, CONFIGS[name])
    _, exact = pair(model, CONFIGS[name])
    _, same = pair(half, CONFIGS[name])
    clip = Clip(*SIZE)
    for number in range(2):
        gop = encoder.encode(clip.gop(number), budget_bytes=BUDGET)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for reader in (model, half):
                found = tokens_of(reader, gop)
                for field in ("i", "p", "i_sent", "p_sent", "motion", "camera"):
                    sent = np.asarray(getattr(made[number], field))
                    np.testing.assert_array_equal(getattr(found, field), sent)
        torch.set_num_threads(1)
        one, other = exact.decode(gop.units), same.decode(gop.units)
        assert_in_step(encoder, same)
        # What the networks make of the integers differs a little, and not more.
        assert clip.psnr(one, other) > 34
    assert exact.refused_units == 0


@pytest.mark.parametrize("budget", [500, 1200, 3000, 8000])
def test_gops_keep_to_their_budget(model: Model, budget: int) -> None:
    clip = Clip(192, 112)
    encoder, _ = pair(model, EncoderConfig(), (192, 112))
    shares = [encoder.encode(clip.gop(n), budget_bytes=budget).size_bytes for n in range(6)]
    assert shares[0] <= 1.15 * budget
    assert max(shares[1:]) <= 1.1 * budget, shares
    assert all(abs(size - budget) <= 0.06 * budget for size in shares[2:]), shares


def test_a_budget_may_change_at_any_gop(model: Model) -> None:
    clip = Clip(*SIZE)
    encoder, decoder = pair(model, EncoderConfig())
    for number, budget in enumerate((800, 6000, 800, 2000)):
        gop = encoder.encode(clip.gop(number), budget_bytes=budget)
        assert gop.size_bytes <= 1.1 * budget
        decoder.decode(gop.units)
        assert_in_step(encoder, decoder)


def test_settings_of_one_encoder_do_not_reach_another(model: Model) -> None:
    clip = Clip(*SIZE)
    config = EncoderConfig(scale=2)
    alone, _ = pair(model, config)
    wanted = alone.encode(clip.gop(0), budget_bytes=BUDGET)
    one, _ = pair(model, config)
    other, _ = pair(model, replace(config, scale=3))
    other.encode(clip.gop(3), budget_bytes=300)
    assert one.encode(clip.gop(0), budget_bytes=BUDGET) == wanted
