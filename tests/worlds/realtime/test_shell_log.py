"""Fates read from mm-link's log, where they are known: our own link writes the log.

`testbed.network.mmlog.replay`, which real logs are held against departure by departure, is the
reference for what such a log says.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.network.link import make_link
from testbed.network.mmlog import LinkLog, replay
from testbed.network.packet import LINK_OVERHEAD_BYTES, Packet
from testbed.network.queues import make_queue
from testbed.network.servers import NS_PER_MS, OpportunityServer
from testbed.network.spec import QueueSpec
from testbed.network.trace import OPPORTUNITY_BYTES, OpportunityTrace
from testbed.randomness import generator
from testbed.worlds.realtime.records import Arrivals, Sent
from testbed.worlds.realtime.shell_log import (
    DirectionLog,
    Passage,
    link_rows,
    passages,
    read_direction,
)
from testbed.worlds.realtime.shells import LinkPlan

BASE_MS = 35
EPOCH_MS = 335
END_NS = 3_000 * NS_PER_MS
DROPTAIL = QueueSpec("droptail", packets=8)
DROPHEAD = QueueSpec("drophead", packets=8)


def trace(seed: int) -> OpportunityTrace:
    """Mean gap 4 ms (3 Mbit/s) with an outage of 300 ms; goes on long after the session."""
    gaps = np.random.default_rng(seed).integers(0, 9, 900)
    times = np.cumsum(gaps) + 1
    times[times > EPOCH_MS + 1200] += 300
    return OpportunityTrace(times.astype(np.int64))


@dataclass
class Case:
    """A direction with everything known about it.

    Attributes:
        log: as mm-link would have written it.
        sent, arrived: as the endpoints remember.
        drops: the truth, one a datagram.
        out_ns: when each left mm-link, or -1; the truth.
    """

    log: LinkLog
    plan: LinkPlan
    sent: list[Sent]
    arrived: Arrivals
    delay_ms: int
    drops: list[str]
    out_ns: list[int]
    read: DirectionLog = field(default_factory=DirectionLog)

    def mistakes(self) -> list[int]:
        """Datagrams whose fate was read wrongly."""
        found = [one.drop for one in self.read.carried]
        return [n for n, (one, two) in enumerate(zip(found, self.drops, strict=True)) if one != two]


def traffic(seed: int, *, until_ms: int, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """(ns, payload bytes): bursts, as frames make them, and single ones in between."""
    rng = random.Random(seed)
    found: list[tuple[int, int]] = []
    at_ns = 0
    while at_ns < until_ms * NS_PER_MS:
        for _ in range(rng.choice((1, 1, 2, 5, 12))):
            found.append((at_ns, rng.choice(sizes)))
            at_ns += rng.randrange(5_000, 120_000)
        at_ns += int(rng.expovariate(1 / 22e6))
    return found


def synthesised(
    seed: int,
    queue: QueueSpec,
    *,
    before: float = 0.0,
    behind: float = 0.0,
    delay_in_front: bool = False,
    delay_ms: int = 0,
    sizes: tuple[int, ...] = (1200, 1200, 1200, 300),
    until_ms: int = 2_400,
    logged_until_ms: int = 10**9,
    stall_ms: int = 0,
) -> Case:
    """Send traffic through our own link and write down what mm-link would."""
    rng = random.Random(seed + 1)
    chosen = trace(seed)
    link = make_link(
        OpportunityServer(chosen, base_ms=BASE_MS), make_queue(queue, generator(1, "queue"))
    )
    front_ns = delay_ms * NS_PER_MS if delay_in_front else 0
    behind_ns = 0 if delay_in_front else delay_ms * NS_PER_MS
    sent, drops, packets = [], [], []
    arrivals: list[tuple[int, int]] = [(BASE_MS + 20, 50), (BASE_MS + 90, 50)]  # greetings
    for at_ms, size in arrivals:
        link.enqueue(Packet(size), now_ns=at_ms * NS_PER_MS)
    read_ns = 0
    for number, (at_ns, size) in enumerate(traffic(seed, until_ms=until_ms, sizes=sizes)):
        sent.append(Sent(at_ns, "media", 0, size, number, -1, 1, size, number, None))
        # mm-link reads its device a little later, in order.
        read_ns = max(read_ns, at_ns + front_ns + rng.randrange(20_000, 900_000))
        if stall_ms and len(sent) == 100:
            read_ns += stall_ms * NS_PER_MS
        lost = rng.random() < before
        packet = Packet(size + LINK_OVERHEAD_BYTES)
        packets.append(packet)
        drops.append("loss" if lost else "")
        if not lost:
            at_ms = EPOCH_MS + read_ns // NS_PER_MS
            arrivals.append((at_ms, packet.size_bytes))
            link.enqueue(packet, now_ns=at_ms * NS_PER_MS)
    end_ms = min(EPOCH_MS + END_NS // NS_PER_MS, logged_until_ms)
    left = link.take(end_ms * NS_PER_MS)
    times = [t + BASE_MS for t in chosen.times_ms.tolist()]
    log = LinkLog(
        "down", queue, BASE_MS, end_ms, arrivals, [t for t in times if t <= end_ms],
        [
            (at // NS_PER_MS, p.size_bytes, (at - p.link_in_ns) // NS_PER_MS) for at, p in left
        ], None,
    )  # fmt: skip
    arrived = Arrivals()
    came = []
    out_ns = []
    for number, packet in enumerate(packets):
        out = packet.link_out_ns
        out_ns.append(-1 if out < 0 else out - EPOCH_MS * NS_PER_MS)
        if drops[number]:
            continue
        drops[number] = packet.drop
        if packet.drop == "none" and out >= 0:
            if rng.random() < behind:
                drops[number] = "loss"
            else:
                came.append((out_ns[number] + behind_ns + rng.randrange(100_000, 400_000), number))
    for at_ns, number in sorted(came):
        if at_ns < END_NS:
            arrived.add(at_ns, number)
    plan = LinkPlan(chosen, queue, delay_in_front and delay_ms > 0, before > 0, behind > 0)
    case = Case(log, plan, sent, arrived, delay_ms, drops, out_ns)
    case.read = read_direction(
        sent, arrived, passages(log, EPOCH_MS), plan, delay_ms=delay_ms, end_ns=END_NS
    )
    return case


@pytest.mark.parametrize("queue", [DROPTAIL, DROPHEAD], ids=["droptail", "drophead"])
def test_the_synthetic_log_is_what_the_replay_says(queue: QueueSpec) -> None:
    case = synthesised(3, queue, before=0.1)
    ours = replay(case.log, case.plan.trace, queue, generator(1, "queue"))
    assert ours.departures == case.log.departures
    assert ours.opportunities == case.log.opportunities
    assert len(ours.drops) > 5


@pytest.mark.parametrize("delay_in_front", [False, True])
@pytest.mark.parametrize("queue", [DROPTAIL, DROPHEAD], ids=["droptail", "drophead"])
@pytest.mark.parametrize("seed", range(6))
def test_without_loss_every_fate_is_exact(
    seed: int, queue: QueueSpec, delay_in_front: bool
) -> None:
    case = synthesised(seed, queue, delay_in_front=delay_in_front, delay_ms=20)
    assert Counter(case.drops)["queue"] > 20
    assert case.mistakes() == []
    assert (case.read.vanished, case.read.unmatched, case.read.lost_ns) == (0, 0, [])
    for number, one in enumerate(case.read.carried):
        assert one.key == number
        assert one.link_out_ns == (
            -1 if case.out_ns[number] < 0 else max(case.out_ns[number], one.link_in_ns)
        )
        behind_ns = 0 if delay_in_front else 20 * NS_PER_MS
        if one.link_out_ns >= 0:
            assert one.arrival_ns == one.link_out_ns + behind_ns
        front_ns = 20 * NS_PER_MS if delay_in_front else 0
        assert 0 <= one.link_in_ns - front_ns - case.sent[number].at_ns <= 3 * NS_PER_MS


@pytest.mark.parametrize("before", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_a_stalled_machine_costs_no_line(seed: int, before: float) -> None:
    """mm-link did not get to read its device for 60 ms; what was sent meanwhile came out all the
    same, and is found."""
    case = synthesised(seed, QueueSpec(), before=before, stall_ms=60, delay_ms=20)
    assert max(
        one.link_in_ns - sent.at_ns for one, sent in zip(case.read.carried, case.sent, strict=True)
    ) > 50 * NS_PER_MS  # fmt: skip
    assert case.mistakes() == []
    assert (case.read.unmatched, case.read.vanished) == (0, 0)
    assert all(one.link_out_ns >= 0 for one in case.read.carried if one.drop == "none")


@pytest.mark.parametrize("queue", [DROPTAIL, DROPHEAD], ids=["droptail", "drophead"])
@pytest.mark.parametrize("seed", range(6))
def test_loss_behind_the_queue(seed: int, queue: QueueSpec) -> None:
    """Exact but for equal datagrams of one ms; of these it is known only how many were lost."""
    case = synthesised(seed, queue, behind=0.15, delay_ms=20)
    assert Counter(case.read.carried[n].drop for n in range(len(case.sent))) == Counter(case.drops)
    twins = Counter((one.link_in_ns // NS_PER_MS, one_sent.size) for one, one_sent in zip(
        case.read.carried, case.sent, strict=True
    ))  # fmt: skip
    for number in case.mistakes():
        place = case.read.carried[number].link_in_ns // NS_PER_MS, case.sent[number].size
        assert twins[place] > 1
        assert {case.drops[number], case.read.carried[number].drop} == {"queue", "loss"}
    assert len(case.mistakes()) <= 0.03 * len(case.sent)
    assert case.read.vanished == 0
    assert case.read.unmatched == 0
    pairs = zip(case.sent, case.read.carried, strict=True)
    assert case.read.lost_ns == [one.at_ns for one, carried in pairs if carried.drop == "loss"]


@pytest.mark.parametrize("seed", range(6))
def test_loss_in_front_of_an_unlimited_queue_is_exact(seed: int) -> None:
    case = synthesised(seed, QueueSpec(), before=0.15, delay_ms=20)
    assert Counter(case.drops)["loss"] > 30
    assert case.mistakes() == []
    assert case.read.unmatched == 0


@pytest.mark.parametrize("seed", range(6))
def test_loss_in_front_where_sizes_tell_datagrams_apart(seed: int) -> None:
    """Exact but for the few whose burst leaves open whether they had a line at all."""
    case = synthesised(seed, DROPTAIL, before=0.15, sizes=tuple(range(200, 1400)))
    assert Counter(case.drops)["queue"] > 10
    assert len(case.mistakes()) <= 0.01 * len(case.sent)
    found, truth = Counter(c.drop for c in case.read.carried), Counter(case.drops)
    assert found["none"] == truth["none"]


@pytest.mark.parametrize("queue", [DROPTAIL, DROPHEAD], ids=["droptail", "drophead"])
@pytest.mark.parametrize("seed", range(6))
def test_loss_in_front_of_a_queue_that_drops_is_bounded(seed: int, queue: QueueSpec) -> None:
    """What was lost and what was dropped in one burst of equal datagrams may change places."""
    case = synthesised(seed, queue, before=0.1)
    found, truth = Counter(c.drop for c in case.read.carried), Counter(case.drops)
    assert found["none"] == truth["none"]
    assert abs(found["loss"] - truth["loss"]) <= 0.02 * len(case.sent)
    for number in case.mistakes():
        assert {case.drops[number], case.read.carried[number].drop} == {"queue", "loss"}
    assert len(case.mistakes()) <= 0.1 * len(case.sent)


def test_what_is_dropped_at_the_very_end_is_dropped() -> None:
    """Nothing came behind it; but the link had time to send it and did not."""
    case = synthesised(2, DROPTAIL)
    last = max(n for n, drop in enumerate(case.drops) if drop == "queue")
    sent = case.sent[: last + 1]
    log = case.log
    count = sum(at < EPOCH_MS for at, _ in log.arrivals) + len(sent)
    kept = Counter((at, size) for at, size in log.arrivals[:count])
    departures = []
    for at, size, delay in log.departures:
        if kept[at - delay, size] > 0:
            kept[at - delay, size] -= 1
            departures.append((at, size, delay))
    cut = LinkLog(
        "down", DROPTAIL, BASE_MS, log.end_ms, log.arrivals[:count], log.opportunities, departures,
        None,
    )  # fmt: skip
    arrived = Arrivals()
    for at_ns, key in zip(case.arrived.times_ns, case.arrived.keys, strict=True):
        if key < len(sent):
            arrived.add(at_ns, key)
    read = read_direction(
        sent, arrived, passages(cut, EPOCH_MS), case.plan, delay_ms=0, end_ns=END_NS
    )
    assert [c.drop for c in read.carried] == case.drops[: last + 1]
    assert read.carried[last].drop == "queue"


def test_what_still_waits_at_the_end_was_not_dropped() -> None:
    """The log ends within the outage, with packets in the queue."""
    case = synthesised(4, QueueSpec(), until_ms=1_300, logged_until_ms=EPOCH_MS + 1_320)
    waiting = [n for n, out in enumerate(case.out_ns) if out < 0]
    assert waiting
    assert case.mistakes() == []
    assert all(case.read.carried[n].arrival_ns == -1 for n in waiting)
    assert case.read.vanished == 0


def test_what_was_under_way_at_the_end_was_not_lost() -> None:
    """It had left mm-link and was in mm-delay when the session ended."""
    plan = LinkPlan(trace(1), QueueSpec(), False, False, False)
    at_ms = [END_NS // NS_PER_MS - before for before in (400, 200, 15, 5)]
    sent = [
        Sent(at * NS_PER_MS, "feedback", -1, 0, n, -1, 1, 100, n, None)
        for n, at in enumerate(at_ms)
    ]
    log = LinkLog(
        "up", None, BASE_MS, EPOCH_MS + 3_000, [(EPOCH_MS + at, 132) for at in at_ms],
        [EPOCH_MS + at + 1 for at in at_ms], [(EPOCH_MS + at + 1, 132, 1) for at in at_ms], None,
    )  # fmt: skip
    arrived = Arrivals()
    arrived.add((at_ms[0] + 31) * NS_PER_MS, 0)
    read = read_direction(sent, arrived, passages(log, EPOCH_MS), plan, delay_ms=30, end_ns=END_NS)
    assert [c.drop for c in read.carried] == ["none", "loss", "none", "none"]
    assert read.vanished == 1  # the second one had all the time of the world


def test_strange_packets_in_the_log_are_counted() -> None:
    case = synthesised(1, QueueSpec())
    log = case.log
    at = len(log.arrivals) // 2
    ms = log.arrivals[at][0]
    strange = [*log.arrivals[:at], (ms, 84), *log.arrivals[at:]]
    departures = sorted([*log.departures, (ms + 1, 84, 1)])
    log = LinkLog("down", None, BASE_MS, log.end_ms, strange, log.opportunities, departures, None)
    read = read_direction(
        case.sent, case.arrived, passages(log, EPOCH_MS), case.plan, delay_ms=0, end_ns=END_NS
    )
    assert read.unmatched >= 1
    # What comes behind the end is of no session, such as "port unreachable" from a closed socket.
    late = EPOCH_MS + END_NS // NS_PER_MS + 20
    arrivals = [*case.log.arrivals, (late, 92)]
    behind = LinkLog(
        "down", None, BASE_MS, late, arrivals, case.log.opportunities, case.log.departures, None
    )
    ended = read_direction(
        case.sent, case.arrived, passages(behind, EPOCH_MS), case.plan, delay_ms=0, end_ns=END_NS
    )
    assert ended.unmatched == 0
    assert [c.drop for c in read.carried] == case.drops
    # Only what came within the same ms may be without its line.
    assert sum(c.link_in_ns < 0 for c in read.carried) <= 12


# --- rows -------------------------------------------------------------------------------------


def slow_rows(
    log: LinkLog, seen: list[Passage], epoch_ms: int, ticks: int, lost_ns: list[int]
) -> list[tuple[Any, ...]]:
    """Count each row on its own, by looking at everything."""
    rows = []
    for n in range(ticks):
        first, last = 100 * n, 100 * n + 100
        offered = sum(first < at - epoch_ms <= last for at in log.opportunities)
        left = [p for p in seen if p.out_ms is not None and first < p.out_ms <= last]
        waiting = [
            p for p in seen
            if not p.dropped and p.in_ms <= last and (p.out_ms is None or p.out_ms > last)
        ]  # fmt: skip
        # What comes in the session's first ms belongs to the first row.
        begin = first if n else -1
        rows.append(
            (
                first * NS_PER_MS, "down", offered * OPPORTUNITY_BYTES, sum(p.size for p in left),
                len(waiting), sum(p.size for p in waiting),
                sum(p.dropped and begin < p.in_ms <= last for p in seen),
                sum(begin < ns // NS_PER_MS <= last for ns in lost_ns),
            )
        )  # fmt: skip
    return rows


@pytest.mark.parametrize("queue", [QueueSpec(), DROPTAIL, DROPHEAD])
def test_rows_are_the_obvious_count(queue: QueueSpec) -> None:
    case = synthesised(9, queue, behind=0.1)
    seen = passages(case.log, EPOCH_MS)
    rows = link_rows(
        case.log, seen, "down", epoch_ms=EPOCH_MS, duration_ns=2_500 * NS_PER_MS,
        lost_ns=case.read.lost_ns,
    )  # fmt: skip
    assert len(rows) == 25
    assert rows == slow_rows(case.log, seen, EPOCH_MS, 25, case.read.lost_ns)
    assert sum(row[3] for row in rows) > 100_000
    assert all(type(value) in (int, str) for row in rows for value in row)


@given(
    events=st.lists(
        st.tuples(st.integers(0, 320), st.integers(33, 1504), st.integers(-1, 150)), max_size=30
    ),
    opportunities=st.lists(st.integers(0, 400), max_size=30),
    lost=st.lists(st.integers(0, 320 * NS_PER_MS), max_size=5),
    duration_ms=st.integers(0, 350),
)
def test_rows_of_anything_are_the_obvious_count(
    events: list[tuple[int, int, int]], opportunities: list[int], lost: list[int], duration_ms: int
) -> None:
    seen = [
        Passage(at, size, None if wait < 0 else at + wait, wait < 0)
        for at, size, wait in sorted(events)
    ]
    log = LinkLog("down", None, 0, 0, [], sorted(opportunities), [], None)
    rows = link_rows(
        log, seen, "down", epoch_ms=50, duration_ns=duration_ms * NS_PER_MS, lost_ns=lost
    )
    assert rows == slow_rows(log, seen, 50, duration_ms // 100, lost)
