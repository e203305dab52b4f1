"""Several flows on one path."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from testbed.analysis.metrics.columns import Session
from testbed.analysis.metrics.fairness import fairness_metrics
from testbed.network.spec import DelaySpec, PathSpec
from testbed.worlds.alarm import EventLoop
from testbed.worlds.competing import DelayLine, starts
from testbed.worlds.session import CompetingSpec
from tests.worlds.helpers import path, run, session

SECOND = 10**9


def shared(*competing: CompetingSpec, kbps: float = 1000.0, **changes: Any) -> Any:
    spec = session(
        down=changes.pop("down", path(kbps=kbps, delay_ms=30.0, packets=30)),
        up=changes.pop("up", path(kbps=kbps, delay_ms=30.0)),
        duration_s=changes.pop("duration_s", 6.0),
        competing=competing,
        **changes,
    )
    tables, result = run(spec)
    return tables, result.facts


def rates_kbps(flows: pd.DataFrame, since_s: float) -> dict[int, float]:
    late = flows[flows.time_ns >= since_s * SECOND]
    groups = late.groupby("flow")
    return (groups.delivered_bytes.sum() * 8 / 1e3 / (groups.size() / 10)).to_dict()


def test_alone_there_is_no_table_of_flows() -> None:
    tables, facts = shared()
    assert tables["flows"].empty
    assert "flows" not in facts


def test_fixed_rates_that_fit_get_what_they_ask_for() -> None:
    tables, facts = shared(
        CompetingSpec("media", count=2), rate={"control": "fixed", "kbps": 200.0}
    )  # fmt: skip
    got = rates_kbps(tables["flows"], 1)
    assert set(got) == {0, 1, 2}
    # The link counts 4 bytes a packet more than the rate's IP bytes.
    assert all(rate == pytest.approx(203, rel=0.06) for rate in got.values())
    # Equal sessions of one clip over a path with room for all.
    assert got[1] == pytest.approx(got[2], rel=0.02)
    assert [flow["kind"] for flow in facts["flows"]] == ["media", "media"]


def test_the_link_counts_everybody_and_the_packet_log_only_the_session() -> None:
    tables, _ = shared(CompetingSpec("tcp"), rate={"control": "fixed", "kbps": 200.0})
    down = tables["link"][tables["link"].direction == "down"]
    flows, packets = tables["flows"], tables["packets"]
    assert "cross" not in set(packets.kind)
    own = packets[(packets.direction == "down") & packets.arrival_ns.notna()]
    in_bins = own[own.arrival_ns <= (flows.time_ns.max() + SECOND // 10)]
    assert flows[flows.flow == 0].delivered_bytes.sum() == in_bins.size_bytes.sum()
    # What left the bottleneck came out 30 ms later; a bin's worth may lie in between.
    assert flows.delivered_bytes.sum() == pytest.approx(down.delivered_bytes.sum(), rel=0.03)


def test_tcp_fills_what_a_fixed_rate_leaves() -> None:
    tables, facts = shared(
        CompetingSpec("tcp"), rate={"control": "fixed", "kbps": 300.0}, duration_s=12.0
    )  # fmt: skip
    got = rates_kbps(tables["flows"], 4)
    # A queue that TCP keeps full drops some of what does not react.
    assert 200 < got[0] < 310
    assert got[0] + got[1] == pytest.approx(1000, rel=0.03)
    assert facts["flows"][0]["sender"]["lost"] > 0


def test_two_bulk_flows_share_alike() -> None:
    tables, _ = shared(
        CompetingSpec("tcp", count=2), rate={"control": "fixed", "kbps": 100.0}, duration_s=60.0
    )  # fmt: skip
    got = rates_kbps(tables["flows"], 10)
    assert got[1] == pytest.approx(got[2], rel=0.35)


def test_flows_come_and_go() -> None:
    tables, _ = shared(
        CompetingSpec("media", count=2, start_s=1.0, every_s=1.5, stop_s=4.0),
        rate={"control": "fixed", "kbps": 200.0},
    )
    flows = tables["flows"]
    times = flows.groupby("flow").time_ns.agg(["min", "max"])
    assert times.loc[1].tolist() == [1.0 * SECOND, 3.9 * SECOND]
    assert times.loc[2].tolist() == [2.5 * SECOND, 3.9 * SECOND]
    assert flows[flows.flow > 0].target_kbps.eq(200).all()


def test_a_late_flow_lives_in_its_own_time() -> None:
    """Its frames are not late because it began late: the receiver answers as in a session alone."""
    tables, facts = shared(
        CompetingSpec("media", start_s=3.0), rate={"control": "fixed", "kbps": 200.0}
    )  # fmt: skip
    assert rates_kbps(tables["flows"], 4)[1] == pytest.approx(203, rel=0.08)
    assert facts["flows"][0]["start_s"] == 3.0


def test_the_other_way_only_meets_the_feedback() -> None:
    alone, _ = shared(rate={"control": "fixed", "kbps": 200.0})
    both, facts = shared(
        CompetingSpec("tcp", reverse=True), rate={"control": "fixed", "kbps": 200.0}
    )  # fmt: skip
    assert facts["flows"][0]["reverse"] is True
    assert set(both["flows"].flow) == {0}
    lonely = Session(fps=15.0, duration_s=6.0, deadline_ms=400.0, warmup_s=0.0)
    assert fairness_metrics(both["flows"], lonely)["jain_index"] is None
    down = [
        one["packets"][one["packets"].direction == "down"].kind.eq("media").sum()
        for one in (alone, both)
    ]
    assert down[0] == down[1]
    up = both["packets"][both["packets"].direction == "up"]
    quiet = alone["packets"][alone["packets"].direction == "up"]
    delay = (up.arrival_ns - up.sent_ns).median() / 1e6
    assert delay > (quiet.arrival_ns - quiet.sent_ns).median() / 1e6 + 50


def test_extra_delay_is_paid_both_ways() -> None:
    """A bulk flow's window over a path without a queue: one round trip more, half the start."""
    open_path = PathSpec(delay=DelaySpec(delay_ms=25.0))
    sent = {}
    for extra in (0.0, 25.0):
        _, facts = shared(
            CompetingSpec("tcp", extra_delay_ms=extra), down=open_path, up=open_path,
            duration_s=0.4, rate={"control": "fixed", "kbps": 100.0},
        )  # fmt: skip
        sent[extra] = facts["flows"][0]["sender"]["packets"]
    # Ten segments at once and twice as many every round trip: eight of 50 ms, or four of 100 ms.
    assert sent == {0.0: 10 * (2**8 - 1), 25.0: 10 * (2**4 - 1)}


