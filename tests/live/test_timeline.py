"""A run folder over time, held against the plainest way of counting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from testbed.analysis.runs import Run, open_run
from testbed.live.again import run_again
from testbed.live.timeline import NEVER, heading, samples, spread, timeline


@pytest.fixture(params=["h264", "morphe"])
def run(request: pytest.FixtureRequest, run_of: Callable[[str], Path]) -> Run:
    return open_run(run_of(request.param))


def test_what_a_camera_in_front_of_the_screen_would_see(run: Run) -> None:
    rows = list(run.frames.itertuples())
    expected = []
    for row in rows:
        shown = [r.frame for r in rows if r.render_ns <= row.capture_ns]  # NaN compares as false
        expected.append(max(shown, default=-1))
    assert timeline(run).on_screen() == expected
    assert expected[0] == -1
    assert expected[-1] > 20


def test_at_the_end_all_rendered_frames_have_been_seen(run: Run) -> None:
    frames = timeline(run)
    assert frames.on_screen(np.array([NEVER - 1])) == [
        run.frames.frame[run.frames.render_ns.notna()].max()
    ]


def test_aligned_is_what_quality_is_measured_on(run: Run) -> None:
    result = run_again(run, base=Path.cwd())
    assert timeline(run).aligned() == result.displayed


def test_a_frame_is_final_when_it_or_a_later_one_can_be_decoded(run: Run) -> None:
    frames = timeline(run)
    final = frames.final_ns()
    for index in range(len(final)):
        assert final[index] == frames.decodable_ns[index:].min()


def test_samples_are_the_control_table_with_frames_and_losses(run: Run) -> None:
    made = samples(run)
    control = run.control
    assert [s.time_ns for s in made] == control.time_ns.tolist()
    assert [s.sent_kbps for s in made] == control.sent_kbps.tolist()
    assert [s.target_kbps for s in made] == control.target_kbps.tolist()
    assert [s.capacity_kbps for s in made] == control.capacity_kbps.tolist()
    assert {s.mode for s in made} == set(control["mode"])
    assert len(made) == 30


def test_losses_and_frames_of_each_sample(run: Run) -> None:
    down = run.packets[run.packets.direction == "down"]
    rows = list(run.frames.itertuples())
    shown = {"rendered", "concealed"}
    deadline_ns = 400_000_000
    for s in samples(run):
        window = down[(down.sent_ns >= s.time_ns - 100_000_000) & (down.sent_ns < s.time_ns)]
        lost = (window["drop"] != "none").sum()
        assert s.loss_share == (lost / len(window) if len(window) else 0)
        last = range(max(0, s.time_ns - 10**9), s.time_ns)
        seconds = len(last) / 1e9
        if run.transport == "h264":
            ends = [r.encode_end_ns for r in rows if r.encode_end_ns == r.encode_end_ns]
            assert s.coding_fps == pytest.approx(sum(int(t) in last for t in ends) / seconds)
        elif 2 * 10**9 < s.time_ns < 2.9e9:  # groups come with gaps; their frames do not
            assert s.coding_fps == pytest.approx(15, abs=1)
        shows = [r.render_ns for r in rows if r.render_ns == r.render_ns]
        assert s.rendered_fps == pytest.approx(sum(int(t) in last for t in shows) / seconds)
        missed = [r for r in rows if r.outcome not in shown]
        assert s.late_frames == sum(r.capture_ns + deadline_ns <= s.time_ns for r in missed)
        delays = [
            (r.decodable_ns - r.encode_end_ns) / 1e6
            for r in rows
            if s.time_ns - 10**9 < r.decodable_ns <= s.time_ns
        ]
        if delays:
            assert s.frame_delay_ms == pytest.approx(median(delays))
        else:
            assert s.frame_delay_ms is None
    assert any(s.loss_share > 0 for s in samples(run))
    assert max(s.queue_bytes or 0 for s in samples(run)) > 0


def test_frames_that_were_coded_together_are_spread_over_their_time() -> None:
    ends = np.array([9, 9, 9, 18, 18, 18, 20, NEVER])
    assert spread(ends).tolist() == [3, 6, 9, 12, 15, 18, 20]
    one_by_one = np.array([0, 33, 66])
    assert spread(one_by_one).tolist() == [0, 33, 66]
    assert spread(np.array([NEVER])).tolist() == []


def test_the_heading_names_the_run(run: Run) -> None:
    told = heading(run, world="replay")
    assert (told.width, told.height, told.fps, told.duration_s) == (160, 96, 15.0, 3.0)
    assert told.trace == "rail-synthetic-30s-0-mean300kbps"
    assert told.loss == "bernoulli 10 %"
    assert told.control == "fixed 200 kbps"
    assert told.transport == run.transport
