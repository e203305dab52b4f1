"""Sessions through real mahimahi."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import MemorySink, session

from testbed.errors import InputError, ToolMissingError
from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.worlds import mahimahi
from testbed.worlds.mahimahi import find_problems
from testbed.worlds.realtime.mahimahi_world import run_mahimahi_session
from testbed.worlds.realtime.world import BUSY_VARIABLE, MachineBusyError
from testbed.worlds.session import SessionResult, SessionSpec

#: Set where the live checks must run: there, what keeps mm-link from running is a failure.
REQUIRED = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"

live = [
    pytest.mark.mahimahi,
    pytest.mark.skipif(
        bool(find_problems()) and not REQUIRED,
        reason="; ".join(problem.what for problem in find_problems()),
    ),
]
#: One opportunity every 20 ms (0.6 Mbit/s) with an outage of 500 ms in every 1.5 s.
OUTAGES = OpportunityTrace(np.array([*range(20, 1_001, 20), 1_500], dtype=np.int64))
STEADY = OpportunityTrace(np.array([4], dtype=np.int64))


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lateness is not the point of these tests, and CI's machines are busy."""
    monkeypatch.setenv(BUSY_VARIABLE, "10000")


def one_way(**changes: Any) -> PathSpec:
    values: dict[str, Any] = {
        "trace": STEADY, "mode": "opportunities", "delay": DelaySpec(delay_ms=20), **changes,
    }  # fmt: skip
    return PathSpec(**values)


def run(spec: SessionSpec) -> tuple[dict[str, pd.DataFrame], SessionResult, dict[str, Any]]:
    """Run it; its facts of the network apart. What real datagrams lose by themselves (F29) is no
    error of the world's: then it says so, and a second try counts."""
    for last in (False, True):
        sink = MemorySink()
        try:
            result = run_mahimahi_session(spec, sink, base=Path.cwd())
        except MachineBusyError:
            if last:
                raise
            continue
        return sink.tables(), result, result.facts["realtime"]["network"]
    raise AssertionError


def check_links(network: dict[str, Any], *, least: int = 20) -> None:
    """Both directions of mm-link did what our model does."""
    for name in ("down", "up"):
        link = network[name]["link"]
        assert link["equal"] == link["departures"] >= least
        assert network[name]["unmatched"] == 0
        # F29: now and then some that mm-link let go do not reach the socket.
        assert network[name]["vanished"] <= 2


def host_state() -> tuple[str, str, str]:
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    names = re.findall(r"^\d+: (\S+):", links.stdout, flags=re.MULTILINE)
    return forward, " ".join(names), Path("/proc/self/mounts").read_text()


def test_without_mahimahi_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mahimahi.shutil, "which", lambda *_args, **_kwargs: None)
    spec = session(down=one_way(), up=one_way())
    with pytest.raises(ToolMissingError, match=r"mm-link is not installed -> .*install_mahimahi"):
        run_mahimahi_session(spec, MemorySink(), base=Path.cwd())


def test_what_it_cannot_do_is_said_before_anything_starts() -> None:
    jittery = one_way(delay=DelaySpec(20, jitter_ms=3))
    with pytest.raises(InputError, match="downlink has jitter"):
        run_mahimahi_session(session(down=jittery, up=one_way()), MemorySink(), base=Path.cwd())


