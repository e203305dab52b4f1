"""Our rate control beside the encoders' own, and the encode cache beside encoding.

Run `pytest benchmarks/test_encoders.py -s`; it prints the table in docs/guides/encoders.md. The
bounds are ratios, so that they hold on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip, open_clip
from testbed.media.decoding import decode
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.spec import ClipSpec
from testbed.media.tracking import Tracking, follow, measure, parse_target
from testbed.media.types import EncodedFrame, ReceivedFrame

LIBRARIES = {"h264": "libx264", "h265": "libx265"}
#: The usual live settings: constant rate within a buffer of 500 ms, no look-ahead.
NATIVE = {
    "h264": lambda kbps: {
        "x264-params": f"keyint=infinite:scenecut=0:threads=1:vbv-maxrate={kbps}"
        f":vbv-bufsize={kbps // 2}"
    },
    "h265": lambda kbps: {
        "x265-params": f"keyint=-1:scenecut=0:bframes=0:rc-lookahead=0:frame-threads=1:pools=none"
        f":repeat-headers=1:log-level=none:vbv-maxrate={kbps}:vbv-bufsize={kbps // 2}"
    },
}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return open_clip(ClipSpec("bbb-720p", 640, 360, 25, 15), base=Path())


def _psnr(codec: str, clip: Clip, frames: list[EncodedFrame]) -> float:
    received = [ReceivedFrame(f.index, f.key, f.data, complete=True) for f in frames]
    luma = clip.width * clip.height
    errors = [
        ((d.picture[:luma].astype(float) - clip.frame(d.index)[:luma]) ** 2).mean()
        for d in decode(codec, received, width=clip.width, height=clip.height, conceal=False)
    ]
    assert len(errors) == len(frames)
    return float(np.mean(10 * np.log10(255**2 / np.array(errors))))


def _native(
    codec: str, clip: Clip, target: Callable[[float], float]
) -> tuple[list[EncodedFrame], Tracking]:
    """The encoder's own rate control, which is told the target through the public bit rate."""
    fps = float(clip.fps)
    targets = [target(index / fps) for index in range(clip.frame_count)]
    context: Any = av.codec.CodecContext.create(LIBRARIES[codec], "w")
    context.width, context.height, context.pix_fmt = clip.width, clip.height, "yuv420p"
    context.framerate, context.time_base = clip.fps, 1 / clip.fps
    context.thread_count = 1
    context.bit_rate = round(1000 * targets[0])
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        **NATIVE[codec](round(targets[0])),
    }
    frames = []
    for index, kbps in enumerate(targets):
        context.bit_rate = round(1000 * kbps)
        picture = clip.frame(index).reshape(-1, clip.width)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = index
        (packet,) = context.encode(frame)
        frames.append(EncodedFrame(index, packet.is_keyframe, bytes(packet), 0))
    return frames, measure(frames, targets, fps=fps)


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("form", ["constant:400", "constant:200", "sine:200,500,15"])
def test_our_rate_control_beside_the_encoders_own(codec: str, form: str, clip: Clip) -> None:
    target = parse_target(form)
    theirs, native = _native(codec, clip, target)
    ours, tracked = follow(codec, clip, EncoderConfig(), target, None)
    gain = _psnr(codec, clip, ours) - _psnr(codec, clip, theirs)
    print(
        f"\n{codec} {form:16} error ours {tracked.error:.3f} own {native.error:.3f}"
        f"  largest frame ms ours {tracked.largest_frame_ms:.0f} own {native.largest_frame_ms:.0f}"
        f"  PSNR ours - own {gain:+.2f} dB"
    )
    assert tracked.error < native.error
    assert gain > -0.5 or not form.startswith("constant")


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_reading_the_cache_beside_encoding(codec: str, clip: Clip, tmp_path: Path) -> None:
    cache = EncodeCache(tmp_path / "encodes.sqlite")

    def run() -> float:
        begin = time.perf_counter()
        encoder = open_encoder(codec, clip, EncoderConfig(), cache)
        for index in range(clip.frame_count):
            encoder.encode(index, target_kbps=400.0, force_key=False)
        return time.perf_counter() - begin

    fresh, cached = run(), min(run() for _ in range(3))
    per_frame_us = 1e6 * cached / clip.frame_count
    print(f"\n{codec} cache {per_frame_us:.1f} us a frame, {fresh / cached:.0f} x encoding")
    assert fresh / cached > 20
