"""The test cases of draft-ietf-ccwg-bbr-06, appendix "BBR Example Test Cases", by name.

Each runs the draft's form over the link of `tests.protocol.congestion.link`. Unless a case is about
something else, reports come every 10 ms: at least four a round trip, as the draft asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from testbed.protocol.congestion.bbr import BbrController, State
from testbed.protocol.congestion.bbr import constants as c
from tests.protocol.congestion.link import MS, SECOND, Flow, Path

KBPS = 4000.0
#: Round trip 80 ms: the pipe holds 40 kB, some 32 packets.
DELAY_NS = 40 * MS
PACKET = 1240


def controller(seed: int = 1, **options: Any) -> BbrController:
    rng = np.random.Generator(np.random.PCG64(seed))
    given = {"variant": "draft", "start_kbps": 300.0, "min_kbps": 10.0, **options}
    return BbrController(rng=rng, **given)


def flow(
    source: str | float | Callable[[int], float] = "greedy",
    *,
    kbps: Callable[[int], float] | float = KBPS,
    bbr: BbrController | None = None,
    watch: Callable[[int], Any] | None = None,
    **path: Any,
) -> tuple[Flow, BbrController]:
    bbr = bbr or controller()
    capacity = kbps if callable(kbps) else (lambda _now: float(kbps))
    given = {"delay_ns": DELAY_NS, "report_ns": 10 * MS, **path}
    return Flow(bbr, Path(kbps=capacity, **given), source=source, watch=watch), bbr


def until(flow: Flow, condition: Callable[[], bool], *, at_most_s: float = 30.0) -> None:
    """Run in steps of 5 ms until something holds."""
    end_ns = flow.now_ns + round(at_most_s * SECOND)
    while not condition():
        assert flow.now_ns < end_ns, "it never came to this"
        flow.run(0.005)


def in_state(bbr: BbrController, *states: State) -> Callable[[], bool]:
    return lambda: bbr.bbr.state in states


def test_exiting_startup_on_bandwidth_plateau() -> None:
    seen: list[tuple[int, bool, bool, State]] = []

    def watch(_now: int) -> None:
        model = bbr.bbr
        seen.append(
            (model.full_pipe.count, model.full_pipe.now, model.full_pipe.reached, model.state)
        )

    link, bbr = flow(watch=watch)
    until(link, in_state(bbr, State.DRAIN))
    assert bbr.bbr.max_bw == pytest.approx(KBPS * 1000, rel=0.02)
    # Three rounds without growth, and full_bw_now, full_bw_reached and Drain in the same step.
    assert [row[0] for row in seen[:-1]][-1] == 2
    assert seen[-1] == (3, True, True, State.DRAIN)
    assert all(row[1:] == (False, False, State.STARTUP) for row in seen[:-1])


def test_exiting_startup_on_loss_when_application_limited() -> None:
    # Every fifth packet is lost, in single losses. A round of 0.5 s holds some 45 packets: enough
    # for the six discontiguous ranges.
    link, bbr = flow(
        600.0, lose=lambda n, now: now > 2.5 * SECOND and n % 5 == 0, delay_ns=250 * MS
    )
    link.run(2.5)
    assert bbr.bbr.state is State.STARTUP
    assert bbr.bbr.sampler.app_limited
    assert bbr.bbr.full_pipe.count == 0
    until(link, lambda: bbr.bbr.full_pipe.reached, at_most_s=3)
    assert bbr.bbr.full_pipe.now
    assert bbr.bbr.full_pipe.count == 0  # no plateau
    assert bbr.state != "startup"
    assert bbr.bbr.bounds.inflight_longterm < c.INFINITE


def test_exiting_drain_based_on_inflight() -> None:
    link, bbr = flow()
    until(link, in_state(bbr, State.DRAIN))
    assert bbr.bbr.machine.gains.pacing == 0.5
    began, inflight = bbr.bbr.rounds.count, []
    while bbr.bbr.state is State.DRAIN:
        inflight.append((bbr.bbr.sampler.inflight, bbr.bbr.window.inflight(1.0)))
        link.run(0.002)
    assert bbr.bbr.rounds.count <= began + 3
    # The same acknowledgement may find room enough to cruise.
    assert bbr.bbr.state in (State.PROBE_BW_DOWN, State.PROBE_BW_CRUISE)
    assert all(now > target for now, target in inflight[:-10])
    assert bbr.bbr.sampler.inflight <= bbr.bbr.window.inflight(1.0) + 2 * PACKET


def test_exiting_drain_based_on_time() -> None:
    rate = [KBPS]
    link, bbr = flow(kbps=lambda _now: rate[0])
    until(link, in_state(bbr, State.DRAIN))
    rate[0] = KBPS * 0.45  # below the drain rate of half: the queue cannot go
    began = bbr.bbr.drain_start_round
    until(link, lambda: bbr.bbr.state is not State.DRAIN)
    assert bbr.bbr.state is State.PROBE_BW_DOWN
    assert bbr.bbr.rounds.count == began + 4  # the first after three full rounds
    assert bbr.bbr.sampler.inflight > bbr.bbr.window.inflight(1.0)


def test_exiting_probe_up_on_bandwidth_plateau() -> None:
    link, bbr = flow()
    until(link, in_state(bbr, State.PROBE_BW_UP))
    counts = []
    while bbr.bbr.state is State.PROBE_BW_UP:
        counts.append(bbr.bbr.full_pipe.count)
        link.run(0.005)
    assert max(counts) == 2  # the third ends it
    assert bbr.bbr.full_pipe.now
    assert bbr.bbr.state is State.PROBE_BW_DOWN
    assert bbr.bbr.sampler.lost == 0


def test_exiting_probe_up_on_loss_when_application_limited() -> None:
    lossy = [False]
    link, bbr = flow(lose=lambda n, _now: lossy[0] and n % 8 == 0)
    until(link, in_state(bbr, State.PROBE_BW_UP))
    link.limit(KBPS * 0.6)
    until(link, lambda: bbr.bbr.sampler.app_limited > 0, at_most_s=1)
    assert bbr.bbr.state is State.PROBE_BW_UP
    lossy[0] = True
    until(link, lambda: bbr.bbr.state is not State.PROBE_BW_UP, at_most_s=1)
    # Through DOWN, which little in flight leaves at once.
    assert bbr.state in ("probe-bw-down", "probe-bw-cruise")
    assert bbr.bbr.cycle.prev_too_high
    assert not bbr.bbr.full_pipe.now


@pytest.mark.parametrize("state", [State.STARTUP, State.PROBE_BW_UP])
def test_never_exiting_probe_up_or_startup_when_application_limited_with_no_loss(
    state: State,
) -> None:
    link, bbr = flow(300.0) if state is State.STARTUP else flow()
    if state is State.PROBE_BW_UP:
        until(link, in_state(bbr, State.PROBE_BW_UP))
        link.limit(KBPS / 2)
        # Until the packets that filled the pipe are out of the samples.
        until(link, lambda: bbr.bbr.sampler.app_limited > 0, at_most_s=1)
        assert bbr.bbr.state is State.PROBE_BW_UP
    before = bbr.bbr.max_bw
    link.run(4.5)  # less than the ProbeRTT interval
    assert bbr.bbr.state is state
    assert bbr.bbr.max_bw >= before


def test_exiting_probe_down_on_inflight() -> None:
    link, bbr = flow(queue_bytes=30_000)
    until(link, lambda: bbr.bbr.state is State.PROBE_BW_DOWN and link.now_ns > 6 * SECOND)
    assert bbr.bbr.machine.gains.pacing == 0.90
    until(link, lambda: bbr.bbr.state is not State.PROBE_BW_DOWN)
    if bbr.bbr.state is State.PROBE_BW_CRUISE:
        assert bbr.bbr.sampler.inflight <= bbr.bbr.window.with_headroom() + 2 * PACKET
        most = bbr.bbr.window.inflight(1.0, bw=bbr.bbr.max_bw)
        assert bbr.bbr.sampler.inflight <= most + 2 * PACKET
    assert bbr.bbr.state is State.PROBE_BW_CRUISE


def test_exiting_probe_down_after_max_time() -> None:
    rate = [KBPS]
    # A long pipe, so that it is the clock and not a Reno flow's rounds that starts the probe.
    link, bbr = flow(kbps=lambda _now: rate[0], delay_ns=20 * MS)
    until(link, in_state(bbr, State.PROBE_BW_UP))
    until(link, in_state(bbr, State.PROBE_BW_DOWN))
    rate[0] = 0.8 * KBPS  # below what DOWN sends, so that nothing drains
    bbr.bbr.bounds.inflight_longterm = bbr.bbr.window.bdp()
    bbr.bbr.rounds.since_probe = -1000
    began = bbr.bbr.cycle.stamp_ns
    until(link, lambda: bbr.bbr.state is not State.PROBE_BW_DOWN, at_most_s=6)
    assert bbr.bbr.state is State.PROBE_BW_REFILL
    assert link.now_ns - began >= bbr.bbr.cycle.wait_ns
    assert 2 * SECOND <= bbr.bbr.cycle.wait_ns < 3 * SECOND


def test_entering_and_exiting_probe_rtt() -> None:
    link, bbr = flow()
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    until(link, in_state(bbr, State.PROBE_RTT), at_most_s=15)
    entered = link.now_ns
    assert bbr.bbr.machine.gains.cwnd == 0.5
    assert bbr.bbr.cwnd <= max(bbr.bbr.window.bdp(0.5), 4 * PACKET)
    assert bbr.bbr.max_bw == pytest.approx(KBPS * 1000, rel=0.03)
    until(link, lambda: bbr.bbr.state is not State.PROBE_RTT)
    assert link.now_ns - entered >= 200 * MS
    assert bbr.bbr.full_pipe.reached
    assert bbr.bbr.state is State.PROBE_BW_CRUISE
    assert bbr.bbr.max_bw == pytest.approx(KBPS * 1000, rel=0.03)  # not lowered by it
    link.run(1)
    assert link.trace.kbps(link.now_ns / SECOND - 0.5, link.now_ns / SECOND) > 0.9 * KBPS


def test_skipping_probe_rtt_due_to_application_limited_sending() -> None:
    link, bbr = flow()
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    link.limit(0.0)
    link.run(6)
    assert bbr.bbr.sampler.inflight == 0
    restarts: list[bool] = []
    link.watch = lambda _now: restarts.append(bbr.bbr.idle_restart)
    link.limit(1000.0)
    began_s = link.now_ns / SECOND
    until(link, lambda: bbr.bbr.sampler.inflight > 0, at_most_s=1)
    assert bbr.bbr.idle_restart
    link.run(1)
    assert "probe-rtt" not in link.trace.visited(began_s)
    assert not bbr.bbr.idle_restart


@pytest.mark.parametrize("batch_ms", [20, 60])
def test_achieving_expected_startup_bandwidth_on_a_link_with_aggregation(batch_ms: int) -> None:
    link, bbr = flow(batch_ns=batch_ms * MS)
    until(link, in_state(bbr, State.DRAIN))
    # A burst of a batch can end a sample: at most that much more than the capacity.
    most = 1 + 1.1 * batch_ms / 80
    assert KBPS * 0.95 < bbr.bbr.max_bw / 1000 < KBPS * most
    assert bbr.bbr.aggregation.extra_bytes > 0
    assert bbr.bbr.cwnd > 2 * KBPS * 1000 / 8 * 0.08


def test_achieving_expected_cruise_bandwidth_on_a_link_with_aggregation() -> None:
    link, bbr = flow(batch_ns=40 * MS)
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    extra, start_s = [], link.now_ns / SECOND
    for _ in range(60):
        link.run(0.05)
        extra.append(bbr.bbr.aggregation.extra_bytes)
    assert min(extra) > 0
    assert bbr.bbr.cwnd > 2 * bbr.bbr.window.bdp()
    assert link.trace.kbps(start_s, start_s + 3) > 0.93 * KBPS


def test_correctly_managing_sub_packet_bdps() -> None:
    # 64 kbit/s and 10 ms: the pipe holds 80 bytes.
    link, bbr = flow(kbps=64.0, delay_ns=5 * MS, bbr=controller(start_kbps=64.0))
    until(link, lambda: bbr.bbr.state in (State.PROBE_BW_CRUISE, State.PROBE_BW_UP), at_most_s=60)
    start_s = link.now_ns / SECOND
    for _ in range(100):
        link.run(0.1)
        assert bbr.bbr.cwnd >= 4 * PACKET
    assert link.trace.kbps(start_s, start_s + 10) == pytest.approx(64, rel=0.03)
    assert bbr.bbr.max_bw == pytest.approx(64_000, rel=0.05)


def test_increasing_bandwidth_10x_and_ensuring_full_bandwidth_is_reached() -> None:
    rate = [1000.0]
    link, bbr = flow(kbps=lambda _now: rate[0], queue_bytes=60_000)
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    rate[0] = 10_000.0
    began_ns, rounds = link.now_ns, bbr.bbr.rounds.count
    until(link, lambda: bbr.bbr.max_bw > 0.9 * 10_000_000, at_most_s=20)
    assert bbr.bbr.rounds.count - rounds < 120
    assert link.now_ns - began_ns < 12 * SECOND
    link.run(2)
    end_s = link.now_ns / SECOND
    assert link.trace.kbps(end_s - 1, end_s) > 9000


def test_the_step_of_inflight_longterm_doubles_every_round_of_a_probe() -> None:
    link, bbr = flow()
    until(link, in_state(bbr, State.PROBE_BW_UP))
    cycle, window = bbr.bbr.cycle, bbr.bbr.window
    assert cycle.up_rounds == 1
    steps = []
    for _ in range(4):
        cycle._raise_slope()
        steps.append(cycle._acked_per_increment)
    assert steps == [max(window.cwnd // (1 << n), PACKET) for n in (1, 2, 3, 4)]


def test_decreasing_bandwidth_10x_and_ensuring_max_bandwidth_adapts_down() -> None:
    rate = [10_000.0]
    link, bbr = flow(kbps=lambda _now: rate[0], queue_bytes=100_000)
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    assert bbr.bbr.max_bw == pytest.approx(10_000_000, rel=0.03)
    rate[0] = 1000.0
    shortterm: list[int] = []
    cycles: list[str] = []

    def watch(_now: int) -> None:
        shortterm.append(bbr.bbr.bounds.bw_shortterm)
        if bbr.bbr.max_bw > 1_100_000:
            cycles.append(bbr.state)

    link.watch = watch
    # The queue holds 0.8 s of the new rate, so a loss round takes a second.
    link.run(3.5)
    assert min(shortterm) < 7_500_000
    until(link, lambda: bbr.bbr.max_bw < 1_100_000, at_most_s=25)
    ups = sum(1 for a, b in pairwise(cycles) if b == "probe-bw-up" != a)
    assert ups <= 3  # two cycles, and the one under way
    assert bbr.bbr.max_bw == pytest.approx(1_000_000, rel=0.1)


def test_handling_token_bucket_policers() -> None:
    # 2 Mbit/s of tokens, a bucket of 30 kB, and nothing but the bucket.
    tokens = [30_000.0, 0]

    def police(_n: int, now: int) -> bool:
        tokens[0] = min(30_000.0, tokens[0] + (now - tokens[1]) * 2e6 / 8e9)
        tokens[1] = now
        if tokens[0] < PACKET:
            return True
        tokens[0] -= PACKET
        return False

    link, bbr = flow(kbps=20_000.0, lose=police)
    lowered: list[tuple[int, int]] = []
    link.watch = lambda _now: lowered.append(
        (bbr.bbr.bounds.bw_shortterm, bbr.bbr.bounds.inflight_shortterm)
    )
    link.run(30)
    assert min(bw for bw, _ in lowered) < c.INFINITE
    assert min(inflight for _, inflight in lowered) < c.INFINITE
    sent = bbr.tracker.largest_sent + 1
    link.run(20)
    late = link.trace.kbps(30, 50)
    assert late == pytest.approx(2000, rel=0.15)
    share = 1 - late * 1000 / 8 * 20 / ((bbr.tracker.largest_sent + 1 - sent) * PACKET)
    assert share < 0.15


def test_handling_spurious_fast_recovery() -> None:
    delayed = [0]
    link, bbr = flow(extra_ns=lambda _n, _now: delayed[0], overlap=20)
    until(link, in_state(bbr, State.PROBE_BW_UP))
    before = bbr.bbr.bounds.inflight_longterm
    # Every packet of 8 ms overtaken by those of the next 100: taken for lost, then delivered.
    delayed[0] = 100 * MS
    link.run(0.008)
    delayed[0] = 0
    until(link, lambda: bbr.bbr.sampler.lost > 0, at_most_s=1)
    assert bbr.bbr.state is State.PROBE_BW_DOWN
    assert bbr.bbr.bounds.inflight_longterm < c.INFINITE
    assert bbr.bbr._undo is not None
    assert bbr.bbr._undo.inflight_longterm == before
    until(link, lambda: bbr.bbr._undo is None, at_most_s=1)
    assert bbr.bbr.bounds.inflight_longterm == before == c.INFINITE
    assert bbr.bbr.bounds.bw_shortterm == c.INFINITE
    assert bbr.bbr.state in (State.PROBE_BW_REFILL, State.PROBE_BW_UP)


def test_handling_spurious_rto_recovery() -> None:
    hold = [False]
    link, bbr = flow(feedback=lambda _n: [2 * SECOND] if hold[0] else [0])
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    before = bbr.bbr.cwnd
    hold[0] = True  # the reports come, two seconds late
    until(link, lambda: bbr.bbr.sampler.lost > 0, at_most_s=3)
    assert bbr.bbr.cwnd == PACKET
    assert bbr.bbr.sampler.inflight <= PACKET  # which may have left at once
    hold[0] = False
    until(link, lambda: bbr.bbr._undo is None, at_most_s=4)
    assert bbr.bbr.cwnd >= before
    assert bbr.bbr.bounds.bw_shortterm == c.INFINITE
    link.run(1)
    end_s = link.now_ns / SECOND
    assert link.trace.kbps(end_s - 0.5, end_s) > 0.9 * KBPS


def test_entering_and_exiting_probe_rtt_during_startup() -> None:
    # An application-limited Startup goes on for ever, so the interval expires in it. A queue of
    # another flow keeps the round trip from coming down again.
    link, bbr = flow(300.0, extra_ns=lambda _n, now: 15 * MS if now > 2 * SECOND else 0)
    until(link, in_state(bbr, State.PROBE_RTT), at_most_s=10)
    assert not bbr.bbr.full_pipe.reached
    until(link, lambda: bbr.bbr.state is not State.PROBE_RTT, at_most_s=3)
    assert bbr.bbr.state is State.STARTUP


def test_handling_loss_during_probe_up_after_inflight_longterm_is_set() -> None:
    link, bbr = flow(queue_bytes=12_000)
    until(link, lambda: bbr.bbr.bounds.inflight_longterm < c.INFINITE)
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    until(link, in_state(bbr, State.PROBE_BW_UP))
    bbr.bbr.cycle.prev_too_high = False  # no precaution this time
    before, target = bbr.bbr.bounds.inflight_longterm, bbr.bbr.window.target()
    link.path.lose = lambda n, _now: n % 5 == 0
    until(link, lambda: bbr.bbr.state is not State.PROBE_BW_UP, at_most_s=2)
    assert bbr.bbr.state is State.PROBE_BW_DOWN
    assert not bbr.bbr.full_pipe.now
    assert bbr.bbr.cycle.prev_too_high
    assert bbr.bbr.bounds.inflight_longterm >= 0.6 * target
    assert bbr.bbr.bounds.inflight_longterm < before + 10 * PACKET


def test_handling_application_limited_sending_during_probe_refill() -> None:
    link, bbr = flow()
    until(link, in_state(bbr, State.PROBE_BW_CRUISE))
    until(link, in_state(bbr, State.PROBE_BW_REFILL))
    before = bbr.bbr.max_bw
    link.limit(KBPS / 10)
    until(link, in_state(bbr, State.PROBE_BW_UP), at_most_s=2)
    link.run(0.5)
    assert bbr.bbr.max_bw >= before
    assert bbr.bbr.state is State.PROBE_BW_UP
    link.limit("greedy")
    until(link, in_state(bbr, State.PROBE_BW_DOWN), at_most_s=3)
    assert bbr.bbr.max_bw == pytest.approx(KBPS * 1000, rel=0.03)
