"""A whole direction: order, stamps, truth, and how often it has to be called."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.network.packet import Packet
from testbed.network.path import Path, build_path
from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.randomness import generator

MS = 1_000_000


def rng(seed: int = 1) -> Callable[[str], np.random.Generator]:
    return lambda name: generator(seed, name)


def every(ms: int) -> OpportunityTrace:
    return OpportunityTrace(np.array([ms], dtype=np.int64))


def drive(
    path: Path, arrivals: list[tuple[int, Packet]], *, also_at: list[int] | None = None
) -> tuple[list[tuple[int, int]], int]:
    """A world in its smallest form: (time popped, number) of what came out, and wake-ups."""
    events: list[tuple[int, int, int, Packet | None]] = []
    for order, (at, packet) in enumerate(arrivals):
        heapq.heappush(events, (at, 0, order, packet))
    for at in also_at or []:
        heapq.heappush(events, (at, 2, 0, None))
    out: list[tuple[int, int]] = []
    wakes = 0
    armed: int | None = None
    while events:
        now, kind, _, packet = heapq.heappop(events)
        if packet is not None:
            path.enqueue(packet, now_ns=now)
        elif kind == 1:
            wakes += 1
            if armed == now:
                armed = None
            out += [(now, p.number) for p in path.pop(now_ns=now)]
        else:
            path.advance(now_ns=now)
        due = path.next_time()
        if due is not None and (armed is None or due < armed):
            armed = due
            heapq.heappush(events, (due, 1, 0, None))
    return out, wakes


def test_without_trace_or_delay_packets_pass_at_once() -> None:
    path = build_path(PathSpec(), rng=rng())
    packet = Packet(100)
    path.enqueue(packet, now_ns=7)
    assert path.next_time() == 7
    assert path.pop(now_ns=7) == [packet]
    assert (packet.number, packet.link_in_ns, packet.link_out_ns, packet.arrival_ns) == (0, 7, 7, 7)
    assert path.next_time() is None
    assert path.capacity_bytes(0, 10**12) == 0
    assert path.delivered_bytes == 100


def test_queue_then_delay_and_delay_then_queue() -> None:  # F25
    trace = every(10)
    for order, link_in, link_out, arrival in (
        (("queue", "loss", "delay"), 3, 10, 15),
        (("delay", "queue", "loss"), 8, 10, 10),
        (("delay", "loss", "queue"), 8, 10, 10),
    ):
        path = build_path(
            PathSpec(trace=trace, delay=DelaySpec(delay_ms=5), order=order), rng=rng()
        )
        packet = Packet(1504)
        path.enqueue(packet, now_ns=3 * MS)
        assert path.next_time() is not None
        assert path.pop(now_ns=100 * MS) == [packet]
        stamps = (packet.link_in_ns, packet.link_out_ns, packet.arrival_ns)
        assert stamps == (link_in * MS, link_out * MS, arrival * MS)


def test_loss_after_the_queue_has_used_capacity_and_before_has_not() -> None:  # F25
    def delivered(order: tuple[str, ...]) -> tuple[int, list[int]]:
        spec = PathSpec(trace=every(10), loss=(LossSpec("mask", {"bits": "10"}),), order=order)
        path = build_path(spec, rng=rng())
        packets = [Packet(1504) for _ in range(4)]
        for packet in packets:
            path.enqueue(packet, now_ns=0)
        path.pop(now_ns=40 * MS)
        assert [p.drop for p in packets] == ["loss", "none"] * 2
        assert path.loss_drops == 2
        return path.delivered_bytes, [p.arrival_ns // MS for p in packets if p.drop == "none"]

    assert delivered(("queue", "loss", "delay")) == (4 * 1504, [20, 40])
    assert delivered(("loss", "queue", "delay")) == (2 * 1504, [10, 20])


def test_lost_packets_keep_their_stamps_and_never_arrive() -> None:
    path = build_path(
        PathSpec(trace=every(10), loss=(LossSpec("bernoulli", {"rate": 1.0}),)), rng=rng()
    )
    packet = Packet(1504)
    path.enqueue(packet, now_ns=0)
    assert path.pop(now_ns=10 * MS) == []
    assert (packet.link_out_ns, packet.arrival_ns, packet.drop) == (10 * MS, -1, "loss")
    assert path.next_time() is None


def test_numbers_count_every_packet_and_the_mask_follows_them() -> None:
    # The queue drops some; the packets that stay keep their own entry of the mask.
    spec = PathSpec(
        trace=every(10),
        queue=QueueSpec("droptail", packets=2),
        loss=(LossSpec("mask", {"bits": "0001"}),),
    )
    path = build_path(spec, rng=rng())
    packets = [Packet(1504) for _ in range(8)]
    for at, packet in enumerate(packets):
        path.enqueue(packet, now_ns=at // 4 * 30 * MS)
    path.pop(now_ns=200 * MS)
    assert [p.number for p in packets] == list(range(8))
    assert [p.drop for p in packets] == ["none", "none", "queue", "queue"] * 2
    assert path.realised_loss()["packets"] == 4


def test_counters_are_valid_after_advance() -> None:
    spec = PathSpec(trace=every(10), queue=QueueSpec("droptail", packets=3))
    path = build_path(spec, rng=rng())
    for _ in range(5):
        path.enqueue(Packet(1504), now_ns=0)
    path.advance(now_ns=0)
    assert (path.queue_packets, path.queue_bytes, path.queue_drops) == (3, 4512, 2)
    path.advance(now_ns=20 * MS)
    assert (path.queue_packets, path.queue_bytes, path.delivered_bytes) == (1, 1504, 3008)
    assert path.next_time() == 10 * MS  # what has arrived still waits for pop
    assert [p.arrival_ns // MS for p in path.pop(now_ns=20 * MS)] == [10, 20]


def test_phase_and_once_reach_the_link() -> None:
    path = build_path(PathSpec(trace=every(10), phase_ms=4, once=True), rng=rng())
    for _ in range(2):
        path.enqueue(Packet(1504), now_ns=0)
    assert [p.arrival_ns // MS for p in path.pop(now_ns=1000 * MS)] == [6]
    assert path.next_time() is None


@pytest.mark.parametrize(
    "order",
    [(), ("queue",), ("queue", "loss"), ("queue", "queue", "loss"), ("queue", "loss", "lag")],
)
def test_order_must_hold_each_stage_once(order: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="queue, loss and delay, each once"):
        build_path(PathSpec(order=order), rng=rng())


RATE = RateTrace(np.array([3000, 2000, 5000]), np.array([1000.0, 0.0, 5000.0]))
SPECS = {
    "droptail": PathSpec(trace=every(2), queue=QueueSpec("droptail", packets=5)),
    "drophead": PathSpec(trace=every(2), queue=QueueSpec("drophead", packets=5)),
    "codel": PathSpec(trace=every(2), queue=QueueSpec("codel")),
    "pie": PathSpec(trace=every(2), queue=QueueSpec("pie")),
    "rate": PathSpec(trace=RATE, queue=QueueSpec("droptail", bytes=9000)),
    "jitter": PathSpec(trace=every(2), delay=DelaySpec(delay_ms=5, jitter_ms=2, reorder=True)),
    "loss-first": PathSpec(
        trace=every(2),
        queue=QueueSpec("droptail", packets=5),
        loss=(LossSpec("bernoulli", {"rate": 0.2}),),
        order=("delay", "loss", "queue"),
    ),
    "lossy": PathSpec(
        trace=every(2),
        loss=(
            LossSpec("bernoulli", {"rate": 0.2}),
            LossSpec("periodic-outage", {"period_s": 0.05, "duration_s": 0.01}),
        ),
        delay=DelaySpec(delay_ms=5),
        order=("delay", "loss", "queue"),
    ),
}


@pytest.mark.parametrize("name", SPECS)
@given(
    gaps=st.lists(st.integers(0, 4 * MS), max_size=60),
    sizes=st.lists(st.sampled_from([60, 700, 1504]), min_size=60, max_size=60),
    also=st.lists(st.integers(0, 150 * MS), max_size=10),
)
def test_nothing_depends_on_how_often_the_path_is_called(
    name: str, gaps: list[int], sizes: list[int], also: list[int]
) -> None:
    times = np.cumsum(gaps).tolist()

    def run(also_at: list[int]) -> tuple[Any, ...]:
        path = build_path(SPECS[name], rng=rng())
        packets = [Packet(size) for size, _ in zip(sizes, times, strict=False)]
        out, wakes = drive(path, list(zip(times, packets, strict=True)), also_at=also_at)
        path.advance(now_ns=10**10)
        # Woken exactly when they arrive; not more than once a packet, unless one may overtake
        # another (a stale wake-up), or a second stage holds it that only then can tell (a hop).
        assert all(at == packets[number].arrival_ns for at, number in out)
        assert wakes <= len(packets) * (2 if name in ("jitter", "lossy") else 1) + len(also_at)
        stamps = [(p.link_in_ns, p.link_out_ns, p.arrival_ns, p.drop) for p in packets]
        fate = [p.drop == "none" for p in packets]
        assert sum(fate) == len(out)
        assert path.queue_drops + path.loss_drops == len(packets) - sum(fate)
        return stamps, [number for _, number in out], path.delivered_bytes, path.realised_loss()

    assert run(sorted(also)) == run([])


@given(gaps=st.lists(st.integers(0, 4 * MS), min_size=1, max_size=60), phase=st.integers(0, 9))
def test_delivered_never_exceeds_offered(gaps: list[int], phase: int) -> None:
    for trace in (OpportunityTrace(np.array([0, 3, 3, 10])), RATE):
        path = build_path(PathSpec(trace=trace, phase_ms=phase), rng=rng())
        for at in np.cumsum(gaps).tolist():
            path.enqueue(Packet(1504), now_ns=at)
        last = 0
        for end in range(10 * MS, 400 * MS, 10 * MS):
            path.advance(now_ns=end)
            # The packet in transit may have brought up to one packet from before.
            assert path.delivered_bytes <= path.capacity_bytes(0, end)
            assert path.delivered_bytes >= last
            last = path.delivered_bytes


@pytest.mark.parametrize("name", ["droptail", "drophead", "rate"])
def test_two_simulator_events_a_packet(name: str) -> None:
    """Counted in SimPy: one event to put a packet in, at most one to take it out."""
    env = simpy.Environment()
    path = build_path(SPECS[name], rng=rng())
    count = 500
    scheduled = 0
    armed = -1
    out: list[Packet] = []

    def timeout(at: int, action: Callable[[simpy.Event], None]) -> None:
        nonlocal scheduled
        scheduled += 1
        env.timeout(at - env.now).callbacks.append(action)

    def arm() -> None:
        nonlocal armed
        due = path.next_time()
        if due is not None and (armed < 0 or due < armed):
            armed = due
            timeout(due, wake)

    def wake(_: simpy.Event) -> None:
        nonlocal armed
        if armed != env.now:
            return
        armed = -1
        out.extend(path.pop(now_ns=env.now))
        arm()

    def arrive(_: simpy.Event) -> None:
        path.enqueue(Packet(700), now_ns=env.now)
        arm()

    for number in range(count):
        timeout(number * MS * 3 // 4, arrive)
    env.run()
    assert len(out) + path.queue_drops == count
    assert path.queue_drops > 0
    assert scheduled <= 2 * count
