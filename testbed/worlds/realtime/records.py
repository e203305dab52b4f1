"""What a process of a session in real time remembers, for the tables that are made afterwards.

A datagram is known by a short hash of its bytes: nothing is added to what travels, so that any
network may lie between the processes. Equal datagrams are told apart by their order.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.media.types import ReceivedFrame
from testbed.protocol.endpoint import Datagram, Event
from testbed.worlds.realtime.lateness import Lateness


def key_of(data: bytes) -> int:
    """Eight bytes that stand for a datagram."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class Arrivals:
    """Datagrams that reached a socket: when, and which; 16 bytes each."""

    def __init__(self) -> None:
        self.times_ns = array("q")
        self.keys = array("Q")

    def add(self, now_ns: int, key: int) -> None:
        """One more."""
        self.times_ns.append(now_ns)
        self.keys.append(key)


@dataclass(slots=True)
class Sent:
    """A datagram that an endpoint let go; the fields are those of `Datagram`.

    Attributes:
        at_ns: when it was handed to the kernel.
        size: payload bytes.
        key: see `key_of`.
        data: the payload where a capture wants it.
    """

    at_ns: int
    kind: str
    frame: int
    media_bytes: int
    token: int
    retransmission_of: int
    span: int
    size: int
    key: int
    data: bytes | None

    @staticmethod
    def of(datagram: Datagram, at_ns: int, *, keep: bool) -> Sent:
        """What is remembered of `datagram`."""
        data = datagram.data
        return Sent(
            at_ns, datagram.kind, datagram.frame, datagram.media_bytes, datagram.token,
            datagram.retransmission_of, datagram.span, len(data), key_of(data),
            data if keep else None,
        )  # fmt: skip


@dataclass(slots=True)
class PeerLog:
    """What one endpoint's process remembers.

    Attributes:
        sent, arrived: datagrams, in order.
        events: the endpoint's events with the time at which they were seen.
        ticks: of a sender, the first columns of `testbed.tables.CONTROL` and, after them, bytes
            encoded and link bytes sent so far.
        late: from what made the endpoint send to the moment at which the kernel got the datagram.
        captures_late: how late frames were handed to the sender.
        encoding: how long the sender was busy with each; next to nothing for a stream that was
            encoded in advance.
        strangers: datagrams from other addresses.
        unsent: datagrams that the kernel would not take.
        overflowed: datagrams lost because the process did not read in time.
        received: of a receiver, see `SessionResult`.
        facts: for the manifest.
    """

    sent: list[Sent] = field(default_factory=list)
    arrived: Arrivals = field(default_factory=Arrivals)
    events: list[tuple[int, Event]] = field(default_factory=list)
    ticks: list[tuple[Any, ...]] = field(default_factory=list)
    late: Lateness = field(default_factory=Lateness)
    captures_late: Lateness = field(default_factory=Lateness)
    encoding: Lateness = field(default_factory=Lateness)
    strangers: int = 0
    unsent: int = 0
    overflowed: int = 0
    received: list[ReceivedFrame] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Carried:
    """What a network did with one datagram; -1 stands for never or unknown.

    Attributes:
        key: see `key_of`.
        link_in_ns, link_out_ns: at the bottleneck.
        arrival_ns: when it should come out.
        drop: one of `testbed.tables.DROPS`.
    """

    key: int
    link_in_ns: int = -1
    link_out_ns: int = -1
    arrival_ns: int = -1
    drop: str = "none"


@dataclass(slots=True)
class NetworkLog:
    """What a network did, in both directions ("down" carries media, "up" feedback).

    Attributes:
        carried: datagrams in order of entry.
        link_rows: rows of `testbed.tables.LINK`.
        capacity_bytes: of the media direction in each tick.
        late: of a relay, how late it let go what it had to.
        facts: for the manifest.
    """

    carried: dict[str, list[Carried]] = field(default_factory=lambda: {"down": [], "up": []})
    link_rows: list[tuple[Any, ...]] = field(default_factory=list)
    capacity_bytes: list[int] = field(default_factory=list)
    late: Lateness = field(default_factory=Lateness)
    facts: dict[str, Any] = field(default_factory=dict)


def match(keys: Iterable[int], seen: Sequence[int]) -> list[int]:
    """For each of `keys` the index of its occurrence in `seen`, or -1.

    The n-th of several equal keys is the n-th occurrence.
    """
    places: dict[int, deque[int]] = defaultdict(deque)
    for index, key in enumerate(seen):
        places[key].append(index)
    found = []
    for key in keys:
        waiting = places.get(key)
        found.append(waiting.popleft() if waiting else -1)
    return found
