"""What the encoder refuses, and what it makes of its settings; see also test_codec."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch

from morphe_core.errors import CodecConfigError
from morphe_core.models import Model
from morphe_core.nasc.rate_control import Anchors, Mode
from morphe_core.vgc.allocation import COARSEST
from morphe_core.vgc.bitstream import Part, read_unit
from morphe_core.vgc.codec import Decoder, Encoder, EncoderConfig, profile
from morphe_core.vgc.selection import STRATEGIES
from tests.morphe_core.vgc.conftest import Clip

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (128, 96)
BUDGET = 1200


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip(*SIZE)


def encoder(model: Model, config: EncoderConfig | None = None) -> Encoder:
    config = config or EncoderConfig()
    return Encoder(model, width=SIZE[0], height=SIZE[1], fps=Fraction(30), config=config)


def assert_one_line(caught: pytest.ExceptionInfo[CodecConfigError], *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("size", [(127, 96), (128, 95)])
def test_odd_sizes_are_refused(model: Model, size: tuple[int, int]) -> None:
    with pytest.raises(CodecConfigError) as caught:
        Encoder(model, width=size[0], height=size[1], fps=Fraction(30), config=EncoderConfig())
    assert_one_line(caught, f"{size[0]}x{size[1]}", "even")


@pytest.mark.parametrize("size", [(0, 96), (128, 0), (-16, 96), (8192, 96), (128, 4096)])
def test_sizes_beyond_the_bitstream_are_refused(model: Model, size: tuple[int, int]) -> None:
    with pytest.raises(CodecConfigError) as caught:
        Encoder(model, width=size[0], height=size[1], fps=Fraction(30), config=EncoderConfig())
    assert_one_line(caught, "must be within")


@pytest.mark.parametrize("fps", [Fraction(0), Fraction(-1, 2)])
def test_frame_rates_are_positive(model: Model, fps: Fraction) -> None:
    with pytest.raises(CodecConfigError) as caught:
        Encoder(model, width=128, height=96, fps=fps, config=EncoderConfig())
    assert_one_line(caught, "fps", str(fps))


def test_what_is_refused_changes_nothing(model: Model, clip: Clip) -> None:
    mine, wanted = encoder(model), encoder(model).encode(clip.gop(0), budget_bytes=BUDGET)
    nine = clip.gop(0)
    cases = [
        ([], BUDGET, ("1 to 9", "0")),
        ([*nine, nine[0]], BUDGET, ("1 to 9", "10")),
        ([*nine[:8], nine[8][:-1]], BUDGET, ("128x96", str(nine[8].size - 1))),
        ([np.zeros(160 * 96 * 3 // 2, np.uint8)] * 9, BUDGET, ("128x96",)),
        (nine, 0, ("budget_bytes 0", "at least 1")),
        (nine, -5, ("budget_bytes -5",)),
    ]
    for pictures, budget, words in cases:
        with pytest.raises(CodecConfigError) as caught:
            mine.encode(pictures, budget_bytes=budget)
        assert_one_line(caught, *words)
    assert mine.encode(nine, budget_bytes=BUDGET) == wanted
    # In the middle of a stream too, with a scale that is about to change.
    for _ in range(3):
        mine._modes.control.record(Mode.ALL_1X)
    mine._modes.anchors = Anchors(100, 200, 2 * BUDGET)
    for _ in range(2):
        with pytest.raises(CodecConfigError):
            mine.encode([], budget_bytes=BUDGET)
    assert mine.encode(nine, budget_bytes=BUDGET).scale == 2


@pytest.mark.parametrize("budget", [1, 50])
@pytest.mark.parametrize("packing", ["interleaved", "rows"])
def test_a_budget_for_nothing_still_gives_a_gop(
    model: Model, clip: Clip, budget: int, packing: str
) -> None:
    mine = encoder(model, EncoderConfig(packing=packing))
    for number in range(2):
        gop = mine.encode(clip.gop(number), budget_bytes=budget)
        assert gop.units
        assert gop.facts["p_sent"] < 0.1
        assert gop.size_bytes < 700


def test_a_budget_beyond_need_is_not_filled(model: Model) -> None:
    grey = [np.full(SIZE[0] * SIZE[1] * 3 // 2, 128, np.uint8)] * 9
    gop = encoder(model).encode(grey, budget_bytes=100_000)
    assert gop.size_bytes < 40_000


def test_only_a_gop_that_leans_on_none_says_so(model: Model, clip: Clip) -> None:
    for config, later in (
        (EncoderConfig(keep=True), False),
        (EncoderConfig(), False),
        (EncoderConfig(lean=False), True),
    ):
        mine = encoder(model, config)
        gops = [mine.encode(clip.gop(n), budget_bytes=BUDGET) for n in range(2)]
        intra = [{read_unit(unit).header.intra for unit in gop.units} for gop in gops]
        assert intra == [{True}, {later}]
        assert gops[0].facts["i_sent"] == 1
        assert (gops[1].facts["i_sent"] == 1) >= (not config.keep)


def test_headers_name_the_gop_in_turn(model: Model, clip: Clip) -> None:
    mine = encoder(model)
    for number in range(3):
        gop = mine.encode(clip.gop(number, 9 - number), budget_bytes=BUDGET)
        assert gop.index == number
        for unit in gop.units:
            header = read_unit(unit).header
            assert (header.gop, header.frames) == (number, 9 - number)
            assert (header.width, header.height, header.scale) == (*SIZE, gop.scale)
            assert header.backend == model.backend
            assert header.i_quality == gop.facts["i_quality"]
            assert header.p_quality == gop.facts["p_quality"]


def test_gop_numbers_wrap(model: Model, clip: Clip) -> None:
    mine = encoder(model)
    mine._index = 65536 + 3
    gop = mine.encode(clip.gop(0, 1), budget_bytes=400)
    assert gop.index == 65539
    assert {read_unit(unit).header.gop for unit in gop.units} == {3}


@pytest.mark.parametrize("packing", ["interleaved", "rows"])
def test_a_unit_holds_what_the_packing_says(model: Model, clip: Clip, packing: str) -> None:
    config = EncoderConfig(packing=packing, scale=1, keep=False, least_units=5)
    gop = encoder(model, config).encode(clip.gop(0), budget_bytes=3000)
    headers = [read_unit(unit).header for unit in gop.units]
    if packing == "interleaved":
        assert {header.part for header in headers} == {Part.JOINT}
        assert len(headers) >= 5
        return
    assert {header.part for header in headers} == {Part.I_ONLY, Part.P_ONLY}
    assert {header.unit_count for header in headers} == {headers[0].grid.rows}


def test_a_given_quality_is_kept_while_its_i_tokens_fit(model: Model, clip: Clip) -> None:
    # As the paper's form has it: rounded plainly.
    config = EncoderConfig(fixed_quality=40, scale=1, rounding=0)
    rich = encoder(model, config).encode(clip.gop(0), budget_bytes=20_000)
    assert (rich.facts["i_quality"], rich.facts["p_quality"]) == (40, 40)
    assert rich.facts["p_sent"] == 1
    i_bytes = rich.facts["i_bits"] / 8
    assert rich.size_bytes > 2 * i_bytes
    poor = encoder(model, config).encode(clip.gop(0), budget_bytes=int(1.5 * i_bytes) + 150)
    assert poor.facts["i_quality"] == 40
    assert poor.facts["p_sent"] < 1
    assert poor.size_bytes <= 1.15 * (1.5 * i_bytes + 150)
    poorest = encoder(model, config).encode(clip.gop(0), budget_bytes=int(0.8 * i_bytes))
    assert poorest.facts["i_quality"] < 40


@pytest.mark.parametrize("budget", [300, 500])
def test_the_scale_comes_to_rest(model: Model, budget: int) -> None:
    """Each change sends most tokens anew; decided at once by what that costs, it would swing."""
    clip = Clip(192, 112)
    mine = Encoder(model, width=192, height=112, fps=Fraction(30), config=EncoderConfig())
    scales = [mine.encode(clip.gop(n), budget_bytes=budget).scale for n in range(11)]
    assert len(set(scales)) <= 2, scales
    assert sum(a != b for a, b in pairwise(scales)) <= 1, scales


def test_seeds_choose_what_is_dropped_by_chance(model: Model, clip: Clip) -> None:
    def units(seed: int) -> tuple[bytes, ...]:
        config = EncoderConfig(selection="random", fixed_quality=40, scale=1, seed=seed)
        return encoder(model, config).encode(clip.gop(0), budget_bytes=1500).units

    assert units(1) != units(2)


#: Settings whose tokens are dropped.
FORMS = {
    "morphe": EncoderConfig(scale=1),
    "keep": EncoderConfig(scale=1, keep=True),
    "rows": EncoderConfig(scale=1, packing="rows", motion=False, fixed_quality=40),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("scope", "share"), [("p", 0.5), ("all", 0.5), ("all", 0.75), ("all", 1)])
@pytest.mark.parametrize("selection", STRATEGIES)
def test_the_encoder_knows_what_dropped_tokens_leave(
    model: Model, clip: Clip, form: str, selection: str, scope: str, share: float
) -> None:
    config = replace(FORMS[form], selection=selection, drop_scope=scope, drop_share=share)
    mine = encoder(model, config)
    decoder = Decoder(model, width=SIZE[0], height=SIZE[1])
    for number in range(2):
        gop = mine.encode(clip.gop(number), budget_bytes=BUDGET)
        assert len(decoder.decode(gop.units)) == 9
        assert mine._memory is not None
        assert decoder._memory is not None
        for one, other in zip(mine._memory.last, decoder._memory.last, strict=True):
            assert torch.equal(one, other)
    assert decoder.refused_units == 0


@pytest.mark.parametrize("selection", STRATEGIES)
def test_the_share_that_is_dropped_is_exact(model: Model, clip: Clip, selection: str) -> None:
    for scope, share in product(("p", "all"), (0.25, 0.5, 0.75)):
        config = replace(FORMS["morphe"], selection=selection, drop_scope=scope, drop_share=share)
        facts = encoder(model, config).encode(clip.gop(0), budget_bytes=BUDGET).facts
        if scope == "p":
            assert (facts["i_sent"], facts["p_sent"]) == (1, 1 - share)
            continue
        assert facts["i_sent"] + facts["p_sent"] == pytest.approx(2 * (1 - share))
        if selection == "random":
            assert 0 < facts["i_sent"] < 1
            assert 0 < facts["p_sent"] < 1
        else:  # an I token only after the last P token
            assert facts["i_sent"] == min(1, 2 * (1 - share))


def test_what_is_dropped_changes_no_quality(model: Model, clip: Clip) -> None:
    """All strategies are compared at the steps that the budget gives where nothing is dropped."""

    def gops(config: EncoderConfig) -> list[tuple[float, float, tuple[int, ...]]]:
        mine = encoder(model, config)
        found = [mine.encode(clip.gop(n), budget_bytes=BUDGET) for n in range(3)]
        return [(g.facts["i_quality"], g.facts["p_quality"], g.budgeted) for g in found]

    # Each GoP by itself: what it leans on is changed by what was dropped of the one before.
    alone = replace(FORMS["morphe"], lean=False)
    whole = gops(alone)
    for selection, scope in product(STRATEGIES, ("p", "all")):
        config = replace(alone, selection=selection, drop_scope=scope, drop_share=0.5)
        assert gops(config) == whole


def test_what_was_budgeted_is_what_is_sent_where_nothing_is_dropped(
    model: Model, clip: Clip
) -> None:
    gop = encoder(model).encode(clip.gop(0), budget_bytes=3 * BUDGET)
    assert gop.facts["p_sent"] > 0.5
    assert gop.budgeted == tuple(map(len, gop.units))
    dropping = encoder(model, EncoderConfig(drop_share=0.9))
    less = dropping.encode(clip.gop(0), budget_bytes=3 * BUDGET)
    assert less.budgeted == gop.budgeted
    assert less.size_bytes < gop.size_bytes


def test_the_first_gop_says_that_it_needs_none_before_whatever_is_dropped(
    model: Model, clip: Clip
) -> None:
    config = EncoderConfig(drop_share=0.75, drop_scope="all")
    mine = encoder(model, config)
    gops = [mine.encode(clip.gop(n), budget_bytes=BUDGET) for n in range(2)]
    intra = [{read_unit(unit).header.intra for unit in gop.units} for gop in gops]
    assert intra == [{True}, {False}]


def test_a_given_quality_follows_the_papers_anchors(model: Model, clip: Clip) -> None:
    """2x as soon as its whole tokens fit, and back when they do not; what is left is residual."""
    mine = encoder(model, replace(profile("morphe-paper"), fixed_quality=30))
    rich = [mine.encode(clip.gop(n), budget_bytes=20_000) for n in range(3)]
    assert [gop.scale for gop in rich] == [3, 2, 2]
    assert all(gop.facts["p_sent"] == 1 and gop.facts["residual_units"] for gop in rich)
    poor = [mine.encode(clip.gop(n), budget_bytes=700) for n in range(3, 6)]
    assert [gop.scale for gop in poor] == [3, 3, 3]
    assert poor[-1].facts["p_sent"] < 1


def test_rounding_by_cost_gives_finer_steps_for_the_same_bytes(model: Model, clip: Clip) -> None:
    """What is not worth its bits pays for what is; the decoder shows it better."""
    quality, size = {}, {}
    for price in (0.0, 0.7):
        mine = encoder(model, EncoderConfig(scale=1, rounding=price))
        decoder = Decoder(model, width=SIZE[0], height=SIZE[1])
        gops = [mine.encode(clip.gop(n), budget_bytes=4 * BUDGET) for n in range(4)]
        shown = [clip.psnr(decoder.decode(g.units), clip.gop(n)) for n, g in enumerate(gops)]
        quality[price] = np.mean([g.facts["p_quality"] for g in gops[1:]]), np.mean(shown[1:])
        size[price] = sum(g.size_bytes for g in gops[1:])
    assert size[0.7] == pytest.approx(size[0.0], rel=0.05)
    assert quality[0.7][0] > quality[0.0][0]
    assert quality[0.7][1] > quality[0.0][1] - 0.05


@pytest.mark.parametrize("packing", ["interleaved", "rows"])
def test_whatever_is_rounded_the_decoder_has_what_the_encoder_has(
    model: Model, clip: Clip, packing: str
) -> None:
    mine = encoder(model, EncoderConfig(scale=1, rounding=4.0, packing=packing, keep=True))
    decoder = Decoder(model, width=SIZE[0], height=SIZE[1])
    for number in range(3):
        decoder.decode(mine.encode(clip.gop(number), budget_bytes=BUDGET).units)
        assert mine._memory is not None
        assert decoder._memory is not None
        for one, other in zip(mine._memory.last, decoder._memory.last, strict=True):
            assert torch.equal(one, other)


STARVED = {
    "morphe": EncoderConfig(),
    "keep": EncoderConfig(keep=True),
    "paper": profile("morphe-paper"),
    "no motion": EncoderConfig(motion=False),
}


@pytest.mark.parametrize("form", STARVED)
def test_where_not_even_i_tokens_fit_the_most_changed_are_sent(model: Model, form: str) -> None:
    """A defined floor: I tokens first, and the picture before in the place of the others."""
    config = replace(STARVED[form], scale=3)
    clip = Clip(384, 224, speed=8)
    mine = Encoder(model, width=384, height=224, fps=Fraction(30), config=config)
    decoder = Decoder(model, width=384, height=224)
    seen = []
    for number in range(4):
        gop = mine.encode(clip.gop(number), budget_bytes=600 if form == "paper" else 160)
        assert len(decoder.decode(gop.units)) == 9
        assert gop.mode is (Mode.SELECT_3X if number else Mode.ALL_3X)
        assert gop.facts["i_quality"] == COARSEST or form == "paper"
        seen.append(gop.facts["i_sent"])
        assert mine._memory is not None
        assert decoder._memory is not None
        for one, other in zip(mine._memory.last, decoder._memory.last, strict=True):
            assert torch.equal(one, other)
    assert min(seen) < 0.9
    assert max(seen) > 0


@pytest.mark.parametrize("budget", [120, 300, 1500, 6000])
def test_no_gop_is_far_beyond_its_budget_not_even_the_first_or_a_cut(
    model: Model, budget: int
) -> None:
    clips = [Clip(192, 112, seed=seed, speed=speed) for seed, speed in ((1, 0.5), (2, 6.0))]
    mine = Encoder(model, width=192, height=112, fps=Fraction(30), config=EncoderConfig())
    sizes = [
        mine.encode(clip.gop(number), budget_bytes=budget).size_bytes
        for clip in clips
        for number in range(3)
    ]
    assert max(sizes) <= 1.1 * budget + 20, sizes


def test_a_gop_that_came_out_too_large_is_coded_once_more(
    model: Model, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    code_p = Encoder._code_p

    def counted(self: Encoder, *rest: Any) -> Any:
        tries.append(self._share.bias)
        return code_p(self, *rest)

    monkeypatch.setattr(Encoder, "_code_p", counted)
    mine = encoder(model)
    mine._share.bias = 0.6  # as if the tables said far too much of every token
    gop = mine.encode(clip.gop(0), budget_bytes=4 * BUDGET)
    assert len(tries) == 2
    assert tries[1] > tries[0]
    assert gop.size_bytes < 1.3 * 4 * BUDGET
    mine.encode(clip.gop(1), budget_bytes=4 * BUDGET)
    assert len(tries) == 3


def test_motion_leaves_most_of_a_small_budget_to_the_picture(model: Model) -> None:
    clip = Clip(192, 112, speed=5)
    mine = Encoder(model, width=192, height=112, fps=Fraction(30), config=EncoderConfig(scale=1))
    for number in range(3):
        gop = mine.encode(clip.gop(number), budget_bytes=80)
        assert gop.facts["motion_bits"] < 0.6 * 8 * 80
