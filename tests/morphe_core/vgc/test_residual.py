"""The residual layer: budgets, gains, independence of units and hostile bytes."""

from __future__ import annotations

import zlib
from functools import cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.residual import (
    FORMS,
    HEADER_BYTES,
    Band,
    EncodedResidual,
    Planes,
    add_residual,
    average_residual,
    decode_residual_unit,
    encode_residual,
)

W, H = 208, 120
BOTH = pytest.mark.parametrize("form", sorted(FORMS))


@cache
def window(pictures: int = 9, dtype: str = "uint8", seed: int = 1) -> tuple[Planes, Planes]:
    """A still scene with texture and edges, and its blurred reconstruction with moving noise."""
    generator = np.random.default_rng(seed)
    luma = np.full((H, W), 110.0, np.float32)
    for side in (2, 4, 8, 16, 32, 64):
        coarse = generator.normal(0, 3 * side**0.4, (H // side + 2, W // side + 2))
        luma += cv2.resize(coarse, None, fx=side, fy=side, interpolation=cv2.INTER_CUBIC)[:H, :W]
    luma[30:90, 40:110] += 50
    luma[:, W // 2 :] = cv2.GaussianBlur(luma[:, W // 2 :], (0, 0), 4)  # nothing is lost there
    tint = cv2.resize(luma, (W // 2, H // 2))
    chroma = np.stack([128 + (tint - 110) / 4, 128 - (tint - 110) / 2])
    source = Planes(*(np.stack([plane] * pictures) for plane in (luma, chroma)))
    soft = [cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in (luma, *chroma)]
    noisy = [
        np.stack([plane + generator.normal(0, 2, plane.shape) for _ in range(pictures)])
        for plane in soft
    ]
    reconstruction = Planes(noisy[0], np.stack(noisy[1:], axis=1))
    if dtype == "uint8":
        return tuple(
            Planes(*(np.clip(plane, 0, 255).astype(np.uint8) for plane in planes))
            for planes in (source, reconstruction)
        )
    return tuple(
        Planes(*(plane.astype(dtype) for plane in planes)) for planes in (source, reconstruction)
    )


@cache
def encoded(form: str, budget: int = 900, unit_bytes: int = 300) -> EncodedResidual:
    return encode_residual(*window(), budget, form=form, unit_bytes=unit_bytes)


def decoded(units: tuple[bytes, ...]) -> list[Band]:
    return [decode_residual_unit(unit, width=W, height=H) for unit in units]


def squared_error(one: Planes, other: Planes) -> float:
    return sum(
        float(((a.astype(float) - b.astype(float)) ** 2).sum())
        for a, b in zip(one, other, strict=True)
    )


# -- Eq. 4 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_average_is_equation_4(dtype: str) -> None:
    source, reconstruction = window(5, dtype)
    average = average_residual(source, reconstruction)
    assert average.grid == (8, 13)
    luma = (source.luma.astype(float) - reconstruction.luma).mean(axis=0)
    assert average.luma[:H, :W] == pytest.approx(luma, abs=1e-4)
    chroma = (source.chroma.astype(float) - reconstruction.chroma).mean(axis=0)
    assert average.chroma[:, : H // 2] == pytest.approx(chroma, abs=1e-4)
    assert not average.luma[H:].any()
    assert not average.chroma[:, H // 2 :].any()


def test_the_average_goes_to_every_picture() -> None:
    reconstruction = window()[1]
    bands = decoded(encoded("pixel").units)
    result = add_residual(reconstruction, bands)
    changes = result.luma.astype(int) - reconstruction.luma
    clipped = (result.luma == 0) | (result.luma == 255)
    assert changes.any()
    for change in changes[1:]:
        assert (change == changes[0])[~clipped.any(axis=0)].all()


# -- round trip and gain ---------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("pictures", [1, 9])
def test_gain_is_as_reported(form: str, dtype: str, pictures: int) -> None:
    source, reconstruction = window(pictures, dtype)
    result = encode_residual(source, reconstruction, 700, form=form)
    after = add_residual(reconstruction, decoded(result.units))
    gain = squared_error(source, reconstruction) - squared_error(source, after)
    if dtype == "float32":
        assert gain == pytest.approx(result.gain, rel=1e-3)
    assert gain >= result.gain * 0.999 > 0
    assert after.luma.dtype == dtype


@BOTH
def test_pixel_values_arrive_as_they_were(form: str) -> None:
    """Whatever is not zero equals the rounded average ("pixel"); "transform" comes near it."""
    source, reconstruction = window()
    average = average_residual(source, reconstruction).luma
    close = []
    for band in decoded(encoded(form).units):
        top = 16 * band.first_row
        values = band.correction.luma
        wanted = average[top : top + len(values)]
        sent = values != 0
        close.append(np.abs(values - wanted)[sent])
    worst = np.concatenate(close).max()
    assert worst <= 0.5 if form == "pixel" else 0.5 < worst < 40


@BOTH
@settings(max_examples=15)
@given(lost=st.sets(st.integers(0, 7)))
def test_any_subset_of_units_works(form: str, lost: set[int]) -> None:
    source, reconstruction = window()
    units = encoded(form).units
    assert len(units) >= 3
    some = [unit for number, unit in enumerate(units) if number not in lost]
    bands = decoded(tuple(some))
    result = add_residual(reconstruction, bands)
    whole = add_residual(reconstruction, decoded(units))
    arrived = np.zeros(H, np.bool_)
    for band in bands:
        top = 16 * band.first_row
        arrived[top : top + len(band.correction.luma)] = True
    assert (result.luma[:, arrived] == whole.luma[:, arrived]).all()
    assert (result.luma[:, ~arrived] == reconstruction.luma[:, ~arrived]).all()
    assert (
        result.chroma[..., ~arrived[::2], :] == reconstruction.chroma[..., ~arrived[::2], :]
    ).all()
    if some:
        assert squared_error(source, result) < squared_error(source, reconstruction)


@BOTH
def test_units_are_bands_that_do_not_overlap(form: str) -> None:
    result = encoded(form)
    rows = []
    for band in decoded(result.units):
        count = len(band.correction.luma) // 16
        rows += range(band.first_row, band.first_row + count)
    assert len(rows) == len(set(rows))
    assert all(len(unit) <= 300 or unit[3] == 1 for unit in result.units)


@BOTH
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.3, 3.0, 30.0, 200.0]))
def test_noise_never_makes_it_worse(form: str, seed: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    shapes = ((2, 32, 48), (2, 2, 16, 24))
    source, reconstruction = (
        Planes(
            *(
                generator.normal(128, spread, shape).clip(0, 255).astype(np.uint8)
                for shape in shapes
            )
        )
        for _ in range(2)
    )
    budget = int(generator.integers(0, 3000))
    result = encode_residual(source, reconstruction, budget, form=form)
    assert result.size_bytes <= budget
    bands = [decode_residual_unit(unit, width=48, height=32) for unit in result.units]
    after = add_residual(reconstruction, bands)
    assert (
        squared_error(source, after) <= squared_error(source, reconstruction) - result.gain + 1e-3
    )
    assert result.gain >= 0


def test_transform_beats_pixel_at_equal_bytes() -> None:
    for budget in (300, 900, 1500):
        gains = {form: encode_residual(*window(), budget, form=form).gain for form in FORMS}
        assert gains["transform"] > 1.3 * gains["pixel"]


@pytest.mark.shared
def test_transform_beats_pixel_on_a_real_clip() -> None:
    clip = Path(__file__).parents[4] / "shared" / "video" / "test" / "tokenflow_wolf_512_20.mp4"
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="yuv420p") for frame in islice(container.decode(), 9)]
    sharp = np.stack([frame[: 2 * frame.shape[0] // 3] for frame in frames])
    soft = np.stack([cv2.GaussianBlur(picture, (0, 0), 2.0) for picture in sharp])
    grey = np.full((9, 2, sharp.shape[1] // 2, sharp.shape[2] // 2), 128, np.uint8)
    gains = {
        form: encode_residual(Planes(sharp, grey), Planes(soft, grey), 2000, form=form).gain
        for form in FORMS
    }
    assert gains["transform"] > 2 * gains["pixel"] > 0


# -- budget ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("budget", [200, 500, 1100, 2500, 4000])
@pytest.mark.parametrize("start", [None, 0.0, 60.0])
def test_budget_is_met(form: str, budget: int, start: float | None) -> None:
    result = encode_residual(*window(), budget, form=form, start=start)
    assert 0.95 * budget <= result.size_bytes <= budget


@BOTH
def test_budget_of_one_picture_is_met_too(form: str) -> None:
    """Without averaging the samples are whole numbers, and a threshold alone would jump."""
    result = encode_residual(*window(1), 900, form=form)
    assert 0.95 * 900 <= result.size_bytes <= 900


@BOTH
def test_a_good_start_gives_the_same_again(form: str) -> None:
    first = encoded(form)
    again = encode_residual(*window(), 900, form=form, unit_bytes=300, start=first.coarseness)
    assert again == first


@BOTH
@pytest.mark.parametrize("budget", [0, 1, HEADER_BYTES, 12])
def test_too_little_for_anything(form: str, budget: int) -> None:
    assert encode_residual(*window(), budget, form=form).size_bytes <= budget


@BOTH
def test_nothing_to_send(form: str) -> None:
    source, _ = window()
    result = encode_residual(source, source, 1000, form=form)
    assert (result.units, result.gain) == ((), 0)


@BOTH
def test_more_budget_than_there_is_to_send(form: str) -> None:
    source, reconstruction = window()
    result = encode_residual(source, reconstruction, 10**6, form=form)
    after = add_residual(reconstruction, decoded(result.units))
    average = average_residual(after, source)
    assert np.abs(average.luma[:H, :W]).mean() < 0.5


# -- hostile bytes ---------------------------------------------------------------------------------


def check(data: bytes) -> None:
    """Our error or a band within its picture."""
    try:
        band = decode_residual_unit(data, width=W, height=H)
    except BitstreamError:
        return
    rows = len(band.correction.luma) // 16
    assert 0 <= band.first_row < band.first_row + rows <= 8
    assert band.correction.luma.shape == (16 * rows, 208)
    assert band.correction.chroma.shape == (2, 8 * rows, 104)
    for plane in band.correction:
        assert np.abs(plane.astype(int)).max() <= 255
    add_residual(window()[1], [band])


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    check(data)


@BOTH
@given(body=st.binary(max_size=120), level=st.integers(0, 255), rows=st.integers(1, 8))
def test_any_payload(form: str, body: bytes, level: int, rows: int) -> None:
    check(bytes([FORMS[form].code << 4, level, 8 - rows, rows]) + body)


@BOTH
@given(data=st.data())
def test_damaged_units(form: str, data: st.DataObject) -> None:
    unit = bytearray(data.draw(st.sampled_from(encoded(form).units)))
    for _ in range(data.draw(st.integers(0, 4))):
        unit[data.draw(st.integers(0, len(unit) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(unit[: data.draw(st.integers(0, len(unit)))]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x10\x20\x00", "of 3 bytes: a header has 4"),
        (b"\x10\x20\x00\x00", "rows 0 to -1: there are 8"),
        (b"\x10\x20\x07\x02", "rows 7 to 8: there are 8"),
        (b"\x20\x20\x00\x01", "form 2: known are 0 and 1"),
        (b"\x10\x40\x00\x01", "level 64: must be less than 64"),
        (b"\x00\x00\x00\x01", "level 0: the smallest magnitude"),
    ],
)
def test_headers_that_are_none(data: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        decode_residual_unit(data, width=W, height=H)


# Units of this version of the bitstream, 32x32. They must decode to the same samples for ever; what
# changes them (the tables, the transform, the order of symbols) makes a new version.
GOLDEN = {
    "pixel": (
        (
            "001900024565677d2496e801370026ee355d7a2f1bed2dd4a8d5460996a1ce06a832cbea67fbc637046ce6faf346"
            "63f6e4c594697159c36af3b46d172a7d04738f64ac342f8a5eb00f92bb0eb6910a9ab03fd501"
        ),
        3052549658,
    ),
    "transform": (
        (
            "101a0002efcc79b0d4419763ed20a9fbc67348397953306d877a9eab40d175847dcd67465a9a24a760aba4114d18"
            "b9a7e361b2d4cda5a765d0ccd45fbf96cbd68616bf5330bc0b992c9ea99bd5828c9c22b7e734e731129b"
        ),
        1040237279,
    ),
}


@BOTH
def test_units_of_before_still_decode(form: str) -> None:
    unit, checksum = GOLDEN[form]
    band = decode_residual_unit(bytes.fromhex(unit), width=32, height=32)
    samples = b"".join(plane.astype("<i2").tobytes() for plane in band.correction)
    assert zlib.crc32(samples) == checksum


# -- arguments -------------------------------------------------------------------------------------


def test_window_number_travels() -> None:
    for number in (0, 15):
        units = encode_residual(*window(), 500, window=number).units
        assert {band.window for band in decoded(units)} == {number}


def test_wrong_arguments_name_the_field() -> None:
    source, reconstruction = window()
    with pytest.raises(CodecConfigError, match="'wavelet': known are pixel, transform"):
        encode_residual(source, reconstruction, 100, form="wavelet")
    with pytest.raises(CodecConfigError, match="window 16"):
        encode_residual(source, reconstruction, 100, window=16)
    with pytest.raises(CodecConfigError, match=r"reconstruction planes \(8, 120, 208\)"):
        average_residual(source, Planes(reconstruction.luma[1:], reconstruction.chroma))
    tall = Planes(np.zeros((1, 4096, 16), np.uint8), np.zeros((1, 2, 2048, 8), np.uint8))
    with pytest.raises(CodecConfigError, match="256 rows: at most 255"):
        encode_residual(tall, tall, 100)


def test_saturation() -> None:
    """uint8 pictures stay within their range, float ones are left to the caller."""
    correction = encode_residual(
        Planes(np.full((1, 16, 16), 250, np.uint8), np.full((1, 2, 8, 8), 4, np.uint8)),
        Planes(np.full((1, 16, 16), 200, np.uint8), np.full((1, 2, 8, 8), 60, np.uint8)),
        400,
    )
    bands = [decode_residual_unit(unit, width=16, height=16) for unit in correction.units]
    for dtype, top, low in ((np.uint8, 255, 0), (np.float32, 290, -46)):
        bright = Planes(np.full((1, 16, 16), 240, dtype), np.full((1, 2, 8, 8), 10, dtype))
        result = add_residual(bright, bands)
        assert result.luma.mean() == pytest.approx(top, abs=2)
        assert result.chroma.mean() == pytest.approx(low, abs=2)
        assert bright.luma.max() == 240  # the argument is left alone
