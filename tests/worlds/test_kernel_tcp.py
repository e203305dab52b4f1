"""Kernel TCP over real mm-link: what can be checked without it, and a live flow with it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from testbed.errors import InputError, ToolMissingError
from testbed.network.mmlog import link_use
from testbed.network.spec import QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.worlds import kernel_tcp
from testbed.worlds.kernel_tcp import TcpRun, require_algorithms, run_flows
from testbed.worlds.mahimahi import find_problems

REQUIRED = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"

#: Packets of 1504 bytes every 4 ms: 3008 kbit/s.
EVERY_4_MS = OpportunityTrace(np.array([4], dtype=np.int64))


def run(name: str = "a", algorithm: str = "cubic", max_kbps: float | None = None) -> TcpRun:
    return TcpRun(name, EVERY_4_MS, algorithm, QueueSpec("droptail", 10), 20, 4.0, max_kbps)


def test_a_missing_congestion_control_comes_with_its_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_tcp, "available", lambda: ("reno", "cubic"))
    require_algorithms(["cubic", "reno"])
    with pytest.raises(ToolMissingError, match=r"no TCP .* 'bbr', only reno, cubic -> modprobe"):
        require_algorithms(["cubic", "bbr"])


def test_two_runs_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="the same name"):
        run_flows([run(), run()])


@pytest.mark.mahimahi
@pytest.mark.skipif(
    bool(find_problems()) and not REQUIRED,
    reason="; ".join(problem.what for problem in find_problems()),
)
def test_a_flow_fills_the_queue_and_a_bound_keeps_it_empty() -> None:
    flows = run_flows([run("free"), run("bound", max_kbps=1000)])
    assert all(flow.lag_ms >= 0 for flow in flows.values())
    free = flows["free"].log
    assert free.queue == QueueSpec("droptail", 10)
    # Data follow the answer to the first packet (40 bytes, 20 of options, and 4 of the TUN frame),
    # a round trip of 20 ms both ways later. The kernel's own packets may stand before it.
    first = {size: at for at, size in reversed(free.arrivals)}
    assert first[1504] - first[64] >= 40
    # At most ten packets wait and one is in transit, each for 4 ms.
    waits = [delay for _, _, delay in free.departures]
    assert 40 <= max(waits) <= 44
    assert len(free.departures) < len(free.arrivals)  # CUBIC finds the end of the queue
    # Not about this machine's speed: 200 of 1000 packets in the window, where 750 would fit.
    bound = link_use(flows["bound"].log, start_ms=1000, end_ms=4000)
    assert bound.utilisation < 0.5
    assert bound.queueing_ms_p95 <= 20
