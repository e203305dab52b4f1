"""What mm-link's log says of each datagram, and the rows that the tables want of it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from testbed.network.mmlog import LinkLog
from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.network.servers import NS_PER_MS
from testbed.network.trace import OPPORTUNITY_BYTES
from testbed.worlds.realtime.merge import MARGIN_NS
from testbed.worlds.realtime.records import Arrivals, Carried, Sent, match
from testbed.worlds.realtime.shells import LinkPlan
from testbed.worlds.ticks import TICK_NS

#: A datagram is logged as arriving so many ms after it was sent, at most, when nothing lies before
#: mm-link but its device.
NEAR_MS: Final = 25
#: Sizes in the log of the kernel's own IPv6 packets where IPv6 is on (mahimahi F28): router
#: solicitations (RFC 4861: 48 bytes) and MLD reports (RFC 3810: 76 bytes), 4 bytes larger (F7).
HOUSEKEEPING_BYTES: Final = frozenset({52, 80})


@dataclass(slots=True)
class Passage:
    """One `+` line with what became of it; ms since the start of the session."""

    in_ms: int
    size: int
    out_ms: int | None = None
    dropped: bool = False


def passages(log: LinkLog, epoch_ms: int, dropped: Sequence[bool] | None = None) -> list[Passage]:
    """Every packet that mm-link saw from the start of the session on, in order.

    A `-` line names the ms at which its packet came, so departures find their arrivals whatever the
    queue did. 0.98 does not log drops. What was dropped is known from our link for the same
    arrivals, where the two agree. Else, what never left was dropped if a later one overtook it, or
    if the link offered something after the last departure, which it would have taken. Which of
    several equal packets of one ms a departure is of, the log does not say: here the first one.

    Args:
        log: of one direction.
        epoch_ms: start of the session on mm-link's clock.
        dropped: for each arrival of the log, whether the queue dropped it; None: not known.
    """
    found = [Passage(at - epoch_ms, size) for at, size in log.arrivals if at >= epoch_ms]
    waiting: dict[tuple[int, int], deque[int]] = defaultdict(deque)
    for number, passage in enumerate(found):
        waiting[passage.in_ms, passage.size].append(number)
    last = -1
    for at, size, delay in log.departures:
        numbers = waiting.get((at - delay - epoch_ms, size))
        if numbers:
            number = numbers.popleft()
            found[number].out_ms = at - epoch_ms
            last = max(last, number)
    if dropped is not None:
        fates = [
            gone for (at, _), gone in zip(log.arrivals, dropped, strict=True) if at >= epoch_ms
        ]
        for passage, gone in zip(found, fates, strict=True):
            passage.dropped = gone
        return found
    # Since then the queue has been empty: an opportunity passed and nothing left.
    idle_ms = log.opportunities[-1] if log.opportunities else -1
    if log.departures and log.departures[-1][0] >= idle_ms:
        idle_ms = -1
    for number, passage in enumerate(found):
        gone = number <= last or passage.in_ms < idle_ms - epoch_ms
        passage.dropped = gone and passage.out_ms is None
    return found


@dataclass(slots=True)
class DirectionLog:
    """What one direction of the shells did.

    Attributes:
        carried: one a datagram sent, in order.
        vanished: left mm-link, met no loss shell, and did not arrive (F29).
        unmatched: packets in mm-link's log until the end that nobody of ours sent.
        housekeeping: how many of them have the size of the kernel's own IPv6 packets.
        lost_ns: when datagrams that a loss shell took were sent.
    """

    carried: list[Carried] = field(default_factory=list)
    vanished: int = 0
    unmatched: int = 0
    housekeeping: int = 0
    lost_ns: list[int] = field(default_factory=list)


def read_direction(
    sent: Sequence[Sent], arrived: Arrivals, seen: Sequence[Passage], plan: LinkPlan, *,
    delay_ms: int, end_ns: int, foreign: frozenset[int] = frozenset(),
) -> DirectionLog:  # fmt: skip
    """The fate of every datagram.

    Without loss in front of it mm-link sees what was sent in the order in which it was sent, and
    every fate is certain: what came out and did not arrive was lost behind, what arrived came out.
    Only among equal datagrams of one ms, lost behind and dropped by the queue can change places;
    their numbers are right. With loss in front a lost datagram has no line; its neighbours are told
    apart by time, size and arrival. Then too what did not arrive is certain, and in a burst of
    equal datagrams, lost and dropped can change places.

    Args:
        sent: by the endpoint.
        arrived: at the other one.
        seen: `passages` of this direction.
        plan: of this direction.
        delay_ms: of mm-delay.
        end_ns: of the session; what is due this late may be under way still.
        foreign: sizes of packets that others may have sent in between.
    """
    result = DirectionLog()
    places = match([one.key for one in sent], arrived.keys)
    front_ms = delay_ms if plan.delay_in_front else 0
    sure = [place >= 0 or not plan.loss_in_front for place in places]
    ours = _without_foreign(sent, sure, seen, front_ms=front_ms, foreign=foreign)
    candidates = [seen[line] for line in ours]
    found = None if plan.loss_in_front else _in_order(sent, candidates)
    if found is None:
        found = _lines_of(sent, places, candidates, front_ms=front_ms, gaps=plan.loss_in_front)
    lines = [ours[at] if at >= 0 else -1 for at in found]
    _give_to_arrived(places, lines, seen, last=plan.queue.kind == "drophead")
    # Behind the end mm-link sees what the closed sockets answer ("port unreachable").
    before_end = [line for line, one in enumerate(seen) if one.in_ms * NS_PER_MS < end_ns]
    others = set(before_end).difference(lines)
    result.unmatched = len(others)
    result.housekeeping = sum(seen[line].size in HOUSEKEEPING_BYTES for line in others)
    behind_ns = 0 if plan.delay_in_front else delay_ms * NS_PER_MS
    for one, place, line in zip(sent, places, lines, strict=True):
        carried = Carried(one.key)
        passage = seen[line] if line >= 0 else None
        if passage is not None:
            # mm-link floors its clock, so its ms may begin before the datagram was there.
            there_ns = one.at_ns + front_ms * NS_PER_MS
            carried.link_in_ns = max(passage.in_ms * NS_PER_MS, there_ns)
            if passage.out_ms is not None:
                carried.link_out_ns = max(passage.out_ms * NS_PER_MS, carried.link_in_ns)
                carried.arrival_ns = carried.link_out_ns + behind_ns
        if place < 0:
            due_ns = max(carried.arrival_ns, one.at_ns + delay_ms * NS_PER_MS)
            carried.drop = _drop(passage, plan, result, late=due_ns > end_ns - MARGIN_NS)
            if carried.drop == "loss":
                result.lost_ns.append(one.at_ns)
        result.carried.append(carried)
    return result


def _drop(passage: Passage | None, plan: LinkPlan, result: DirectionLog, *, late: bool) -> str:
    if passage is not None and passage.dropped:
        return "queue"
    if passage is not None and passage.out_ms is None:
        return "none"  # still in the queue when the shells ended
    if late:
        return "none"
    if not (plan.loss_behind if passage is not None else plan.loss_in_front):
        result.vanished += 1
    return "loss"


def _without_foreign(
    sent: Sequence[Sent], sure: Sequence[bool], seen: Sequence[Passage], *, front_ms: int,
    foreign: frozenset[int],
) -> list[int]:  # fmt: skip
    """Indices of the lines that can be of datagrams of ours.

    A line of a foreign size stays only where one of ours of that size must have a line (`sure`)
    that begins no more than `NEAR_MS` after it was sent. So a foreign packet can stand for ours
    only where both have the same size and came within the same few ms; it never adds a line.
    """
    others: set[int] = set()
    for size in foreign:
        lines = [line for line, passage in enumerate(seen) if passage.size == size]
        others.update(lines)
        at = 0
        for one, must in zip(sent, sure, strict=True):
            if not must or one.size + LINK_OVERHEAD_BYTES != size:
                continue
            earliest = one.at_ns // NS_PER_MS + front_ms - 1
            while at < len(lines) and seen[lines[at]].in_ms < earliest:
                at += 1
            if at < len(lines) and seen[lines[at]].in_ms <= earliest + NEAR_MS:
                others.discard(lines[at])
                at += 1
    return [line for line in range(len(seen)) if line not in others]


def _give_to_arrived(
    places: Sequence[int], lines: list[int], seen: Sequence[Passage], *, last: bool
) -> None:
    """Let those of several equal datagrams of one ms that arrived be those that left mm-link.

    If more left, they were lost behind: the last ones (a queue that drops its head kept those) or
    the first ones.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        if line >= 0:
            groups[seen[line].in_ms, seen[line].size].append(number)
    for numbers in groups.values():
        left = [lines[n] for n in numbers if seen[lines[n]].out_ms is not None]
        stayed = [lines[n] for n in numbers if seen[lines[n]].out_ms is None]
        if not left or not stayed:
            continue
        arrived = [n for n in numbers if places[n] >= 0]
        others = [n for n in numbers if places[n] < 0]
        chosen = sorted((arrived + (others[::-1] if last else others))[: len(left)])
        for number, line in zip(chosen, left, strict=True):
            lines[number] = line
        rest = [n for n in numbers if n not in chosen]
        for number, line in zip(rest, stayed, strict=True):
            lines[number] = line


