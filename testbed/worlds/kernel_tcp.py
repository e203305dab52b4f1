"""The kernel's own TCP over real mm-link: a bulk flow, and the log that mm-link wrote of it.

The shells are `mm-delay D mm-link ...`: a packet passes the bottleneck and its queue first, and the
delay after it; acknowledgements come back through the delay and a link that is never full. Each run
has namespaces of its own, as in `mahimahi`; the half that works inside is `kernel_tcp_inside`.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from testbed.errors import InputError, ToolMissingError
from testbed.network.mmlog import LinkLog, parse_log
from testbed.network.spec import QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.worlds.mahimahi import (
    UNPRIVILEGED_ID,
    finish,
    in_namespaces,
    queue_arguments,
    require_mahimahi,
    write_traces,
)

if TYPE_CHECKING:
    import subprocess

#: What the kernel offers, one line.
_AVAILABLE: Final = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
#: Acknowledgements see a link of ten opportunities a millisecond (120 Mbit/s).
_WAY_BACK: Final = OpportunityTrace(np.full(10, 1, dtype=np.int64))
#: The flow goes on for so long after `TcpRun.seconds`: mm-link's trace begins before the flow does.
MARGIN_S: Final = 2.0
_INFINITE: Final = QueueSpec("infinite")


@dataclass(frozen=True, slots=True)
class TcpRun:
    """One bulk flow through one shell.

    Attributes:
        name: unique among the runs of one call, fit for a file name.
        trace: the bottleneck; its first millisecond is the shell's first.
        algorithm: the kernel's name of a congestion control, such as "bbr".
        queue: of the bottleneck.
        delay_ms: one way, both ways.
        seconds: of the trace that the flow must cover.
        max_kbps: bound on the pacing rate, of TCP segments with their IP headers; None: none.
    """

    name: str
    trace: OpportunityTrace
    algorithm: str
    queue: QueueSpec
    delay_ms: int
    seconds: float
    max_kbps: float | None = None


@dataclass(frozen=True, slots=True)
class TcpFlow:
    """What came of a run.

    Attributes:
        log: the bottleneck's.
        lag_ms: by how much processes beside the flow woke up too late, at the 99th percentile. A
            machine with other work serves mm-link late, and the flow then looks worse than it is.
    """

    log: LinkLog
    lag_ms: float


def available() -> tuple[str, ...]:
    """Names of the congestion controls that the kernel offers; none where it does not say."""
    try:
        return tuple(_AVAILABLE.read_text().split())
    except OSError:
        return ()


def require_algorithms(names: Sequence[str]) -> None:
    """Make sure that the kernel offers each of `names`.

    Raises:
        ToolMissingError: it does not; says how to load it.
    """
    offered = available()
    for name in names:
        if name not in offered:
            raise ToolMissingError(
                f"the kernel offers no TCP congestion control {name!r}, only "
                f"{', '.join(offered) or 'none'} -> modprobe tcp_{name}"
            )


def run_flows(runs: Sequence[TcpRun], *, at_once: int = 2) -> dict[str, TcpFlow]:
    """Run bulk flows in real time.

    Args:
        runs: what to run.
        at_once: shells at the same time, >= 1; each has its own namespaces and its own link.

    Returns:
        What came of them, by name.

    Raises:
        ToolMissingError: mm-link, or a congestion control, is not there.
        ToolFailedError: a shell failed; the message carries its last line.
        InputError: two runs have one name.
    """
    if len({run.name for run in runs}) < len(runs):
        raise InputError("two runs of kernel TCP have the same name")
    require_mahimahi()
    require_algorithms([run.algorithm for run in runs])
    flows = {}
    for at in range(0, len(runs), at_once):
        with contextlib.ExitStack() as stack:
            started = [
                (run, *stack.enter_context(_started(run))) for run in runs[at : at + at_once]
            ]
            for run, process, work in started:
                finish(run.name, process, traffic_s=run.seconds + MARGIN_S)
                path = work / f"{run.name}.up.log"
                log = parse_log(path.read_text(), path.name)
                lags_ms = json.loads((work / "lags.json").read_text())
                flows[run.name] = TcpFlow(log, float(np.percentile(lags_ms, 99)))
    return flows


@contextlib.contextmanager
def _started(run: TcpRun) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with tempfile.TemporaryDirectory(prefix="kernel-tcp-") as name:
        work = Path(name)
        write_traces(work, run.name, uplink=run.trace, downlink=_WAY_BACK)
        config = {
            "name": run.name,
            "delay_ms": run.delay_ms,
            "queues": {
                "uplink": queue_arguments(run.queue),
                "downlink": queue_arguments(_INFINITE),
            },
            "algorithm": run.algorithm,
            "seconds": run.seconds + MARGIN_S,
            "max_kbps": run.max_kbps,
            "user": UNPRIVILEGED_ID,
        }
        with in_namespaces("testbed.worlds.kernel_tcp_inside", work, config) as process:
            yield process, work


__all__ = ["MARGIN_S", "TcpFlow", "TcpRun", "available", "require_algorithms", "run_flows"]
