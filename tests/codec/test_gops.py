"""Live encoders and ladders: what is encoded, and what comes from the cache. No network runs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from morphe_core.vgc.bitstream import read_unit
from testbed.codec import gops
from testbed.codec.core import Settings
from testbed.codec.gops import GopSource, LadderGops, LiveGops, rung_bytes, rung_of
from testbed.errors import LocalProtocolError, ToolFailedError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip, open_clip
from testbed.media.spec import ClipSpec
from tests.codec.fakecodec import FakeEncoder, Gop


class Reported(FakeEncoder):
    """Its bytes depend on what was reported, as the codec's do."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height, 1.0, 1)
        self.reports: list[Any] = []
        self.salt = 0

    def report(self, gop: int, missing: np.ndarray[Any, Any] | None) -> None:
        self.reports.append((gop, None if missing is None else missing.tolist()))

    def encode(self, pictures: Sequence[Any], *, budget_bytes: int) -> Gop:
        return super().encode(
            pictures, budget_bytes=budget_bytes + 12 * len(self.reports) + self.salt
        )


class Core:
    """Counts the GoPs that are really encoded."""

    def __init__(self) -> None:
        self.encoders: list[Reported] = []
        self.salt = 0

    def encoder(self, *, width: int, height: int, fps: Fraction, settings: Settings) -> Reported:
        self.encoders.append(Reported(width, height))
        self.encoders[-1].salt = self.salt
        return self.encoders[-1]

    @property
    def encoded(self) -> int:
        return sum(encoder.index for encoder in self.encoders)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    made = Core()
    monkeypatch.setattr(gops, "load_core", lambda _weights: made)
    return made


@pytest.fixture
def clip() -> Clip:
    return open_clip(ClipSpec("test:testsrc2", 96, 48, 30.0, 6.0), base=Path.cwd())


@pytest.fixture
def cache(tmp_path: Path) -> EncodeCache:
    return EncodeCache(tmp_path / "encodes.sqlite")


def live(clip: Clip, cache: EncodeCache | None, *, profile: str = "morphe") -> LiveGops:
    return LiveGops(GopSource(clip, Settings(profile), cache))


def test_every_gop_is_encoded_once_whatever_the_number_of_sessions(
    core: Core, clip: Clip, cache: EncodeCache
) -> None:
    first = [live(clip, cache)]
    made = [first[0].encode(n, budget_bytes=1000) for n in range(20)]
    assert [gop.frames for gop in made] == [9] * 20
    again = live(clip, cache)
    assert [again.encode(n, budget_bytes=1000) for n in range(20)] == made
    assert core.encoded == 20
    assert len(core.encoders) == 1


def test_another_budget_is_another_encode_from_there_on(
    core: Core, clip: Clip, cache: EncodeCache
) -> None:
    one, other = live(clip, cache), live(clip, cache)
    for n in range(4):
        one.encode(n, budget_bytes=1000)
    for n, budget in enumerate((1000, 1000, 900, 1000)):
        other.encode(n, budget_bytes=budget)
    # A fresh encoder goes over the two GoPs before.
    assert [encoder.budgets for encoder in core.encoders] == [[1000] * 4, [1000, 1000, 900, 1000]]


def test_what_is_encoded_again_must_be_the_same(core: Core, clip: Clip, cache: EncodeCache) -> None:
    live(clip, cache).encode(0, budget_bytes=1000)
    core.salt = 600
    later = live(clip, cache)
    later.encode(0, budget_bytes=1000)
    with pytest.raises(ToolFailedError, match="clips cache --clear"):
        later.encode(1, budget_bytes=1000)


def test_reports_belong_to_the_history(core: Core, clip: Clip, cache: EncodeCache) -> None:
    rows = (True, False, True)
    sessions = [live(clip, cache, profile="morphe-keep") for _ in range(3)]
    for session in sessions:
        session.encode(0, budget_bytes=1000)
    for session in sessions[:2]:
        session.report(0, rows)
    made = [session.encode(1, budget_bytes=1000) for session in sessions]
    assert made[0] == made[1]
    assert made[0].units != made[2].units
    assert core.encoders[0].reports == [(0, list(rows))]


