"""The anchors against an independent decoder, and the cache of their measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from testbed.codec import anchors
from testbed.codec.anchors import (
    ANCHORS,
    AnchorPoint,
    decode_anchor,
    encode_anchor,
    families,
    measure_anchor,
)
from testbed.codec.rates import cut_to_packets, kbps, wire_bytes
from testbed.codec.reading import Reference, open_reference
from testbed.errors import InputError, OutputError, ToolFailedError
from testbed.media import annexb
from testbed.media.tools import run_ffmpeg
from testbed.paths import cache_dir

FRAMES = 20


@pytest.fixture(scope="module")
def clip() -> Reference:
    return open_reference("carphone", height=720, frames=FRAMES)


@pytest.mark.parametrize("name", ANCHORS.names())
def test_key_frames_and_pictures_are_what_the_name_says(name: str, clip: Reference) -> None:
    codec = ANCHORS.get(name).codec
    units = encode_anchor(name, clip.clip, FRAMES, 80)
    types = [{annexb.nal_type(codec, nal) for nal in annexb.nal_units(unit)} for unit in units]
    keys = [index for index, seen in enumerate(types) if seen & annexb.KEY_TYPES[codec]]
    assert keys == ([0, 9, 18] if "keyint9" in name else [0])
    # Parameter sets travel once, banners never.
    assert types[0] & annexb.PARAMETER_TYPES[codec]
    assert not any(seen & annexb.PARAMETER_TYPES[codec] for seen in types[1:])
    assert all(seen <= annexb.PICTURE_TYPES[codec] for seen in types[1:])
    # The other decoder: that of the ffmpeg program, over the stream as one file.
    stream = ["-f", {"h264": "h264", "h265": "hevc"}[codec], "-i", "-"]
    raw = run_ffmpeg(
        [*stream, "-fps_mode", "passthrough", "-f", "rawvideo", "-"],
        pieces=[b"".join(units)],
        timeout_s=60,
    )
    pictures = list(decode_anchor(name, clip.clip, units))
    assert len(pictures) == FRAMES
    assert b"".join(picture.tobytes() for picture in pictures) == raw


@pytest.mark.parametrize("name", ANCHORS.names())
def test_more_bytes_are_better_and_the_rate_is_that_of_packets(name: str, clip: Reference) -> None:
    poor, good = (measure_anchor(name, clip.clip, FRAMES, rate) for rate in (60, 240))
    assert poor.kbps < good.kbps
    assert all(poor.scores[metric] < good.scores[metric] for metric in poor.scores)
    units = encode_anchor(name, clip.clip, FRAMES, 60)
    sent = sum(wire_bytes(cut_to_packets(len(unit))) for unit in units)
    assert poor.kbps == pytest.approx(kbps(sent, FRAMES, clip.clip.fps))
    assert sent == sum(map(len, units)) + 40 * FRAMES


def test_what_was_measured_once_is_not_measured_again(
    clip: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure_anchor("x264-lowlatency", clip.clip, FRAMES, 70)

    def fail(*_: object) -> list[bytes]:
        raise AssertionError("encoded again")

    monkeypatch.setattr(anchors, "encode_anchor", fail)
    assert measure_anchor("x264-lowlatency", clip.clip, FRAMES, 70) == first
    for other in (("x264-keyint9", FRAMES, 70), ("x264-lowlatency", FRAMES - 1, 70),
                  ("x264-lowlatency", FRAMES, 71)):  # fmt: skip
        with pytest.raises(AssertionError):
            measure_anchor(other[0], clip.clip, other[1], other[2])


def test_a_damaged_cache_file_is_measured_anew(
    clip: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = measure_anchor("x264-lowlatency", clip.clip, FRAMES, 90)
    key = anchors._key("x264-lowlatency", clip.clip, FRAMES, 90)
    path = cache_dir() / "anchors" / f"{key}.json"
    path.write_text("{}")
    assert measure_anchor("x264-lowlatency", clip.clip, FRAMES, 90) == point
    assert "kbps" in path.read_text()


def test_a_stream_that_breaks_off_is_an_error(clip: Reference) -> None:
    units = encode_anchor("x264-lowlatency", clip.clip, FRAMES, 80)
    with pytest.raises(ToolFailedError, match="cannot be decoded"):
        list(decode_anchor("x264-lowlatency", clip.clip, [*units[:-1], b""]))


def test_families() -> None:
    assert families("none") == ()
    assert families("x265") == ("x265-keyint9", "x265-lowlatency")
    assert families("x264, x265,x264") == (*families("x264"), *families("x265"))
    for text in ("x266", "", "x264,none"):
        with pytest.raises(InputError, match="allowed: none, x264, x265"):
            families(text)


def test_points_are_plain_numbers(clip: Reference) -> None:
    point = measure_anchor("x264-lowlatency", clip.clip, FRAMES, 70)
    assert isinstance(point, AnchorPoint)
    assert set(point.scores) == {"vmaf", "vmaf_neg", "ssim", "psnr"}
    assert all(type(value) is float and np.isfinite(value) for value in point.scores.values())


def test_a_cache_that_cannot_be_written_is_one_line(
    clip: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "anchors").write_text("in the way")
    monkeypatch.setattr(anchors, "cache_dir", lambda: tmp_path)
    with pytest.raises(OutputError, match="cannot keep measurements"):
        measure_anchor("x264-lowlatency", clip.clip, FRAMES, 75)
