"""A session of the relay world while it runs, in the feed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.experiments.cell import Cell
from testbed.experiments.scenario import load_scenario
from testbed.experiments.suite import expand
from testbed.live.decoder import LiveDecoder
from testbed.live.emulated import LiveSession, Watch, heading_of, runner_of
from testbed.live.feed import Feed, Sample, State
from testbed.transports.base import FrameDecoded, FrameEncoded
from testbed.worlds.ends import EndFactory

SCENARIO = """\
name: watched
clips: ["test:testsrc2"]
width: 160
height: 96
fps: 15
duration_s: 2
downlink:
  trace: [constant:2000kbps]
  loss: {kind: mask, bits: [0, 0, 0, 0, 1]}
  delay_ms: 20
uplink:
  delay_ms: 20
transports: [TRANSPORT]
rate: {control: fixed, kbps: 200}
"""


def cell_of(tmp_path: Path, transport: str) -> Cell:
    path = tmp_path / "watched.yaml"
    path.write_text(SCENARIO.replace("TRANSPORT", transport))
    (cell,) = expand(load_scenario(path), world="relay")
    return cell


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", "1000")


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_numbers_and_pictures_come_while_it_runs(tmp_path: Path, transport: str) -> None:
    cell = cell_of(tmp_path, transport)
    make = EndFactory(cell.session, base=cell.base)
    feed = Feed(heading_of(cell, make))
    session = LiveSession(cell, feed, make)
    shown, serial, pictures = [], 0, 0
    while not session.wait(0.0):
        now, pictures = feed.shown_after(pictures, timeout_s=1.0)
        if now is not None:
            shown.append(now)
    assert feed.status.state is State.DONE, feed.status.reason
    samples, serial = feed.samples_after(0, timeout_s=0.0)
    assert serial == len(samples) == 20
    assert [sample.time_ns for sample in samples] == [n * 10**8 for n in range(1, 21)]
    for sample in samples:
        assert sample.capacity_kbps == pytest.approx(2000, rel=0.1)
        assert sample.target_kbps == 200.0
    # Every fifth packet is lost; in many a tick nothing of a group comes, and no share is known.
    decided = [sample.loss_share for sample in samples if sample.delivered_kbps > 0]
    assert 0.1 < np.mean(decided) < 0.3
    sent, delivered = (
        sum(getattr(sample, name) for sample in samples) for name in ("sent_kbps", "delivered_kbps")
    )
    assert 0.6 * sent < delivered < sent
    # 15 a second; Morphe's last group has three frames.
    assert 13 <= samples[-1].coding_fps <= 17
    assert 8 < samples[-1].rendered_fps < 23
    # Both screens: the source's own picture, and after a while the received one, later and alike.
    assert len(shown) > 15
    last = shown[-1]
    assert 0 < last.received_frame <= last.due_frame <= last.source_frame
    assert np.array_equal(last.source, make.clip.frame(last.source_frame))
    luma = 160 * 96
    source = make.clip.frame(last.received_frame)[:luma].astype(float)
    received = np.asarray(last.received)[:luma].astype(float)
    assert np.mean((source - received) ** 2) < 900  # PSNR above 18.6 dB


@pytest.mark.slow
def test_a_session_that_is_refused_fails_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", "0.000001")
    cell = cell_of(tmp_path, "h264")
    make = EndFactory(cell.session, base=cell.base)
    feed = Feed(heading_of(cell, make))
    session = LiveSession(cell, feed, make)
    assert session.wait(60.0)
    assert feed.status.state is State.FAILED
    assert "machine too busy" in feed.status.reason


MS = 10**6


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Watch, Feed]]:
    """A watch that is told by hand, and its feed. 15 frames a second, deadline 400 ms."""
    cell = cell_of(tmp_path, "h264")
    make = EndFactory(cell.session, base=cell.base)
    feed = Feed(heading_of(cell, make))
    with LiveDecoder("h264", width=160, height=96, conceal=False) as decoder:
        yield Watch(cell, make, feed, decoder), feed


def tick(watch: Watch, feed: Feed, tenths: int, reported_loss: float | None = None) -> Sample:
    """The sample that a tick makes."""
    watch("sender", ("tick", (tenths * 100 * MS, None, None, reported_loss, "", "", 200.0, 0, 0)))
    return feed.samples_after(0, timeout_s=0)[0][-1]


def encoded(watch: Watch, indexes: range, end_ms: int) -> None:
    for index in indexes:
        watch("sender", ("encoded", FrameEncoded(index, False, 200.0, 0, end_ms * MS, 100)))


def decoded(watch: Watch, index: int, at_ms: int, *, late: bool = False) -> None:
    render_ns = -1 if late else at_ms * MS
    event = FrameDecoded(index, at_ms * MS, at_ms * MS, render_ns, "late" if late else "rendered")
    watch("receiver", ("decoded", event, None))


def test_frames_of_a_group_have_the_deadline_of_its_last(watched: tuple[Watch, Feed]) -> None:
    """A group of nine, captured until 533 ms, on the screen at 800: nobody is late yet."""
    watch, feed = watched
    encoded(watch, range(9), 540)
    assert tick(watch, feed, 7).late_frames == 0
    for index in range(8):
        decoded(watch, index, 800)
    assert tick(watch, feed, 9).late_frames == 0
    decoded(watch, 8, 941, late=True)
    assert tick(watch, feed, 10).late_frames == 1
    # Frames 9 and 10 may still be coded; a second after their own deadlines they count.
    assert tick(watch, feed, 19).late_frames == 1
    assert tick(watch, feed, 20).late_frames == 2  # 600 + 400 + 1000 ms
    assert tick(watch, feed, 21).late_frames == 3


def test_groups_do_not_make_the_coded_rate_jump(watched: tuple[Watch, Feed]) -> None:
    watch, feed = watched
    rates = []
    for group in range(10):
        encoded(watch, range(9 * group, 9 * group + 9), 600 * (group + 1))
        rates += [tick(watch, feed, 6 * (group + 1) + n).coding_fps for n in range(6)]
    assert rates == pytest.approx([15] * 60, abs=1)
    rates = [tick(watch, feed, 60 + n).coding_fps for n in (6, 9, 10, 11)]
    assert rates == pytest.approx([15, 15, 0, 0], abs=1)  # the encoder has stopped


def test_loss_is_of_the_packets_whose_fate_was_decided(watched: tuple[Watch, Feed]) -> None:
    watch, feed = watched
    assert tick(watch, feed, 1, reported_loss=0.25).loss_share == 0.25  # all that is known
    watch("relay", ("link", (0, "down", 25_000, 0, 4, 4800, 1, 2), 12))
    sample = tick(watch, feed, 2)
    assert (sample.loss_share, sample.queue_bytes) == (3 / 12, 4800)
    # Two rows between two ticks, then none: nothing is counted twice, nothing is forgotten.
    watch("relay", ("link", (100 * MS, "down", 25_000, 0, 0, 0, 0, 1), 16))
    watch("relay", ("link", (200 * MS, "down", 25_000, 0, 0, 0, 0, 0), 20))
    assert tick(watch, feed, 3).loss_share == 1 / 8
    assert tick(watch, feed, 4, reported_loss=0.25).loss_share == 0


def test_worlds_that_cannot_be_watched_are_named() -> None:
    with pytest.raises(InputError, match="simulator: cannot be watched; relay and mahimahi can"):
        runner_of("simulator")
