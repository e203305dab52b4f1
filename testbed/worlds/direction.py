"""One direction of a session's path: its alarm, its packet log, and whoever else sends over it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import simpy

from testbed.capture.tap import Tap
from testbed.network.packet import LINK_OVERHEAD_BYTES, Packet
from testbed.network.path import Path
from testbed.protocol.endpoint import Datagram
from testbed.worlds.alarm import Alarm
from testbed.worlds.session import TableSink

#: Rows handed to the sink at a time.
CHUNK_ROWS: Final = 8192


class Guest:
    """What a competing flow's packet carries: the datagram, and who waits for it."""

    __slots__ = ("arrived", "datagram")

    def __init__(
        self, datagram: Datagram, arrived: Callable[[Packet, Datagram, int], None]
    ) -> None:
        self.datagram = datagram
        self.arrived = arrived


class Direction:
    """One direction of the path with its alarm and its packet log.

    The log, `sent_bytes` and `arrived_bytes` are the session's own; the path's counters are of all
    flows. A tap is told of the session's own datagrams.
    """

    def __init__(
        self,
        name: str,
        env: simpy.Environment,
        path: Path,
        sink: TableSink,
        deliver: Callable[[Packet, int], None],
        after: Callable[[int], None],
        lost: Callable[[int], None],
        tap: Tap | None = None,
    ) -> None:
        self.name = name
        self.env = env
        self.path = path
        self.sink = sink
        self.tap = tap
        self.deliver = deliver if tap is None else self._told(tap, deliver)
        self.after = after
        self.lost = lost
        self.alarm = Alarm(env, self._wake)
        self.sent_bytes = 0
        self.arrived_bytes = 0
        self._sequence = 0
        self._open: deque[tuple[Packet, Datagram, int, int]] = deque()
        self._tokens: dict[int, int] = {}
        self._rows: list[tuple[Any, ...]] = []

    def _told(
        self, tap: Tap, deliver: Callable[[Packet, int], None]
    ) -> Callable[[Packet, int], None]:
        """`deliver`, of which the tap hears first."""

        def told(packet: Packet, now_ns: int) -> None:
            datagram: Datagram = packet.payload  # type: ignore[assignment]
            tap.arrived(self.name, datagram.data, now_ns=now_ns)
            deliver(packet, now_ns)

        return told

    def send(self, datagrams: list[Datagram], *, now_ns: int) -> None:
        """Put datagrams on the path, in order."""
        if self.tap is not None:
            for datagram in datagrams:
                self.tap.sent(self.name, datagram.data, now_ns=now_ns)
        path, log = self.path, self._open
        for datagram in datagrams:
            packet = Packet(len(datagram.data) + LINK_OVERHEAD_BYTES, datagram, 0, datagram.frame)
            log.append((packet, datagram, self._sequence, now_ns))
            if datagram.token >= 0:
                self._tokens[datagram.token] = self._sequence
            self._sequence += 1
            self.sent_bytes += packet.size_bytes
            path.enqueue(packet, now_ns=now_ns)
        self.alarm.arm(path.next_time(), now_ns)

    def carry(
        self, datagram: Datagram, arrived: Callable[[Packet, Datagram, int], None], *, now_ns: int
    ) -> None:
        """Put another flow's datagram on the path; `arrived` is called when it comes out."""
        size_bytes = len(datagram.data) + LINK_OVERHEAD_BYTES
        self.path.enqueue(Packet(size_bytes, Guest(datagram, arrived)), now_ns=now_ns)
        self.alarm.arm(self.path.next_time(), now_ns)

    def _wake(self, now_ns: int) -> None:
        for packet in self.path.pop(now_ns=now_ns):
            payload = packet.payload
            if type(payload) is Guest:
                payload.arrived(packet, payload.datagram, now_ns)
                continue
            self.arrived_bytes += packet.size_bytes
            self.deliver(packet, now_ns)
        self.after(now_ns)
        self.alarm.arm(self.path.next_time(), now_ns)

    def settle(self, *, everything: bool = False) -> None:
        """Log packets whose fate is known (at the end: all), in order of entry."""
        rows, log = self._rows, self._open
        while log:
            packet, datagram, sequence, sent_ns = log[0]
            if packet.arrival_ns < 0 and packet.drop == "none" and not everything:
                break
            log.popleft()
            if packet.drop != "none":
                self.lost(datagram.frame)
            original = datagram.retransmission_of
            rows.append(
                (
                    self.name,
                    sequence,
                    datagram.kind,
                    None if datagram.frame < 0 else datagram.frame,
                    packet.size_bytes,
                    sent_ns,
                    None if packet.link_in_ns < 0 else packet.link_in_ns,
                    None if packet.link_out_ns < 0 else packet.link_out_ns,
                    None if packet.arrival_ns < 0 else packet.arrival_ns,
                    packet.drop,
                    None if original < 0 else self._tokens[original],
                )
            )
            if len(rows) >= CHUNK_ROWS:
                self.flush()
                rows = self._rows

    def flush(self) -> None:
        """Hand the finished rows to the sink."""
        if self._rows:
            self.sink.append("packets", self._rows)
            self._rows = []
