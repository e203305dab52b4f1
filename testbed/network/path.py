"""One direction of the network: queue, loss and delay in the order that the scenario states."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from testbed.errors import InputError
from testbed.network.chain import ChainStage
from testbed.network.delay import DelayStage
from testbed.network.link import Link, make_link
from testbed.network.loss import LossStage, make_loss
from testbed.network.packet import Packet
from testbed.network.queues import make_queue
from testbed.network.servers import make_server
from testbed.network.spec import PathSpec

STAGES: Final = ("queue", "loss", "delay")


class Path:
    """A chain of stages with the three calls of `Stage`, and the truth about what happened in it.

    Packets are numbered on entry (`Packet.number`), and carry their fate: `link_in_ns`,
    `link_out_ns`, `arrival_ns` once they are out (also when nobody popped them yet), and `drop`
    from the moment it is decided. Stages only feed forward, so each is brought up to date in turn
    and hands on with exact times; nothing depends on how often the path is called.

    Build one with `build_path`.
    """

    __slots__ = (
        "_first",
        "_gate",
        "_later",
        "_link",
        "_link_next",
        "_loss",
        "_number",
        "_out",
        "_waits",
    )

    def __init__(self, stages: list[ChainStage], link: Link, loss: LossStage) -> None:
        # Loss in front of everything holds nothing, so it is asked on entry.
        self._gate = loss.loses if stages[0] is loss else None
        if self._gate is not None:
            stages = stages[1:]
        self._first = stages[0]
        self._later = stages[1:]
        self._link = link
        self._loss = loss
        self._number = 0
        self._out: deque[Packet] = deque()  # through all stages, not yet popped
        # What each stage is asked for `next_time`, with the shortest way from there to the end.
        self._waits = [
            (stage.next_time, sum(later.min_delay_ns for later in stages[at + 1 :]))
            for at, stage in enumerate(stages)
            if stage is not loss  # behind another stage, it holds nothing between two calls
        ]
        self._link_next = link.next_time if len(self._waits) == 1 else None

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """Take a packet at `now_ns` (>= every earlier `now_ns`)."""
        packet.number = self._number
        self._number += 1
        if self._gate is not None and self._gate(packet, now_ns):
            return
        self._first.enqueue(packet, now_ns=now_ns)

    def next_time(self) -> int | None:
        """Earliest time at which `pop` may have something; None while nothing is under way.

        May be early by what a queue or a loss model then drops, never late. A later `enqueue` can
        bring it forward.
        """
        if self._out:
            return self._out[0].arrival_ns
        if self._link_next is not None:
            return self._link_next()
        earliest: int | None = None
        for next_time, tail_ns in self._waits:
            at_ns = next_time()
            if at_ns is not None:
                at_ns += tail_ns
                if earliest is None or at_ns < earliest:
                    earliest = at_ns
        return earliest

    def _collect(self, now_ns: int) -> None:
        """Bring every stage to `now_ns`, and what comes out of the last one to `_out`."""
        batch = self._first.take(now_ns)
        for stage in self._later:
            for at_ns, packet in batch:
                stage.enqueue(packet, now_ns=at_ns)
            batch = stage.take(now_ns)
        for at_ns, packet in batch:
            packet.arrival_ns = at_ns
            self._out.append(packet)

    def advance(self, *, now_ns: int) -> None:
        """Bring every stage and counter to `now_ns`; what has arrived waits for `pop`."""
        self._collect(now_ns)
        self._link.advance(now_ns)

    def pop(self, *, now_ns: int) -> list[Packet]:
        """Packets that have come out of the path by `now_ns`, in order, with exact stamps."""
        if not self._later and not self._out:
            return self._first.pop(now_ns=now_ns)
        self._collect(now_ns)
        packets = list(self._out)
        self._out.clear()
        return packets

    # --- the truth ------------------------------------------------------------------------

    def capacity_bytes(self, start_ns: int, end_ns: int) -> int:
        """Bytes that the bottleneck offered in (start_ns, end_ns], used or not; exact.

        Half-open on the left because a packet can only use opportunities after its arrival (F10),
        so that what is delivered by `end_ns` never exceeds what was offered. 0 without a trace.
        """
        return self._link.server.capacity_bytes(start_ns, end_ns)

    @property
    def delivered_bytes(self) -> int:
        """Bytes that have left the bottleneck; valid after `advance`, as all counters are."""
        return self._link.delivered_bytes

    @property
    def queue_packets(self) -> int:
        """Packets waiting in the queue, without the one in transit (F15)."""
        return self._link.queue_packets

    @property
    def queue_bytes(self) -> int:
        """Their bytes."""
        return self._link.queue_bytes

    @property
    def queue_drops(self) -> int:
        """Packets dropped by the queue so far."""
        return self._link.queue_drops

    @property
    def loss_drops(self) -> int:
        """Packets lost to the loss models so far."""
        return self._loss.lost

    def realised_loss(self) -> dict[str, Any]:
        """What the loss models did: packets, lost, rate, bursts {length: count}, indexed_by.

        A burst is a run of consecutive losses among the packets that reached the loss stage.
        """
        return self._loss.realised()


def build_path(spec: PathSpec, *, rng: Callable[[str], np.random.Generator]) -> Path:
    """The path that `spec` describes.

    Args:
        spec: one direction.
        rng: generator by component name ("queue", "loss/0", "loss/1", ..., "delay").

    Raises:
        InputError: an impossible value; the message names the field.
    """
    if sorted(spec.order) != sorted(STAGES):
        raise InputError(
            f"order is [{', '.join(spec.order)}]; must hold queue, loss and delay, each once"
        )
    server = make_server(spec.trace, mode=spec.mode, phase_ms=spec.phase_ms, once=spec.once)
    link = make_link(server, make_queue(spec.queue, rng("queue")))
    loss = LossStage(
        [make_loss(model, rng(f"loss/{index}")) for index, model in enumerate(spec.loss)]
    )
    delay = DelayStage(spec.delay, rng("delay"))
    idle: set[str] = set()
    if not spec.loss:
        idle.add("loss")
    if not (spec.delay.delay_ms or spec.delay.jitter_ms or spec.delay.trace_ms):
        idle.add("delay")
    by_name: dict[str, ChainStage] = {"queue": link, "loss": loss, "delay": delay}
    return Path([by_name[name] for name in spec.order if name not in idle], link, loss)