def _in_order(sent: Sequence[Sent], seen: Sequence[Passage]) -> list[int] | None:
    """The n-th datagram has the n-th line, however late a busy machine logged it.

    None where the sizes say that it cannot be so: the device dropped something, or there are lines
    of others.
    """
    if len(seen) > len(sent):
        return None
    sizes = (one.size + LINK_OVERHEAD_BYTES == p.size for one, p in zip(sent, seen, strict=False))
    if not all(sizes):
        return None
    return [*range(len(seen)), *[-1] * (len(sent) - len(seen))]


def _lines_of(
    sent: Sequence[Sent], places: Sequence[int], seen: Sequence[Passage], *, front_ms: int,
    gaps: bool,
) -> list[int]:  # fmt: skip
    """For each datagram the index of its `+` line, or -1.

    A datagram that arrived has one. With `gaps` (loss in front) one that did not takes a line only
    if the datagrams behind it leave it one.
    """
    lines = [-1] * len(sent)
    at = 0
    for number, one in enumerate(sent):
        size = one.size + LINK_OVERHEAD_BYTES
        earliest = one.at_ns // NS_PER_MS + front_ms - 1
        while at < len(seen) and seen[at].in_ms < earliest:
            at += 1
        if at == len(seen) or seen[at].size != size:
            continue
        # What arrived has its line, however long mm-link was kept from reading it.
        if places[number] < 0 and seen[at].in_ms > earliest + NEAR_MS:
            continue
        unsure = gaps and places[number] < 0
        if unsure and _needed_behind(sent, places, number, seen, at, front_ms):
            continue
        lines[number] = at
        at += 1
    return lines


