"""A replay: everything that the session had comes through the feed, in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from viewing import psnr

from testbed.live.feed import Feed, Shown, State, Status
from testbed.live.recording import Recording, open_recording
from testbed.live.replay import Replay


class Listening(Feed):
    """A feed that remembers all pictures."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording.heading)
        self.all: list[Shown] = []

    def show(self, shown: Shown) -> None:
        self.all.append(shown)
        super().show(shown)


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_the_whole_session_comes_through(run_of: Callable[[str], Path], transport: str) -> None:
    recording = open_recording(run_of(transport))
    feed = Listening(recording)
    with Replay(recording, feed, speed=4) as replay:
        assert replay.wait(120)
    assert feed.status == Status(State.DONE)
    assert feed.samples_after(0, timeout_s=0)[0] == list(recording.samples)
    count = recording.clip.frame_count
    assert [s.slot for s in feed.all] == list(range(len(feed.all)))
    assert [s.source_frame for s in feed.all[:count]] == list(range(count))
    assert {s.source_frame for s in feed.all[count:]} <= {count - 1}
    for shown in feed.all[:count]:
        assert np.array_equal(shown.source, recording.clip.frame(shown.source_frame))
    received = [s.received_frame for s in feed.all]
    assert received == sorted(received)
    assert received[0] == -1
    assert received[-1] >= recording.frames.on_screen()[-1]
    last = feed.all[-1]
    assert not isinstance(last.received, bytes)
    assert psnr(last.received, recording.clip.frame(last.received_frame)) > 15


def test_closing_stops_it(recording: Recording) -> None:
    feed = Feed(recording.heading)
    with Replay(recording, feed, speed=0.05) as replay:
        assert not replay.wait(0)
    assert feed.status == Status(State.FAILED, "stopped")
    assert len(feed.samples_after(0, timeout_s=0)[0]) < len(recording.samples)


def test_a_decoder_that_is_not_there_ends_it_with_its_reason(
    run_of: Callable[[str], Path],
) -> None:
    morphe = open_recording(run_of("morphe"))
    broken = replace(morphe, decoder_options={"weights": "no-such-weights"})
    feed = Feed(broken.heading)
    with Replay(broken, feed, speed=20) as replay:
        assert replay.wait(60)
    assert feed.status.state is State.FAILED
    assert "no-such-weights" in feed.status.reason
