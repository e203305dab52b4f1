"""Two temporal layers, told by FFmpeg's decoder: it decodes with and without the odd pictures."""

from pathlib import Path

import numpy as np
import pytest

from testbed.errors import InputError, ToolFailedError
from testbed.media import annexb
from testbed.media.clips import Clip, open_clip
from testbed.media.decoding import decode
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.spec import ClipSpec
from testbed.media.temporal import disposable, frame_number_bits
from testbed.media.types import EncodedFrame, ReceivedFrame

FRAMES = 30


@pytest.fixture(scope="module")
def clip() -> Clip:
    return open_clip(ClipSpec("test:testsrc2", 160, 96, 15.0, 2.0), base=Path.cwd())


@pytest.fixture(scope="module")
def coded(clip: Clip) -> list[EncodedFrame]:
    encoder = open_encoder("h264-temporal", clip, EncoderConfig(), None)
    return [encoder.encode(i, target_kbps=120.0, force_key=i == 16) for i in range(FRAMES)]


def pictures(frames: list[EncodedFrame], lost: set[int]) -> dict[int, np.ndarray]:
    received = [
        ReceivedFrame(f.index, f.key, b"", complete=False, disposable=f.index % 2 == 1)
        if f.index in lost
        else ReceivedFrame(f.index, f.key, f.data, complete=True, disposable=f.index % 2 == 1)
        for f in frames
    ]
    made = decode("h264", received, width=160, height=96, conceal=False)
    return {picture.index: picture.picture for picture in made}


def test_odd_pictures_say_that_nothing_refers_to_them(coded: list[EncodedFrame]) -> None:
    for frame in coded:
        slices = [u for u in annexb.nal_units(frame.data) if u[0] & 0x1F in (1, 5)]
        assert len(slices) == 1
        assert bool(slices[0][0] >> 5) == (frame.index % 2 == 0)
        assert frame.key == (frame.index in (0, 16))
        assert frame.encode_ns > 0


@pytest.mark.parametrize("lost", [set(range(1, FRAMES, 2)), {3, 9, 11, 13, 25}])
def test_nothing_changes_without_odd_pictures(coded: list[EncodedFrame], lost: set[int]) -> None:
    whole, part = pictures(coded, set()), pictures(coded, lost)
    assert sorted(whole) == list(range(FRAMES))
    assert sorted(part) == [i for i in range(FRAMES) if i not in lost]
    for index, picture in part.items():
        assert np.array_equal(picture, whole[index])


def test_the_pictures_are_the_clips(coded: list[EncodedFrame], clip: Clip) -> None:
    for index, picture in pictures(coded, set()).items():
        source = clip.frame(index).astype(float)
        assert 10 * np.log10(255**2 / np.mean((picture.astype(float) - source) ** 2)) > 28


def test_a_lost_even_picture_breaks_the_chain(coded: list[EncodedFrame]) -> None:
    assert sorted(pictures(coded, {6})) == [*range(6), *range(16, FRAMES)]


def test_the_rate_is_met(coded: list[EncodedFrame]) -> None:
    assert sum(len(f.data) for f in coded) * 8 / 2 / 1e3 == pytest.approx(120.0, rel=0.15)


def test_the_same_input_gives_the_same_bytes(coded: list[EncodedFrame], clip: Clip) -> None:
    encoder = open_encoder("h264-temporal", clip, EncoderConfig(), None)
    again = [encoder.encode(i, target_kbps=120.0, force_key=False).data for i in range(6)]
    assert again == [frame.data for frame in coded[:6]]


def test_slices_are_refused(clip: Clip) -> None:
    with pytest.raises(InputError, match="h264-temporal takes 1 only"):
        open_encoder("h264-temporal", clip, EncoderConfig(slices=2), None)


def test_other_streams_are_refused(coded: list[EncodedFrame]) -> None:
    units = list(annexb.nal_units(coded[0].data))
    idr = next(u for u in units if u[0] & 0x1F == 5)
    with pytest.raises(ToolFailedError, match="no P picture"):
        disposable(idr, 4)
    with pytest.raises(ToolFailedError, match="ends early"):
        disposable(b"\x41\x00", 4)
    sps = next(u for u in units if u[0] & 0x1F == 7)
    assert 4 <= frame_number_bits(sps) <= 16
