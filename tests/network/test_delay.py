"""Delay: fixed, replayed and jittered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.network.delay import DelayStage
from testbed.network.packet import Packet
from testbed.network.spec import DelaySpec

MS = 1_000_000


def run(spec: DelaySpec, arrivals_ns: list[int], seed: int = 0) -> list[tuple[int, int]]:
    """(leaving time, packet number) of everything, in order of leaving."""
    stage = DelayStage(spec, np.random.default_rng(seed))
    for number, now_ns in enumerate(arrivals_ns):
        stage.enqueue(Packet(100, number=number), now_ns=now_ns)
    return [(at, packet.number) for at, packet in stage.take(1 << 60)]


def test_fixed_delay_is_exact() -> None:
    assert run(DelaySpec(delay_ms=20.5), [0, 1, 7 * MS]) == [
        (20_500_000, 0),
        (20_500_001, 1),
        (27_500_000, 2),
    ]


def test_nothing_leaves_early() -> None:
    stage = DelayStage(DelaySpec(delay_ms=1), np.random.default_rng(0))
    stage.enqueue(Packet(1), now_ns=0)
    assert stage.next_time() == MS
    assert stage.take(MS - 1) == []
    assert [packet.arrival_ns for packet in stage.pop(now_ns=MS)] == [MS]
    assert stage.next_time() is None


def test_trace_holds_each_sample_and_repeats_in_order() -> None:
    spec = DelaySpec(delay_ms=99, trace_ms=(30.0, 10.0), trace_step_ms=5)
    # The second sample is 20 ms lower, but order is kept: packet 1 waits for packet 0.
    assert run(spec, [4 * MS, 5 * MS, 10 * MS]) == [(34 * MS, 0), (34 * MS, 1), (40 * MS, 2)]


def test_reordering_is_a_switch() -> None:
    spec = DelaySpec(trace_ms=(30.0, 10.0), trace_step_ms=5, reorder=True)
    assert run(spec, [4 * MS, 5 * MS]) == [(15 * MS, 1), (34 * MS, 0)]


def test_equal_leaving_times_keep_the_order_of_entry() -> None:
    spec = DelaySpec(delay_ms=1, reorder=True)
    assert [number for _, number in run(spec, [5] * 50)] == list(range(50))


def test_jitter_has_the_clipped_gaussians_moments() -> None:
    # max(0, N(0, s)): mean s/sqrt(2 pi), and half of all packets have none.
    spec = DelaySpec(delay_ms=10, jitter_ms=4, reorder=True)
    stage = DelayStage(spec, np.random.default_rng(7))
    extra = []
    for _ in range(20_000):
        stage.enqueue(Packet(1), now_ns=0)
        extra += [at - 10 * MS for at, _ in stage.take(1 << 60)]
    assert min(extra) == 0
    assert np.mean(extra) == pytest.approx(4 * MS / np.sqrt(2 * np.pi), rel=0.03)
    assert np.mean(np.array(extra) == 0) == pytest.approx(0.5, abs=0.015)


@given(
    gaps=st.lists(st.integers(0, 3 * MS), max_size=60),
    seed=st.integers(0, 99),
    reorder=st.booleans(),
)
def test_every_packet_leaves_once_and_in_order_unless_told(
    gaps: list[int], seed: int, reorder: bool
) -> None:
    arrivals = np.cumsum([0, *gaps]).tolist()
    spec = DelaySpec(delay_ms=2, jitter_ms=3, reorder=reorder)
    left = run(spec, arrivals, seed)
    assert sorted(number for _, number in left) == list(range(len(arrivals)))
    assert [at for at, _ in left] == sorted(at for at, _ in left)
    assert all(at >= arrivals[number] + 2 * MS for at, number in left)
    if not reorder:
        assert [number for _, number in left] == list(range(len(arrivals)))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (DelaySpec(delay_ms=-1), "delay_ms is -1"),
        (DelaySpec(jitter_ms=float("nan")), "jitter_ms is nan"),
        (DelaySpec(trace_ms=(1.0, -2.0)), "trace_ms sample 2 is -2"),
        (DelaySpec(trace_step_ms=0), "trace_step_ms is 0"),
    ],
)
def test_bad_values_name_their_field(spec: DelaySpec, field: str) -> None:
    with pytest.raises(InputError, match=field):
        DelayStage(spec, np.random.default_rng(0))
