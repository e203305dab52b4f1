"""H.266 by VVenC: segments with a plan, and plans that change."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.media.clips import Clip, open_clip
from testbed.media.encoders import EncoderConfig
from testbed.media.spec import ClipSpec
from testbed.media.vvenc import SegmentPolicy, VvencSegment
from testbed.media.vvenc_plan import Plan

PLAN = Plan(key_qp=28, key_bits=12_000, settling=20, payback_bits=450, qp=30, bits=3_000)


@pytest.fixture
def clip() -> Clip:
    return open_clip(ClipSpec("test:testsrc2", 96, 64, 10.0, 3.0), base=Path.cwd())


def _units(clip: Clip, targets_kbps: Sequence[float], *, start: int = 0, end: int) -> list[bytes]:
    segment = VvencSegment(clip, start, end, PLAN, targets_kbps, EncoderConfig())
    units: list[tuple[bytes, int]] = []
    while len(units) < end - start:
        units += segment.encode(start + len(units), targets_kbps[-1])
    segment.close()
    return [data for data, _ in units]


@pytest.mark.parametrize("length", [1, 7, 13, 14, 15, 16, 22])
def test_a_segment_gives_every_frame_however_near_the_end_it_starts(
    clip: Clip, length: int
) -> None:
    """ffmpeg's wrapper of VVenC loses everything when flushed after 14 or 15 frames."""
    units = _units(clip, [30.0], start=clip.frame_count - length, end=clip.frame_count)
    assert len(units) == length
    assert all(data.startswith(b"\x00\x00\x00\x01") for data in units)


def test_what_follows_the_end_of_a_segment_changes_nothing_before_it(clip: Clip) -> None:
    whole = _units(clip, [30.0], end=clip.frame_count)
    for end in (9, 15, 24):
        assert _units(clip, [30.0], end=end) == whole[:end]


@pytest.mark.parametrize("later", [15.0, 55.0])
def test_another_target_later_changes_nothing_before_it(later: float) -> None:
    """That is what lets a running segment follow a target: it is gone over once more."""
    clip = open_clip(ClipSpec("test:testsrc2", 96, 64, 10.0, 6.0), base=Path.cwd())
    plain = _units(clip, [30.0], end=60)
    moved = _units(clip, [30.0] * 12 + [later], end=60)
    assert moved[:12] == plain[:12]
    kbps = 8 * sum(map(len, moved[30:])) / 3 / 1000
    assert kbps == pytest.approx(later, rel=0.15)


def test_a_segment_leaves_no_files_behind(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    segment = VvencSegment(clip, 0, 5, PLAN, [30.0], EncoderConfig())
    assert list(tmp_path.glob("*/plan-0.log"))
    segment.close()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def policy() -> SegmentPolicy:
    """At 10 frames a second, with a segment begun at frame 0 for 100 kbps."""
    clip = open_clip(ClipSpec("test:testsrc2", 96, 64, 10.0, 30.0), base=Path.cwd())
    policy = SegmentPolicy(clip, EncoderConfig())
    policy.begin(0, clip.frame_count, 100.0)
    return policy


@pytest.mark.parametrize(
    ("index", "target", "told"),
    [
        (2, 50.0, 100.0),  # within a quarter of a second of the start
        (3, 50.0, 50.0),
        (10, 97.0, 100.0),  # too little a move
        (10, 94.0, 94.0),
        (49, 190.0, 190.0),
        (5, 201.0, 100.0),  # beyond what the plan has room for
    ],
)
def test_a_young_segment_is_told_a_target_that_moved(
    policy: SegmentPolicy, index: int, target: float, told: float
) -> None:
    assert not policy.restart(index, target)
    assert policy.hear(index, target) == told


def test_small_moves_wait_the_longer_the_older_the_segment_is(policy: SegmentPolicy) -> None:
    """Going over a segment once more takes the longer: four times its frames are the most."""
    heard = []
    for index in range(300):
        target = 105.0 if len(heard) % 2 == 0 else 100.0
        if policy.hear(index, target) == target:
            heard.append(index)
    assert heard[:4] == [3, 6, 9, 12]
    assert all(later >= 4 / 3 * sooner for sooner, later in pairwise(heard))
    assert sum(heard) <= 4 * 300, "frames that are coded again"


def test_large_moves_do_not_wait_longer_than_a_second(policy: SegmentPolicy) -> None:
    assert policy.hear(40, 50.0) == 50.0
    assert policy.hear(49, 100.0) == 50.0
    assert policy.hear(50, 100.0) == 100.0


@pytest.mark.parametrize(
    ("index", "target", "new"),
    [
        (51, 80.0, True),  # too old to go over it once more
        (51, 90.0, False),
        (20, 210.0, True),  # beyond what the plan has room for
        (9, 210.0, False),  # within a second
    ],
)
def test_where_a_segment_cannot_follow_a_new_one_begins(
    policy: SegmentPolicy, index: int, target: float, new: bool
) -> None:
    assert policy.restart(index, target) is new


def test_a_key_frame_after_many_is_coarse_but_not_a_smear() -> None:
    """Beyond a full rate buffer, key frames still get some, and what follows pays it back."""
    clip = open_clip(ClipSpec("test:testsrc2", 96, 64, 10.0, 30.0), base=Path.cwd())
    policy = SegmentPolicy(clip, EncoderConfig())
    fresh = policy._plan(0, 100.0)
    policy.begin(0, clip.frame_count, 100.0)
    policy.record(0, 90_000, 100.0, key=False)
    indebted = policy._plan(1, 100.0)
    assert 0.4 * fresh.key_bits < indebted.key_bits < fresh.key_bits
    assert indebted.payback_bits > fresh.payback_bits
    least = indebted.frame(1, indebted.bits)[1]
    assert least >= 0.39 * indebted.bits
