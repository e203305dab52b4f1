"""Tokens to bytes and back: exact, independent, safe, and as small as the contexts promise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError, CodecConfigError, TrainingError, WeightsError
from morphe_core.vgc.bitstream import Part, unit_rows
from morphe_core.vgc.contexts import level
from morphe_core.vgc.entropy import (
    EntropyModel,
    RowTokens,
    camera_bits,
    decode_rows,
    decode_units,
    encode_rows,
    encode_units,
    measured_bits,
    token_bits,
    total_bits,
)
from morphe_core.vgc.range_coding import Writer
from morphe_core.vgc.tokens import (
    CAMERA_SHAPE,
    KNOTS,
    MOTION_CHANNELS,
    MOTION_MAX,
    TOKEN_MAX,
    GopTokens,
    Grid,
)
from morphe_core.vgc.unit_coding import UnitCoder, motion_extras

I_CHANNELS, P_CHANNELS = 24, 20
PLANES = {
    Part.JOINT: ("i", "p", "i_sent", "p_sent", "motion", "camera"),
    Part.I_ONLY: ("i", "i_sent"),
    Part.P_ONLY: ("p", "p_sent", "motion", "camera"),
}


def smooth_gop(seed: int, *, rows: int = 12, cols: int = 24, quality: int = 40) -> GopTokens:
    """Laplacian tokens whose scale falls with the channel and varies smoothly over the picture."""
    generator = np.random.default_rng(seed)
    activity = np.exp(np.cumsum(generator.normal(0, 0.35, (rows, cols)), axis=1) - 0.5)
    activity = np.minimum(activity, 6) * 2.0 ** ((quality - 40) / 16)

    def tokens(channels: int) -> np.ndarray:
        scale = activity[..., None] * 3 / (1 + np.arange(channels)) ** 1.2
        return np.trunc(generator.laplace(0, scale)).astype(np.int16)

    i, p = tokens(I_CHANNELS), tokens(P_CHANNELS)
    i[..., 0] += np.cumsum(generator.normal(0, 3, (rows, cols)), axis=1).astype(np.int16)
    i_sent = generator.random((rows, cols)) < 0.7
    i_sent[::3] = True
    p_sent = np.repeat(generator.random((rows, -(-cols // 4))) < 0.8, 4, axis=1)[:, :cols]
    motion = np.zeros((rows, cols // 2, MOTION_CHANNELS), np.int16)
    motion[:, 3:9] = generator.integers(-40, 40, (rows, 1, MOTION_CHANNELS))
    motion[generator.random((rows, cols // 2)) < 0.1] = 7
    camera = generator.integers(-6, 7, CAMERA_SHAPE).astype(np.int16)
    return GopTokens(
        i * i_sent[..., None], p * p_sent[..., None], i_sent, p_sent, motion, camera, quality,
        quality - 8,
    )  # fmt: skip


@cache
def model() -> EntropyModel:
    gops = [smooth_gop(seed, quality=20 + 5 * (seed % 8)) for seed in range(40)]
    return EntropyModel.fit(gops, steps=60)


def check(gop: GopTokens, rows: range, part: Part, found: RowTokens) -> None:
    for name in ("i", "p", "i_sent", "p_sent", "motion"):
        expected = getattr(gop, name)[list(rows)]
        if name not in PLANES[part]:
            expected = np.zeros_like(expected)
        np.testing.assert_array_equal(getattr(found, name), expected, err_msg=name)
    camera = gop.camera if "camera" in PLANES[part] else np.zeros_like(gop.camera)
    np.testing.assert_array_equal(found.camera, camera[None])


def facts(gop: GopTokens) -> dict:
    return {"grid": gop.grid, "i_quality": gop.i_quality, "p_quality": gop.p_quality}


@st.composite
def gops(draw: st.DrawFn) -> GopTokens:
    rows, cells = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    peak = draw(st.sampled_from([0, 1, 3, 50, TOKEN_MAX]))
    density = draw(st.sampled_from([0.02, 0.3, 1.0]))

    def numbers(shape: tuple[int, ...], limit: int) -> np.ndarray:
        some = generator.integers(-limit, limit, shape, endpoint=True)
        return np.where(generator.random(shape) < density, some, 0).astype(np.int16)

    def mask() -> np.ndarray:
        kind = draw(st.sampled_from(["all", "none", "some", "rows"]))
        share = {"all": 1.0, "none": 0.0, "some": 0.5, "rows": 0.5}[kind]
        size = (rows, 1 if kind == "rows" else 2 * cells)
        return np.broadcast_to(generator.random(size) < share, (rows, 2 * cells)).copy()

    i_sent, p_sent = mask(), mask()
    shape = (rows, 2 * cells)
    return GopTokens(
        numbers((*shape, I_CHANNELS), peak) * i_sent[..., None],
        numbers((*shape, P_CHANNELS), peak) * p_sent[..., None],
        i_sent, p_sent,
        numbers((rows, cells, MOTION_CHANNELS), min(peak, MOTION_MAX)),
        numbers(CAMERA_SHAPE, min(peak, MOTION_MAX)),
        draw(st.integers(0, 127)), draw(st.integers(0, 127)),
    )  # fmt: skip


@given(gops(), st.sampled_from(Part), st.integers(1, 7))
def test_any_tokens_come_back(gop: GopTokens, part: Part, count: int) -> None:
    units = [unit_rows(gop.grid.rows, min(count, gop.grid.rows), 0)]
    units += [unit_rows(gop.grid.rows, len(gop.i), unit) for unit in range(1, len(gop.i))]
    payloads = encode_units(model(), gop, units, part=part)
    for rows, found in zip(
        units, decode_units(model(), payloads, units=units, part=part, **facts(gop)), strict=True
    ):
        assert isinstance(found, RowTokens)
        check(gop, rows, part, found)


@pytest.mark.parametrize("part", Part)
def test_a_unit_is_the_same_alone_and_among_others(part: Part) -> None:
    for seed in range(6):
        gop = smooth_gop(seed, quality=10 + 12 * seed)
        # A unit without anything beside full ones: groups of channels end at different places.
        gop.p[3::4] = 0
        gop.i[1::4] = 0
        units = [unit_rows(12, 4, unit) for unit in range(4)]
        payloads = encode_units(model(), gop, units, part=part)
        together = decode_units(model(), payloads, units=units, part=part, **facts(gop))
        for rows, payload, found in zip(units, payloads, together, strict=True):
            assert encode_rows(model(), gop, rows, part=part) == payload
            assert isinstance(found, RowTokens)
            check(gop, rows, part, found)
            alone = decode_rows(model(), payload, rows=rows, part=part, **facts(gop))
            check(gop, rows, part, alone)


def test_a_lost_unit_leaves_the_others() -> None:
    gop = smooth_gop(1)
    units = [unit_rows(12, 3, unit) for unit in range(3)]
    payloads = encode_units(model(), gop, units, part=Part.JOINT)
    for lost in range(3):
        left = [unit for unit in range(3) if unit != lost]
        found = decode_units(
            model(), [payloads[unit] for unit in left], units=[units[unit] for unit in left],
            part=Part.JOINT, **facts(gop),
        )  # fmt: skip
        for unit, tokens in zip(left, found, strict=True):
            assert isinstance(tokens, RowTokens)
            check(gop, units[unit], Part.JOINT, tokens)


def test_nothing_to_say_takes_a_byte_or_two() -> None:
    gop = smooth_gop(0)
    nothing = np.zeros_like(gop.i_sent)
    empty = replace(
        gop, i=gop.i * 0, p=gop.p * 0, i_sent=nothing, p_sent=nothing, motion=gop.motion * 0,
        camera=gop.camera * 0,
    )  # fmt: skip
    payloads = encode_units(model(), empty, [range(0, 12, 2), range(1, 12, 2)], part=Part.JOINT)
    assert max(map(len, payloads)) <= 12
    found = decode_rows(model(), payloads[0], rows=range(0, 12, 2), part=Part.JOINT, **facts(empty))
    check(empty, range(0, 12, 2), Part.JOINT, found)


def tokens_in_range(found: RowTokens, rows: int, cols: int) -> None:
    assert found.i.shape == (rows, cols, I_CHANNELS)
    assert found.p.shape == (rows, cols, P_CHANNELS)
    assert found.motion.shape == (rows, cols // 2, MOTION_CHANNELS)
    assert found.camera.shape == (1, *CAMERA_SHAPE)
    assert np.abs(found.i).max() <= TOKEN_MAX
    assert np.abs(found.p).max() <= TOKEN_MAX
    assert np.abs(found.motion).max() <= MOTION_MAX
    assert np.abs(found.camera).max() <= MOTION_MAX


@given(st.binary(max_size=300), st.sampled_from(Part), st.integers(0, 127))
def test_garbage_gives_tokens_or_an_error(data: bytes, part: Part, quality: int) -> None:
    try:
        found = decode_rows(
            model(), data, grid=Grid(9, 10), rows=[0, 4, 8], part=part, i_quality=quality,
            p_quality=127 - quality,
        )  # fmt: skip
    except BitstreamError:
        return
    tokens_in_range(found, 3, 10)


@given(st.integers(0, 5), st.sampled_from(Part), st.data())
def test_damage_gives_tokens_or_an_error(seed: int, part: Part, data: st.DataObject) -> None:
    gop = smooth_gop(seed)
    payload = bytearray(encode_rows(model(), gop, range(0, 12, 3), part=part))
    cut = data.draw(st.integers(0, len(payload)))
    for _ in range(data.draw(st.integers(0, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_rows(
            model(), bytes(payload[:cut]), rows=range(0, 12, 3), part=part, **facts(gop)
        )
    except BitstreamError:
        return
    tokens_in_range(found, 4, 24)


def test_a_damaged_unit_does_not_disturb_the_others() -> None:
    gop = smooth_gop(3)
    units = [unit_rows(12, 3, unit) for unit in range(3)]
    payloads = encode_units(model(), gop, units, part=Part.JOINT)
    payloads[1] = b"\xff" * 40
    found = decode_units(model(), payloads, units=units, part=Part.JOINT, **facts(gop))
    assert isinstance(found[1], BitstreamError)
    for unit in (0, 2):
        check(gop, units[unit], Part.JOINT, found[unit])


def test_estimates_are_what_is_written() -> None:
    estimated = real = 0.0
    for seed in range(50, 58):
        gop = smooth_gop(seed, rows=20, cols=48, quality=20 + 5 * (seed % 8))
        estimated += total_bits(model(), gop)
        units = [unit_rows(20, 2, unit) for unit in range(2)]
        real += 8 * sum(map(len, encode_units(model(), gop, units, part=Part.JOINT)))
    assert estimated == pytest.approx(real, rel=0.01)


def test_bits_by_token_add_up_to_bits_of_the_gop() -> None:
    gop = smooth_gop(60)
    i = token_bits(model(), gop.i, gop.i_quality, "i", sent=gop.i_sent)
    p = token_bits(
        model(), gop.p, gop.p_quality, "p", sent=gop.p_sent, i_tokens=gop.i, i_sent=gop.i_sent,
        motion=gop.motion,
    )  # fmt: skip
    motion = token_bits(model(), gop.motion, 0, "motion")
    assert i.shape == p.shape == gop.i_sent.shape
    assert motion.shape == (12, 12)
    assert not i[~gop.i_sent].any()
    assert not p[~gop.p_sent].any()
    camera = camera_bits(model(), gop.camera)
    whole = total_bits(model(), gop)
    assert i.sum() + p.sum() + motion.sum() + camera <= whole
    assert i.sum() + p.sum() + motion.sum() + camera >= whole - gop.i_sent.size * 2 - 100
    alone = token_bits(model(), gop.p, gop.p_quality, "p_alone", sent=gop.p_sent, motion=gop.motion)
    by_parts = total_bits(model(), gop, part=Part.P_ONLY)
    assert alone.sum() + motion.sum() + camera == pytest.approx(by_parts, rel=0.05)


def test_each_unit_pays_for_the_camera() -> None:
    gop = smooth_gop(63)
    calm = replace(gop, camera=0 * gop.camera)
    more = camera_bits(model(), gop.camera) - camera_bits(model(), calm.camera)
    assert more > 20
    for count in (1, 3, 12):
        units = [unit_rows(12, count, unit) for unit in range(count)]
        sizes = [
            8 * sum(map(len, encode_units(model(), one, units, part=Part.P_ONLY)))
            for one in (gop, calm)
        ]
        # Each unit ends at a whole byte.
        assert sizes[0] - sizes[1] == pytest.approx(count * more, abs=8 * count)
        # I units know nothing of it.
        assert encode_units(model(), gop, units, part=Part.I_ONLY) == encode_units(
            model(), calm, units, part=Part.I_ONLY
        )


def test_a_camera_out_of_range_fails_its_unit_alone() -> None:
    """Bytes that an honest encoder never writes, among honest units."""
    gop = smooth_gop(64)
    units = [unit_rows(12, 3, unit) for unit in range(3)]
    camera = np.repeat(gop.camera[None], 3, axis=0)
    camera[1, -1, 0] = MOTION_MAX + 9
    order = [row for unit in units for row in unit]
    rows = RowTokens(
        gop.i[order], gop.p[order], gop.i_sent[order], gop.p_sent[order], gop.motion[order], camera
    )
    writer = Writer(3)
    qualities = (gop.i_quality, gop.p_quality)
    UnitCoder(model(), writer, units, gop.grid, qualities).run(Part.JOINT, rows)
    found = decode_units(model(), writer.finish(), units=units, part=Part.JOINT, **facts(gop))
    assert isinstance(found[1], BitstreamError)
    for unit in (0, 2):
        assert isinstance(found[unit], RowTokens)
        check(gop, units[unit], Part.JOINT, found[unit])


def test_the_joint_form_is_not_measured_without_its_i_tokens() -> None:
    gop = smooth_gop(60)
    for measure in (token_bits, measured_bits):
        with pytest.raises(CodecConfigError, match="matrix 'p': needs i_tokens"):
            measure(model(), gop.p, gop.p_quality, "p", sent=gop.p_sent, motion=gop.motion)


def test_what_is_not_given_is_all_sent_and_no_motion() -> None:
    gop = smooth_gop(60)
    everything, still = np.ones_like(gop.i_sent), np.zeros_like(gop.motion)
    for measure in (token_bits, measured_bits):
        little = measure(model(), gop.p, gop.p_quality, "p", i_tokens=gop.i)
        same = measure(
            model(), gop.p, gop.p_quality, "p", sent=everything, i_tokens=gop.i,
            i_sent=everything, motion=still,
        )  # fmt: skip
        for one, other in zip(little, same, strict=True):
            np.testing.assert_array_equal(one, other)


def test_p_tokens_know_of_motion_at_the_middle_and_at_the_last_knot() -> None:
    gop = smooth_gop(60)
    knots = gop.motion.reshape(12, 12, len(KNOTS), 2)
    known = np.concatenate([knots[..., KNOTS.index(time), :] for time in (4, 8)], axis=2)
    wanted = np.repeat(level(known), 2, axis=1)
    np.testing.assert_array_equal(motion_extras(gop.motion), wanted)
    assert motion_extras(gop.motion[..., :0]).shape == (12, 24, 0)

    def bits(motion: np.ndarray) -> float:
        return token_bits(model(), gop.p, gop.p_quality, "p_alone", motion=motion).sum()

    for number, time in enumerate(KNOTS):
        other = gop.motion.copy()
        other[..., 2 * number : 2 * number + 2] += 60
        assert (bits(other) != bits(gop.motion)) == (time in (4, 8))


def test_a_busy_token_costs_more() -> None:
    gop = smooth_gop(61)
    bits = token_bits(model(), gop.i, gop.i_quality, "i", sent=gop.i_sent)
    energy = np.abs(gop.i).sum(axis=2)
    assert np.corrcoef(bits[gop.i_sent], energy[gop.i_sent])[0, 1] > 0.7


def test_zeroing_saves_what_it_says() -> None:
    gop = smooth_gop(62, quality=80)
    gop = replace(gop, i_sent=np.ones_like(gop.i_sent))
    bits, saved = measured_bits(model(), gop.i, gop.i_quality, "i")
    np.testing.assert_array_equal(bits, token_bits(model(), gop.i, gop.i_quality, "i"))
    assert saved.shape == gop.i.shape
    assert not saved[gop.i == 0].any()
    before = token_bits(model(), gop.i, gop.i_quality, "i").sum(dtype=float)
    # The last group of an odd column is nobody's context, so what is saved there is exact.
    assert np.count_nonzero(gop.i[..., 16:]) > 40
    places = np.argwhere(gop.i[:, 1::2, 16:])[5:25]
    for row, column, channel in places:
        values = gop.i.copy()
        values[row, 1 + 2 * column, 16 + channel] = 0
        after = token_bits(model(), values, gop.i_quality, "i").sum(dtype=float)
        assert before - after == pytest.approx(saved[row, 1 + 2 * column, 16 + channel], abs=0.02)


def ideal_bits(values: np.ndarray) -> float:
    """Bits at the zero-order entropy of each channel in this very matrix."""
    total = 0.0
    for channel in range(values.shape[-1]):
        _, counts = np.unique(values[..., channel], return_counts=True)
        total -= (counts * np.log2(counts / counts.sum())).sum()
    return total


def test_contexts_beat_tables_made_for_the_very_gop() -> None:
    real = ideal = 0.0
    for seed in range(70, 76):
        gop = smooth_gop(seed, rows=20, cols=48)
        everywhere = np.ones_like(gop.i_sent)
        real += token_bits(model(), gop.i, gop.i_quality, "i", sent=gop.i_sent).sum()
        ideal += ideal_bits(gop.i[gop.i_sent])
        assert everywhere.all()
    assert real < 0.95 * ideal


def test_a_model_survives_its_arrays() -> None:
    arrays = model().arrays()
    assert all(array.dtype.kind in "iu" for array in arrays.values())
    gop = smooth_gop(5)
    again = EntropyModel.from_arrays(arrays)
    for part in Part:
        assert encode_rows(again, gop, range(0, 12, 2), part=part) == encode_rows(
            model(), gop, range(0, 12, 2), part=part
        )


def test_damaged_arrays_are_named() -> None:
    arrays = model().arrays()
    for name in arrays:
        with pytest.raises(WeightsError, match=name):
            EntropyModel.from_arrays({key: a for key, a in arrays.items() if key != name})
        with pytest.raises(WeightsError, match=name):
            EntropyModel.from_arrays(arrays | {name: arrays[name].astype(np.float32)})
    with pytest.raises(WeightsError, match=r"i\.first gives a symbol no frequency"):
        EntropyModel.from_arrays(arrays | {"i.first": np.full_like(arrays["i.first"], 40000)})
    with pytest.raises(WeightsError, match=r"i\.0\.1 has weights too large"):
        EntropyModel.from_arrays(arrays | {"i.0.1.w2": np.full_like(arrays["i.0.1.w2"], 30000)})


def test_a_backend_without_motion() -> None:
    none, rest = np.zeros((12, 12, 0), np.int16), np.zeros(CAMERA_SHAPE, np.int16)
    still = [replace(smooth_gop(seed), motion=none, camera=rest) for seed in range(4)]
    fitted = EntropyModel.fit(still, steps=5)
    again = EntropyModel.from_arrays(fitted.arrays())
    assert again.motion_channels == 0
    for part in Part:
        payload = encode_rows(again, still[0], range(0, 12, 2), part=part)
        found = decode_rows(again, payload, rows=range(0, 12, 2), part=part, **facts(still[0]))
        check(still[0], range(0, 12, 2), part, found)
    with pytest.raises(CodecConfigError, match="the model has i, p, p_alone"):
        token_bits(again, still[0].motion, 0, "motion")
    # A camera that moves would be lost without a word.
    moving = replace(still[0], camera=rest + 1)
    with pytest.raises(CodecConfigError, match="tokens camera: magnitude 1 is beyond 0"):
        encode_rows(again, moving, [0], part=Part.JOINT)
    assert camera_bits(again, rest) == 0


@settings(max_examples=20)
@given(gops())
def test_an_untrained_model_codes_everything(gop: GopTokens) -> None:
    payload = encode_rows(untrained(), gop, range(len(gop.i)), part=Part.JOINT)
    found = decode_rows(untrained(), payload, rows=range(len(gop.i)), part=Part.JOINT, **facts(gop))
    check(gop, range(len(gop.i)), Part.JOINT, found)


@cache
def untrained() -> EntropyModel:
    return EntropyModel.fit([smooth_gop(0, rows=2, cols=2)], steps=0)


def test_fitting_is_repeatable() -> None:
    gop = [smooth_gop(0), smooth_gop(1)]
    first, second = (EntropyModel.fit(gop, steps=5).arrays() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_fitting_to_nothing() -> None:
    with pytest.raises(TrainingError, match="at least one GoP"):
        EntropyModel.fit([])
    other = replace(smooth_gop(0), i=np.zeros((12, 24, 3), np.int16))
    with pytest.raises(TrainingError, match="different backends"):
        EntropyModel.fit([smooth_gop(0), other])


def test_wrong_input_is_named() -> None:
    gop = smooth_gop(0)
    with pytest.raises(CodecConfigError, match=r"rows 5\.\.12: must be within 0 and 11"):
        encode_rows(model(), gop, [5, 12], part=Part.JOINT)
    with pytest.raises(CodecConfigError, match="tokens p of shape"):
        encode_rows(model(), replace(gop, p=gop.p[..., :3]), [0], part=Part.JOINT)
    with pytest.raises(CodecConfigError, match="tokens motion: magnitude 256 is beyond 255"):
        encode_rows(model(), replace(gop, motion=gop.motion * 0 + 256), [0], part=Part.JOINT)
    with pytest.raises(CodecConfigError, match="tokens camera: magnitude 256 is beyond 255"):
        encode_rows(model(), replace(gop, camera=gop.camera * 0 - 256), [0], part=Part.JOINT)
    with pytest.raises(CodecConfigError, match=r"tokens camera of shape \(8, 2\)"):
        encode_rows(model(), replace(gop, camera=gop.camera[:8]), [0], part=Part.JOINT)
    with pytest.raises(CodecConfigError, match="2 payloads for 1 units"):
        decode_units(model(), [b"", b""], units=[[0]], part=Part.JOINT, **facts(gop))
    with pytest.raises(CodecConfigError, match="matrix 'x'"):
        token_bits(model(), gop.i, 0, "x")
