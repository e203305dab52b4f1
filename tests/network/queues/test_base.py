"""Queue specifications and the queues that only look at their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError, UnknownNameError
from testbed.network.packet import Packet
from testbed.network.queues import DropHead, DropTail, describe_queue, make_queue, parse_queue
from testbed.network.spec import QueueSpec


def make(text: str) -> object:
    return make_queue(parse_queue(text), np.random.default_rng(0))


def test_parse() -> None:
    assert parse_queue("infinite") == QueueSpec("infinite")
    assert parse_queue("droptail:packets=10,bytes=9000") == QueueSpec("droptail", 10, 9000)
    assert parse_queue("codel:packets=9,target_ms=5") == QueueSpec(
        "codel", 9, None, {"target_ms": 5}
    )


@given(
    packets=st.none() | st.integers(1, 99),
    limit=st.none() | st.integers(1, 9999),
    target=st.none() | st.integers(0, 9),
)
def test_describe_is_the_inverse(
    packets: int | None, limit: int | None, target: int | None
) -> None:
    options = {} if target is None else {"target_ms": target}
    spec = QueueSpec("codel", packets, limit, options)
    assert parse_queue(describe_queue(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "droptail:",
        "droptail:packets",
        "droptail:packets=",
        "droptail:packets=-1",
        "droptail:packets=1.5",
        "droptail:packets=1,packets=2",
        "droptail:packets=1,",
    ],
)
def test_bad_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="droptail"):
        make(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infinite:packets=3", "takes no limit"),
        ("droptail", "needs a limit"),
        ("drophead", "needs a limit"),
        ("droptail:packets=0", "packets is 0; must be >= 1"),
        ("droptail:bytes=0", "bytes is 0; must be >= 1"),
        ("droptail:packets=3,colour=2", "unknown option 'colour'; known: none"),
        ("codel:target=5", "unknown option 'target'; known: target_ms, interval_ms"),
        ("codel:interval_ms=0", "interval_ms is 0"),
        ("pie:target_ms=0", "target_ms is 0"),
    ],
)
def test_bad_specifications_name_the_field(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(text)


def test_unknown_queue_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="codel, drophead, droptail, infinite, pie"):
        make("red:packets=3")


def test_drop_tail_refuses_the_newcomer_and_drop_head_the_oldest() -> None:  # F16, F17
    for kind, survivors in ((DropTail, [0, 1]), (DropHead, [2, 3])):
        queue = kind(2)
        packets = [Packet(100, number=n) for n in range(4)]
        for packet in packets:
            queue.enqueue(packet, 0)
        assert [p.number for p in packets if p.drop == "none"] == survivors
        assert (queue.packets, queue.bytes, queue.drops) == (2, 200, 2)
        assert [queue.dequeue(0), queue.dequeue(0), queue.dequeue(0)] == [
            packets[survivors[0]],
            packets[survivors[1]],
            None,
        ]


def test_drop_head_may_drop_several_or_the_newcomer_itself() -> None:
    # With a byte limit mm-link aborts on the second drop (F17); we carry on.
    queue = DropHead(limit_bytes=1000)
    packets = [Packet(400), Packet(400), Packet(900), Packet(1100)]
    for packet in packets:
        queue.enqueue(packet, 0)
    assert [p.drop for p in packets] == ["queue"] * 4
    assert (queue.packets, queue.bytes, queue.drops) == (0, 0, 4)
