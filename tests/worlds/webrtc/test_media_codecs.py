from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("aiortc")

from aiortc.jitterbuffer import JitterFrame

from testbed.worlds.webrtc.media_codecs import DEPAYLOAD, MeteredDecoder, MeteredEncoder, is_key

FFMPEG = {"h264": "libx264", "vp8": "libvpx"}


def pictures(count: int) -> list[Any]:
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        planes = rng.integers(16, 235, (96 * 3 // 2, 160), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = number * 3000, Fraction(1, 90_000)
        made.append(frame)
    return made


@pytest.mark.parametrize("codec", FFMPEG)
def test_key_frames_are_those_of_ffmpeg(codec: str) -> None:
    encoder = av.CodecContext.create(FFMPEG[codec], "w")
    encoder.width, encoder.height, encoder.pix_fmt = 160, 96, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 30), 4
    packets = []
    for frame in [*pictures(10), None]:
        packets += list(encoder.encode(frame))
    assert len(packets) == 10
    assert 1 < sum(packet.is_keyframe for packet in packets) < 10
    for packet in packets:
        assert is_key(codec, bytes(packet)) == packet.is_keyframe
    assert not is_key(codec, b"")


@pytest.mark.parametrize("codec", FFMPEG)
def test_everything_that_goes_through_is_noted(codec: str) -> None:
    encoder = MeteredEncoder(codec, start_kbps=600.0, index_of=lambda pts: pts // 3000)
    decoder = MeteredDecoder(codec, keep=True)
    for number, frame in enumerate(pictures(4)):
        payloads, timestamp = encoder.encode(frame, force_keyframe=number == 2)
        parts = [DEPAYLOAD[codec](payload) for payload in payloads]
        assert encoder.latest is not None
        assert encoder.latest.index == number
        assert encoder.latest.payload_bytes == [len(part) for part in parts]
        assert encoder.latest.target_kbps == 600.0
        (shown,) = decoder.decode(JitterFrame(b"".join(parts), timestamp))
        note = decoder.done[-1]
        assert note.pictures == [shown.pts] == [timestamp] == [note.pts]
        assert note.data == b"".join(parts)
        assert note.key == encoder.latest.key == (number in {0, 2})
        assert note.end_ns >= note.start_ns >= encoder.latest.end_ns >= encoder.latest.start_ns
    assert len(encoder.done) == len(decoder.done) == 4


def test_rates_keep_to_aiortcs_limits_and_say_what_was_asked() -> None:
    encoder = MeteredEncoder("vp8", start_kbps=100.0, index_of=int)
    encoder.target_bitrate = 5_000_000
    assert encoder.target_bitrate == 1_500_000
    assert encoder.rates(100.0) == {
        "start_kbps_asked": 100.0,
        "start_kbps": 250.0,
        "limits_kbps": [250.0, 1500.0],
        "last_estimate_kbps": 5000.0,
    }
