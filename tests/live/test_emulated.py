"""A session of the relay world while it runs, in the feed."""

from pathlib import Path

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.experiments.cell import Cell
from testbed.experiments.scenario import load_scenario
from testbed.experiments.suite import expand
from testbed.live.emulated import LiveSession, heading_of, runner_of
from testbed.live.feed import Feed, State
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
    # Every fifth packet is lost; what was sent later than the last tick is not in it.
    assert 0.1 < np.mean([sample.loss_share for sample in samples]) < 0.3
    sent, delivered = (
        sum(getattr(sample, name) for sample in samples) for name in ("sent_kbps", "delivered_kbps")
    )
    assert 0.6 * sent < delivered < sent
    # 15 a second; groups of nine give 9 or 18, and the last one has three.
    assert 9 <= samples[-1].coding_fps <= 21
    assert 8 < samples[-1].rendered_fps < 23
    # Both screens: the source's own picture, and after a while the received one, later and alike.
    assert len(shown) > 15
    last = shown[-1]
    assert 0 < last.received_frame <= last.source_frame
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


def test_worlds_that_cannot_be_watched_are_named() -> None:
    with pytest.raises(InputError, match="simulator: cannot be watched; relay and mahimahi can"):
        runner_of("simulator")
