"""Residual units beside the tokens of a GoP, at both ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphe_core.models import Model
from morphe_core.vgc.bitstream import Kind, Part, read_unit, write_unit
from morphe_core.vgc.codec import Decoder, EncodedGop, Encoder, EncoderConfig, profile
from morphe_core.vgc.config import RESIDUALS
from morphe_core.vgc.enhancement import LEAST_BYTES, Enhancer, enhance
from tests.morphe_core.vgc.conftest import Clip, Packed

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (208, 120)
FORMS = RESIDUALS[1:]
BOTH = pytest.mark.parametrize("form", FORMS)
#: Tokens of a given quality, so that what a larger budget adds is residual.
CONFIG = EncoderConfig(
    fixed_quality=36, scale=2, unit_bytes=300, residual="transform", residual_pictures=4
)
BUDGET = 5000


class Pale(Clip):
    """The texture with little colour: else the colour is all that a residual is worth."""

    def picture(self, number: int) -> Packed:
        packed = super().picture(number)
        colour = packed[self.width * self.height :]
        colour[:] = 112 + colour // 8
        return packed


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Pale(*SIZE, speed=0.05)


def encoder(model: Model, config: EncoderConfig = CONFIG) -> Encoder:
    return Encoder(model, width=SIZE[0], height=SIZE[1], fps=Fraction(30), config=config)


def decoder(model: Model) -> Decoder:
    return Decoder(model, width=SIZE[0], height=SIZE[1])


@pytest.fixture(scope="module", params=FORMS)
def gops(request: pytest.FixtureRequest, model: Model, clip: Clip) -> list[EncodedGop]:
    mine = encoder(model, replace(CONFIG, residual=request.param))
    return [mine.encode(clip.gop(n), budget_bytes=BUDGET) for n in range(2)]


def tokens_of(gop: EncodedGop) -> list[bytes]:
    return [unit for unit in gop.units if read_unit(unit).header.kind is Kind.TOKENS]


def residual_of(gop: EncodedGop) -> list[bytes]:
    return [unit for unit in gop.units if read_unit(unit).header.kind is Kind.RESIDUAL]


def same(one: Sequence[Packed], other: Sequence[Packed]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


# -- the encoder -----------------------------------------------------------------------------------


def test_residual_units_come_last_and_are_counted(gops: list[EncodedGop]) -> None:
    for gop in gops:
        kinds = [read_unit(unit).header.kind for unit in gop.units]
        assert kinds == sorted(kinds)
        residual = residual_of(gop)
        assert len(residual) == gop.facts["residual_units"] >= 6
        assert sum(map(len, residual)) == gop.facts["residual_bytes"]
        headers = [read_unit(unit).header for unit in residual]
        assert sorted(header.unit for header in headers) == list(range(len(residual)))
        for header in headers:
            assert (header.part, header.unit_count) == (Part.JOINT, len(residual))
            assert (header.gop, header.scale, header.frames) == (gop.index, gop.scale, 9)
            assert (header.i_quality, header.p_quality) == (4, 0)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("frames", [9, 5, 1])
def test_the_encoder_sees_what_a_receiver_without_losses_shows(
    model: Model, clip: Clip, monkeypatch: pytest.MonkeyPatch, scale: int, frames: int
) -> None:
    seen: list[Sequence[Packed]] = []

    def units(
        _self: Enhancer, _pictures: Sequence[Packed], shown: Sequence[Packed], *_others: object
    ) -> list[bytes]:
        seen.append(shown)
        return []

    monkeypatch.setattr(Enhancer, "units", units)
    for config in (replace(CONFIG, scale=scale), replace(profile("morphe-paper"), scale=scale)):
        mine, its = encoder(model, config), decoder(model)
        for number in range(2):
            gop = mine.encode(clip.gop(number, frames), budget_bytes=60_000)
            assert same(its.decode(gop.units), seen.pop()[:frames])


@BOTH
def test_the_budget_is_met_whatever_is_left(model: Model, clip: Clip, form: str) -> None:
    config = replace(CONFIG, residual=form)
    nothing = encoder(model, replace(config, residual="none"))
    tokens = nothing.encode(clip.gop(0), budget_bytes=60_000)
    for left in (0, LEAST_BYTES - 1, LEAST_BYTES, 400, 1000, 2500, 5000):
        budget = tokens.size_bytes + left
        gop = encoder(model, config).encode(clip.gop(0), budget_bytes=budget)
        found = gop.facts["residual_units"]
        if gop.facts["p_sent"] == 1:
            assert gop.size_bytes <= max(budget, tokens.size_bytes)
            assert tuple(tokens_of(gop)) == tokens.units
            assert bool(found) <= (left >= LEAST_BYTES)
            if left >= 1000:
                assert gop.size_bytes >= 0.95 * budget
        else:
            assert left < 400


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("budget", [600, 1500, 6000])
def test_a_share_of_the_budget_is_kept_for_the_residual(
    model: Model, clip: Clip, share: float, budget: int
) -> None:
    config = EncoderConfig(scale=2, residual="transform", residual_share=share)
    mine = encoder(model, config)
    for number in range(3):
        gop = mine.encode(clip.gop(number), budget_bytes=budget)
        assert gop.size_bytes <= 1.1 * budget
    assert gop.size_bytes >= 0.9 * budget
    if share * budget >= 400:
        # What a unit cannot be cut to, and what the tokens' estimate was off.
        assert gop.facts["residual_bytes"] == pytest.approx(share * budget, rel=0.5)


def test_a_share_of_nothing_changes_nothing(model: Model, clip: Clip) -> None:
    plain = encoder(model, EncoderConfig()).encode(clip.gop(0), budget_bytes=2000)
    share = EncoderConfig(residual_share=0.5)
    assert encoder(model, share).encode(clip.gop(0), budget_bytes=2000) == plain
    assert (plain.facts["residual_units"], plain.facts["residual_bytes"]) == (0, 0)


def test_small_units_and_a_large_budget_are_not_too_many_to_number(
    model: Model, clip: Clip
) -> None:
    config = replace(CONFIG, unit_bytes=64, residual_pictures=1)
    gop = encoder(model, config).encode(clip.gop(0), budget_bytes=60_000)
    assert 9 <= gop.facts["residual_units"] <= 256
    its = decoder(model)
    its.decode(gop.units)
    assert its.refused_units == 0


# -- the decoder -----------------------------------------------------------------------------------


def test_it_looks_better_with_each_unit(model: Model, gops: list[EncodedGop], clip: Clip) -> None:
    tokens, residual = tokens_of(gops[0]), residual_of(gops[0])
    found = [
        clip.psnr(decoder(model).decode([*tokens, *residual[:count]]), clip.gop(0))
        for count in (0, len(residual) // 2, len(residual))
    ]
    assert found[0] + 0.2 < found[1] < found[2] - 0.2


@given(data=st.data())
@settings(max_examples=10)
def test_any_units_in_any_order_give_a_whole_gop(
    model: Model, gops: list[EncodedGop], data: st.DataObject
) -> None:
    mine, fresh = decoder(model), decoder(model)
    for gop in gops:
        chosen = data.draw(st.lists(st.sampled_from(gop.units), unique=True), label="units")
        mixed = data.draw(st.permutations([*chosen, *chosen[:2]]), label="order")
        shown = mine.decode(mixed)
        assert [one.size for one in shown] == [SIZE[0] * SIZE[1] * 3 // 2] * 9
        assert same(fresh.decode(chosen), shown)
    assert mine.refused_units == 0


def test_a_lost_residual_unit_changes_its_places_only(model: Model, gops: list[EncodedGop]) -> None:
    gop = gops[0]
    whole, bare = decoder(model).decode(gop.units), decoder(model).decode(tokens_of(gop))
    pixels, (width, height) = SIZE[0] * SIZE[1], SIZE
    for lost in residual_of(gop):
        shown = decoder(model).decode([unit for unit in gop.units if unit != lost])
        first, _, top, rows = read_unit(lost).payload[:4]
        window = range(4 * (first & 15), 4 * (first & 15) + 4)
        for number, picture in enumerate(shown):
            inside = np.zeros(height, np.bool_)
            inside[16 * top : 16 * (top + rows)] = number in window
            for place, other in ((inside, bare), (~inside, whole)):
                luma, wanted = (p[:pixels].reshape(height, width) for p in (picture, other[number]))
                assert (luma[place] == wanted[place]).all()
                # Rows of either plane of colour: half as high, half as wide.
                place = np.tile(place[::2], 2)
                colour, wanted = (p[pixels:].reshape(height, -1) for p in (picture, other[number]))
                assert (colour[place] == wanted[place]).all()


def test_the_next_gop_does_not_lean_on_residuals(model: Model, clip: Clip) -> None:
    for config in (CONFIG, replace(CONFIG, keep=True)):
        mine = encoder(model, config)
        one, two = (mine.encode(clip.gop(n), budget_bytes=BUDGET) for n in range(2))
        assert one.facts["residual_units"]
        with_residual, without = decoder(model), decoder(model)
        assert not same(with_residual.decode(one.units), without.decode(tokens_of(one)))
        assert same(with_residual.decode(two.units), without.decode(two.units))


def test_residual_units_alone_show_the_last_picture(model: Model, gops: list[EncodedGop]) -> None:
    mine = decoder(model)
    last = mine.decode(gops[0].units)[-1]
    assert same(mine.decode(residual_of(gops[1]), frames=4), [last] * 9)
    pixels = SIZE[0] * SIZE[1]
    black = decoder(model).decode(residual_of(gops[0]))
    assert len(black) == 9
    assert all((one[:pixels] == 16).all() and (one[pixels:] == 128).all() for one in black)


def test_where_nothing_is_sent_nothing_is_done(
    model: Model, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    gop = encoder(model, EncoderConfig()).encode(clip.gop(0), budget_bytes=2000)
    monkeypatch.setattr("morphe_core.vgc.enhancement.add_band", None)
    assert len(decoder(model).decode(gop.units)) == 9


# -- hostile units ---------------------------------------------------------------------------------


def changed(data: bytes, payload: bytes | None = None, **fields: int) -> bytes:
    """The unit with another header or payload, and a checksum that fits."""
    unit = read_unit(data)
    payload = unit.payload if payload is None else payload
    return write_unit(replace(unit.header, **fields), payload)


def hostile(residual: list[bytes], name: str) -> list[bytes]:
    """The units with the last one made wrong."""
    *others, last = residual
    payload = read_unit(last).payload
    wrong = {
        "empty": changed(last, b""),
        "window beyond": changed(last, bytes([payload[0] & 0xF0 | 3, *payload[1:]])),
        "rows beyond": changed(last, bytes([payload[0], payload[1], 200, *payload[3:]])),
        "other count": changed(last, unit_count=len(residual) + 1),
        "other window": changed(last, i_quality=9),
        "another's rows": changed(others[0], unit=read_unit(last).header.unit),
    }
    # The first by number of those with the same rows is used.
    others.sort(key=lambda data: read_unit(data).header.unit)
    return [*others, wrong[name]]


HOSTILE = (
    "empty", "window beyond", "rows beyond", "other count", "other window", "another's rows",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_wrong_residual_unit_is_a_lost_one(
    model: Model, gops: list[EncodedGop], name: str
) -> None:
    tokens, residual = tokens_of(gops[0]), residual_of(gops[0])
    residual.sort(key=lambda data: read_unit(data).header.unit)
    mine = decoder(model)
    shown = mine.decode([*tokens, *hostile(residual, name)])
    assert mine.refused_units == 1
    assert same(shown, decoder(model).decode([*tokens, *residual[:-1]]))


def test_a_residual_unit_that_is_cut_off_is_a_lost_one(
    model: Model, gops: list[EncodedGop]
) -> None:
    """Wherever it is cut: its checksum says so."""
    tokens, residual = tokens_of(gops[0]), residual_of(gops[0])
    *others, last = residual
    without = decoder(model).decode([*tokens, *others])
    for length in range(0, len(last), 7):
        mine = decoder(model)
        assert same(mine.decode([*tokens, *others, last[:length]]), without)
        assert mine.refused_units == 1


def test_a_cut_whose_checksum_was_made_to_fit_is_found_nearly_always(
    gops: list[EncodedGop],
) -> None:
    """Nobody but a forger makes one; what the range coder cannot know to be wrong is a band."""
    found = []
    for data in residual_of(gops[0]):
        unit = read_unit(data)
        for length in range(len(unit.payload)):
            forged = read_unit(changed(data, unit.payload[:length]))
            pictures = [np.full(SIZE[0] * SIZE[1] * 3 // 2, 128, np.uint8) for _ in range(9)]
            found.append(enhance(pictures, [forged]))
    assert set(found) == {0, 1}
    assert np.mean(found) > 0.8


@pytest.mark.parametrize("length", [0, 10, 127])
def test_windows_of_no_or_too_many_pictures_are_refused(
    model: Model, gops: list[EncodedGop], length: int
) -> None:
    tokens = tokens_of(gops[0])
    wrong = [changed(unit, i_quality=length) for unit in residual_of(gops[0])]
    mine = decoder(model)
    assert same(mine.decode([*tokens, *wrong]), decoder(model).decode(tokens))
    assert mine.refused_units == len(wrong)


@given(payload=st.binary(max_size=60), form=st.integers(0, 2), rows=st.integers(0, 9))
@settings(max_examples=15)
def test_any_payload_gives_pictures(
    model: Model, gops: list[EncodedGop], payload: bytes, form: int, rows: int
) -> None:
    unit = changed(residual_of(gops[0])[0], bytes([form << 4, 30, 0, rows]) + payload)
    mine = decoder(model)
    assert len(mine.decode([*tokens_of(gops[0]), unit])) == 9
    assert mine.refused_units <= 1


def test_tokens_outrank_residual_units(model: Model, gops: list[EncodedGop]) -> None:
    """A residual unit of another GoP, size or scale cannot shut the tokens out."""
    tokens, residual = tokens_of(gops[1]), residual_of(gops[0])
    wanted = decoder(model).decode(tokens)
    for foreign in (residual[0], changed(residual_of(gops[1])[0], scale=1)):
        mine = decoder(model)
        assert same(mine.decode([foreign, *tokens]), wanted)
        assert mine.refused_units == 1
