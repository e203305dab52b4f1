"""Two real ends with a fake network and two clocks between them, for the tests."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from enum import Enum
from typing import Any

from testbed.protocol.session import (
    Ended,
    Initiator,
    Responder,
    SessionEvent,
    Started,
    Synchronised,
    Timeouts,
)
from testbed.protocol.session.envelope import Role, Type

MS = 1_000_000
S = 1000 * MS
PSK = b"0123456789abcdef"
ADDRESS = ("192.0.2.1", 5004)
STRANGER = ("198.51.100.7", 5004)
DESCRIPTION = {"transport": "h264", "fps": 30, "size": [640, 360]}
TYPE_AT = 5

#: What the network does to a datagram: the delays of the copies that arrive (none: lost).
Fate = Callable[[Role, bytes], list[int]]


def type_of(data: bytes) -> Type:
    return Type(data[TYPE_AT])


def steady(there_ns: int = 10 * MS, back_ns: int = 10 * MS) -> Fate:
    """Every datagram arrives once, after a fixed delay."""
    return lambda sender, data: [there_ns if sender is Role.INITIATOR else back_ns]


def losing(*kinds: Type, first: int) -> Fate:
    """The first few datagrams of some types are lost."""
    left = dict.fromkeys(kinds, first)

    def fate(sender: Role, data: bytes) -> list[int]:
        kind = type_of(data)
        if left.get(kind, 0) > 0:
            left[kind] -= 1
            return []
        return [10 * MS]

    return fate


def rough(seed: int, *, loss: float, twice: float = 0.2, jitter_ns: int = 300 * MS) -> Fate:
    """Random losses, repetitions and delays, so that datagrams overtake each other."""
    draw = random.Random(seed)

    def fate(sender: Role, data: bytes) -> list[int]:
        copies = 0 if draw.random() < loss else 2 if draw.random() < twice else 1
        return [5 * MS + draw.randrange(jitter_ns) for _ in range(copies)]

    return fate


class Pair:
    """An initiator, a responder, and what is under way between them.

    The initiator's clock is the simulation's; the responder's is `offset_ns` ahead of it. The owner
    of the two starts and finishes the session as soon as it may, unless `stop` says otherwise.
    """

    def __init__(
        self,
        fate: Fate | None = None,
        *,
        seed: int = 1,
        offset_ns: int = 123_456_789_012,
        psk: bytes = PSK,
        responder_psk: bytes = PSK,
        accept: Callable[[dict[str, Any]], str | None] = lambda description: None,
        timeouts: Timeouts | None = None,
        finishes: bool = True,
        starts: bool = True,
        responder: Responder | None = None,
        now_ns: int = 0,
    ) -> None:
        token_bytes = random.Random(seed).randbytes
        self.timeouts = timeouts or Timeouts()
        self.now_ns = now_ns
        self.offset_ns = offset_ns
        self.fate = fate or steady()
        self.initiator = Initiator(
            psk, DESCRIPTION, now_ns=now_ns, token_bytes=token_bytes, timeouts=self.timeouts
        )
        self.responder = responder or Responder(
            responder_psk,
            now_ns=now_ns + offset_ns,
            token_bytes=token_bytes,
            accept=accept,
            timeouts=self.timeouts,
        )
        self.starts = starts
        self.finishes = finishes
        #: Everything sent, with the simulation's time; what arrived of it; and what happened.
        self.sent: list[tuple[int, Role, bytes]] = []
        self.received: list[tuple[Role, bytes]] = []
        self.told: dict[Role, list[SessionEvent]] = {role: [] for role in Role}
        self._under_way: list[tuple[int, int, Role, bytes]] = []
        self._flush()

    @property
    def there_ns(self) -> int:
        """Now, on the responder's clock."""
        return self.now_ns + self.offset_ns

    def _flush(self) -> None:
        """Carry out what both ends want, until they want no more."""
        while True:
            out = [(Role.INITIATOR, data) for data in self.initiator.to_send(now_ns=self.now_ns)]
            for address, data in self.responder.to_send(now_ns=self.there_ns):
                assert address == ADDRESS
                out.append((Role.RESPONDER, data))
            for sender, data in out:
                self.sent.append((self.now_ns, sender, data))
                for delay_ns in self.fate(sender, data):
                    entry = (self.now_ns + delay_ns, len(self.sent), sender, data)
                    heapq.heappush(self._under_way, entry)
            if not self._tell() and not out:
                return

    def _tell(self) -> bool:
        """Act as the owner of both ends would; whether there was anything to act on."""
        first, second = self.initiator.events(), self.responder.events()
        self.told[Role.INITIATOR] += first
        self.told[Role.RESPONDER] += second
        for event in first:
            if isinstance(event, Synchronised) and self.starts:
                self.initiator.start(self.now_ns + S, now_ns=self.now_ns)
            if isinstance(event, Started) and self.finishes:
                self.initiator.finish({"packets": 7}, now_ns=self.now_ns)
        for event in second:
            if isinstance(event, Ended) and self.finishes:
                self.responder.finish({"received": 6})
        return bool(first or second)

    def _next_ns(self) -> int | None:
        timer_ns = self.responder.next_timer()
        times = [
            self.initiator.next_timer(),
            None if timer_ns is None else timer_ns - self.offset_ns,
            self._under_way[0][0] if self._under_way else None,
        ]
        return min((at for at in times if at is not None), default=None)

    def run(
        self, *, until: Callable[[Pair], bool] = lambda pair: False, limit_ns: int = 300 * S
    ) -> Pair:
        """Go on until a condition holds, nothing is to come, or the time is up."""
        end_ns = self.now_ns + limit_ns
        while not until(self):
            at_ns = self._next_ns()
            if at_ns is None or at_ns > end_ns:
                break
            self.now_ns = max(self.now_ns, at_ns)
            while self._under_way and self._under_way[0][0] <= self.now_ns and not until(self):
                _, _, sender, data = heapq.heappop(self._under_way)
                self.received.append((sender, data))
                if sender is Role.INITIATOR:
                    self.responder.receive(data, ADDRESS, now_ns=self.there_ns)
                else:
                    self.initiator.receive(data, now_ns=self.now_ns)
                self._flush()
            self.initiator.on_timer(now_ns=self.now_ns)
            self.responder.on_timer(now_ns=self.there_ns)
            self._flush()
        return self

    def flush(self) -> None:
        """After a call on one of the ends from outside."""
        self._flush()

    def epochs_ns(self) -> tuple[int, int]:
        """Both epochs, on the simulation's clock."""
        (here,) = [e.epoch_ns for e in self.told[Role.INITIATOR] if isinstance(e, Started)]
        (there,) = [e.epoch_ns for e in self.told[Role.RESPONDER] if isinstance(e, Started)]
        return here, there - self.offset_ns

    def bound_ns(self) -> int:
        """How far the epochs may be apart."""
        assert self.initiator.clock is not None
        return self.initiator.clock.bound_ns


def snapshot(value: object, *, without: frozenset[str] = frozenset({"ignored"})) -> object:
    """All of an object's state, down to plain values, to compare before and after."""
    if isinstance(value, str | bytes | int | float | Enum | None) or callable(value):
        return value
    if isinstance(value, dict):
        return [(snapshot(k), snapshot(v, without=without)) for k, v in value.items()]
    if hasattr(value, "__iter__"):
        return [snapshot(item, without=without) for item in value]
    names = [*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", {})]
    state = {n: snapshot(getattr(value, n), without=without) for n in names if n not in without}
    return type(value).__name__, state