def _needed_behind(
    sent: Sequence[Sent], places: Sequence[int], number: int, seen: Sequence[Passage], at: int,
    front_ms: int,
) -> bool:  # fmt: skip
    """Whether datagrams behind `number` that arrived need line `at` and all that follow it.

    Looked at: the lines within `NEAR_MS`, and the datagrams that they can be of.
    """
    horizon = seen[at].in_ms + NEAR_MS
    free = 0
    for passage in seen[at:]:
        if passage.in_ms > horizon:
            break
        free += 1
    taken = 0
    for other, place in zip(sent[number + 1 :], places[number + 1 :], strict=True):
        if other.at_ns // NS_PER_MS + front_ms > horizon:
            break
        taken += place >= 0
    return taken >= free


def link_rows(
    log: LinkLog, seen: Sequence[Passage], direction: str, *, epoch_ms: int, duration_ns: int,
    lost_ns: Sequence[int],
) -> list[tuple[Any, ...]]:  # fmt: skip
    """Rows of `testbed.tables.LINK`."""
    tick_ms = TICK_NS // NS_PER_MS
    edges = np.arange(0, duration_ns // NS_PER_MS + 1, tick_ms)
    left = [p for p in seen if p.out_ms is not None]
    kept = [p for p in seen if not p.dropped]
    offered = _until(edges, [at - epoch_ms for at in log.opportunities])
    out = _until(edges, [p.out_ms or 0 for p in left])
    out_bytes = _until(edges, [p.out_ms or 0 for p in left], [p.size for p in left])
    into = _until(edges, [p.in_ms for p in kept])
    into_bytes = _until(edges, [p.in_ms for p in kept], [p.size for p in kept])
    dropped = _until(edges, [p.in_ms for p in seen if p.dropped])
    lost = _until(edges, [ns // NS_PER_MS for ns in lost_ns])
    # Ticks are open on the left, but for the very first: it has the session's first ms too.
    dropped[:1] = lost[:1] = 0
    return [
        (
            int(edges[n]) * NS_PER_MS,
            direction,
            int(offered[n + 1] - offered[n]) * OPPORTUNITY_BYTES,
            int(out_bytes[n + 1] - out_bytes[n]),
            int(into[n + 1] - out[n + 1]),
            int(into_bytes[n + 1] - out_bytes[n + 1]),
            int(dropped[n + 1] - dropped[n]),
            int(lost[n + 1] - lost[n]),
        )
        for n in range(len(edges) - 1)
    ]


def _until(
    edges: npt.NDArray[np.int64], times: Sequence[int], weights: Sequence[int] | None = None
) -> npt.NDArray[np.int64]:
    """Sum of the weights (1 each) of what happened up to each edge."""
    order = np.argsort(np.array(times, np.int64), kind="stable")
    ordered = np.array(times, np.int64)[order]
    weight = np.ones(len(ordered), np.int64) if weights is None else np.array(weights)[order]
    total = np.concatenate([[0], np.cumsum(weight)]).astype(np.int64)
    summed: npt.NDArray[np.int64] = total[np.searchsorted(ordered, edges, side="right")]
    return summed
