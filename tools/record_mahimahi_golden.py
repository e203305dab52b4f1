"""Record tests/golden/mahimahi anew with real mm-link.

    sudo .venv/bin/python tools/record_mahimahi_golden.py

Needs what `testbed fidelity TRACE` needs. Traffic and traces are seeded and come out the same every
time; when a packet reaches mm-link depends on the machine, so the logs differ from one recording to
the next. Our link must reproduce each of them.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import numpy as np

from testbed.errors import TestbedError
from testbed.network.queues import parse_queue
from testbed.network.trace import OpportunityTrace
from testbed.randomness import generator
from testbed.worlds.mahimahi import ShellRun, TrafficSpec, make_traffic, run_shells

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "mahimahi"
SECONDS = 3.0

#: Shell: (trace, uplink queue, downlink queue). Both directions replay the same trace.
SHELLS = {
    "steps-1": ("steps", "infinite", "droptail:packets=10"),
    "steps-2": ("steps", "droptail:bytes=9000", "droptail:packets=10,bytes=9000"),
    "steps-3": ("steps", "drophead:packets=10", "drophead:packets=3"),
    "bursts-1": ("bursts", "infinite", "droptail:packets=1"),
    "bursts-2": ("bursts", "droptail:packets=25,bytes=20000", "drophead:packets=10"),
    "steps-aqm": (
        "steps",
        "codel:packets=200,target_ms=10,interval_ms=50",
        "pie:packets=200,target_ms=15,burst_ms=150",
    ),
}


def steps() -> OpportunityTrace:
    """1, 4 and 2 Mbit/s with an outage of 400 ms, from 0 ms on, so that wraps coincide (F11)."""
    times: list[float] = []
    at_ms = 0.0
    for until_ms, kbps in ((500, 1000), (1100, 4000), (1500, 0), (2100, 2000)):
        while kbps and at_ms < until_ms:
            times.append(at_ms)
            at_ms += 1504 * 8 / kbps
        at_ms = until_ms
    return OpportunityTrace(np.array([*times, 2100], dtype=np.int64))


def bursts() -> OpportunityTrace:
    """Several opportunities in one millisecond, silences between, period 1.3 s."""
    rng = generator(1, "golden/bursts")
    times: list[int] = []
    at_ms = 3
    while at_ms < 1300:
        times += [at_ms] * int(rng.integers(1, 9))
        at_ms += 1 + int(rng.geometric(0.06))
    return OpportunityTrace(np.array([*times, 1300], dtype=np.int64))


def main() -> int:
    """Record every shell; returns the exit status."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    traces = {"steps": steps(), "bursts": bursts()}
    for name, trace in traces.items():
        (FOLDER / f"{name}.trace").write_text("\n".join(map(str, trace.times_ms.tolist())) + "\n")
    runs = []
    for seed, (name, (trace_name, up, down)) in enumerate(SHELLS.items(), start=1):
        trace = traces[trace_name]
        traffic = make_traffic(
            TrafficSpec(seconds=SECONDS, seed=seed, most_per_s=600.0), uplink=trace, downlink=trace
        )
        runs.append(ShellRun(name, trace, trace, parse_queue(up), parse_queue(down), traffic))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            logs = run_shells(runs, Path(scratch))
        except TestbedError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        for paths in logs.values():
            for path in paths:
                packed = gzip.compress(path.read_bytes(), mtime=0)
                (FOLDER / f"{path.name}.gz").write_bytes(packed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
