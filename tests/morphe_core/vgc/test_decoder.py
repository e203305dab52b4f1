"""The decoder when not all units come, or other ones; see also test_codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphe_core.errors import CodecConfigError
from morphe_core.models import Model
from morphe_core.vgc.bitstream import Kind, read_unit, write_unit
from morphe_core.vgc.codec import Decoder, EncodedGop, Encoder, EncoderConfig, profile
from tests.morphe_core.vgc.conftest import Clip, Packed

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (128, 96)
PICTURE_BYTES = SIZE[0] * SIZE[1] * 3 // 2
CONFIGS = {"morphe": EncoderConfig(scale=1, least_units=5), "paper": profile("morphe-paper")}


def decoder(model: Model, **settings: int) -> Decoder:
    return Decoder(model, width=SIZE[0], height=SIZE[1], **settings)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip(*SIZE)


@pytest.fixture(scope="module", params=list(CONFIGS))
def gops(request: pytest.FixtureRequest, model: Model, clip: Clip) -> list[EncodedGop]:
    encoder = Encoder(
        model, width=SIZE[0], height=SIZE[1], fps=Fraction(30), config=CONFIGS[request.param]
    )
    return [encoder.encode(clip.gop(n), budget_bytes=2000) for n in range(3)]


def same(one: Sequence[Packed], other: Sequence[Packed]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def after(model: Model, gops: list[EncodedGop], units: Sequence[bytes]) -> list[Packed]:
    """The second GoP from `units`, after the first as it was sent."""
    mine = decoder(model)
    mine.decode(gops[0].units)
    return mine.decode(units)


@given(data=st.data())
@settings(max_examples=10)
def test_any_units_in_any_order_give_a_whole_gop(
    model: Model, gops: list[EncodedGop], data: st.DataObject
) -> None:
    mine = decoder(model)
    for gop in gops[:2]:
        chosen = data.draw(st.lists(st.sampled_from(gop.units), unique=True), label="units")
        mixed = data.draw(st.permutations([*chosen, *chosen[:2]]), label="order")
        shown = mine.decode(mixed)
        assert len(shown) == 9
        assert all(one.dtype == np.uint8 and one.size == PICTURE_BYTES for one in shown)
        fresh = decoder(model)
        if gop is gops[0]:
            assert same(fresh.decode(chosen), shown)
    assert mine.refused_units == 0
    assert len(mine.decode(gops[2].units)) == 9


def test_order_and_duplicates_change_nothing(model: Model, gops: list[EncodedGop]) -> None:
    units = gops[1].units
    wanted = after(model, gops, units)
    assert same(after(model, gops, units[::-1]), wanted)
    assert same(after(model, gops, [*units, *units[:3]]), wanted)


def test_each_loss_costs_something_and_leaves_most(
    model: Model, gops: list[EncodedGop], clip: Clip
) -> None:
    whole = after(model, gops, gops[1].units)
    without = after(model, gops, gops[1].units[1:])
    assert not same(whole, without)
    assert clip.psnr(without, whole) > 20
    half = after(model, gops, gops[1].units[::2])
    assert clip.psnr(half, whole) < clip.psnr(without, whole)


@given(unit=st.integers(0, 10**6), place=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=6)
def test_a_damaged_unit_is_a_lost_one(
    model: Model, gops: list[EncodedGop], unit: int, place: int, bit: int
) -> None:
    units = list(gops[1].units)
    unit %= len(units)
    damaged = bytearray(units[unit])
    damaged[place % len(damaged)] ^= 1 << bit
    mine = decoder(model)
    mine.decode(gops[0].units)
    shown = mine.decode([*units[:unit], bytes(damaged), *units[unit + 1 :]])
    assert mine.refused_units == 1
    assert same(shown, after(model, gops, [*units[:unit], *units[unit + 1 :]]))


def test_no_flipped_bit_of_a_unit_gets_by(model: Model, gops: list[EncodedGop]) -> None:
    unit = min(gops[1].units, key=len)
    mine = decoder(model)
    for place in range(len(unit)):
        damaged = bytearray(unit)
        damaged[place] ^= 1 << place % 8
        assert mine._usable([bytes(damaged)]) == []
    for size in range(len(unit)):
        assert mine._usable([unit[:size]]) == []
    assert mine.refused_units == 2 * len(unit)
    assert len(mine._usable([unit])) == 1


def changed(data: bytes, **fields: int) -> bytes:
    """The unit with another header, and a checksum that fits."""
    unit = read_unit(data)
    return write_unit(replace(unit.header, **fields), unit.payload)


@pytest.mark.parametrize(
    "fields", [{"width": 126}, {"height": 94}, {"backend": 1}, {"width": 640, "height": 360}]
)
def test_units_of_another_stream_are_refused(
    model: Model, gops: list[EncodedGop], fields: dict[str, int]
) -> None:
    units = gops[1].units
    foreign = changed(units[0], **fields)
    wanted = after(model, gops, units[1:])
    for mixed in ([foreign, *units[1:]], [*units[1:], foreign]):
        mine = decoder(model)
        mine.decode(gops[0].units)
        assert same(mine.decode(mixed), wanted)
        assert mine.refused_units == 1


@pytest.mark.parametrize("fields", [{"frames": 3}, {"scale": 2}, {"i_quality": 9}, {"intra": 7}])
def test_units_that_contradict_the_first_are_refused(
    model: Model, gops: list[EncodedGop], fields: dict[str, int]
) -> None:
    units = [unit for unit in gops[1].units if read_unit(unit).header.kind is Kind.TOKENS]
    header = read_unit(units[-1]).header
    if "scale" in fields:
        fields = {"scale": 1 + header.scale % 2}
        if header.unit_count > 6:
            fields = {"p_quality": 3}  # so many rows do not exist at any other scale
    if "intra" in fields:
        fields = {"intra": not header.intra}
    mine = decoder(model)
    mine.decode(gops[0].units)
    shown = mine.decode([*units[:-1], changed(units[-1], **fields)])
    assert mine.refused_units == 1
    assert same(shown, after(model, gops, units[:-1]))


def test_units_of_another_gop_are_refused(model: Model, gops: list[EncodedGop]) -> None:
    mine = decoder(model)
    mine.decode(gops[0].units)
    late, early = gops[0].units[0], gops[2].units[1]
    shown = mine.decode([*gops[1].units, late, early])
    assert mine.refused_units == 2
    assert same(shown, after(model, gops, gops[1].units))


def test_nothing_at_the_start_is_black(model: Model, gops: list[EncodedGop]) -> None:
    mine = decoder(model)
    shown = mine.decode([], frames=4)
    assert len(shown) == 4
    pixels = SIZE[0] * SIZE[1]
    for one in shown:
        assert (one[:pixels] == 16).all()
        assert (one[pixels:] == 128).all()
    # A stream that begins late decodes as one that begins here.
    assert same(mine.decode(gops[0].units), decoder(model).decode(gops[0].units))


def test_nothing_repeats_the_last_picture_and_the_next_gop_decodes(
    model: Model, gops: list[EncodedGop], clip: Clip
) -> None:
    mine = decoder(model)
    last = mine.decode(gops[0].units)[-1]
    for units in ([], [b""], [b"nonsense" * 9]):
        shown = mine.decode(units, frames=5)
        assert same(shown, [last] * 5)
        shown[-1][:] = 0  # what is given away is the caller's
    following = mine.decode(gops[2].units)
    assert len(following) == 9
    assert clip.psnr(following, clip.gop(2)) > clip.psnr([last] * 9, clip.gop(2))


def test_a_stream_can_be_joined_late(model: Model, gops: list[EncodedGop]) -> None:
    mine = decoder(model)
    shown = mine.decode(gops[1].units)
    assert len(shown) == 9
    if read_unit(gops[1].units[0]).header.intra:
        assert same(shown, after(model, gops, gops[1].units))


def test_a_gop_that_says_it_needs_none_before_looks_the_same_after_anything(
    model: Model, gops: list[EncodedGop]
) -> None:
    mine = decoder(model)
    mine.decode(gops[1].units)
    assert same(mine.decode(gops[0].units), decoder(model).decode(gops[0].units))


def test_smoothing_touches_the_first_pictures_only(model: Model, gops: list[EncodedGop]) -> None:
    plain, smooth = decoder(model), decoder(model, smoothing=2, gate=False)
    assert same(plain.decode(gops[0].units), smooth.decode(gops[0].units))
    one, other = plain.decode(gops[1].units), smooth.decode(gops[1].units)
    assert not same(one[:1], other[:1])
    assert same(one[2:], other[2:])


def test_smoothing_can_be_for_changes_of_scale_alone(model: Model) -> None:
    """Two groups of one scale, then one of another: only its first pictures are blended."""
    clip = Clip(*SIZE)
    gops = []
    for number, scale in enumerate((1, 1, 2)):
        config = EncoderConfig(scale=scale)
        encoder = Encoder(model, width=SIZE[0], height=SIZE[1], fps=Fraction(30), config=config)
        for before in range(number + 1):
            gop = encoder.encode(clip.gop(before), budget_bytes=2000)
        gops.append(gop)
    plain, some = decoder(model), decoder(model, smoothing=2, gate=False, switches_only=True)
    for number, gop in enumerate(gops):
        one, other = plain.decode(gop.units), some.decode(gop.units)
        assert same(one[:1], other[:1]) == (number < 2)
        assert same(one[2:], other[2:])


@pytest.mark.parametrize("smoothing", [-1, 9])
def test_smoothing_has_a_range(model: Model, smoothing: int) -> None:
    with pytest.raises(CodecConfigError, match=rf"^smoothing {smoothing}: .*0 and 8$"):
        decoder(model, smoothing=smoothing)