def test_a_profile_that_keeps_nothing_needs_no_reports(
    core: Core, clip: Clip, cache: EncodeCache
) -> None:
    encoder = live(clip, cache)
    assert not encoder.wants_reports
    encoder.encode(0, budget_bytes=1000)
    encoder.report(0, None)
    encoder.encode(1, budget_bytes=1000)
    assert core.encoders[0].reports == []


def test_the_last_gop_has_what_is_left(core: Core) -> None:
    clip = open_clip(ClipSpec("test:testsrc2", 96, 48, 30.0, 0.4), base=Path.cwd())
    encoder = live(clip, None)
    assert [encoder.encode(n, budget_bytes=500).frames for n in range(2)] == [9, 3]
    with pytest.raises(LocalProtocolError, match="beyond the clip"):
        encoder.encode(2, budget_bytes=500)


@pytest.mark.parametrize("kind", [LiveGops, LadderGops])
def test_gops_come_in_order(
    core: Core, clip: Clip, kind: type[LiveGops] | type[LadderGops]
) -> None:
    encoder = kind(GopSource(clip, Settings(), None))
    with pytest.raises(LocalProtocolError, match="out of order"):
        encoder.encode(1, budget_bytes=500)
    with pytest.raises(LocalProtocolError, match="at least 1"):
        encoder.encode(0, budget_bytes=0)
    assert encoder.frame_count == 180


def test_rungs_are_an_eighth_of_an_octave_apart() -> None:
    assert [rung_bytes(rung) for rung in (0, 8, 16)] == [400, 800, 1600]
    assert [rung_of(budget) for budget in (1, 400, 435, 436, 800, 1e6)] == [0, 0, 0, 1, 8, 90]


def ladder(clip: Clip, cache: EncodeCache | None) -> LadderGops:
    return LadderGops(GopSource(clip, Settings(), cache))


def test_a_ladder_never_exceeds_the_budget_and_is_not_far_below(core: Core, clip: Clip) -> None:
    encoder = ladder(clip, None)
    for n in range(20):
        budget = 500 + 170 * n
        gop = encoder.encode(n, budget_bytes=budget)
        assert 0.9 * budget < sum(map(len, gop.units)) <= budget
        assert {read_unit(unit).header.gop for unit in gop.units} == {n}


def test_rungs_are_shared_between_sessions_that_take_other_ways(
    core: Core, clip: Clip, cache: EncodeCache
) -> None:
    one, other, third = (ladder(clip, cache) for _ in range(3))
    first = [one.encode(n, budget_bytes=800 if n < 4 else 1600) for n in range(16)]
    second = [other.encode(n, budget_bytes=1600 if n < 4 else 800) for n in range(16)]
    encoded = core.encoded
    mixed = [third.encode(n, budget_bytes=1600 if n % 2 else 800) for n in range(16)]
    assert core.encoded == encoded
    assert mixed[1] == second[1]
    assert mixed[2] == first[2]
    assert mixed[5] == first[5]
    assert mixed[6] == second[6]


def test_a_ladder_gives_the_same_whatever_was_there_before(
    core: Core, clip: Clip, tmp_path: Path
) -> None:
    ways = [[800] * 12, [1600] * 7 + [800] * 5, [800, 1600] * 6]
    found = []
    for number, way in enumerate(ways):
        encoder = ladder(clip, EncodeCache(tmp_path / f"{number}.sqlite"))
        found.append([encoder.encode(n, budget_bytes=b).units for n, b in enumerate(way)])
    assert found[0][7:] == found[1][7:]
    assert found[2][10] == found[0][10]
    assert found[2][3] == found[1][3]


def test_facts_name_the_encoder_and_the_weights(clip: Clip) -> None:
    for encoder in (live(clip, None), ladder(clip, None)):
        facts = encoder.facts()
        assert facts["kind"] == encoder.kind
        assert len(facts["weights_sha256"]) == 64
        assert facts["config"]["profile"] == "morphe"
