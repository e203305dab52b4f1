"""Real mm-link, run so that it leaves no trace on the machine.

mm-link wants to be set-uid root but called by an ordinary user, and it wants /dev/net/tun and
ip_forward (mahimahi F3). Each run here gets network, mount and process namespaces of its own:
ip_forward is set only there, the workaround for Debian 12's iptables is mounted only there, and
everything in them ends with the run. The half that works inside is `mahimahi_inside`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from testbed.errors import ToolFailedError
from testbed.network.mmlog import MM_ARGUMENTS
from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.network.spec import QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.randomness import generator
from testbed.worlds.mahimahi_conditions import (
    INSTALL_HINT,
    SEARCH_PATH,
    UNPRIVILEGED_ID,
    Problem,
    find_problems,
    require_mahimahi,
)
from testbed.worlds.mahimahi_tools import last_words

#: What mm-link can carry: its TUN device has an MTU of 1500 (F7, F29).
LARGEST_PAYLOAD_BYTES: Final = 1472
#: How long a shell may take to start and to end, beyond the traffic itself.
_GRACE_S: Final = 60.0
#: Shells run at the same time; they mostly wait, but each polls.
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class ShellRun:
    """One mm-link shell with traffic in both directions.

    Attributes:
        name: unique among the runs of one call; names the log files.
        uplink, downlink: the traces.
        uplink_queue, downlink_queue: infinite, droptail, drophead, codel or pie.
        traffic: datagrams as (ns after the start, "up" or "down", payload bytes), sorted.
    """

    name: str
    uplink: OpportunityTrace
    downlink: OpportunityTrace
    uplink_queue: QueueSpec
    downlink_queue: QueueSpec
    traffic: list[tuple[int, str, int]]


def run_shells(runs: Sequence[ShellRun], folder: Path) -> dict[str, tuple[Path, Path]]:
    """Run mm-link shells in real time, a few at once.

    Args:
        runs: what to run.
        folder: existing folder that gets `NAME.up.log` and `NAME.down.log` for each.

    Returns:
        (uplink log, downlink log) by name.

    Raises:
        ToolMissingError: mm-link cannot run here.
        ToolFailedError: a shell failed; the message carries its last line.
    """
    require_mahimahi()
    logs = {}
    for at in range(0, len(runs), _AT_ONCE):
        with contextlib.ExitStack() as stack:
            started = [
                (run, stack.enter_context(_started(run))) for run in runs[at : at + _AT_ONCE]
            ]
            for run, (process, work) in started:
                last_ns = run.traffic[-1][0] if run.traffic else 0
                finish(run.name, process, traffic_s=last_ns / 1e9)
                target = folder / f"{run.name}.up.log", folder / f"{run.name}.down.log"
                for path in target:
                    shutil.copyfile(work / path.name, path)
                logs[run.name] = target
    return logs


@contextlib.contextmanager
def _started(run: ShellRun) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start one shell in a temporary folder that its ordinary user can write."""
    with tempfile.TemporaryDirectory(prefix="mm-link-") as name:
        work = Path(name)
        write_traces(work, run.name, uplink=run.uplink, downlink=run.downlink)
        config = {
            "name": run.name,
            "queues": {
                "uplink": queue_arguments(run.uplink_queue),
                "downlink": queue_arguments(run.downlink_queue),
            },
            "traffic": run.traffic,
            "user": UNPRIVILEGED_ID,
        }
        with in_namespaces("testbed.worlds.mahimahi_inside", work, config) as process:
            yield process, work


def write_traces(
    work: Path, name: str, *, uplink: OpportunityTrace, downlink: OpportunityTrace
) -> None:
    """Write `NAME.up.trace` and `NAME.down.trace` as mm-link reads them."""
    for direction, trace in (("up", uplink), ("down", downlink)):
        lines = "\n".join(map(str, trace.times_ms.tolist()))
        (work / f"{name}.{direction}.trace").write_text(lines + "\n")


