"""A process of a session is killed: its cell is lost, the suite goes on, nothing is left behind."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import kill_worlds

from testbed.worlds.mahimahi import find_problems

REQUIRED = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"
PROBLEMS = [problem.what for problem in find_problems()]

#: Mid-session, each at another moment.
MOMENTS = (0.4, 0.8, 1.1, 0.6)


def dooms(world: str) -> list[tuple[str, float]]:
    return list(zip(kill_worlds.VICTIMS[world], MOMENTS, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_relay(tmp_path: Path) -> None:
    result = kill_worlds.attempt("relay", dooms("relay"), tmp_path)
    assert result.wrong == []
    told = "; ".join(result.lines)
    for process in ("sender", "receiver", "relay"):
        assert f"the {process} process died (signal 9)" in told
    assert "the worker process died" in told


@pytest.mark.slow
@pytest.mark.mahimahi
@pytest.mark.skipif(bool(PROBLEMS) and not REQUIRED, reason=f"mm-link cannot run here: {PROBLEMS}")
@pytest.mark.timeout(240)
def test_mahimahi(tmp_path: Path) -> None:
    result = kill_worlds.attempt("mahimahi", dooms("mahimahi"), tmp_path)
    assert result.wrong == []
    told = "; ".join(result.lines)
    for process in ("sender", "receiver"):
        assert f"the {process} process died (signal 9)" in told
    assert "mahimahi: a shell died (status -9)" in told  # and not at the session's end
    assert "the worker process died" in told
