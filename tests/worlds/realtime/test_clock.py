"""The session's clock, against the kernel's own stamps."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import selectors
import time
from types import SimpleNamespace

import pytest

from testbed.worlds.realtime import clock as module
from testbed.worlds.realtime.clock import (
    SessionClock,
    monotonic_ns,
    new_loop,
    prompt,
    wall_minus_monotonic_ns,
    wall_ns,
)
from testbed.worlds.realtime.udp import UdpPort, udp_socket

#: Two clocks are read one after the other; microseconds, and more when the process is put aside
#: in between. A wrong conversion is off by the machine's uptime or by half a century.
READING_NS = 5_000_000


def test_a_kernel_stamp_lies_between_before_and_after() -> None:
    port = UdpPort(udp_socket())
    try:
        clock = SessionClock(monotonic_ns() - 123_456_789)
        for number in range(50):
            before = clock.now_ns()
            assert port.send(bytes([number]), port.address)
            after = clock.now_ns()
            select.select([port.socket], [], [], 5.0)
            ((data, source, stamp_ns),) = port.receive()
            assert (data, source) == (bytes([number]), port.address)
            assert before - READING_NS <= clock.of_stamp(stamp_ns) <= after + READING_NS
    finally:
        port.close()


def test_the_kernel_stamps_arrival_and_not_reading() -> None:
    port = UdpPort(udp_socket())
    try:
        clock = SessionClock(monotonic_ns())
        port.send(b"early", port.address)
        after = clock.now_ns()
        time.sleep(0.1)
        ((_, _, stamp_ns),) = port.receive()
        assert clock.of_stamp(stamp_ns) <= after + READING_NS < clock.now_ns()
    finally:
        port.close()


def test_a_session_may_start_in_the_future() -> None:
    clock = SessionClock(monotonic_ns() + 10**9)
    assert clock.now_ns() < 0
    assert abs(clock.of_stamp(wall_ns()) - clock.now_ns()) < READING_NS


@pytest.mark.parametrize(
    "shift_ns",
    [10**9, 3600 * 10**9, -2 * 10**9, -(10**18), 2**62, -(2**62)],
    ids=["ahead", "an hour ahead", "two seconds old", "ages old", "far future", "far past"],
)
def test_an_impossible_stamp_becomes_now(shift_ns: int) -> None:
    clock = SessionClock(monotonic_ns())
    before = clock.now_ns()
    at = clock.of_stamp(wall_ns() + shift_ns)
    assert before <= at <= clock.now_ns()


def test_no_stamp_becomes_now() -> None:
    clock = SessionClock(monotonic_ns())
    before = clock.now_ns()
    assert before <= clock.of_stamp(0) <= clock.now_ns()


def test_the_difference_of_the_clocks_is_steady() -> None:
    differences = [wall_minus_monotonic_ns() for _ in range(200)]
    expected = wall_ns() - monotonic_ns()
    assert all(abs(value - expected) < READING_NS for value in differences)


def test_a_reading_that_is_broken_off_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Between the first two readings of the clocks somebody else ran for 3 ms; not later.
    monotonic = iter([0, 3_000_000, 4_000_000, 4_001_000])
    wall = iter([10_002_900_000, 10_004_000_500])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic_ns=lambda: next(monotonic)))
    monkeypatch.setattr(module, "wall_ns", lambda: next(wall))
    assert wall_minus_monotonic_ns() == 10_000_000_000


def test_the_loop_waits_with_select() -> None:
    loop = new_loop()
    try:
        # asyncio's usual selector on Linux is epoll, which counts in whole milliseconds.
        assert isinstance(loop._selector, selectors.SelectSelector)  # type: ignore[attr-defined]
        fired: list[int] = []
        due = monotonic_ns() + 20_300_000

        async def wait() -> None:
            done = asyncio.get_running_loop().create_future()

            def fire() -> None:
                fired.append(monotonic_ns())
                done.set_result(None)

            loop.call_at(due / 1e9, fire)
            await done

        loop.run_until_complete(wait())
        # Never early, but for the rounding of seconds in a double.
        assert fired[0] >= due - 1_000
    finally:
        loop.close()


@pytest.mark.parametrize("priority", [False, True])
def test_a_prompt_process_is_as_it_was_afterwards(priority: bool) -> None:
    before = os.sched_getscheduler(0)
    assert gc.isenabled()
    with prompt(priority=priority) as scheduling:
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        real_time = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
        assert scheduling == ("round-robin" if real_time else "normal")
        assert priority or not real_time
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert os.sched_getscheduler(0) == before


def test_a_prompt_process_is_as_it_was_after_an_error() -> None:
    before = os.sched_getscheduler(0)
    with pytest.raises(RuntimeError, match="within"), prompt(priority=True):
        raise RuntimeError("within")
    assert gc.isenabled()
    assert os.sched_getscheduler(0) == before
