"""Flicker and colour shift against sequences whose figures are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from testbed.codec.steadiness import Steadiness, SteadinessMeter
from testbed.media.sources import Picture

WIDTH, HEIGHT = 32, 16
PIXELS = WIDTH * HEIGHT


def _grey(luma: int, u: int = 128, v: int = 128) -> Picture:
    planes = [np.full(PIXELS, luma), np.full(PIXELS // 4, u), np.full(PIXELS // 4, v)]
    return np.concatenate(planes).astype(np.uint8)


def _measure(pictures: Sequence[Picture], sources: Sequence[Picture]) -> Steadiness:
    meter = SteadinessMeter(WIDTH, HEIGHT)
    watched = list(meter.watch(pictures, sources))
    assert all(one is two for one, two in zip(watched, pictures, strict=True))
    return meter.result()


def test_the_source_itself_is_steady() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 255, PIXELS * 3 // 2, np.uint8) for _ in range(30)]
    assert _measure(pictures, pictures) == Steadiness(0, 0, 0, 0)


def test_a_jump_at_every_gop_is_its_height() -> None:
    sources = [_grey(100)] * 36
    jumpy = [_grey(100 + 6 * (index // 9 % 2)) for index in range(36)]
    assert _measure(jumpy, sources).flicker == pytest.approx(6)
    assert _measure(jumpy, sources).luma_shift == pytest.approx(3)


def test_motion_of_the_source_is_no_flicker() -> None:
    sources = [_grey(50 + 3 * index) for index in range(36)]
    duller = [_grey(50 + 3 * index) if index % 9 else _grey(53 + 3 * index) for index in range(36)]
    assert _measure(sources, sources).flicker == 0
    # 3 up more at the boundary, 3 less right after it, in one of the eight other places.
    assert _measure(duller, sources).flicker == pytest.approx(3 + 3 / 8, abs=0.1)


def test_a_scene_cut_at_a_boundary_is_the_sources_own() -> None:
    sources = [_grey(40 if index < 18 else 200) for index in range(36)]
    assert _measure(sources, sources).flicker == 0


def test_colours() -> None:
    found = _measure([_grey(100, 131, 124)] * 4, [_grey(100)] * 4)
    assert (found.luma_shift, found.u_shift, found.v_shift) == pytest.approx((0, 3, -4))
    assert found.flicker == 0  # no boundary was crossed


def test_nothing_yet() -> None:
    assert SteadinessMeter(WIDTH, HEIGHT).result() == Steadiness(0, 0, 0, 0)
