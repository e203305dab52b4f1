"""The bottleneck: a queue in front of a server.

`FifoLink` is the fast form for queues that decide on arrival and never change their mind
(`infinite`, `droptail`): service is first in, first out and cannot be interrupted, so a packet's
times are known the moment it is accepted, and nothing has to happen at opportunities at all.
`QueueLink` is the general form: packets wait in a discipline until the server takes them, so that
`drophead`, `codel` or a third party's queue may drop what is already inside. Both give the same
departures for the same queue; a test holds them to it.

Both are lazy: they catch up with time when they are called.
"""

from __future__ import annotations

from collections import deque

from testbed.network.chain import ChainStage
from testbed.network.packet import Packet
from testbed.network.queues import Discipline, DropTail
from testbed.network.servers import NEVER_NS, Server


class Link(ChainStage):
    """Common part of both forms.

    Attributes:
        delivered_bytes: what has left the bottleneck.
        queue_drops: packets dropped by the queue.
        queue_packets, queue_bytes: waiting, without the packet in transit (F15).

    Queue and drops are valid after `advance`, delivered bytes after `take`.
    """

    __slots__ = (
        "_departures",
        "delivered_bytes",
        "queue_bytes",
        "queue_drops",
        "queue_packets",
        "server",
    )

    def __init__(self, server: Server) -> None:
        self.server = server
        self.delivered_bytes = 0
        self.queue_drops = 0
        self.queue_packets = 0
        self.queue_bytes = 0
        self._departures: deque[tuple[int, Packet]] = deque()  # (when it leaves, who), in order

    def advance(self, now_ns: int) -> None:
        """Bring queue and counters to `now_ns`."""
        raise NotImplementedError

    def take(self, now_ns: int) -> list[tuple[int, Packet]]:
        """See `ChainStage`."""
        self.advance(now_ns)
        departures = self._departures
        left = []
        while departures and departures[0][0] <= now_ns:
            departure = departures.popleft()
            packet = departure[1]
            packet.link_out_ns = departure[0]
            self.delivered_bytes += packet.size_bytes
            left.append(departure)
        return left


class FifoLink(Link):
    """A drop-tail queue whose departures are known on arrival.

    Args:
        server: what serves it.
        limits: the queue's limits.
    """

    __slots__ = ("_limit_bytes", "_limit_packets", "_serve", "_starts")

    def __init__(self, server: Server, limits: DropTail) -> None:
        super().__init__(server)
        self._serve = server.serve
        self._limit_packets = limits.limit_packets
        self._limit_bytes = limits.limit_bytes
        self._starts: deque[tuple[int, int]] = deque()  # (start of service, size) of who waits

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """See `Stage`."""
        packet.link_in_ns = now_ns
        size = packet.size_bytes
        starts = self._starts
        while starts and starts[0][0] <= now_ns:
            self.queue_packets -= 1
            self.queue_bytes -= starts.popleft()[1]
        if (self._limit_bytes is not None and self.queue_bytes + size > self._limit_bytes) or (
            self._limit_packets is not None and self.queue_packets >= self._limit_packets
        ):
            packet.drop = "queue"
            self.queue_drops += 1
            return
        start_ns, out_ns = self._serve(now_ns, size)
        starts.append((start_ns, size))
        self.queue_packets += 1
        self.queue_bytes += size
        self._departures.append((out_ns, packet))

    def next_time(self) -> int | None:
        """See `Stage`; exact."""
        if self._departures:
            at_ns = self._departures[0][0]
            return at_ns if at_ns != NEVER_NS else None
        return None

    def advance(self, now_ns: int) -> None:
        """See `Link`."""
        starts = self._starts
        while starts and starts[0][0] <= now_ns:
            self.queue_packets -= 1
            self.queue_bytes -= starts.popleft()[1]


class QueueLink(Link):
    """A link whose queue may drop packets that it had already taken.

    Args:
        server: what serves it.
        queue: the discipline.
    """

    __slots__ = ("_queue", "_since_ns")

    def __init__(self, server: Server, queue: Discipline) -> None:
        super().__init__(server)
        self._queue = queue
        # Since when something has waited without a gap. The server offers nothing before that,
        # and what it offered since then was used, so it stands for every waiting packet.
        self._since_ns = 0

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """See `Stage`; opportunities up to `now_ns` are used first (F10)."""
        self.advance(now_ns)
        packet.link_in_ns = now_ns
        if self._queue.packets == 0:
            self._since_ns = now_ns
        self._queue.enqueue(packet, now_ns)
        self.advance(now_ns)  # a continuous server that idles takes it at once

    def next_time(self) -> int | None:
        """See `Stage`; a lower bound where the queue may drop its head on the way out."""
        if self._departures:
            at_ns = self._departures[0][0]
        elif self._queue.packets:
            at_ns = self.server.start(self._since_ns)
        else:
            return None
        return at_ns if at_ns != NEVER_NS else None

    def advance(self, now_ns: int) -> None:
        """Let the server take what it could have taken by `now_ns`."""
        queue, server = self._queue, self.server
        while queue.packets:
            start_ns = server.start(self._since_ns)
            if start_ns > now_ns:
                break
            packet = queue.dequeue(start_ns)
            if packet is None:  # it dropped everything it had
                break
            out_ns = server.serve(self._since_ns, packet.size_bytes)[1]
            self._departures.append((out_ns, packet))
        self.queue_packets = queue.packets
        self.queue_bytes = queue.bytes
        self.queue_drops = queue.drops


def make_link(server: Server, queue: Discipline) -> Link:
    """The fastest link for this queue."""
    if type(queue) is DropTail:
        return FifoLink(server, queue)
    return QueueLink(server, queue)
