"""Whoever shares the session's path: more media flows, or bulk TCP."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from testbed.network.packet import LINK_OVERHEAD_BYTES, Packet
from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Datagram, Endpoint, SourceFrame
from testbed.protocol.tcp import BulkReceiver, BulkSender
from testbed.protocol.tcp.bulk import SEGMENT_BYTES
from testbed.worlds.alarm import Alarm
from testbed.worlds.direction import Direction
from testbed.worlds.session import CompetingSpec


@dataclass(frozen=True, slots=True)
class Source:
    """What a media flow captures.

    Attributes:
        frame_count: frames of the clip.
        frame_ns: (numerator, denominator) of the time between two, in ns.
    """

    frame_count: int
    frame_ns: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a flow; `controller` and `source` are None for bulk data."""

    sender: Endpoint
    receiver: Endpoint
    controller: RateController | None = None
    source: Source | None = None


class DelayLine:
    """Hands on everything so much later, in order."""

    def __init__(
        self, env: simpy.Environment, delay_ns: int, onward: Callable[[Any, int], None]
    ) -> None:
        self._delay_ns = delay_ns
        self._onward = onward
        self._waiting: deque[tuple[int, Any]] = deque()
        self._alarm = Alarm(env, self._wake)

    def put(self, item: Any, now_ns: int) -> None:
        """Take something; without a delay it goes on at once."""
        if not self._delay_ns:
            self._onward(item, now_ns)
            return
        self._waiting.append((now_ns + self._delay_ns, item))
        self._alarm.arm(now_ns + self._delay_ns, now_ns)

    def _wake(self, now_ns: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_ns:
            self._onward(waiting.popleft()[1], now_ns)
        if waiting:
            self._alarm.arm(waiting[0][0], now_ns)


@dataclass(frozen=True, slots=True)
class Transfers:
    """TCP transfers, one after the other.

    Attributes:
        packets: of each.
        idle_s: mean of the rest in between.
        rng: draws the rests.
    """

    packets: int
    idle_s: float
    rng: np.random.Generator

    def ends(self) -> Ends:
        """Both ends of another one."""
        return Ends(BulkSender(self.packets), BulkReceiver())

    def idle_ns(self) -> int:
        """How long the flow rests now."""
        return round(self.rng.exponential(self.idle_s) * 1e9)


class Flow:
    """One competing flow; its ends live in a time of their own, which begins with it.

    Args:
        number: 1, 2, ...; the session is 0.
        spec: what sort.
        start_ns, stop_ns: when it is there.
        ends: sender, receiver and what they need.
        transfers: of a flow that makes them.
        env: event loop.
        down, up: the session's path; its media direction is `down`.
    """

    def __init__(
        self, number: int, spec: CompetingSpec, *, start_ns: int, stop_ns: int, ends: Ends,
        env: simpy.Environment, down: Direction, up: Direction, transfers: Transfers | None = None,
    ) -> None:  # fmt: skip
        self.number = number
        self.kind = spec.kind
        self.reverse = spec.reverse
        if spec.reverse:
            down, up = up, down
        self.start_ns, self.stop_ns = start_ns, stop_ns
        self.controller = ends.controller
        self.sent_bytes = 0
        self.delivered_bytes = 0
        self._ends = ends
        self._transfers = transfers
        self._resting = False
        self._transferred = 0
        self._renewal_alarm = Alarm(env, self._renew)
        delay_ns = round(spec.extra_delay_ms * 1e6)
        self._out = DelayLine(
            env, delay_ns, lambda one, now: down.carry(one, self._arrived, now_ns=now)
        )
        self._back = DelayLine(
            env, delay_ns, lambda one, now: up.carry(one, self._returned, now_ns=now)
        )
        self._sender_alarm = Alarm(env, self._sender_timer)
        self._receiver_alarm = Alarm(env, self._receiver_timer)
        self._capture_alarm = Alarm(env, self._capture)
        self._frame = 0
        self._arm(self._receiver_alarm, ends.receiver, 0)
        if ends.source is None:
            self._sender_alarm.arm(start_ns, 0)
        else:
            self._capture_alarm.arm(start_ns, 0)

    def local_ns(self, now_ns: int) -> int:
        """The flow's own time."""
        return now_ns - self.start_ns

    def target_kbps(self, now_ns: int) -> float | None:
        """What its rate control aims at; None for bulk data."""
        if self.controller is None:
            return None
        return self.controller.target_kbps(now_ns=self.local_ns(now_ns))

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        found: dict[str, Any] = {
            "flow": self.number,
            "kind": self.kind,
            "reverse": self.reverse,
            "start_s": self.start_ns / 1e9,
            "stop_s": self.stop_ns / 1e9,
            "sent_bytes": self.sent_bytes,
            "delivered_bytes": self.delivered_bytes,
        }
        if self._transfers is not None:
            found["transfers"] = self._transferred
        for end in ("sender", "receiver"):
            facts = getattr(getattr(self._ends, end), "facts", None)
            if facts is not None:
                found[end] = facts()
        return found

    def _capture(self, now_ns: int) -> None:
        source = self._ends.source
        assert source is not None
        if now_ns >= self.stop_ns:
            return
        self._ends.sender.push_frame(SourceFrame(self._frame), now_ns=self.local_ns(now_ns))
        self._after_sender(now_ns)
        self._frame += 1
        if self._frame < source.frame_count:
            step, rate = source.frame_ns
            self._capture_alarm.arm(self.start_ns + self._frame * step // rate, now_ns)

    def _sender_timer(self, now_ns: int) -> None:
        if now_ns < self.stop_ns:
            self._ends.sender.on_timer(now_ns=self.local_ns(now_ns))
            self._after_sender(now_ns)

    def _receiver_timer(self, now_ns: int) -> None:
        if now_ns < self.stop_ns:
            self._ends.receiver.on_timer(now_ns=self.local_ns(now_ns))
            self._after_receiver(now_ns)

    def _after_sender(self, now_ns: int) -> None:
        sender = self._ends.sender
        sender.events()
        for datagram in sender.datagrams_to_send(now_ns=self.local_ns(now_ns)):
            self.sent_bytes += len(datagram.data) + LINK_OVERHEAD_BYTES
            self._out.put(datagram, now_ns)
        self._arm(self._sender_alarm, sender, now_ns)
        transfers = self._transfers
        if transfers and not self._resting and isinstance(sender, BulkSender) and sender.done:
            self._resting = True
            self._transferred += 1
            self._renewal_alarm.arm(now_ns + transfers.idle_ns(), now_ns)

    def _renew(self, now_ns: int) -> None:
        """The next transfer begins as the first one did: with a small window."""
        if now_ns < self.stop_ns and self._transfers is not None:
            self._ends = self._transfers.ends()
            self._resting = False
            self._after_sender(now_ns)

    def _after_receiver(self, now_ns: int) -> None:
        receiver = self._ends.receiver
        receiver.events()
        for datagram in receiver.datagrams_to_send(now_ns=self.local_ns(now_ns)):
            self._back.put(datagram, now_ns)
        self._arm(self._receiver_alarm, receiver, now_ns)

    def _arm(self, alarm: Alarm, end: Endpoint, now_ns: int) -> None:
        due_ns = end.next_timer()
        if due_ns is not None:
            alarm.arm(due_ns + self.start_ns, now_ns)

    def _arrived(self, packet: Packet, datagram: Datagram, now_ns: int) -> None:
        self.delivered_bytes += packet.size_bytes
        if now_ns < self.stop_ns:
            self._ends.receiver.receive_datagram(datagram.data, now_ns=self.local_ns(now_ns))
            self._after_receiver(now_ns)

    def _returned(self, _packet: Packet, datagram: Datagram, now_ns: int) -> None:
        if now_ns < self.stop_ns:
            self._ends.sender.receive_datagram(datagram.data, now_ns=self.local_ns(now_ns))
            self._after_sender(now_ns)


def transfers(spec: CompetingSpec, rng: np.random.Generator) -> Transfers | None:
    """Those of TCP flows that make any; None for flows without end."""
    if spec.transfer_kbytes is None:
        return None
    packets = max(1, math.ceil(spec.transfer_kbytes * 1000 / SEGMENT_BYTES))
    return Transfers(packets, spec.idle_s, rng)


def starts(
    specs: tuple[CompetingSpec, ...], end_ns: int
) -> Iterator[tuple[CompetingSpec, int, int]]:
    """Sort, start and stop (ns) of every competing flow, in the order of their numbers.

    Those that would start at or after their end are left out.
    """
    for spec in specs:
        stop_ns = end_ns if spec.stop_s is None else min(end_ns, round(spec.stop_s * 1e9))
        for n in range(spec.count):
            start_ns = round((spec.start_s + n * spec.every_s) * 1e9)
            if start_ns < stop_ns:
                yield spec, start_ns, stop_ns


class FlowTable:
    """Rows of `testbed.tables.FLOWS`: the session's own flow and those in its direction."""

    def __init__(
        self, down: Direction, target_kbps: Callable[[int], float], flows: list[Flow]
    ) -> None:
        self._down = down
        self._target_kbps = target_kbps
        self._flows = [flow for flow in flows if not flow.reverse]
        self._before: dict[int, tuple[int, int]] = {}

    def rows(self, start_ns: int, now_ns: int) -> list[tuple[Any, ...]]:
        """Those of the bin that ends now; of flows that were there all along."""
        down = self._down
        rows = [
            self._row(
                start_ns, 0, "media", (down.sent_bytes, down.arrived_bytes),
                self._target_kbps(now_ns),
            )
        ]  # fmt: skip
        for flow in self._flows:
            totals = (flow.sent_bytes, flow.delivered_bytes)
            if flow.start_ns <= start_ns and now_ns <= flow.stop_ns:
                target = flow.target_kbps(now_ns)
                rows.append(self._row(start_ns, flow.number, flow.kind, totals, target))
            else:
                self._before[flow.number] = totals
        return rows

    def _row(
        self, start_ns: int, number: int, kind: str, totals: tuple[int, int],
        target_kbps: float | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        before = self._before.get(number, (0, 0))
        self._before[number] = totals
        return start_ns, number, kind, totals[0] - before[0], totals[1] - before[1], target_kbps
