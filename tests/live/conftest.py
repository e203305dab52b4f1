"""A small session as a run folder, made once, and what shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from viewing import HEADING

from testbed.cli.main import run_command
from testbed.live.feed import Feed
from testbed.live.recording import Recording, open_recording
from testbed.live.server import LiveServer

SCENARIO = """\
name: viewed
clips: [test:testsrc2]
width: 160
height: 96
fps: 15
duration_s: 3
downlink:
  trace: ["model:rail@30s"]
  mean_kbps: 300
  queue: {kind: droptail, packets: 60}
  loss:
    - {kind: bernoulli, rate: 0.1}
  delay_ms: 50
uplink: {delay_ms: 50}
transports: [h264, morphe]
rate: {control: fixed, kbps: 200}
seeds: [1]
quality: []
"""


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a run of H.264 and one of Morphe."""
    folder = tmp_path_factory.mktemp("viewed")
    scenario = folder / "viewed.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    out = folder / "results"
    command = ["run", str(scenario), "--out", str(out), "--jobs", "1", "--quiet"]
    assert run_command(command) == 0
    return out


@pytest.fixture(scope="session")
def run_of(results: Path) -> Callable[[str], Path]:
    """The run folder of a transport."""
    from testbed.analysis.runs import iter_runs

    folders = {run.transport: run.folder for run in iter_runs(results)}
    return folders.__getitem__


@pytest.fixture(scope="session")
def recording(run_of: Callable[[str], Path]) -> Recording:
    """The run of H.264, opened."""
    return open_recording(run_of("h264"))


@pytest.fixture
def feed() -> Feed:
    """A feed of pictures of 32x16."""
    return Feed(HEADING)


@pytest.fixture
def server(feed: Feed) -> Iterator[LiveServer]:
    """It, served."""
    with LiveServer(feed) as server:
        yield server
