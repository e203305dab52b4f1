"""Running real mm-link: what can be checked without it, and the live check with it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.network.queues import parse_queue
from testbed.network.trace import OpportunityTrace
from testbed.worlds import mahimahi
from testbed.worlds.fidelity import LIVE_QUEUES, check_live
from testbed.worlds.mahimahi import (
    LARGEST_PAYLOAD_BYTES,
    ShellRun,
    TrafficSpec,
    find_problems,
    make_traffic,
    require_mahimahi,
    run_shells,
)

#: Where Debian's mahimahi-traces puts the real driving traces.
DRIVING = Path("/usr/share/mahimahi/traces")

#: Set where the live checks must run: there, what keeps mm-link from running is a failure.
REQUIRED = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"

live = [
    pytest.mark.mahimahi,
    pytest.mark.skipif(
        bool(find_problems()) and not REQUIRED,
        reason="; ".join(problem.what for problem in find_problems()),
    ),
]


def every(ms: int) -> OpportunityTrace:
    return OpportunityTrace(np.array([ms], dtype=np.int64))


def test_traffic_is_seeded_sorted_and_fits_the_device() -> None:
    spec = TrafficSpec(seconds=4, seed=9)
    traffic = make_traffic(spec, uplink=every(2), downlink=every(10))
    assert traffic == make_traffic(spec, uplink=every(2), downlink=every(10))
    assert traffic != make_traffic(TrafficSpec(4, 10), uplink=every(2), downlink=every(10))
    times = [at for at, _, _ in traffic]
    assert times == sorted(times)
    assert times[-1] < 4 * 10**9
    sizes = {
        direction: [s for _, d, s in traffic if d == direction] for direction in ("up", "down")
    }
    for payloads in sizes.values():
        assert min(payloads) >= 1
        assert max(payloads) <= LARGEST_PAYLOAD_BYTES
        assert len(set(payloads)) > 1


def test_directions_do_not_shift_each_other() -> None:
    spec = TrafficSpec(seconds=2, seed=1)
    slow = make_traffic(spec, uplink=every(4), downlink=every(20))
    fast = make_traffic(spec, uplink=every(4), downlink=every(1))
    assert [t for t in slow if t[1] == "up"] == [t for t in fast if t[1] == "up"]


def test_missing_tools_come_with_their_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mahimahi.shutil, "which", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(mahimahi.os, "geteuid", lambda: 1000)
    problems = {problem.what: problem.fix for problem in find_problems()}
    assert "install_mahimahi.sh" in problems["mm-link is not installed"]
    assert "needs root for its network namespaces" in problems
    with pytest.raises(ToolMissingError, match=r"mm-link is not installed -> .*install_mahimahi"):
        require_mahimahi()


class TestLive:
    """With real mm-link. Logs are compared, not host timestamps, so a busy machine is no matter."""

    pytestmark = live

    def test_every_departure_is_equal(self) -> None:
        traces = [
            ("three", OpportunityTrace(np.array([0, 1, 1, 5, 40, 41, 41, 41, 97, 100]))),
            ("steady", every(4)),
        ]
        results = check_live(traces, traffic=TrafficSpec(seconds=2.5, seed=3))
        assert [result.differences for result in results] == [()] * 16
        assert {result.queue for result in results} == {q for pair in LIVE_QUEUES for q in pair}
        assert all(result.departures > 50 for result in results)
        limited = [result for result in results if result.queue != "infinite"]
        assert all(result.arrivals > result.departures for result in limited)

    @pytest.mark.skipif(
        not DRIVING.is_dir() and not REQUIRED, reason="package mahimahi-traces is not installed"
    )
    def test_every_departure_is_equal_on_real_traces(self) -> None:
        traces = [
            (name, OpportunityTrace(np.loadtxt(DRIVING / name, dtype=np.int64)))
            for name in ("ATT-LTE-driving-2016.up", "Verizon-LTE-short.down")
        ]
        results = check_live(traces, traffic=TrafficSpec(seconds=4, seed=5))
        assert [result.differences for result in results] == [()] * 16
        assert {result.direction for result in results} == {"up", "down"}

    def test_nothing_is_left_behind(self, tmp_path: Path) -> None:
        def state() -> tuple[str, str, str]:
            forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
            links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
            names = re.findall(r"^\d+: (\S+):", links.stdout, flags=re.MULTILINE)
            return forward, " ".join(names), Path("/proc/self/mounts").read_text()

        before = state()
        run = ShellRun(
            "small",
            every(5),
            every(5),
            parse_queue("infinite"),
            parse_queue("infinite"),
            [(0, "up", 100), (1_000_000, "down", 200)],
        )
        logs = run_shells([run], tmp_path)
        assert state() == before
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "small.down.log",
            "small.up.log",
        ]
        assert " + 132\n" in logs["small"][0].read_text()  # payload + 32 (F7)
        assert " + 232\n" in logs["small"][1].read_text()

    def test_what_mm_link_refuses_is_one_line(self, tmp_path: Path) -> None:
        run = ShellRun(
            "bad", every(5), every(5), parse_queue("red:packets=5"), parse_queue("infinite"), []
        )
        with pytest.raises(ToolFailedError, match=r"run bad: .*invalid arguments") as caught:
            run_shells([run], tmp_path)
        assert "\n" not in str(caught.value)
