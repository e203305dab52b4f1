"""The way to the GRACE-style codec: cache, replays, reports, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

import testbed.codec.grace as grace
from testbed.codec.grace import LivePictures, decode_pictures, weights_sha256
from testbed.codec.units import join_units
from testbed.errors import InputError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip, open_clip
from testbed.media.spec import ClipSpec
from testbed.media.types import ReceivedFrame


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clip:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "cache"))
    return open_clip(ClipSpec("test:testsrc2", 128, 96, 15.0, 1.0), base=tmp_path)


def live(clip: Clip, cache: EncodeCache | None) -> LivePictures:
    return LivePictures(clip, {}, weights="grace", header_bytes=40, cache=cache)


def test_a_second_run_takes_from_the_cache_what_the_first_one_made(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EncodeCache(tmp_path / "encodes.sqlite")
    first = live(clip, cache)
    made = [first.encode(index, wire_bytes=900) for index in range(4)]
    monkeypatch.setattr(grace, "load", lambda _weights: pytest.fail("encoded again"))
    again = live(clip, cache)
    assert [again.encode(index, wire_bytes=900) for index in range(4)] == made


def test_runs_part_at_the_first_report_and_are_encoded_from_there(
    clip: Clip, tmp_path: Path
) -> None:
    cache = EncodeCache(tmp_path / "encodes.sqlite")
    one, other, alone = live(clip, cache), live(clip, cache), live(clip, None)
    packets = 0
    for index in range(6):
        a = one.encode(index, wire_bytes=900)
        if index == 4:
            told = [False] + [True] * (packets - 1)
            assert other.report(3, told)
            assert alone.report(3, told)
            assert not other.report(3, told)  # no news
        b = other.encode(index, wire_bytes=900)
        packets = len(b.units)
        assert b.units == alone.encode(index, wire_bytes=900).units
        assert (a.units == b.units) == (index < 4)


def test_reports_of_what_never_was_are_no_news(clip: Clip) -> None:
    encoder = live(clip, None)
    for index in range(2):
        encoder.encode(index, wire_bytes=900)
    assert not encoder.report(0, [True])  # an intra picture
    assert not encoder.report(1, [True] * 99)
    assert not encoder.report(7, [True])


def test_pictures_that_nothing_came_of_are_left_out(clip: Clip) -> None:
    encoder = live(clip, None)
    coded = [encoder.encode(index, wire_bytes=900) for index in range(3)]
    received = [
        ReceivedFrame(0, key=True, data=join_units(coded[0].units), complete=True),
        ReceivedFrame(1, key=False, data=b"", complete=False),
        ReceivedFrame(2, key=False, data=join_units(coded[2].units[1:]), complete=False),
    ]
    shown = list(decode_pictures(received, width=128, height=96, conceal=True))
    assert [(picture.index, picture.damaged) for picture in shown] == [(0, False), (2, True)]
    assert all(picture.picture.shape == (128 * 96 * 3 // 2,) for picture in shown)


def test_weights_that_are_not_there_are_named(clip: Clip) -> None:
    with pytest.raises(InputError, match="'nowhere': no such file and no shipped model"):
        weights_sha256("nowhere")


def test_a_damaged_file_of_weights_is_named(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"nonsense")
    encoder = LivePictures(clip, {}, weights=str(path), header_bytes=40, cache=None)
    with pytest.raises(InputError, match=r"bad\.safetensors: no GRACE-style weights"):
        encoder.encode(0, wire_bytes=900)


def test_bad_settings_are_named(clip: Clip) -> None:
    with pytest.raises(InputError, match="packet_bytes"):
        LivePictures(clip, {"packet_bytes": 1}, weights="grace", header_bytes=40, cache=None)
