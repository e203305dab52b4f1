"""Whole sessions in the real-time worlds, beside the simulator's."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import MemorySink, path, run, session

from testbed.errors import InputError
from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.worlds.mahimahi import find_problems
from testbed.worlds.realtime.mahimahi_world import run_mahimahi_session
from testbed.worlds.realtime.world import BUSY_VARIABLE, MachineBusyError, run_relay_session
from testbed.worlds.session import SessionSpec

REQUIRED = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"
PROBLEMS = [problem.what for problem in find_problems()]
#: Where a test is not about punctuality.
PATIENT_MS = "2000"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUSY_VARIABLE, PATIENT_MS)


def in_world(runner: Any, spec: SessionSpec) -> tuple[dict[str, pd.DataFrame], Any]:
    sink = MemorySink()
    result = runner(spec, sink, base=Path.cwd())
    return sink.tables(), result


def lost(tables: dict[str, pd.DataFrame]) -> list[int]:
    packets = tables["packets"]
    down = packets[packets["direction"] == "down"]
    return down[down["drop"] == "loss"]["seq"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_relay_loses_the_packets_that_the_simulator_loses(transport: str) -> None:
    # One in eleven: a mask, so that it is by the packet's number alone.
    mask = LossSpec("mask", {"bits": (0,) * 10 + (1,)})
    spec = session(transport=transport, down=path(loss=mask), duration_s=3.0, kbps=150.0)
    ours, simulated = run(spec)
    theirs, emulated = in_world(run_relay_session, spec)
    assert lost(theirs)[:5] == lost(ours)[:5] == [10, 21, 32, 43, 54]
    assert emulated.facts["loss_down"]["lost"] == len(lost(theirs))
    assert abs(len(lost(theirs)) - len(lost(ours))) <= 1
    frames = theirs["frames"]
    assert len(frames) == len(ours["frames"]) == 45
    shown = frames["outcome"].isin(["rendered", "concealed"])
    assert shown.mean() >= 0.9
    assert (frames["capture_ns"] == ours["frames"]["capture_ns"]).all()
    # At a fixed rate the stream is the same, to the byte.
    assert frames["media_bytes"].tolist() == ours["frames"]["media_bytes"].tolist()
    assert len(emulated.received) == len(simulated.received)
    assert len(theirs["link"]) == len(ours["link"])
    assert theirs["link"]["capacity_bytes"].tolist() == ours["link"]["capacity_bytes"].tolist()
    assert len(theirs["control"]) == len(ours["control"])


@pytest.mark.slow
def test_what_did_not_arrive_was_dropped_or_was_under_way() -> None:
    spec = session(down=path(kbps=180.0, packets=3), kbps=250.0, duration_s=3.0)
    tables, _ = in_world(run_relay_session, spec)
    packets = tables["packets"]
    packets = packets[packets["direction"] == "down"]
    assert (packets["drop"] == "queue").sum() > 5
    through = packets[packets["drop"] == "none"]
    missing = through[through["arrival_ns"].isna()]
    assert (missing["sent_ns"] > 2.5e9).all()
    # In order of the chain, for every packet.
    assert (through["link_in_ns"] >= through["sent_ns"]).all()
    arrived = through.dropna(subset=["arrival_ns"])
    assert (arrived["arrival_ns"] >= arrived["link_out_ns"]).all()
    # The queue rows agree with the packets.
    assert tables["link"].query("direction == 'down'")["queue_drops"].sum() <= len(packets)


@pytest.mark.slow
def test_a_machine_that_is_too_busy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUSY_VARIABLE, "0.0001")
    sink = MemorySink()
    with pytest.raises(MachineBusyError, match=r"left [0-9.]+ ms late at the 99th percentile"):
        run_relay_session(session(duration_s=1.0), sink, base=Path.cwd())
    assert all(not rows for rows in sink.rows.values())


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_an_impossible_bound_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUSY_VARIABLE, value)
    with pytest.raises(InputError, match=f"{BUSY_VARIABLE} is '{value}'"):
        run_relay_session(session(), MemorySink(), base=Path.cwd())


def rough(*, order: tuple[str, ...] = ("queue", "loss", "delay"), rate: float = 0.0) -> PathSpec:
    """Bursts of opportunities and a gap of a second; a short queue."""
    times = [t for t in range(1, 3000) if t % 40 < 3 and not 1200 <= t < 2200]
    loss = (LossSpec("bernoulli", {"rate": rate}),) if rate else ()
    return PathSpec(
        trace=OpportunityTrace(np.array(times, np.int64)),
        mode="opportunities",
        queue=QueueSpec("droptail", packets=8),
        loss=loss,
        delay=DelaySpec(delay_ms=20.0),
        order=order,
    )


@pytest.mark.slow
@pytest.mark.mahimahi
@pytest.mark.skipif(bool(PROBLEMS) and not REQUIRED, reason=f"mm-link cannot run here: {PROBLEMS}")
@pytest.mark.parametrize("order", [("queue", "loss", "delay"), ("loss", "queue", "delay")])
def test_mahimahi_does_what_its_logs_say(order: tuple[str, ...]) -> None:
    down = rough(order=order, rate=0.1)
    up = PathSpec(delay=DelaySpec(delay_ms=20.0))
    spec = session(down=down, up=up, kbps=300.0, duration_s=3.0)
    tables, result = in_world(run_mahimahi_session, spec)
    facts = result.facts["realtime"]["network"]
    for side in ("down", "up"):
        link = facts[side]["link"]
        assert link["equal"] == link["departures"] > 10
        assert facts[side]["unmatched"] == 0
    # F29: mm-link now and then loses packets that it has logged as departed.
    assert facts["down"]["vanished"] + facts["up"]["vanished"] <= 3
    packets = tables["packets"].query("direction == 'down'")
    drops = packets["drop"].value_counts()
    assert drops["queue"] > 5  # the gap
    assert 0.02 < drops["loss"] / (len(packets) - drops["queue"] * (order[0] == "queue")) < 0.25
    arrived = packets.dropna(subset=["arrival_ns"])
    assert (arrived["drop"] == "none").all()
    delay_ms = (arrived["arrival_ns"] - arrived["link_out_ns"]) / 1e6
    # mm-delay counts whole milliseconds, so up to one is missing (F23).
    assert 18.5 < delay_ms.min() <= delay_ms.median() < 23.0
    rows = tables["link"].query("direction == 'down'")
    assert rows["delivered_bytes"].sum() <= rows["capacity_bytes"].sum()
    assert rows["queue_drops"].sum() == drops["queue"]
