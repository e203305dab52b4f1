"""Statistics for VVenC's second pass."""

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.media.tools import run_ffmpeg
from testbed.media.vvenc import LOW_DELAY
from testbed.media.vvenc_plan import HEADROOM, Plan, write_statistics

PLAN = Plan(key_qp=30, key_bits=50_000, settling=20, payback_bits=1_000, qp=33, bits=6_000)


def _lines(path: Path, shares: list[float], *, count: int = 40) -> list[dict[str, Any]]:
    write_statistics(path, PLAN, shares, count=count, size=(96, 64))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("count", [1, 5, 40, 300])
@pytest.mark.parametrize("share", [3_000.0, 6_000.0, 11_999.0])
def test_the_mean_is_the_target_so_that_nothing_is_scaled(
    tmp_path: Path, count: int, share: float
) -> None:
    _, *frames = _lines(tmp_path / "a", [6_000.0] * 10 + [share], count=count)
    assert sum(frame["numBits"] for frame in frames) == HEADROOM * PLAN.bits * len(frames)
    assert min(frame["numBits"] for frame in frames) > 0
    assert len(frames) >= count + 33, "the last 32 have rules of their own in VVenC"


def test_a_key_frame_far_beyond_the_target_scales_nothing(tmp_path: Path) -> None:
    """A large picture at a few kbit/s."""
    plan = Plan(key_qp=56, key_bits=100_000, settling=400, payback_bits=150, qp=56, bits=300)
    write_statistics(tmp_path / "a", plan, [300.0], count=1, size=(96, 64))
    _, *frames = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    assert sum(frame["numBits"] for frame in frames) == HEADROOM * plan.bits * len(frames)
    assert min(frame["numBits"] for frame in frames) > 0


def test_the_first_frames_do_not_depend_on_later_targets(tmp_path: Path) -> None:
    plain = _lines(tmp_path / "a", [6_000.0])
    moved = _lines(tmp_path / "b", [6_000.0] * 12 + [3_000.0])
    assert moved[:13] == plain[:13]
    assert moved[13]["numBits"] == 2_000
    assert moved[13]["qp"] > plain[13]["qp"]
    assert moved[39]["numBits"] == 3_000


def test_what_settling_frames_give_makes_up_for_the_key_frame(tmp_path: Path) -> None:
    _, *frames = _lines(tmp_path / "a", [6_000.0])
    assert [frame["numBits"] for frame in frames[:22]] == [50_000] + [5_000] * 20 + [6_000]


def test_the_format_is_what_vvenc_writes(tmp_path: Path) -> None:
    """The same fields, of the same types, and the same multiplier for a quantiser."""
    source = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=3", "-pix_fmt", "yuv420p10le"]
    coder = ["-c:v", "libvvenc", "-preset", "faster", "-b:v", "60000", "-pass", "1"]
    coder += ["-passlogfile", str(tmp_path / "theirs"), "-vvenc-params"]
    coder += [f"{LOW_DELAY}:qpa=0"]
    run_ffmpeg([*source, *coder, "-f", "null", "-"], timeout_s=60)
    theirs = [json.loads(line) for line in (tmp_path / "theirs-0.log").read_text().splitlines()]
    ours = _lines(tmp_path / "ours", [6_000.0])
    for their, our in ((theirs[0], ours[0]), (theirs[1], ours[1]), (theirs[9], ours[9])):
        assert {name: type(value) for name, value in their.items()} == {
            name: type(value) for name, value in our.items()
        }
    assert {name: theirs[0][name] for name in ("version", "CTUSize", "GOPSize", "IntraPeriod")} == {
        name: ours[0][name] for name in ("version", "CTUSize", "GOPSize", "IntraPeriod")
    }
    for frame in theirs[1:]:
        assert frame["lambda"] == pytest.approx(0.57 * 2 ** (frame["qp"] / 3), rel=0.01)