def test_transfers_follow_each_other_after_their_rest() -> None:
    """Ten segments are one window: a transfer takes a round trip; the next one begins at once."""
    open_path = PathSpec(delay=DelaySpec(delay_ms=25.0))
    _, facts = shared(
        CompetingSpec("tcp", transfer_kbytes=14.72), down=open_path, up=open_path, duration_s=2.0,
        rate={"control": "fixed", "kbps": 100.0},
    )  # fmt: skip
    flow = facts["flows"][0]
    assert flow["transfers"] == 2000 // 50 - 1  # the last answer would come at the very end
    assert flow["sent_bytes"] == (flow["transfers"] + 1) * 10 * 1504

    rested, _ = shared(
        CompetingSpec("tcp", count=20, transfer_kbytes=14.72, idle_s=0.5), down=open_path,
        up=open_path, duration_s=10.0, rate={"control": "fixed", "kbps": 100.0},
    )  # fmt: skip
    sent = rested["flows"][rested["flows"].flow > 0].sent_bytes.sum() / (10 * 1504)
    # Renewals of 0.55 s on average, 20 flows of 10 s: within four standard deviations of a count.
    assert abs(sent - 20 * 10 / 0.55) < 4 * (20 * 10 / 0.55) ** 0.5


def test_the_same_competition_twice() -> None:
    competing = (CompetingSpec("tcp"), CompetingSpec("media", start_s=0.5))
    one, other = (
        shared(*competing, rate={"control": "bbr", "start_kbps": 150.0})[0] for _ in range(2)
    )
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name])


def test_order_and_times_of_the_flows() -> None:
    specs = (
        CompetingSpec("media", count=2, start_s=1.0, every_s=2.0),
        CompetingSpec("tcp", stop_s=5.0),
        CompetingSpec("tcp", start_s=20.0),
    )
    found = [(spec.kind, start, stop) for spec, start, stop in starts(specs, 10 * SECOND)]
    assert found == [
        ("media", 1 * SECOND, 10 * SECOND),
        ("media", 3 * SECOND, 10 * SECOND),
        ("tcp", 0, 5 * SECOND),
    ]


def test_a_delay_line_keeps_order_and_time() -> None:
    env = EventLoop()
    out: list[tuple[str, int]] = []
    line = DelayLine(env, 500, lambda item, now: out.append((item, now)))
    line.put("a", 0)
    line.put("b", 0)
    env.run_until(400)
    assert out == []
    line.put("c", 400)
    env.run_until()
    assert out == [("a", 500), ("b", 500), ("c", 900)]


def test_jain_of_a_hand_made_table() -> None:
    rows = [
        (bin_ns, flow, "media", 0, size, None)
        for bin_ns in range(0, 3 * SECOND, SECOND // 10)
        for flow, size, start in ((0, 300, 0), (1, 100, SECOND))
        if bin_ns >= start
    ]
    columns = ["time_ns", "flow", "kind", "sent_bytes", "delivered_bytes", "target_kbps"]
    flows = pd.DataFrame(rows, columns=columns)
    facts = Session(fps=30.0, duration_s=3.0, deadline_ms=400.0, warmup_s=0.5)
    found = fairness_metrics(flows, facts)
    assert found["jain_index"] == pytest.approx((300 + 100) ** 2 / (2 * (300**2 + 100**2)))
    assert found["fair_share_ratio"] == pytest.approx(1.5)
    late = Session(fps=30.0, duration_s=3.0, deadline_ms=400.0, warmup_s=2.5)
    assert fairness_metrics(flows, late) == {"jain_index": None, "fair_share_ratio": None}
