"""Servers against hand-worked cases and exact rational arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError, TraceError
from testbed.network.servers import (
    NEVER_NS,
    NS_PER_MS,
    OpportunityServer,
    RateServer,
    Server,
    make_server,
)
from testbed.network.trace import OpportunityTrace, RateTrace


def opportunities(*times_ms: int) -> OpportunityTrace:
    return OpportunityTrace(np.array(times_ms, dtype=np.int64))


def rates(*samples: tuple[int, float]) -> RateTrace:
    durations, kbps = zip(*samples, strict=True)
    return RateTrace(np.array(durations, dtype=np.int64), np.array(kbps, dtype=np.float64))


def ms(ns: int) -> float:
    return ns / NS_PER_MS


def serve_all(server: Server, packets: list[tuple[int, int]]) -> list[int]:
    """Leaving ms of (arrival ms, size) packets, first in, first out."""
    return [int(ms(server.serve(at * NS_PER_MS, size)[1])) for at, size in packets]


def test_wrap_doubles_a_trace_that_starts_at_zero() -> None:
    # mahimahi F11: trace 0,10 with base 39 gives 39, 49, 49, 59, 59.
    server = OpportunityServer(opportunities(0, 10), base_ms=39)
    assert serve_all(server, [(0, 1504)] * 5) == [39, 49, 49, 59, 59]


def test_arrival_uses_only_later_opportunities() -> None:  # F10
    server = OpportunityServer(opportunities(5, 10))
    assert serve_all(server, [(5, 100)]) == [10]
    server = OpportunityServer(opportunities(5, 10))
    assert server.serve(4_999_999, 100) == (5 * NS_PER_MS, 5 * NS_PER_MS)


def test_small_packets_share_and_large_ones_span() -> None:  # F9
    server = OpportunityServer(opportunities(10, 20, 30, 40))
    sizes = [752, 752, 1504, 1000, 1000, 8]
    assert serve_all(server, [(0, size) for size in sizes]) == [10, 10, 20, 30, 40, 40]


def test_idle_opportunity_gives_no_credit() -> None:  # F9
    server = OpportunityServer(opportunities(10, 20, 30, 40))
    assert serve_all(server, [(0, 100), (25, 1504), (25, 1504)]) == [10, 30, 40]


def test_rest_of_an_opportunity_is_there_until_its_time() -> None:
    # The first packet ends inside the opportunity at 20; one that arrives at 15 may share it, one
    # that arrives at 20 may not.
    def second_out(arrival_ms: int) -> list[int]:
        server = OpportunityServer(opportunities(10, 20, 30))
        return serve_all(server, [(0, 1600), (arrival_ms, 100)])

    assert second_out(15) == [20, 20]
    assert second_out(20) == [20, 30]


@pytest.mark.parametrize(
    ("phase_ms", "first"), [(0, 7), (6, 1), (7, 13), (8, 12), (20, 7), (27, 13)]
)
def test_phase_starts_inside_the_trace(phase_ms: int, first: int) -> None:
    # Period 20; the opportunity at the very start of the session cannot be used (F10).
    server = OpportunityServer(opportunities(7, 20), phase_ms=phase_ms)
    assert serve_all(server, [(0, 1504)]) == [first]


def test_once_ends_with_the_last_opportunity() -> None:  # F12
    server = OpportunityServer(opportunities(5, 10), once=True)
    assert server.serve(0, 1504)[1] == 5 * NS_PER_MS
    assert server.serve(0, 2000) == (10 * NS_PER_MS, NEVER_NS)
    assert server.serve(0, 10) == (NEVER_NS, NEVER_NS)
    assert server.start(0) == NEVER_NS
    late = OpportunityServer(opportunities(5, 10), once=True)
    assert late.serve(10 * NS_PER_MS, 1504) == (NEVER_NS, NEVER_NS)
    assert late.serve(11 * NS_PER_MS, 10) == (NEVER_NS, NEVER_NS)
    assert late.capacity_bytes(0, 10**12) == 2 * 1504


def test_opportunity_capacity_is_half_open_on_the_left() -> None:
    server = OpportunityServer(opportunities(0, 10))
    assert server.capacity_bytes(0, 10 * NS_PER_MS) == 2 * 1504
    assert server.capacity_bytes(10 * NS_PER_MS - 1, 10 * NS_PER_MS) == 2 * 1504
    assert server.capacity_bytes(10 * NS_PER_MS, 20 * NS_PER_MS - 1) == 0


@given(
    times=st.lists(st.integers(1, 50), min_size=1, max_size=20).map(sorted),
    cuts=st.lists(st.integers(0, 400 * NS_PER_MS), min_size=2, max_size=8).map(sorted),
    phase=st.integers(0, 120),
    once=st.booleans(),
)
def test_capacity_adds_up(times: list[int], cuts: list[int], phase: int, once: bool) -> None:
    trace = opportunities(*times)
    rate = rates(*[(t * 997, float(t * 31 % 500)) for t in times], (1000, 100.0))
    for server in (
        OpportunityServer(trace, phase_ms=phase, once=once),
        RateServer(rate, phase_ms=phase, once=once),
    ):
        parts = [server.capacity_bytes(a, b) for a, b in itertools.pairwise(cuts)]
        assert min(parts) >= 0
        assert sum(parts) == server.capacity_bytes(cuts[0], cuts[-1])


def test_constant_rate_is_exact() -> None:
    # 12 kbit at 3 Mbit/s: 4 ms each, back to back, from the arrival.
    server = RateServer(rates((1_000_000, 3000.0)))
    assert server.serve(500, 1500) == (500, 4_000_500)
    assert server.serve(500, 1500) == (4_000_500, 8_000_500)
    assert server.serve(10_000_000, 1500) == (10_000_000, 14_000_000)


def test_rate_does_not_drift() -> None:
    # 1 byte at 3 bit/s takes 8/3 s; every third packet ends on the exact second.
    server = RateServer(rates((7, 0.003)))
    out = [server.serve(0, 1)[1] for _ in range(3000)]
    assert out[2::3] == [8_000_000_000 * n for n in range(1, 1001)]
    assert out[0] == 2_666_666_667


@given(
    samples=st.lists(
        st.tuples(st.integers(500, 9000), st.sampled_from([0.0, 100.0, 333.333, 8000.0])),
        min_size=1,
        max_size=6,
    ).filter(lambda s: any(kbps > 0 for _, kbps in s)),
    packets=st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(1, 3000)), max_size=12),
    phase=st.integers(0, 30),
)
def test_rate_against_rational_arithmetic(
    samples: list[tuple[int, float]], packets: list[tuple[int, int]], phase: int
) -> None:
    server = RateServer(rates(*samples), phase_ms=phase)
    segments = [(us * 1000, Fraction(round(kbps * 1000), 10**9)) for us, kbps in samples]
    free = Fraction(0)  # when the previous packet has left, exactly
    for gap_ns, size in packets:
        now_ns = int(free) + gap_ns - 10_000_000
        now_ns = max(now_ns, 0)
        free = finish(segments, max(free, Fraction(now_ns)), size * 8, phase * NS_PER_MS)
        assert server.serve(now_ns, size)[1] == ceil(free)


def finish(
    segments: list[tuple[int, Fraction]], start: Fraction, bits: int, phase_ns: int
) -> Fraction:
    """Walk the segments one by one; rates are bits per ns."""
    period = sum(length for length, _ in segments)
    at = start + phase_ns
    edge = at // period * period
    left = Fraction(bits)
    while True:
        for length, rate in segments:
            edge += length
            if edge <= at:
                continue
            if rate and left <= rate * (edge - at):
                return at + left / rate - phase_ns
            left -= rate * (edge - at)
            at = Fraction(edge)


def test_rate_once_ends() -> None:
    server = RateServer(rates((1000, 8000.0)), once=True)  # 1 ms at 1 byte/us
    assert server.serve(0, 1000)[1] == 1_000_000
    assert server.serve(0, 1)[1] == NEVER_NS


def test_rate_below_a_bit_per_second_is_refused() -> None:
    with pytest.raises(TraceError, match="no capacity"):
        RateServer(rates((1000, 0.0001)))


def test_form_and_mode_must_agree() -> None:
    trace = opportunities(1)
    assert isinstance(make_server(trace, mode="auto"), OpportunityServer)
    assert isinstance(make_server(rates((1, 1.0)), mode="rate"), RateServer)
    with pytest.raises(InputError, match="convert it first"):
        make_server(trace, mode="rate")
    with pytest.raises(InputError, match="must be auto, opportunities or rate"):
        make_server(trace, mode="fast")
    with pytest.raises(InputError, match="phase_ms is -1"):
        make_server(None, phase_ms=-1)
