"""A bulk flow over paths whose outcome is known."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.endpoint import Datagram
from testbed.protocol.tcp.bulk import SEGMENT_BYTES, BulkReceiver, BulkSender

MS = 1_000_000
SECOND = 1_000_000_000


class Pipe:
    """A drop-tail bottleneck one way, a plain delay back."""

    def __init__(
        self, *, packets_per_s: float, delay_ms: float, queue: int,
        loses: Callable[[int], bool] = lambda _n: False,
        loses_answers: Callable[[int], bool] = lambda _n: False,
        packets: int | None = None,
    ) -> None:  # fmt: skip
        self.sender, self.receiver = BulkSender(packets), BulkReceiver()
        self.service_ns = round(SECOND / packets_per_s)
        self.delay_ns = round(delay_ms * MS)
        self.queue = queue
        self.loses, self.loses_answers = loses, loses_answers
        self.free_ns = 0
        self.delivered: list[int] = []
        self.dropped = 0
        self._events: list[tuple[int, int, str, bytes]] = []
        self._count = 0
        self._answers = 0

    def _push(self, at_ns: int, kind: str, data: bytes) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_ns, self._count, kind, data))

    def _send(self, now_ns: int) -> None:
        for datagram in self.sender.datagrams_to_send(now_ns=now_ns):
            waiting = max(0, self.free_ns - now_ns) / self.service_ns
            if waiting > self.queue or self.loses(self._count):
                self._count += 1
                self.dropped += 1
                continue
            self.free_ns = max(self.free_ns, now_ns) + self.service_ns
            self._push(self.free_ns + self.delay_ns, "data", datagram.data)
        due = self.sender.next_timer()
        if due is not None:
            self._push(max(due, now_ns), "timer", b"")

    def run(self, seconds: float) -> None:
        self._push(0, "timer", b"")
        while self._events and self._events[0][0] < seconds * SECOND:
            now_ns, _, kind, data = heapq.heappop(self._events)
            if kind == "timer":
                due = self.sender.next_timer()
                if due is None or due > now_ns:
                    continue
                self.sender.on_timer(now_ns=now_ns)
            elif kind == "data":
                self.delivered.append(now_ns)
                self.receiver.receive_datagram(data, now_ns=now_ns)
                for answer in self.receiver.datagrams_to_send(now_ns=now_ns):
                    self._answers += 1
                    if not self.loses_answers(self._answers):
                        self._push(now_ns + self.delay_ns, "ack", answer.data)
                continue
            else:
                self.sender.receive_datagram(data, now_ns=now_ns)
            self._send(now_ns)


def test_the_first_window_is_ten_segments_of_full_packets() -> None:
    sender = BulkSender()
    assert sender.next_timer() == 0
    sent = sender.datagrams_to_send(now_ns=0)
    assert [len(one.data) for one in sent] == [SEGMENT_BYTES] * 10
    assert {one.kind for one in sent} == {"cross"}
    assert sender.datagrams_to_send(now_ns=0) == []


def test_it_fills_a_bottleneck_whose_queue_holds_a_round_trip() -> None:
    # 4 Mbit/s, 100 ms: 33 packets. With a queue of as many, losing 3/10 of 66 leaves 46 under way.
    pipe = Pipe(packets_per_s=333, delay_ms=50, queue=33)
    pipe.run(60)
    late = [at for at in pipe.delivered if at > 10 * SECOND]
    assert len(late) / 50 / 333 == pytest.approx(1, abs=0.01)
    assert 0 < pipe.dropped < 0.02 * len(pipe.delivered)
    assert pipe.sender.timeouts == 0


def test_a_transfer_ends_when_all_of_it_has_arrived() -> None:
    pipe = Pipe(
        packets_per_s=1000, delay_ms=20, queue=1000, loses=lambda n: n % 10 == 3, packets=205
    )  # fmt: skip
    pipe.run(30)
    assert pipe.sender.done
    assert len(pipe.delivered) == 205
    assert pipe.sender.facts()["packets"] == 205 + pipe.sender.lost
    assert pipe.sender.next_timer() is None
    assert pipe.sender.datagrams_to_send(now_ns=31 * SECOND) == []


def test_losses_are_found_without_a_timeout_and_counted_once() -> None:
    pipe = Pipe(packets_per_s=1000, delay_ms=20, queue=10_000, loses=lambda n: n % 100 == 50)
    pipe.run(10)
    assert pipe.sender.timeouts == 0
    assert pipe.dropped - 5 <= pipe.sender.lost <= pipe.dropped


def test_lost_answers_are_made_up_by_later_ones() -> None:
    pipe = Pipe(
        packets_per_s=1000, delay_ms=20, queue=10_000, loses_answers=lambda n: n % 3 != 0
    )  # fmt: skip
    pipe.run(5)
    assert pipe.sender.lost == 0


def test_an_outage_ends_in_timeouts_that_double_and_a_fresh_start() -> None:
    sender = BulkSender()
    sender.datagrams_to_send(now_ns=0)
    due = []
    now = 0
    for _ in range(4):
        at = sender.next_timer()
        assert at is not None
        due.append(at - now)
        now = at
        sender.on_timer(now_ns=now)
        assert len(sender.datagrams_to_send(now_ns=now)) == 1
    assert due == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND]


def test_reordering_by_two_is_no_loss() -> None:
    sender, receiver = BulkSender(), BulkReceiver()
    sent = sender.datagrams_to_send(now_ns=0)
    for n in (2, 0, 1, 5, 3, 4, 8, 6, 7, 9):
        receiver.receive_datagram(sent[n].data, now_ns=n)
    for answer in receiver.datagrams_to_send(now_ns=50 * MS):
        sender.receive_datagram(answer.data, now_ns=50 * MS)
    assert sender.lost == 0
    assert sender.cubic.window == 20


@given(st.binary(max_size=32), st.integers(0, 2**32))
def test_garbage_changes_nothing(data: bytes, seed: int) -> None:
    sender, receiver = BulkSender(), BulkReceiver()
    sent = sender.datagrams_to_send(now_ns=0)
    if len(data) == 16:
        data = b"\xff" * 8 + data[8:]  # a packet that was never sent
    sender.receive_datagram(data, now_ns=1)
    receiver.receive_datagram(data, now_ns=1)
    assert sender.lost == 0
    assert receiver.datagrams_to_send(now_ns=1) == []
    order = list(sent)
    random.Random(seed).shuffle(order)
    answers: list[Datagram] = []
    for one in order:
        receiver.receive_datagram(one.data, now_ns=2)
        answers += receiver.datagrams_to_send(now_ns=2)
    assert len(answers) == len(sent)
