"""One session out of the memories of its processes: the tables that the simulator writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from testbed.capture.tap import Tap
from testbed.network.packet import IP_UDP_HEADER_BYTES, LINK_OVERHEAD_BYTES
from testbed.protocol.endpoint import Datagram
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.frame_log import FrameLog
from testbed.worlds.realtime.records import Arrivals, Carried, NetworkLog, PeerLog, Sent, match
from testbed.worlds.session import TableSink
from testbed.worlds.ticks import ControlTicks

#: (time, what to tell the frame log).
Step = tuple[int, Callable[[], None]]


class Merger:
    """Puts the memories of sender, receiver and network together.

    Args:
        make: the session's ends.
        sender: its memory.
        receiver: its memory.
        network: what lay between them.

    Attributes:
        frames: the timeline of every frame.
        unexplained: datagrams by direction that the network let through and nobody received.
    """

    def __init__(
        self, make: EndFactory, sender: PeerLog, receiver: PeerLog, network: NetworkLog
    ) -> None:
        self.make = make
        self.sender, self.receiver, self.network = sender, receiver, network
        self.frames = FrameLog()
        self.down = Trip(sender.sent, network.carried["down"], receiver.arrived)
        self.up = Trip(receiver.sent, network.carried["up"], sender.arrived)
        self.unexplained = {
            "down": self.down.vanished(make.end_ns),
            "up": self.up.vanished(make.end_ns),
        }

    def write(self, sink: TableSink) -> None:
        """Write all tables."""
        for _, tell in sorted(self._steps(), key=_time):
            tell()
        for name, trip in (("down", self.down), ("up", self.up)):
            sink.append("packets", trip.rows(name))
        for fate, sent in zip(self.down.fates, self.sender.sent, strict=True):
            if fate.drop != "none":
                self.frames.lost(sent.frame)
        mode = self.make.transport.name
        sink.append("frames", [record.row(mode) for record in self.frames.records])
        sink.append("link", self.network.link_rows)
        sink.append("control", self._control_rows())

    def tell(self, tap: Tap, *, start_ns: int) -> None:
        """Tell a capture of every datagram; their payloads must have been kept.

        Args:
            tap: see `testbed.worlds.session`.
            start_ns: of the session by the wall clock, since 1970.
        """
        tap.starts_at(start_ns)
        told: list[tuple[int, Callable[[], None]]] = []
        for name, trip in (("down", self.down), ("up", self.up)):
            for sent, arrival_ns in zip(trip.sent, trip.arrival_ns, strict=True):
                if sent.data is None:
                    continue
                told.append((sent.at_ns, partial(tap.sent, name, sent.data, now_ns=sent.at_ns)))
                if arrival_ns >= 0:
                    at_ns = max(arrival_ns, sent.at_ns)  # two clocks, read one after the other
                    told.append((at_ns, partial(tap.arrived, name, sent.data, now_ns=at_ns)))
        for _, tell in sorted(told, key=_time):
            tell()

    def _steps(self) -> list[Step]:
        frames = self.frames
        for index in range(self.make.clip.frame_count):
            frames.captured(index, now_ns=self.make.capture_ns(index))
        steps: list[Step] = []
        for now_ns, event in (*self.sender.events, *self.receiver.events):
            if isinstance(event, FrameEncoded):
                steps.append((now_ns, partial(frames.encoded, event)))
            elif isinstance(event, FrameDecoded):
                steps.append((now_ns, partial(frames.decoded, event)))
            elif isinstance(event, FrameAbandoned):
                steps.append((now_ns, partial(frames.abandoned, event)))
        for sent, arrival_ns in zip(self.sender.sent, self.down.arrival_ns, strict=True):
            if sent.frame < 0:
                continue
            datagram = _datagram(sent)
            wire_bytes = sent.size + IP_UDP_HEADER_BYTES
            tell = partial(frames.sent, datagram, wire_bytes, now_ns=sent.at_ns)
            steps.append((sent.at_ns, tell))
            if arrival_ns >= 0:
                tell = partial(frames.arrived, datagram, now_ns=arrival_ns)
                steps.append((arrival_ns, tell))
        return steps

    def _control_rows(self) -> list[tuple[Any, ...]]:
        ticks = ControlTicks()
        arrivals = sorted(
            (at_ns, sent.size + LINK_OVERHEAD_BYTES)
            for at_ns, sent in zip(self.down.arrival_ns, self.sender.sent, strict=True)
            if at_ns >= 0
        )
        rows, delivered, at = [], 0, 0
        for tick, capacity in zip(self.sender.ticks, self.network.capacity_bytes, strict=False):
            *view, encoded_bytes, sent_bytes = tick
            while at < len(arrivals) and arrivals[at][0] <= view[0]:
                delivered += arrivals[at][1]
                at += 1
            rates = ticks.rates(
                encoded_bytes=encoded_bytes,
                sent_bytes=sent_bytes,
                delivered_bytes=delivered,
                capacity_bytes=capacity,
            )
            rows.append((*view, *rates))
        return rows


def _time(step: Step) -> int:
    return step[0]


def _datagram(sent: Sent) -> Datagram:
    """Enough of the datagram for the frame log, which asks only for its size besides."""
    return Datagram(b"", sent.kind, sent.frame, sent.media_bytes, sent.token, span=sent.span)


class Trip:
    """The datagrams of one direction, from the sending socket to the receiving one.

    Args:
        sent: in order.
        carried: what the network says.
        arrived: what the other end says.

    Attributes:
        fates: what the network says of each datagram sent.
        arrival_ns: when each reached the other socket, or -1.
    """

    def __init__(self, sent: list[Sent], carried: list[Carried], arrived: Arrivals) -> None:
        self.sent = sent
        keys = [one.key for one in sent]
        places = match(keys, [one.key for one in carried])
        self.fates = [carried[at] if at >= 0 else Carried(0) for at in places]
        # Only what got through can be what arrived: a lost datagram's twin must not take its place.
        through = [n for n, fate in enumerate(self.fates) if fate.drop == "none"]
        self.arrival_ns = [-1] * len(sent)
        for n, at in zip(through, match([keys[n] for n in through], arrived.keys), strict=True):
            if at >= 0:
                self.arrival_ns[n] = arrived.times_ns[at]

    def vanished(self, end_ns: int) -> int:
        """Datagrams that should have arrived before `end_ns` and did not."""
        return sum(
            at_ns < 0 and fate.drop == "none" and 0 <= fate.arrival_ns < end_ns - MARGIN_NS
            for fate, at_ns in zip(self.fates, self.arrival_ns, strict=True)
        ) + sum(fate.key == 0 and sent.at_ns < end_ns - MARGIN_NS for fate, sent in self._pairs())

    def _pairs(self) -> list[tuple[Carried, Sent]]:
        return list(zip(self.fates, self.sent, strict=True))

    def host_delay_ns(self) -> list[int]:
        """How much later than the network says each datagram reached the socket."""
        return [
            at_ns - fate.arrival_ns
            for fate, at_ns in zip(self.fates, self.arrival_ns, strict=True)
            if at_ns >= 0 and fate.arrival_ns >= 0
        ]

    def rows(self, direction: str) -> list[tuple[Any, ...]]:
        """Rows of `testbed.tables.PACKETS`."""
        tokens: dict[int, int] = {}
        rows = []
        for sequence, (fate, sent) in enumerate(self._pairs()):
            if sent.token >= 0:
                tokens[sent.token] = sequence
            original = sent.retransmission_of
            rows.append(
                (
                    direction,
                    sequence,
                    sent.kind,
                    None if sent.frame < 0 else sent.frame,
                    sent.size + LINK_OVERHEAD_BYTES,
                    sent.at_ns,
                    # Stamps of two clocks are good to microseconds; the order is known.
                    None if fate.link_in_ns < 0 else max(fate.link_in_ns, sent.at_ns),
                    _null(fate.link_out_ns),
                    _null(self.arrival_ns[sequence]),
                    fate.drop,
                    None if original < 0 else tokens[original],
                )
            )
        return rows


#: What is under way this close to the end need not arrive.
MARGIN_NS: Final = 50_000_000


def _null(value: int) -> int | None:
    return None if value < 0 else value
