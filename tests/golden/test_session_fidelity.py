"""Simulated and emulated sessions agree: two transports, the relay and real mahimahi, 10 s each."""

import os
from pathlib import Path

import pytest

from testbed.analysis.agreement import Bounds, compare, labels, pairs
from testbed.analysis.runs import scan_runs
from testbed.experiments.executor import run_suite
from testbed.experiments.runner import WORLDS
from testbed.experiments.scenario import load_scenario
from testbed.experiments.suite import expand
from testbed.worlds.mahimahi import find_problems

ROOT = Path(__file__).parents[2]
#: The bounds hold on an idle machine; other tests run beside this one.
ALLOWANCE_MS = 3.0
BUSY_MS = "20"
TRIES = 3
REQUIRED = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"
PROBLEMS = [problem.what for problem in find_problems()]


class Silent:
    def started(self, cell: object) -> None:
        pass

    def finished(self, cell: object) -> None:
        pass

    def failed(self, failure: object) -> None:
        pass


def make_runs(out: Path, worlds: list[str]) -> None:
    loaded = load_scenario(
        ROOT / "scenarios" / "fidelity.yaml",
        overrides=["duration_s=10", 'downlink.trace="model:driving@20s#0"'],
    )
    for world in ["simulator", *worlds]:
        for _ in range(TRIES):
            outcome = run_suite(
                expand(loaded, world=world), out=out, jobs=1, reporter=Silent(),
                session=WORLDS.get(world),
            )  # fmt: skip
            if not outcome.failed:
                break
        assert [failure.message for failure in outcome.failed] == []


def check(out: Path, worlds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", BUSY_MS)
    make_runs(out, worlds)
    bounds = Bounds()
    bounds = Bounds(bounds.delay_p50_ms + ALLOWANCE_MS, bounds.delay_p95_ms + ALLOWANCE_MS)
    found = pairs(scan_runs(out).runs)
    rows = [
        compare(pair, bounds, label=name) for pair, name in zip(found, labels(found), strict=True)
    ]
    assert sorted((row.transport, row.world) for row in rows) == sorted(
        (transport, world) for transport in ("h264", "morphe") for world in worlds
    )
    assert {(row.transport, row.world): row.over for row in rows if row.over} == {}


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path / "out", ["relay"], monkeypatch)


@pytest.mark.slow
@pytest.mark.mahimahi
@pytest.mark.timeout(280)
@pytest.mark.skipif(bool(PROBLEMS) and not REQUIRED, reason=f"mm-link cannot run here: {PROBLEMS}")
def test_mahimahi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path / "out", ["mahimahi"], monkeypatch)
