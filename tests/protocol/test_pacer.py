from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError
from testbed.protocol.pacer import Pacer

MS = 1_000_000


def drain(pacer: Pacer[str]) -> list[tuple[int, list[str]]]:
    """Times and contents of everything that leaves, following the timer alone."""
    left = []
    while (timer := pacer.next_timer()) is not None:
        left.append((timer, pacer.pop(now_ns=timer)))
    return left


def test_without_burst_packets_are_their_own_length_apart() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)  # 1250 bytes take 10 ms
    for name in "abc":
        pacer.push(name, 1250, now_ns=0)
    assert (pacer.queue_bytes, pacer.queue_packets) == (3750, 3)
    assert drain(pacer) == [(0, ["a"]), (10 * MS, ["b"]), (20 * MS, ["c"])]
    assert (pacer.queue_bytes, pacer.queue_packets) == (0, 0)


def test_the_factor_speeds_it_up() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=2.5)
    for name in "abc":
        pacer.push(name, 1250, now_ns=0)
    assert [at for at, _ in drain(pacer)] == [0, 4 * MS, 8 * MS]


def test_the_bucket_walks_down_and_up() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0, burst_bytes=2500)
    for name in "abcde":
        pacer.push(name, 1250, now_ns=0)
    # Two packets of credit and the one that goes into debt.
    assert drain(pacer) == [(0, ["a", "b", "c"]), (10 * MS, ["d"]), (20 * MS, ["e"])]
    # 30 ms pay the debt, 20 ms more fill the bucket; nothing beyond is saved.
    for name in "fghi":
        pacer.push(name, 1250, now_ns=1000 * MS)
    assert drain(pacer) == [(1000 * MS, ["f", "g", "h"]), (1010 * MS, ["i"])]
    # 10 ms pay the debt, 15 ms give credit for one packet and a half: the second leaves a debt.
    for name in "jkl":
        pacer.push(name, 1250, now_ns=1035 * MS)
    assert drain(pacer) == [(1035 * MS, ["j", "k"]), (1040 * MS, ["l"])]


def test_the_time_between_packets_is_rounded_up() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=3, factor=1.0)  # a byte takes 2 666 666.67 ns
    for name in "abcd":
        pacer.push(name, 1, now_ns=0)
    assert [at for at, _ in drain(pacer)] == [0, 2_666_667, 5_333_334, 8_000_001]


def test_retransmissions_go_first_among_themselves_in_order() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    for name in "ab":
        pacer.push(name, 1250, now_ns=0)
    assert pacer.pop(now_ns=0) == ["a"]
    pacer.push("X", 1250, now_ns=MS, front=True)
    pacer.push("c", 1250, now_ns=MS)
    pacer.push("Y", 1250, now_ns=MS, front=True)
    assert [items for _, items in drain(pacer)] == [["X"], ["Y"], ["b"], ["c"]]


def test_the_delay_is_when_the_last_packet_leaves() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    assert pacer.queue_delay_ns(now_ns=0) == 0
    for name in "abc":
        pacer.push(name, 1250, now_ns=0)
    assert pacer.queue_delay_ns(now_ns=0) == 20 * MS
    pacer.pop(now_ns=0)
    assert pacer.queue_delay_ns(now_ns=5 * MS) == 15 * MS
    pacer.push("X", 1250, now_ns=5 * MS, front=True)
    assert pacer.queue_delay_ns(now_ns=5 * MS) == 25 * MS


def test_a_new_rate_counts_from_its_moment() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    for name in "abc":
        pacer.push(name, 1250, now_ns=0)
    pacer.pop(now_ns=0)
    pacer.set_rate(500, now_ns=4 * MS)  # 4 of 10 ms are paid; the rest takes twice as long
    assert pacer.pacing_bps == 500_000
    assert drain(pacer) == [(16 * MS, ["b"]), (36 * MS, ["c"])]


def test_clearing_keeps_the_debt() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    for name in "abc":
        pacer.push(name, 1250, now_ns=0)
    pacer.push("X", 1250, now_ns=0, front=True)
    assert pacer.pop(now_ns=0) == ["X"]
    assert pacer.clear() == ["a", "b", "c"]
    assert (pacer.queue_bytes, pacer.next_timer()) == (0, None)
    pacer.push("d", 1250, now_ns=0)
    assert drain(pacer) == [(10 * MS, ["d"])]