@contextlib.contextmanager
def in_namespaces(
    module: str, work: Path, config: dict[str, Any]
) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m MODULE WORK` in network, mount and process namespaces of its own.

    Args:
        module: what runs inside; it finds `config` in WORK/config.json.
        work: a folder; it is handed to the ordinary user that mm-link is called by.
        config: JSON values.
    """
    (work / "config.json").write_text(json.dumps(config))
    os.chown(work, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    process = subprocess.Popen(
        [
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
            *("--mount-proc", sys.executable, "-m", module, str(work)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": f"{SEARCH_PATH}:{os.environ.get('PATH', '')}"},
    )
    try:
        yield process
    finally:
        process.kill()  # with --kill-child this ends everything inside
        process.communicate()


def finish(name: str, process: subprocess.Popen[str], *, traffic_s: float) -> None:
    """Wait for the end of what `in_namespaces` started, which has traffic for `traffic_s`.

    Raises:
        ToolFailedError: it failed, or did not end in time; the message carries its last line.
    """
    try:
        _, stderr = process.communicate(timeout=traffic_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        raise ToolFailedError(f"mm-link run {name}: did not end in time") from None
    if process.returncode != 0:
        # Ours is the last line; what mm-link itself had to say comes before it.
        last = last_words(stderr, process.returncode)
        raise ToolFailedError(f"mm-link run {name}: {last}")


def queue_arguments(queue: QueueSpec) -> tuple[str, str]:
    """Name and arguments as mm-link takes them."""
    theirs = {ours: name for (kind, name), ours in MM_ARGUMENTS.items() if kind == queue.kind}
    options = {theirs.get(name, name): value for name, value in queue.options.items()}
    values = {"packets": queue.packets, "bytes": queue.bytes, **options}
    pairs = [f"{name}={value}" for name, value in values.items() if value is not None]
    return queue.kind, ", ".join(pairs)


@dataclass(frozen=True, slots=True)
class TrafficSpec:
    """Seeded traffic that makes queues both overflow and run dry.

    Attributes:
        seconds: how long.
        seed: >= 0.
        most_per_s: cap on a direction's packets in a second of its busiest phase.
    """

    seconds: float = 5.0
    seed: int = 1
    most_per_s: float = 1200.0


#: Offered load as multiples of the trace's mean rate; a phase each, drawn at random.
_LOADS: Final = (0.0, 0.3, 0.9, 1.2, 2.0, 4.0)
#: Payload sizes that phases are made of: the smallest, the largest (exactly one opportunity, F7),
#: typical ones, and any.
_SIZES: Final = (1, 100, 1000, 1200, LARGEST_PAYLOAD_BYTES)


def make_traffic(
    spec: TrafficSpec, *, uplink: OpportunityTrace, downlink: OpportunityTrace
) -> list[tuple[int, str, int]]:
    """Datagrams for `ShellRun.traffic`: Poisson arrivals in phases of changing load and size."""
    traffic = []
    for direction, trace in (("up", uplink), ("down", downlink)):
        rng = generator(spec.seed, f"mm-link/{direction}/{json.dumps(asdict(spec))}")
        at_s = 0.0
        while at_s < spec.seconds:
            until_s = at_s + float(rng.uniform(0.1, 0.5))
            load_bps = float(rng.choice(_LOADS)) * trace.mean_kbps * 1000.0
            size = int(rng.choice((*_SIZES, 0)))  # 0: every packet its own
            while load_bps > 0.0 and at_s < min(until_s, spec.seconds):
                payload = size or int(rng.integers(1, LARGEST_PAYLOAD_BYTES + 1))
                traffic.append((int(at_s * 1e9), direction, payload))
                gap_s = (payload + LINK_OVERHEAD_BYTES) * 8 / load_bps
                at_s += float(rng.exponential(max(gap_s, 1.0 / spec.most_per_s)))
            at_s = max(at_s, until_s)
    return sorted(traffic, key=_when)


def _when(datagram: tuple[int, str, int]) -> int:
    return datagram[0]


__all__ = [
    "INSTALL_HINT",
    "SEARCH_PATH",
    "UNPRIVILEGED_ID",
    "Problem",
    "ShellRun",
    "TrafficSpec",
    "find_problems",
    "finish",
    "in_namespaces",
    "make_traffic",
    "queue_arguments",
    "require_mahimahi",
    "run_shells",
    "write_traces",
]
