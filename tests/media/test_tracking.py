"""Targets over time and how closely they were met, by hand."""

from __future__ import annotations

import math

import pytest

from testbed.errors import InputError
from testbed.media.encoders import EncoderConfig
from testbed.media.tracking import follow, measure, parse_target
from testbed.media.types import EncodedFrame
from tests.media.conftest import OpenClip


def test_targets_over_time() -> None:
    assert parse_target("constant:400")(7.3) == 400
    sine = parse_target("sine:200,500,30")
    assert [round(sine(t)) for t in (0, 7.5, 15, 22.5, 30)] == [350, 500, 350, 200, 350]
    step = parse_target("step:400,200,500,2")
    assert [step(t) for t in (0, 1.9, 2, 4, 5.9, 6)] == [400, 400, 200, 500, 500, 400]


@pytest.mark.parametrize(
    "text",
    ["", "400", "constant:", "constant:x", "constant:1,2", "constant:-3", "sine:1,2", "step:1,2",
     "ramp:1,2", "constant:nan", "constant:inf"],
)  # fmt: skip
def test_a_bad_target_lists_the_forms(text: str) -> None:
    with pytest.raises(InputError, match="constant:KBPS, sine:LOW,HIGH,PERIOD_S, step:"):
        parse_target(text)


def test_the_measures_by_hand() -> None:
    # Two frames a second: windows of 80 and 60 kbit against 100 and 50, a rest that counts not.
    sizes = [5000, 5000, 2500, 5000, 9999]
    frames = [EncodedFrame(i, i == 0, bytes(size), 2_000_000) for i, size in enumerate(sizes)]
    seen = measure(frames, [100, 100, 50, 50, 50], fps=2)
    assert seen.kbps == [80, 60]
    assert seen.error == pytest.approx((0.2 + 0.2) / 2)
    assert seen.overshoot == pytest.approx(10 / 150)
    assert seen.ratio == pytest.approx(140 / 150)
    assert seen.largest_frame_ms == pytest.approx(8 * 9999 / 50)
    assert (seen.keys, seen.encode_ms) == (1, 2)


def test_less_than_a_second_is_refused() -> None:
    with pytest.raises(InputError, match="less than one second"):
        measure([EncodedFrame(0, True, b"x", 1)], [100], fps=25)


def test_follow_encodes_the_whole_clip(clip_of: OpenClip) -> None:
    clip = clip_of("carphone", fps=25, duration_s=4)
    frames, seen = follow("h264", clip, EncoderConfig(), parse_target("sine:60,150,4"), None)
    assert len(frames) == 100
    assert len(seen.kbps) == 4
    assert seen.error < 0.1
    assert math.isclose(sum(seen.kbps), 8 * sum(len(f.data) for f in frames) / 1000)
