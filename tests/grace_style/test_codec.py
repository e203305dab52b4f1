"""Encoder and decoder: they stay together, whatever is lost, once the encoder has been told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grace_style.config import EncoderConfig
from grace_style.decoder import Decoder
from grace_style.encoder import Encoder
from grace_style.errors import CodecConfigError
from grace_style.header import Header
from grace_style.models import Model
from tests.grace_style.conftest import picture

WIDTH, HEIGHT = 176, 144
CONFIG = EncoderConfig(packet_bytes=150, patch_side=32)


def clip(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(4)
    return [picture(generator, WIDTH, HEIGHT, 2 * number) for number in range(count)]


def ends(model: Model, config: EncoderConfig = CONFIG) -> tuple[Encoder, Decoder]:
    return (
        Encoder(model, width=WIDTH, height=HEIGHT, config=config),
        Decoder(model, width=WIDTH, height=HEIGHT),
    )


def test_without_loss_the_decoder_has_the_encoders_reference(model: Model) -> None:
    encoder, decoder = ends(model)
    for number, source in enumerate(clip(5)):
        coded = encoder.encode(source, wire_bytes=900, header_bytes=40)
        assert coded.key == (number == 0)
        shown = decoder.decode(coded.packets, frame=number)
        assert shown is not None
        np.testing.assert_array_equal(shown, encoder.reference)
        assert shown.shape == source.shape


def test_the_budget_is_kept_and_used(model: Model) -> None:
    encoder, _ = ends(model)
    qualities = []
    for source in clip(5):
        coded = encoder.encode(source, wire_bytes=700, header_bytes=40)
        wire = sum(len(packet) + 40 for packet in coded.packets)
        assert wire <= 700 + (200 if coded.key else 8)
        if not coded.key:
            qualities.append(coded.quality)
            assert wire > 0.8 * 700
    assert max(qualities) < 55  # the budget was what ended it, not the finest quality


@pytest.mark.parametrize("wire_bytes", [3_000, 20_000])
def test_no_packet_is_longer_than_allowed(model: Model, wire_bytes: int) -> None:
    config = EncoderConfig(packet_bytes=64, most_bytes=200, patch_side=64)
    encoder, decoder = ends(model, config)
    for number, source in enumerate(clip(4)):
        noise = np.random.default_rng(number).integers(0, 255, source.shape, np.uint8)
        coded = encoder.encode(noise, wire_bytes=wire_bytes, header_bytes=40)
        assert max(map(len, coded.packets)) <= 200
        np.testing.assert_array_equal(
            decoder.decode(coded.packets, frame=number), encoder.reference
        )


def test_an_intra_picture_fits_into_its_pieces(model: Model) -> None:
    encoder = Encoder(model, width=352, height=288, config=EncoderConfig(most_bytes=200))
    noise = np.random.default_rng(1).integers(0, 255, 352 * 288 * 3 // 2, np.uint8)
    coded = encoder.encode(noise, wire_bytes=10**6, header_bytes=40)
    assert 200 < len(coded.packets) <= 255


def test_a_budget_below_the_coarsest_step_is_kept_all_the_same(model: Model) -> None:
    encoder, _ = ends(model, EncoderConfig(patch_side=0))
    encoder.encode(clip(1)[0], wire_bytes=3000, header_bytes=40)
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, clip(1)[0].shape, np.uint8)
        coded = encoder.encode(noise, wire_bytes=260, header_bytes=40)
        assert sum(len(packet) + 40 for packet in coded.packets) <= 270


@pytest.mark.parametrize("resync", [True, False])
def test_after_a_report_the_encoder_goes_on_from_what_the_decoder_has(
    model: Model, resync: bool
) -> None:
    encoder, decoder = ends(model)
    generator = np.random.default_rng(5)
    shown = None
    late: list[tuple[int, list[bool]]] = []
    for number, source in enumerate(clip(9)):
        coded = encoder.encode(source, wire_bytes=900, header_bytes=40)
        arrived = [True] * len(coded.packets)
        if 0 < number < 5:
            arrived = list(generator.random(len(arrived)) < 0.6)
        here = [packet for packet, came in zip(coded.packets, arrived, strict=True) if came]
        shown = decoder.decode(here, frame=number)
        # Reports come two pictures late.
        if resync and number:
            late.append((number, arrived))
            if len(late) > 2:
                encoder.report(*late.pop(0))
    same = np.array_equal(shown, encoder.reference)
    assert same == resync


def test_a_picture_of_which_nothing_came_is_skipped_on_both_sides(model: Model) -> None:
    encoder, decoder = ends(model)
    sources = clip(4)
    for number in range(3):
        coded = encoder.encode(sources[number], wire_bytes=900, header_bytes=40)
        if number == 2:
            assert decoder.decode([], frame=number) is None
            encoder.report(2, [False] * len(coded.packets))
        else:
            decoder.decode(coded.packets, frame=number)
    coded = encoder.encode(sources[3], wire_bytes=900, header_bytes=40)
    np.testing.assert_array_equal(decoder.decode(coded.packets, frame=3), encoder.reference)


def test_one_packet_of_many_is_enough_for_a_picture(model: Model) -> None:
    encoder, decoder = ends(model)
    sources = clip(2)
    first = encoder.encode(sources[0], wire_bytes=3000, header_bytes=40)
    assert decoder.decode(first.packets[:-1], frame=0) is None  # a piece of the intra picture
    decoder.decode(first.packets, frame=0)
    second = encoder.encode(sources[1], wire_bytes=1500, header_bytes=40)
    assert len(second.packets) > 4
    assert decoder.decode(second.packets[3:4], frame=1) is not None


def test_impossible_reports_change_nothing(model: Model) -> None:
    encoder, decoder = ends(model)
    sources = clip(3)
    for number in range(2):
        coded = encoder.encode(sources[number], wire_bytes=900, header_bytes=40)
        decoder.decode(coded.packets, frame=number)
    encoder.report(1, [True] * 77)
    encoder.report(0, [False])
    encoder.report(9, [False])
    coded = encoder.encode(sources[2], wire_bytes=900, header_bytes=40)
    np.testing.assert_array_equal(decoder.decode(coded.packets, frame=2), encoder.reference)


def test_damaged_packets_are_left_out(model: Model) -> None:
    encoder, decoder = ends(model)
    sources = clip(2)
    decoder.decode(encoder.encode(sources[0], wire_bytes=3000, header_bytes=40).packets, frame=0)
    coded = encoder.encode(sources[1], wire_bytes=900, header_bytes=40)
    assert decoder.decode([b"", b"\0" * 5, b"\xff" * 60], frame=1) is None
    header = Header.parse(coded.packets[0])
    other = replace(header, residual_quality=header.residual_quality ^ 1).pack()
    mixed = [coded.packets[0], other + coded.packets[1][8:]]
    one = decoder.decode(mixed, frame=1)
    assert one is not None


def test_a_key_picture_can_be_asked_for(model: Model) -> None:
    encoder, decoder = ends(model)
    for number, source in enumerate(clip(4)):
        coded = encoder.encode(source, wire_bytes=3000, header_bytes=40, key=number == 2)
        assert coded.key == (number in (0, 2))
        if number >= 2:
            shown = decoder.decode(coded.packets, frame=number)
            np.testing.assert_array_equal(shown, encoder.reference)


def test_a_report_of_a_picture_before_a_key_picture_changes_nothing(model: Model) -> None:
    encoder, decoder = ends(model)
    sources = clip(4)
    for number in range(3):
        coded = encoder.encode(sources[number], wire_bytes=3000, header_bytes=40, key=number == 2)
        decoder.decode(coded.packets, frame=number)
    encoder.report(1, [False] * 3)
    coded = encoder.encode(sources[3], wire_bytes=900, header_bytes=40)
    np.testing.assert_array_equal(decoder.decode(coded.packets, frame=3), encoder.reference)


@pytest.mark.parametrize(
    ("name", "value"),
    [("packet_bytes", 10), ("least_packets", 0), ("most_bytes", 2000), ("patch_side", 20)],
)
def test_impossible_settings_are_refused(name: str, value: int) -> None:
    with pytest.raises(CodecConfigError, match=name):
        EncoderConfig(**{name: value})


def test_pictures_that_are_too_small_are_refused(model: Model) -> None:
    with pytest.raises(CodecConfigError, match="height"):
        Encoder(model, width=64, height=32)
