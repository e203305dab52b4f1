"""A session's path as mahimahi's shells: their order, their traces, and what they cannot do."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import constant, session

from testbed.errors import InputError
from testbed.network.path import STAGES, build_path
from testbed.network.servers import NS_PER_MS
from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.network.trace import OPPORTUNITY_BYTES, OpportunityTrace
from testbed.randomness import generator
from testbed.worlds.realtime.shells import ShellPlan, plan_shells
from testbed.worlds.realtime.world import check
from testbed.worlds.session import CompetingSpec

LEAD_MS = 40
END_NS = 700 * NS_PER_MS
TRACE = OpportunityTrace(np.array([3, 3, 7, 20, 21, 21, 90], dtype=np.int64))
ORDERS = list(itertools.permutations(STAGES))


def one_way(order: tuple[str, ...] = STAGES, **changes: Any) -> PathSpec:
    values: dict[str, Any] = {
        "trace": TRACE,
        "queue": QueueSpec("droptail", packets=10),
        "loss": (LossSpec("bernoulli", {"rate": 0.1}),),
        "delay": DelaySpec(delay_ms=30),
        "order": order,
        **changes,
    }
    return PathSpec(**values)


def plan(down: PathSpec, up: PathSpec) -> ShellPlan:
    return plan_shells(session(down=down, up=up), end_ns=END_NS, lead_ms=LEAD_MS)


def met(shells: ShellPlan, direction: str) -> list[str]:
    """The stages that a packet of this direction meets, read off the command lines.

    Media comes from the outside, feedback from the inside. mm-link and mm-delay act on both,
    mm-loss on the direction that it names.
    """
    way = {"down": "downlink", "up": "uplink"}[direction]
    inwards = list(shells.shells) if direction == "down" else list(reversed(shells.shells))
    found = []
    for shell in inwards:
        if shell[0] == "mm-link":
            found.append("queue")
        elif shell[0] == "mm-delay":
            found.append("delay")
        elif shell[1] == way:
            found.append("loss")
    return found


@pytest.mark.parametrize("down", ORDERS)
@pytest.mark.parametrize("up", ORDERS)
def test_every_order_of_both_directions(down: tuple[str, ...], up: tuple[str, ...]) -> None:
    shells = plan(one_way(down), one_way(up))
    assert [shell[0] for shell in shells.shells].count("mm-link") == 1
    assert [shell for shell in shells.shells if shell[0] == "mm-delay"] == [("mm-delay", "30")]
    paths = {"down": down, "up": up}
    for name, order in paths.items():
        stages = met(shells, name)
        link = shells.links[name]
        # Loss is on the scenario's side of the queue, in both directions.
        before = order.index("loss") < order.index("queue")
        assert (stages.index("loss") < stages.index("queue")) == before
        assert (link.loss_in_front, link.loss_behind) == (before, not before)
        assert link.delay_in_front == (stages.index("delay") < stages.index("queue"))
    # mm-delay is placed for the media.
    wanted = down.index("delay") < down.index("queue")
    assert (met(shells, "down").index("delay") < met(shells, "down").index("queue")) == wanted


def through(path: PathSpec, sent_ms: list[int]) -> list[tuple[int, str]]:
    """When each packet comes out of our own path, and what dropped it."""
    from testbed.network.packet import Packet

    made = build_path(path, rng=lambda name: generator(1, name))
    packets = []
    for at_ms in sent_ms:
        packet = Packet(1200)
        packets.append(packet)
        made.enqueue(packet, now_ns=at_ms * NS_PER_MS)
    made.pop(now_ns=10**12)
    return [(p.arrival_ns, p.drop) for p in packets]


@pytest.mark.parametrize("down", [("queue", "delay", "loss"), ("delay", "queue", "loss")])
@pytest.mark.parametrize("up", [("queue", "delay", "loss"), ("delay", "queue", "loss")])
def test_a_shifted_trace_gives_every_packet_its_times(
    down: tuple[str, ...], up: tuple[str, ...]
) -> None:
    """The shells as a path of our own: the order that they have, the trace that they get."""
    sent_ms = [int(at) for at in np.cumsum(np.random.default_rng(3).integers(0, 12, 60))]
    paths = {name: one_way(order, loss=()) for name, order in (("down", down), ("up", up))}
    shells = plan(paths["down"], paths["up"])
    for name, path in paths.items():
        order = tuple(stage for stage in met(shells, name))
        theirs = PathSpec(
            trace=shells.links[name].trace, mode="opportunities", queue=path.queue,
            delay=path.delay, order=(*order, "loss"),
        )  # fmt: skip
        expected = through(path, sent_ms)
        found = through(theirs, [at + LEAD_MS for at in sent_ms])
        assert [drop for _, drop in found] == [drop for _, drop in expected]
        assert "queue" in {drop for _, drop in expected}
        assert [(at - LEAD_MS * NS_PER_MS) for at, drop in found if drop == "none"] == [
            at for at, drop in expected if drop == "none"
        ]


@given(
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    phase_ms=st.integers(0, 500),
    once=st.booleans(),
    same_order=st.booleans(),
    delay_ms=st.integers(0, 35),
)
def test_the_unrolled_trace_offers_what_the_path_offers(
    steps: list[int], phase_ms: int, once: bool, same_order: bool, delay_ms: int
) -> None:
    times = np.cumsum(np.array(steps, dtype=np.int64))
    times[-1] += 1  # a period of 0 is no trace
    path = one_way(
        trace=OpportunityTrace(times), phase_ms=phase_ms, once=once, loss=(),
        delay=DelaySpec(delay_ms=delay_ms),
    )  # fmt: skip
    up = path if same_order else one_way(
        ("delay", "queue", "loss"), trace=path.trace, phase_ms=phase_ms, once=once, loss=(),
        delay=path.delay,
    )  # fmt: skip
    shells = plan(path, up)
    model = build_path(path, rng=lambda name: generator(1, name))
    for name, spec in (("down", path), ("up", up)):
        trace = shells.links[name].trace.times_ms
        # mm-link takes it: ascending, and its last line (the period) lies behind the session.
        assert (np.diff(trace) >= 0).all()
        assert trace[0] >= 0
        assert trace[-1] > LEAD_MS + END_NS // NS_PER_MS
        shift = 0
        if name == "up":
            # Feedback meets mm-delay in front of mm-link; where the scenario has it behind, its
            # times are those of a trace so much later.
            shift = delay_ms if spec.order.index("queue") < spec.order.index("delay") else 0
        counts = np.bincount(trace, minlength=2000)
        for ms in range(1, END_NS // NS_PER_MS + 1):
            offered = model.capacity_bytes((ms - 1) * NS_PER_MS, ms * NS_PER_MS)
            assert counts[LEAD_MS + shift + ms] * OPPORTUNITY_BYTES == offered
        # Greetings get through before the session.
        assert counts[1 : LEAD_MS - delay_ms].tolist() == [1] * (LEAD_MS - delay_ms - 1)


def test_the_other_shift() -> None:
    """Media delayed in front of the queue puts mm-delay outside, so feedback meets it last."""
    up = one_way(loss=())
    early = one_way(("delay", "queue", "loss"), loss=())
    shells = plan(early, early)
    assert met(shells, "up") == ["queue", "delay"]
    same = plan(up, up)
    assert met(same, "up") == ["delay", "queue"]
    first = [links.links["up"].trace.times_ms for links in (shells, same)]
    in_session = [int(times[times > LEAD_MS + 40][0]) for times in first]
    # 30 ms earlier in the one and 30 ms later in the other than the model's.
    assert in_session[1] != in_session[0]


def test_without_a_trace_the_link_is_far_faster_than_a_session() -> None:
    shells = plan(PathSpec(), PathSpec())
    counts = np.bincount(shells.links["down"].trace.times_ms)
    session_ms = slice(LEAD_MS + 1, LEAD_MS + END_NS // NS_PER_MS)
    assert set(counts[session_ms].tolist()) == {8}
    assert shells.shells == (("mm-link",),)
    assert shells.delay_ms == 0


def test_several_losses_each_get_a_shell() -> None:
    losses = (
        LossSpec("bernoulli", {"rate": 0.25}),
        LossSpec("outage", {"mean_up_s": 2.5, "mean_down_s": 0.25}),
    )
    shells = plan(
        one_way(("loss", "queue", "delay"), loss=losses),
        one_way(("queue", "loss", "delay"), loss=losses[1:]),
    ).shells
    assert shells == (
        ("mm-loss", "downlink", "0.250000000"),
        ("mm-onoff", "downlink", "2.5", "0.25"),
        ("mm-onoff", "uplink", "2.5", "0.25"),
        ("mm-link",),
        ("mm-delay", "30"),
    )


REFUSED = [
    ({"mode": "rate"}, r"downlink\.mode is a continuous rate"),
    ({"trace": constant(500)}, r"downlink\.mode is a continuous rate"),
    ({"delay": DelaySpec(30, jitter_ms=2)}, "downlink has jitter or a delay trace"),
    ({"delay": DelaySpec(trace_ms=(1.0, 2.0))}, "downlink has jitter or a delay trace"),
    ({"delay": DelaySpec(30.5)}, r"downlink\.delay_ms is 30\.5; mm-delay takes whole ms"),
    (
        {"delay": DelaySpec(31)},
        r"uplink\.delay_ms is 30 and downlink\.delay_ms 31; mm-delay delays both directions alike",
    ),
    (
        {"loss": (LossSpec("gilbert-elliott", {"p": 0.1, "r": 0.5}),)},
        r"downlink\.loss is gilbert-elliott; mahimahi has bernoulli, outage",
    ),
    ({"loss": (LossSpec("mask", {"bits": "01"}),)}, r"downlink\.loss is mask"),
    ({"queue": QueueSpec("my-own")}, r"downlink\.queue is my-own; mm-link has infinite, droptail"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_mahimahi_cannot_do_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plan(one_way(**changes), one_way())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--world mahimahi: ")
    if "both directions" not in message:
        with pytest.raises(InputError, match=message.replace("downlink", "uplink")):
            plan(one_way(), one_way(**changes))


def test_a_delay_that_the_lead_cannot_hold_is_one_line() -> None:
    long = one_way(delay=DelaySpec(LEAD_MS))
    with pytest.raises(InputError, match=r"^--world mahimahi: delay_ms is 40; at most 39$"):
        plan(long, long)


@pytest.mark.parametrize("world", ["relay", "mahimahi"])
def test_competing_flows_run_in_the_simulator_only(world: str) -> None:
    with pytest.raises(InputError, match=f"--world {world}: competing flows"):
        check(session(competing=(CompetingSpec("tcp"),)), world)
