"""Is the simulated link mm-link? The same arrivals through both, departure by departure.

The comparison is with mm-link's own log, not with host timestamps: what the log says is what
mm-link decided, while when a packet reaches a socket also depends on how busy the machine is (F24).
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import InputError
from testbed.network.mmlog import LinkLog, parse_log, replay
from testbed.network.queues import describe_queue, parse_queue
from testbed.network.spec import QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.randomness import generator
from testbed.worlds.mahimahi import ShellRun, TrafficSpec, make_traffic, run_shells

#: Queues whose drops depend on mm-link's wall clock or on its unseeded generator (F19, F20).
STATISTICAL_QUEUES: Final = frozenset({"codel", "pie"})

#: What a live check runs over every trace: (uplink queue, downlink queue) of one shell each.
LIVE_QUEUES: Final = (
    ("infinite", "droptail:packets=10"),
    ("droptail:bytes=9000", "infinite"),
    ("droptail:packets=10,bytes=9000", "droptail:packets=25"),
    ("drophead:packets=10", "droptail:packets=8,bytes=6000"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One direction of one shell, mm-link against our link.

    Attributes:
        name: the log.
        direction: "up" or "down".
        queue: as on a command line.
        arrivals: packets that mm-link saw.
        departures: packets that mm-link let out.
        equal: departures up to the first difference.
        simulated: packets that our link let out.
        differences: what differs, one line each; empty when nothing does.
    """

    name: str
    direction: str
    queue: str
    arrivals: int
    departures: int
    equal: int
    simulated: int
    differences: tuple[str, ...]


def compare(log: LinkLog, trace: OpportunityTrace, queue: QueueSpec, *, name: str) -> Comparison:
    """Feed the arrivals of `log` to our link and compare all that mm-link logged.

    Opportunities and departures (time, size, delay) must be equal line by line; drops too where
    the log has them.
    """
    ours = replay(log, trace, queue, generator(1, "fidelity/queue"))
    equal = _common_length(log.departures, ours.departures)
    kinds: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("departure", log.departures, ours.departures),
        ("opportunity", log.opportunities, ours.opportunities),
    ]
    if log.drops is not None:
        kinds.append(("drop", log.drops, ours.drops))
    return Comparison(
        name=name,
        direction=log.direction,
        queue=describe_queue(queue),
        arrivals=len(log.arrivals),
        departures=len(log.departures),
        equal=equal,
        simulated=len(ours.departures),
        differences=tuple(_differences(kinds)),
    )


def _common_length(left: Sequence[object], right: Sequence[object]) -> int:
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))


def _differences(
    kinds: Iterable[tuple[str, Sequence[object], Sequence[object]]],
) -> Iterable[str]:
    for kind, theirs, ours in kinds:
        if list(theirs) == list(ours):
            continue
        at = _common_length(theirs, ours)
        mm_link = theirs[at] if at < len(theirs) else "nothing"
        link = ours[at] if at < len(ours) else "nothing"
        yield f"{kind} {at + 1} of {len(theirs)}: mm-link {mm_link}, simulated {link}"


def read_log(path: Path) -> LinkLog:
    """Read a log, gzipped when its name ends in `.gz`.

    Raises:
        InputError: it cannot be read or is not an mm-link log.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("ascii")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a readable mm-link log"
        raise InputError(f"{path}: {reason}") from None
    return parse_log(text, str(path))


def check_log(log_path: Path, trace: OpportunityTrace, *, queue: str | None) -> Comparison:
    """Compare a recorded log with our link.

    Args:
        log_path: the log.
        trace: what mm-link was given for that direction.
        queue: as on a command line; None takes what the log's header names.

    Raises:
        InputError: the log cannot be used, or no queue is known.
    """
    log = read_log(log_path)
    spec = log.queue if queue is None else parse_queue(queue)
    if spec is None:
        raise InputError(f"{log_path}: names no queue in its header; give one with --queue")
    return compare(log, trace, spec, name=log_path.name)


def check_live(
    traces: Sequence[tuple[str, OpportunityTrace]],
    *,
    traffic: TrafficSpec,
    keep: Path | None = None,
) -> list[Comparison]:
    """Run real mm-link over each trace in both directions, every queue of `LIVE_QUEUES`.

    Args:
        traces: (name, trace).
        traffic: what is sent; each shell gets a seed of its own from it.
        keep: existing folder to keep the logs in, or None.

    Raises:
        ToolMissingError: mm-link cannot run here.
        ToolFailedError: it ran and failed.
    """
    runs = []
    for number, (name, trace) in enumerate(traces):
        for variant, (up, down) in enumerate(LIVE_QUEUES):
            seed = traffic.seed + number * len(LIVE_QUEUES) + variant
            spec = TrafficSpec(traffic.seconds, seed, traffic.most_per_s)
            datagrams = make_traffic(spec, uplink=trace, downlink=trace)
            runs.append(
                ShellRun(
                    f"{number + 1}-{name}-{variant + 1}",
                    trace,
                    trace,
                    parse_queue(up),
                    parse_queue(down),
                    datagrams,
                )
            )
    with tempfile.TemporaryDirectory(prefix="fidelity-") as scratch:
        logs = run_shells(runs, keep or Path(scratch))
        return [
            compare(read_log(path), run.uplink, queue, name=path.name)
            for run in runs
            for path, queue in zip(
                logs[run.name], (run.uplink_queue, run.downlink_queue), strict=True
            )
        ]
