"""Both forms of the link against a literal walk through mahimahi's rules, ms by ms."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.network.link import FifoLink, Link, QueueLink, make_link
from testbed.network.packet import Packet
from testbed.network.queues import DropHead, DropTail
from testbed.network.servers import (
    NS_PER_MS,
    OpportunityServer,
    RateServer,
    Server,
    UnlimitedServer,
)
from testbed.network.trace import OpportunityTrace, RateTrace

Departure = tuple[int, int, int]
Arrival = tuple[int, int]


def walk(
    times_ms: list[int],
    arrivals: list[Arrival],
    *,
    base_ms: int,
    until_ms: int,
    packets: int | None,
    limit_bytes: int | None,
    head: bool,
) -> list[Departure]:
    """mahimahi F8 to F11 and F15 to F17, one millisecond and one opportunity at a time."""
    schedule = []
    start = base_ms
    while start <= until_ms:
        schedule += [start + t for t in times_ms]
        start += times_ms[-1]
    waiting: deque[Arrival] = deque()
    transit: list[int] = []  # [arrival, size, left]
    departures: list[Departure] = []
    upcoming = deque(arrivals)
    for now in range(until_ms + 1):
        for _ in range(schedule.count(now)):
            room = 1504
            while room:
                if not transit:
                    if not waiting:
                        break
                    at, size = waiting.popleft()
                    transit = [at, size, size]
                taken = min(room, transit[2])
                room -= taken
                transit[2] -= taken
                if transit[2] == 0:
                    departures.append((now, transit[1], now - transit[0]))
                    transit = []
        while upcoming and upcoming[0][0] == now:
            at, size = upcoming.popleft()
            held = sum(s for _, s in waiting)
            fits = (packets is None or len(waiting) + 1 <= packets) and (
                limit_bytes is None or held + size <= limit_bytes
            )
            if fits or head:
                waiting.append((at, size))
            while (packets is not None and len(waiting) > packets) or (
                limit_bytes is not None and sum(s for _, s in waiting) > limit_bytes
            ):
                waiting.popleft()
    return departures


def drive(link: Link, arrivals: list[Arrival], until_ms: int, *, step_ms: int) -> list[Departure]:
    """Arrivals through a link that is also popped every `step_ms`."""
    left: list[tuple[int, Packet]] = []
    upcoming = deque(arrivals)
    for now in range(until_ms + 1):
        if now % step_ms == 0:
            left += link.take(now * NS_PER_MS)
        while upcoming and upcoming[0][0] == now:
            link.enqueue(Packet(upcoming.popleft()[1]), now_ns=now * NS_PER_MS)
    left += link.take(until_ms * NS_PER_MS)
    return [(out // NS_PER_MS, p.size_bytes, (out - p.link_in_ns) // NS_PER_MS) for out, p in left]


def forms(packets: int | None, limit_bytes: int | None) -> list[Callable[[Server], Link]]:
    """Every form of the link that can hold a drop-tail queue of these limits."""

    def general(server: Server) -> Link:
        return QueueLink(server, DropTail(packets, limit_bytes))

    def fifo(server: Server) -> Link:
        return FifoLink(server, packets)

    return [general, fifo] if limit_bytes is None else [general]


TIMES = (
    st.lists(st.integers(0, 60), min_size=1, max_size=25).map(sorted).filter(lambda t: t[-1] > 0)
)
ARRIVALS = st.lists(
    st.tuples(st.integers(0, 150), st.sampled_from([33, 500, 1000, 1504, 1504, 4000])), max_size=50
).map(sorted)
LIMITS = st.sampled_from([(None, None), (1, None), (4, None), (None, 4000), (3, 5000)])


@given(
    times=TIMES,
    arrivals=ARRIVALS,
    limits=LIMITS,
    base_ms=st.integers(0, 40),
    step_ms=st.sampled_from([1, 7, 1000]),
)
def test_drop_tail_is_mahimahis(
    times: list[int],
    arrivals: list[Arrival],
    limits: tuple[int | None, int | None],
    base_ms: int,
    step_ms: int,
) -> None:
    trace = OpportunityTrace(np.array(times, dtype=np.int64))
    packets, limit_bytes = limits
    expected = walk(
        times,
        arrivals,
        base_ms=base_ms,
        until_ms=200,
        packets=packets,
        limit_bytes=limit_bytes,
        head=False,
    )
    for form in forms(packets, limit_bytes):
        link = form(OpportunityServer(trace, base_ms=base_ms))
        assert drive(link, arrivals, 200, step_ms=step_ms) == expected


@given(
    times=TIMES,
    arrivals=ARRIVALS,
    limits=LIMITS,
    base_ms=st.integers(0, 40),
    step_ms=st.sampled_from([1, 7, 1000]),
)
def test_drop_head_is_mahimahis(
    times: list[int],
    arrivals: list[Arrival],
    limits: tuple[int | None, int | None],
    base_ms: int,
    step_ms: int,
) -> None:
    trace = OpportunityTrace(np.array(times, dtype=np.int64))
    packets, limit_bytes = limits
    link = QueueLink(OpportunityServer(trace, base_ms=base_ms), DropHead(packets, limit_bytes))
    assert drive(link, arrivals, 200, step_ms=step_ms) == walk(
        times,
        arrivals,
        base_ms=base_ms,
        until_ms=200,
        packets=packets,
        limit_bytes=limit_bytes,
        head=True,
    )


@given(
    samples=st.lists(
        st.tuples(st.integers(1, 9000), st.sampled_from([0.0, 50.0, 1000.0, 12345.678])),
        min_size=1,
        max_size=5,
    ).filter(lambda s: any(kbps for _, kbps in s)),
    arrivals=ARRIVALS,
    limit=st.sampled_from([None, 1, 4, 20]),
    once=st.booleans(),
)
def test_both_forms_agree_on_a_continuous_rate(
    samples: list[tuple[int, float]],
    arrivals: list[Arrival],
    limit: int | None,
    once: bool,
) -> None:
    durations, kbps = zip(*samples, strict=True)
    trace = RateTrace(np.array(durations, dtype=np.int64), np.array(kbps, dtype=np.float64))
    fifo = FifoLink(RateServer(trace, once=once), limit)
    general = QueueLink(RateServer(trace, once=once), DropTail(limit))
    for at_ms, size in arrivals:
        now_ns = at_ms * NS_PER_MS
        for link in (fifo, general):
            link.enqueue(Packet(size), now_ns=now_ns)
            link.advance(now_ns)
        assert fifo.next_time() == general.next_time()
        assert (fifo.queue_packets, fifo.queue_bytes, fifo.queue_drops) == (
            general.queue_packets,
            general.queue_bytes,
            general.queue_drops,
        )
    end_ns = 10**10
    assert [at for at, _ in fifo.take(end_ns)] == [at for at, _ in general.take(end_ns)]
    assert fifo.delivered_bytes == general.delivered_bytes


def fifo_form(server: Server, limit: int | None) -> Link:
    return FifoLink(server, limit)


def general_form(server: Server, limit: int | None) -> Link:
    return QueueLink(server, DropTail(limit))


both_forms = pytest.mark.parametrize("form", [fifo_form, general_form])
Form = Callable[[Server, int | None], Link]


@both_forms
def test_packet_in_transit_is_not_counted(form: Form) -> None:  # F15
    trace = OpportunityTrace(np.array([10, 20, 30], dtype=np.int64))
    link = form(OpportunityServer(trace), 1)
    first, second, third = Packet(1600), Packet(100), Packet(100)
    link.enqueue(first, now_ns=0)
    link.enqueue(second, now_ns=0)  # the first still waits
    assert second.drop == "queue"
    link.advance(12 * NS_PER_MS)  # now its first 1504 bytes are out
    assert (link.queue_packets, link.queue_bytes) == (0, 0)
    link.enqueue(third, now_ns=12 * NS_PER_MS)
    assert third.drop == "none"
    assert [p for _, p in link.take(20 * NS_PER_MS)] == [first, third]
    assert (first.link_in_ns, first.link_out_ns) == (0, 20 * NS_PER_MS)
    assert link.queue_drops == 1
    assert link.delivered_bytes == 1700


@both_forms
def test_unlimited_link_passes_at_once(form: Form) -> None:
    link = form(UnlimitedServer(), None)
    packet = Packet(100)
    link.enqueue(packet, now_ns=5)
    assert link.next_time() == 5
    assert link.take(5) == [(5, packet)]
    assert packet.link_out_ns == 5
    assert link.next_time() is None


@both_forms
def test_after_the_last_opportunity_nothing_is_due(form: Form) -> None:
    trace = OpportunityTrace(np.array([10], dtype=np.int64))
    link = form(OpportunityServer(trace, once=True), 5)
    for _ in range(3):
        link.enqueue(Packet(1000), now_ns=0)
    assert link.next_time() == 10 * NS_PER_MS
    assert len(link.take(10 * NS_PER_MS)) == 1
    assert link.next_time() is None
    assert link.take(10**15) == []
    link.advance(10**15)
    assert link.queue_packets == 1  # one is stuck in transit, one waits


def test_only_a_plain_queue_of_packets_takes_the_fast_form() -> None:
    assert isinstance(make_link(UnlimitedServer(), DropTail()), FifoLink)
    assert isinstance(make_link(UnlimitedServer(), DropTail(3)), FifoLink)
    assert isinstance(make_link(UnlimitedServer(), DropTail(3, 9000)), QueueLink)
    assert isinstance(make_link(UnlimitedServer(), DropHead(3)), QueueLink)
