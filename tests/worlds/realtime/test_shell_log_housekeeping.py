"""Packets of the kernel's own in mm-link's log, as an ordinary user's shells have them."""

import numpy as np

from testbed.network.mmlog import parse_log
from testbed.network.spec import QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.worlds.realtime.records import Arrivals, Sent
from testbed.worlds.realtime.shell_log import (
    HOUSEKEEPING_BYTES,
    DirectionLog,
    passages,
    read_direction,
)
from testbed.worlds.realtime.shells import LinkPlan

HEADER = """\
# mahimahi mm-link (Uplink) [session.up.trace] > session.up.log
# command line: mm-link session.up.trace session.down.trace
# queue: infinite
# init timestamp: 1000
# base timestamp: 0
"""
MS = 10**6


def sent(at_ms: float, size: int, key: int) -> Sent:
    return Sent(int(at_ms * MS), "feedback", -1, 0, 0, -1, 0, size, key, None)


def read(
    lines: str, datagrams: list[Sent], arrived: list[int], *, loss_in_front: bool = False,
    foreign: frozenset[int] = HOUSEKEEPING_BYTES,
) -> DirectionLog:  # fmt: skip
    log = parse_log(HEADER + lines, "log")
    link = LinkPlan(OpportunityTrace(np.array([1])), QueueSpec(), False, loss_in_front, False)
    there = Arrivals()
    for key in arrived:
        there.add(0, key)
    return read_direction(
        datagrams, there, passages(log, 0), link, delay_ms=0, end_ns=10**12, foreign=foreign
    )


def test_a_datagram_behind_the_kernel_s_packet_has_its_own_line() -> None:
    lines = "100 + 52\n100 + 132\n101 - 52 1\n102 - 132 2\n"
    result = read(lines, [sent(100.2, 100, 7)], [7])
    assert (result.unmatched, result.housekeeping, result.vanished) == (1, 1, 0)
    (carried,) = result.carried
    assert (carried.link_in_ns, carried.link_out_ns) == (int(100.2 * MS), 102 * MS)
    # Not knowing of such packets, it would stand without a line.
    (blind,) = read(lines, [sent(100.2, 100, 7)], [7], foreign=frozenset()).carried
    assert blind.link_out_ns == -1


def test_of_equal_sizes_as_many_are_ours_as_were_sent() -> None:
    lines = "".join(f"{ms} + 80\n{ms + 1} - 80 1\n" for ms in (40, 100, 130, 200))
    datagrams = [sent(100, 48, 1), sent(199.9, 48, 2)]
    result = read(lines, datagrams, [1, 2])
    assert [one.link_in_ns // MS for one in result.carried] == [100, 200]
    assert (result.unmatched, result.housekeeping) == (2, 2)


def test_a_lost_datagram_does_not_take_the_kernel_s_line() -> None:
    result = read("100 + 80\n101 - 80 1\n", [sent(100, 48, 1)], [], loss_in_front=True)
    assert [one.drop for one in result.carried] == ["loss"]
    assert result.carried[0].link_in_ns == -1
    assert (result.unmatched, result.housekeeping, result.vanished) == (1, 1, 0)


def test_a_lost_datagram_does_not_take_its_neighbour_s_line_instead() -> None:
    lines = "100 + 52\n101 + 132\n101 - 52 1\n102 - 132 1\n"
    result = read(lines, [sent(100, 100, 1), sent(101, 100, 2)], [2], loss_in_front=True)
    assert [one.link_in_ns for one in result.carried] == [-1, 101 * MS]
    assert [one.drop for one in result.carried] == ["loss", "none"]


def test_what_is_neither_ours_nor_of_the_kernel_s_sizes_is_only_unmatched() -> None:
    result = read("100 + 300\n101 - 300 1\n", [], [])
    assert (result.unmatched, result.housekeeping) == (1, 0)
