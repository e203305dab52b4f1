"""mm-link's log: what it says, and what our link makes of the same arrivals.

Two writers are read: 0.98 (Debian) and HEAD, which adds `d` lines for drops (F2, F27). Times are
whole milliseconds since mm-link's own start; the trace begins at the base timestamp (F5, F26).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from testbed.errors import InputError
from testbed.network.link import make_link
from testbed.network.packet import Packet
from testbed.network.queues import make_queue
from testbed.network.servers import NS_PER_MS, OpportunityServer
from testbed.network.spec import QueueSpec
from testbed.network.trace import OPPORTUNITY_BYTES, OpportunityTrace

#: A departure line: time in ms, size in bytes, delay in ms.
Departure = tuple[int, int, int]

_FIRST: Final = re.compile(r"# mahimahi mm-link \((Uplink|Downlink)\)")
_QUEUE: Final = re.compile(r"# queue: (\w+)(?: \[(.*)\])?\s*$")
_BASE: Final = re.compile(r"# base timestamp: (\d+)\s*$")
_LIMIT: Final = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True, slots=True)
class LinkLog:
    """One direction's log.

    Attributes:
        direction: "up" or "down".
        queue: the queue that the header names, or None.
        base_ms: when the trace begins.
        end_ms: time of the last line.
        arrivals: (ms, bytes) of every `+` line, dropped packets included.
        opportunities: ms of every `#` line.
        departures: every `-` line.
        drops: (ms, packets, bytes) of every `d` line; None where the writer has none (0.98).
    """

    direction: str
    queue: QueueSpec | None
    base_ms: int
    end_ms: int
    arrivals: list[tuple[int, int]]
    opportunities: list[int]
    departures: list[Departure]
    drops: list[tuple[int, int, int]] | None


def parse_log(text: str, source: str) -> LinkLog:
    """Read a log.

    Args:
        text: its whole content.
        source: its name, for messages.

    Raises:
        InputError: not an mm-link log; names the line.
    """
    lines = text.splitlines()
    first = _FIRST.match(lines[0]) if lines else None
    if first is None:
        raise InputError(f"{source}: is not an mm-link log (line 1 must be its header)")
    queue: QueueSpec | None = None
    base_ms: int | None = None
    arrivals: list[tuple[int, int]] = []
    opportunities: list[int] = []
    departures: list[Departure] = []
    drops: list[tuple[int, int, int]] = []
    at_ms = 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            if found := _BASE.match(line):
                base_ms = int(found[1])
            elif found := _QUEUE.match(line):
                queue = _header_queue(found[1], found[2] or "")
            continue
        fields = line.split()
        kind = fields[1] if len(fields) > 1 else ""
        if len(fields) != _FIELDS.get(kind) or not all(
            f.isdecimal() and f.isascii() for f in (fields[0], *fields[2:])
        ):
            raise InputError(f"{source}, line {number}: {line[:60]!r} is not a line of mm-link")
        values = [int(f) for f in fields[2:]]
        if (now_ms := int(fields[0])) < at_ms:
            raise InputError(f"{source}, line {number}: time {now_ms} after {at_ms}")
        at_ms = now_ms
        if kind == "+":
            arrivals.append((at_ms, values[0]))
        elif kind == "#":
            opportunities.append(at_ms)
        elif kind == "-":
            departures.append((at_ms, values[0], values[1]))
        else:
            drops.append((at_ms, values[0], values[1]))
    if base_ms is None:
        raise InputError(f"{source}: has no base timestamp in its header")
    return LinkLog(
        direction="up" if first[1] == "Uplink" else "down",
        queue=queue,
        base_ms=base_ms,
        end_ms=at_ms,
        arrivals=arrivals,
        opportunities=opportunities,
        departures=departures,
        drops=drops or None,
    )


#: Fields of a line by its kind.
_FIELDS: Final = {"+": 3, "#": 3, "-": 4, "d": 4}


#: Our names of mm-link's queue arguments, where they differ; (kind, argument) to option.
MM_ARGUMENTS: Final = {
    ("codel", "target"): "target_ms",
    ("codel", "interval"): "interval_ms",
    ("pie", "qdelay_ref"): "target_ms",
    ("pie", "max_burst"): "burst_ms",
}


def _header_queue(kind: str, limits: str) -> QueueSpec:
    values = {
        MM_ARGUMENTS.get((kind, name), name): int(value) for name, value in _LIMIT.findall(limits)
    }
    return QueueSpec(kind, values.pop("packets", None), values.pop("bytes", None), values)


@dataclass(frozen=True, slots=True)
class LinkUse:
    """What was made of a link within a part of its trace.

    Attributes:
        utilisation: bytes that left / bytes of the opportunities.
        capacity_kbps: what was offered, on average.
        queueing_ms_p50, queueing_ms_p95, queueing_ms_mean: a packet's entry into the queue to its
            last byte's leaving, over the packets that left; the percentiles by numpy's "linear".
        packets: that left.
    """

    utilisation: float
    capacity_kbps: float
    queueing_ms_p50: float
    queueing_ms_p95: float
    queueing_ms_mean: float
    packets: int


def link_use(log: LinkLog, *, start_ms: int, end_ms: int) -> LinkUse:
    """Utilisation and queueing delay in (start, end] of the trace's time.

    Args:
        log: of one direction.
        start_ms: after the base timestamp, which is where the trace begins.
        end_ms: the same.

    Raises:
        InputError: the log ends before the part does, or nothing was offered or left in it.
    """
    first, last = log.base_ms + start_ms, log.base_ms + end_ms
    if log.end_ms < last:
        raise InputError(
            f"the log covers {log.end_ms - log.base_ms} ms of its trace, not {end_ms} ms"
        )
    offered = sum(first < at <= last for at in log.opportunities) * OPPORTUNITY_BYTES
    left = [(size, delay) for at, size, delay in log.departures if first < at <= last]
    if not offered or not left:
        raise InputError(f"nothing left the link between {start_ms} and {end_ms} ms of its trace")
    delays = np.array([delay for _, delay in left], dtype=np.float64)
    p50, p95 = np.percentile(delays, [50, 95])
    return LinkUse(
        utilisation=sum(size for size, _ in left) / offered,
        capacity_kbps=offered * 8 / (end_ms - start_ms),
        queueing_ms_p50=float(p50),
        queueing_ms_p95=float(p95),
        queueing_ms_mean=float(delays.mean()),
        packets=len(left),
    )


@dataclass(frozen=True, slots=True)
class Replay:
    """What our link did with the arrivals of a log, up to the log's last line.

    Attributes:
        opportunities: ms of every opportunity.
        departures: every departure.
        drops: (ms, packets, bytes) dropped by one arrival.
        dropped: for each arrival, whether the queue dropped it, then or later.
    """

    opportunities: list[int]
    departures: list[Departure]
    drops: list[tuple[int, int, int]]
    dropped: list[bool]


def replay(
    log: LinkLog, trace: OpportunityTrace, queue: QueueSpec, rng: np.random.Generator
) -> Replay:
    """Feed the arrivals of `log` to our link.

    Args:
        log: where the arrivals and the base timestamp come from.
        trace: what mm-link was given for this direction.
        queue: what mm-link was given for this direction.
        rng: for queues that draw (pie).
    """
    server = OpportunityServer(trace, base_ms=log.base_ms)
    link = make_link(server, make_queue(queue, rng))
    packets: list[Packet] = []
    drops: list[tuple[int, int, int]] = []
    for at_ms, size in log.arrivals:
        packet = Packet(size)
        packets.append(packet)
        now_ns = at_ms * NS_PER_MS
        link.advance(now_ns)
        before = link.queue_drops, link.queue_bytes
        link.enqueue(packet, now_ns=now_ns)
        if link.queue_drops > before[0]:
            lost_bytes = before[1] + size - link.queue_bytes
            drops.append((at_ms, link.queue_drops - before[0], lost_bytes))
    departures = [
        (at_ns // NS_PER_MS, packet.size_bytes, (at_ns - packet.link_in_ns) // NS_PER_MS)
        for at_ns, packet in link.take(log.end_ms * NS_PER_MS)
    ]
    opportunities = [
        at_ms
        for at_ms in range(log.base_ms, log.end_ms + 1)
        for _ in range(
            server.capacity_bytes((at_ms - 1) * NS_PER_MS, at_ms * NS_PER_MS) // OPPORTUNITY_BYTES
        )
    ]
    dropped = [packet.drop != "none" for packet in packets]
    return Replay(opportunities, departures, drops, dropped)
