from __future__ import annotations

import handmade
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.metrics.columns import Session, frame_columns
from testbed.analysis.metrics.delay import (
    PERCENTILES,
    censored,
    delay_metrics,
    frame_delay_ms,
    latency_ms,
    percentiles,
)

SESSION = Session(fps=10.0, duration_s=1.0, deadline_ms=400.0, warmup_s=0.0)


def test_both_delays_of_hand_written_frames() -> None:
    frames = frame_columns(handmade.frames([60, 80, None, 100]))
    np.testing.assert_array_equal(latency_ms(frames), [60, 80, np.nan, 100])
    np.testing.assert_array_equal(frame_delay_ms(frames), [52, 72, np.nan, 92])


def test_linear_percentiles_over_rendered_and_censored_frames() -> None:
    # Rendered 60 80 100; censored 60 80 100 400. Linear: position (n - 1) * p.
    found = delay_metrics(frame_columns(handmade.frames([60, 80, None, 100])), SESSION)
    assert found["latency_ms_p50"] == 80
    assert found["latency_ms_p95"] == pytest.approx(80 + 0.9 * 20)
    assert found["latency_ms_censored_p50"] == 90
    assert found["latency_ms_censored_p95"] == pytest.approx(100 + 0.85 * 300)
    assert found["latency_ms_censored_p99"] == pytest.approx(100 + 0.97 * 300)
    assert found["frame_delay_ms_p50"] == 72
    assert found["frame_delay_ms_censored_p50"] == 82


def test_fast_frames_are_counted_over_all_source_frames() -> None:
    # Delays of 52, 152 and 149 ms by hand, and one frame that was never shown.
    table = handmade.frames([60, 160, None, 157])
    assert delay_metrics(frame_columns(table), SESSION)["frame_delay_under_150ms_share"] == 0.5
    never = delay_metrics(frame_columns(handmade.frames([None, None])), SESSION)
    assert never["frame_delay_under_150ms_share"] == 0


def test_nothing_rendered_is_undefined_and_censored_at_the_deadline() -> None:
    found = delay_metrics(frame_columns(handmade.frames([None, None])), SESSION)
    assert found["latency_ms_p50"] is None
    assert found["frame_delay_ms_p99"] is None
    assert found["latency_ms_censored_p50"] == 400
    assert found["frame_delay_ms_censored_p99"] == 400


def test_late_frames_count_as_never_rendered() -> None:
    table = handmade.frames([60, None, 60], outcomes=["rendered", "late", "rendered"])
    table.loc[1, ["decodable_ns", "decode_end_ns", "first_arrival_ns"]] = 700 * handmade.MS
    frames = frame_columns(table)
    assert np.isnan(latency_ms(frames)[1])
    assert np.isnan(frame_delay_ms(frames)[1])


def test_concealed_before_its_own_encoding_has_a_latency_but_no_frame_delay() -> None:
    table = handmade.frames([60, 60], outcomes=["rendered", "concealed"])
    table.loc[1, "encode_end_ns"] = 100 * handmade.MS + 200 * handmade.MS
    table.loc[1, ["first_sent_ns", "last_sent_ns"]] = 300 * handmade.MS
    table.loc[1, "first_arrival_ns"] = np.nan
    frames = frame_columns(table)
    assert latency_ms(frames)[1] == 60
    assert np.isnan(frame_delay_ms(frames)[1])


@given(
    st.lists(st.none() | st.floats(0, 400), min_size=1, max_size=60),
)
def test_censoring_never_makes_a_scheme_look_faster(delays: list[float | None]) -> None:
    values = np.array([np.nan if d is None else d for d in delays])
    rendered = percentiles(values[~np.isnan(values)])
    everything = percentiles(censored(values, 400.0))
    for p in PERCENTILES:
        low, high = rendered[p], everything[p]
        assert high is not None
        assert high <= 400.0
        if low is not None:
            assert high >= low - 1e-9


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=40))
def test_percentiles_rise(values: list[float]) -> None:
    found = [percentiles(np.array(values))[p] for p in PERCENTILES]
    assert found == sorted(found, key=lambda v: v or 0.0)