def test_time_does_not_run_backwards() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    pacer.push("a", 1250, now_ns=50 * MS)
    pacer.push("b", 1250, now_ns=50 * MS)
    assert pacer.pop(now_ns=50 * MS) == ["a"]
    assert pacer.pop(now_ns=0) == []
    assert pacer.next_timer() == 60 * MS


@given(
    rate_kbps=st.integers(1, 10_000),
    burst_bytes=st.integers(0, 5000),
    packets=st.lists(
        st.tuples(st.integers(0, 20 * MS), st.integers(0, 1500), st.booleans()), max_size=40
    ),
)
def test_no_window_carries_more_than_rate_and_burst_allow(
    rate_kbps: int, burst_bytes: int, packets: list[tuple[int, int, bool]]
) -> None:
    pacer: Pacer[int] = Pacer(rate_kbps=rate_kbps, factor=1.0, burst_bytes=burst_bytes)
    left: list[tuple[int, int]] = []
    now_ns = 0
    for gap_ns, size_bytes, front in packets:
        while (timer := pacer.next_timer()) is not None and timer <= now_ns + gap_ns:
            left += [(max(timer, 0), size) for size in pacer.pop(now_ns=timer)]
        now_ns += gap_ns
        pacer.push(size_bytes, size_bytes, now_ns=now_ns, front=front)
    while (timer := pacer.next_timer()) is not None:
        popped = pacer.pop(now_ns=timer)
        assert popped  # the timer is never early
        left += [(timer, size) for size in popped]
    assert sum(size for _, size in left) == sum(size for _, size, _ in packets)
    for i in range(len(left)):
        total_bits = 0
        for end_ns, size_bytes in left[i:]:
            # The last packet of a window may leave with credit for its first bit only.
            window_ns = end_ns - left[i][0]
            assert total_bits * 10**9 <= rate_kbps * 1000 * window_ns + burst_bytes * 8 * 10**9
            total_bits += size_bytes * 8


@pytest.mark.parametrize(
    "options",
    [
        {"rate_kbps": 0},
        {"rate_kbps": -1},
        {"rate_kbps": float("nan")},
        {"rate_kbps": float("inf")},
        {"rate_kbps": 1, "factor": 0},
        {"rate_kbps": 1, "factor": float("nan")},
        {"rate_kbps": 1, "burst_bytes": -1},
    ],
    ids=str,
)
def test_bad_options_are_our_mistake(options: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError):
        Pacer(**options)  # type: ignore[arg-type]


def test_bad_calls_change_nothing() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    with pytest.raises(LocalProtocolError):
        pacer.push("a", -1, now_ns=0)
    with pytest.raises(LocalProtocolError):
        pacer.set_rate(0, now_ns=0)
    assert (pacer.queue_packets, pacer.pacing_bps) == (0, 1_000_000)


def test_the_pacing_rate_can_be_set_without_the_factor() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=2.5)
    pacer.set_pacing(400.0, now_ns=0)
    assert pacer.pacing_bps == 400_000
    with pytest.raises(LocalProtocolError):
        pacer.set_pacing(0.0, now_ns=0)
    assert pacer.pacing_bps == 400_000


def test_idle_is_when_a_packet_might_leave_and_none_waits() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0)
    assert pacer.idle(now_ns=0)
    pacer.push("a", 1250, now_ns=0)
    assert not pacer.idle(now_ns=0)
    assert pacer.pop(now_ns=0) == ["a"]
    assert not pacer.idle(now_ns=9_999_999)  # it pays for the packet
    assert pacer.free_ns == 10_000_000
    assert pacer.idle(now_ns=10_000_000)


def test_a_limit_stops_with_the_packet_that_uses_it_up() -> None:
    pacer: Pacer[str] = Pacer(rate_kbps=1000, factor=1.0, burst_bytes=100_000)
    for name in "abcd":
        pacer.push(name, 1000, now_ns=0)
    assert pacer.pop(now_ns=0, limit_bytes=0) == []
    assert pacer.pop(now_ns=0, limit_bytes=1500) == ["a", "b"]
    assert pacer.pop(now_ns=0, limit_bytes=1) == ["c"]
    assert pacer.pop(now_ns=0) == ["d"]