class TestLive:
    """With real shells; logs are compared, not host timestamps."""

    pytestmark = live

    @pytest.mark.slow
    def test_an_outage_and_a_queue_that_overflows(self) -> None:
        before = host_state()
        down = one_way(trace=OUTAGES, queue=QueueSpec("droptail", packets=6), phase_ms=310)
        tables, result, network = run(session(down=down, up=one_way(), kbps=400.0))
        assert host_state() == before
        check_links(network)
        packets = tables["packets"]
        media = packets[packets.direction == "down"]
        drops = Counter(media["drop"])
        assert drops["queue"] > 5
        assert drops["loss"] == network["down"]["vanished"]
        # What the queue dropped never left it, and nothing else stayed there.
        assert (media.link_out_ns.isna() == (media["drop"] == "queue")).all()
        assert (media.arrival_ns.notna() == (media["drop"] == "none")).all()
        through = media[media["drop"] == "none"]
        assert (through.link_in_ns >= through.sent_ns).all()
        assert (through.link_out_ns >= through.link_in_ns).all()
        # Out of the queue, then 20 ms of mm-delay, which are 19 to 21 (F23) and the host's own.
        assert (through.arrival_ns - through.link_out_ns >= 18_000_000).all()
        # Nothing leaves in the outage, which begins at 1 000 - 310 ms of the session.
        out_ms = through.link_out_ns / 1e6
        assert not ((out_ms > 691) & (out_ms < 1_189)).any()
        assert ((out_ms > 600) & (out_ms <= 690)).any()
        rows = tables["link"][tables["link"].direction == "down"]
        assert rows.queue_drops.sum() == drops["queue"]
        assert rows.capacity_bytes.iloc[7:11].tolist() == [0] * 4  # 700 to 1 100 ms
        assert rows.capacity_bytes.iloc[0] == 5 * 1504
        assert len(result.received) == 45

    @pytest.mark.slow
    def test_loss_in_front_and_loss_behind(self) -> None:
        """mm-loss before the media's queue and behind the feedback's."""
        lossy = (LossSpec("bernoulli", {"rate": 0.4}),)
        down = one_way(order=("loss", "queue", "delay"), loss=lossy)
        up = one_way(order=("queue", "loss", "delay"), loss=lossy)
        tables, _, network = run(session(down=down, up=up, kbps=400.0))
        check_links(network)
        assert network["shells"] == [
            "mm-loss downlink 0.400000000", "mm-loss uplink 0.400000000", "mm-link", "mm-delay 20",
        ]  # fmt: skip
        packets = tables["packets"]
        media, feedback = (packets[packets.direction == name] for name in ("down", "up"))
        for part in (media, feedback):
            assert set(part["drop"]) == {"none", "loss"}
            # mm-loss draws anew every time; all or none of two dozen would be one in 100 000.
            assert 0 < (part["drop"] == "loss").mean() < 1
        # In front: what was lost never reached mm-link. Behind: it used capacity.
        assert media[media["drop"] == "loss"].link_in_ns.isna().all()
        assert media[media["drop"] == "none"].link_out_ns.notna().all()
        assert feedback[feedback["drop"] == "loss"].link_out_ns.notna().all()
        rows = tables["link"].groupby("direction").loss_drops.sum()
        # Rows end with the last frame's slot, feedback goes on until the end.
        assert rows["down"] <= (media["drop"] == "loss").sum()
        assert rows["up"] <= (feedback["drop"] == "loss").sum()

    @pytest.mark.slow
    def test_outages_of_mm_onoff(self) -> None:
        """Off most of the time; the feedback is not touched."""
        outages = (LossSpec("outage", {"mean_up_s": 0.25, "mean_down_s": 0.5}),)
        down = one_way(order=("delay", "queue", "loss"), loss=outages)
        tables, _, network = run(session(down=down, up=one_way(), kbps=300.0, duration_s=2.0))
        check_links(network, least=5)  # a receiver that gets nothing says little
        assert network["shells"][0] == "mm-delay 20"
        assert network["shells"][-1] == "mm-onoff downlink 0.25 0.5"
        packets = tables["packets"]
        media, feedback = (packets[packets.direction == name] for name in ("down", "up"))
        assert (media["drop"] == "loss").sum() > 0
        assert (feedback["drop"] == "loss").sum() <= network["up"]["vanished"]
        # Losses come in runs: an outage hits neighbours.
        lost = (media["drop"] == "loss").to_numpy()
        runs = 1 + (lost[1:] != lost[:-1]).sum()
        assert runs < 0.5 * len(lost)
