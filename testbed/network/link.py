"""The bottleneck: a queue in front of a server.

`FifoLink` is the fast form for queues that decide on arrival, by the number of packets at most
(`infinite`, `droptail` with packets=). Service is first in, first out and cannot be interrupted, so
a packet's times are known the moment it is accepted, and nothing has to happen at opportunities.
`QueueLink` is the general form: packets wait in a discipline until the server takes them, so that
`drophead`, `codel` or a third party's queue may drop what is already inside. Both forms give the
same departures for the same queue; a test holds them to it.

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

    All are valid after `take` or `pop`, and then `advance`.
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
        # Who is to leave, in order: (when its last byte leaves, when its first is taken, packet).
        self._departures: deque[tuple[int, int, Packet]] = deque()

    def advance(self, now_ns: int) -> None:
        """Bring queue and counters to `now_ns`."""
        raise NotImplementedError

    def _leave(self, now_ns: int) -> list[Packet]:
        """Who has left by `now_ns`, stamped."""
        departures = self._departures
        left: list[Packet] = []
        while departures:
            out_ns, _, packet = departures[0]
            if out_ns > now_ns:
                break
            departures.popleft()
            packet.link_out_ns = out_ns
            self.delivered_bytes += packet.size_bytes
            left.append(packet)
        return left

    def take(self, now_ns: int) -> list[tuple[int, Packet]]:
        """See `ChainStage`."""
        return [(packet.link_out_ns, packet) for packet in self._leave(now_ns)]

    def pop(self, *, now_ns: int) -> list[Packet]:
        """See `Stage`."""
        left = self._leave(now_ns)
        for packet in left:
            packet.arrival_ns = packet.link_out_ns
        return left


class FifoLink(Link):
    """An unlimited queue, or a drop-tail queue of so many packets.

    Args:
        server: what serves it.
        limit_packets: most packets waiting, or None.
    """

    __slots__ = ("_limit_packets", "_serve")

    def __init__(self, server: Server, limit_packets: int | None) -> None:
        super().__init__(server)
        self._serve = server.serve
        self._limit_packets = limit_packets

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """See `Stage`."""
        packet.link_in_ns = now_ns
        departures = self._departures
        limit = self._limit_packets
        # Service starts in order: the queue is full if the packet `limit` places from its end has
        # not been taken up yet.
        if limit is not None and len(departures) >= limit and departures[-limit][1] > now_ns:
            packet.drop = "queue"
            self.queue_drops += 1
            return
        start_ns, out_ns = self._serve(now_ns, packet.size_bytes)
        departures.append((out_ns, start_ns, packet))

    def next_time(self) -> int | None:
        """See `Stage`; exact."""
        if self._departures:
            at_ns = self._departures[0][0]
            return at_ns if at_ns != NEVER_NS else None
        return None

    def advance(self, now_ns: int) -> None:
        """See `Link`."""
        packets = waiting_bytes = 0
        for _, start_ns, packet in reversed(self._departures):
            if start_ns <= now_ns:
                break
            packets += 1
            waiting_bytes += packet.size_bytes
        self.queue_packets = packets
        self.queue_bytes = waiting_bytes


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

    def _leave(self, now_ns: int) -> list[Packet]:
        self.advance(now_ns)
        return super()._leave(now_ns)

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
            self._departures.append((out_ns, start_ns, packet))
        self.queue_packets = queue.packets
        self.queue_bytes = queue.bytes
        self.queue_drops = queue.drops


def make_link(server: Server, queue: Discipline) -> Link:
    """The fastest link for this queue."""
    if type(queue) is DropTail and queue.limit_bytes is None:
        return FifoLink(server, queue.limit_packets)
    return QueueLink(server, queue)
