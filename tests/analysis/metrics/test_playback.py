from __future__ import annotations

from typing import Any

import handmade
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.metrics.columns import Session, frame_columns
from testbed.analysis.metrics.playback import (
    gap200_freezes,
    gaps_ms,
    harmonic_fps,
    playback_metrics,
    w3c_freezes,
)


def session(count: int, fps: float) -> Session:
    return Session(fps=fps, duration_s=count / fps, deadline_ms=400.0, warmup_s=0.0)


def metrics(latencies: list[float | None], fps: float = 10.0, **kwargs: Any) -> dict[str, Any]:
    frames = frame_columns(handmade.frames(latencies, fps=fps, **kwargs))
    return playback_metrics(frames, session(len(latencies), fps))


def test_even_playback_renders_at_the_source_rate_without_freezes() -> None:
    found = metrics([50.0] * 20, fps=30.0)
    assert found["rendered_fps"] == pytest.approx(30)
    assert found["harmonic_fps"] == pytest.approx(30, rel=1e-6)
    assert found["freeze_w3c_count"] == found["freeze_gap200_count"] == 0
    assert found["freeze_w3c_share"] == 0
    assert found["non_rendered_share"] == 0


def test_gaps_cover_the_whole_clip_whatever_is_missing() -> None:
    # 10 fps; shown at 250 and 350 ms after start, then frame 7 at 750 ms: lead 2 frames, tail 3.
    latencies = [None, None, 50, 50, None, None, None, 50, None, None]
    frames = frame_columns(handmade.frames(latencies))
    np.testing.assert_allclose(gaps_ms(frames, session(10, 10.0)), [200, 100, 400, 300])


def test_freezes_by_hand() -> None:
    # Gaps 200 (lead), 100, 400, 300 (tail) of 1000 ms. gap200: > 200 -> 400 and 300.
    # w3c: fewer than five gaps before, so the mean is 100 ms and the threshold 300 ms.
    found = metrics([None, None, 50, 50, None, None, None, 50, None, None])
    assert found["freeze_gap200_count"] == 2
    assert found["freeze_gap200_share"] == pytest.approx(0.7)
    assert found["freeze_w3c_count"] == 2
    assert found["freeze_w3c_share"] == pytest.approx(0.7)
    assert found["rendered_fps"] == pytest.approx(3.0)
    assert found["undecodable_share"] == pytest.approx(0.7)
    # T / sum(gap^2) = 1 / (0.04 + 0.01 + 0.16 + 0.09)
    assert found["harmonic_fps"] == pytest.approx(1 / 0.30)


def test_w3c_threshold_is_inclusive_and_takes_the_larger_of_its_two_forms() -> None:
    # Mean 100 ms over five gaps: max(300, 250) = 300. Mean 50 ms: max(150, 200) = 200.
    assert w3c_freezes(np.array([100.0] * 5 + [299.999]), 100.0).tolist() == [False] * 6
    assert w3c_freezes(np.array([100.0] * 5 + [300.0]), 100.0).tolist() == [False] * 5 + [True]
    assert w3c_freezes(np.array([50.0] * 5 + [200.0]), 50.0).tolist() == [False] * 5 + [True]
    assert not w3c_freezes(np.array([50.0] * 5 + [199.9]), 50.0).any()


def test_w3c_mean_slides_over_thirty_gaps_and_includes_earlier_freezes() -> None:
    def slow(gaps: list[float], interval: float) -> list[bool]:
        found = []
        for at, gap in enumerate(gaps):
            before = gaps[max(0, at - 30) : at]
            mean = sum(before) / len(before) if len(before) >= 5 else interval
            found.append(gap >= max(3 * mean, mean + 150))
        return found

    rng = np.random.default_rng(7)
    gaps = np.round(rng.exponential(60, 300) + 1)
    assert w3c_freezes(gaps, 33.0).tolist() == slow(gaps.tolist(), 33.0)


def test_gap200_is_exclusive() -> None:
    assert gap200_freezes(np.array([200.0, 200.001])).tolist() == [False, True]


def test_nothing_rendered_is_one_freeze_over_everything() -> None:
    found = metrics([None] * 10)
    assert found["rendered_fps"] == 0
    assert found["harmonic_fps"] == 0
    assert found["freeze_w3c_count"] == found["freeze_gap200_count"] == 1
    assert found["freeze_w3c_share"] == found["freeze_gap200_share"] == 1
    assert found["non_rendered_share"] == 1


def test_only_the_first_frame_rendered_is_a_freeze_to_the_end() -> None:
    found = metrics([50, *[None] * 9])
    assert found["freeze_gap200_count"] == 1
    assert found["freeze_gap200_share"] == 1


def test_concealed_frames_are_on_the_screen_but_counted_apart() -> None:
    found = metrics([50.0] * 4, outcomes=["rendered", "concealed", "rendered", "rendered"])
    assert found["rendered_fps"] == pytest.approx(10)
    assert found["rendered_share"] == 0.75
    assert found["concealed_share"] == 0.25
    assert found["non_rendered_share"] == 0


def test_harmonic_rate_of_a_known_pattern() -> None:
    # Pairs of 20 and 80 ms: 100 ms / (0.0004 + 0.0064) s^2 per pair.
    assert harmonic_fps(np.array([20.0, 80.0] * 5)) == pytest.approx(0.1 / 0.0068)


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.sampled_from([10.0, 25.0, 60.0]))
def test_shares_are_shares_and_rates_bounded(shown: list[bool], fps: float) -> None:
    found = metrics([50.0 if s else None for s in shown], fps=fps)
    assert found["rendered_fps"] == pytest.approx(fps * np.mean(shown))
    # The harmonic mean of gap lengths weighs long gaps, so it never exceeds the mean rate, which
    # is at most the source's.
    assert found["harmonic_fps"] <= fps * (1 + 1e-6)
    for rule in ("w3c", "gap200"):
        assert 0 <= found[f"freeze_{rule}_share"] <= 1 + 1e-12
        assert (found[f"freeze_{rule}_count"] > 0) == (found[f"freeze_{rule}_share"] > 0)
    outcomes = ("rendered", "concealed", "late", "undecodable", "not_sent")
    assert sum(found[f"{o}_share"] for o in outcomes) == pytest.approx(1)
