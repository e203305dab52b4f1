"""The kernel's own TCP over real mm-link: utilisation and queueing delay of a bulk flow.

`python benchmarks/kernel_tcp.py TRACE...` runs one flow a trace and congestion control through
`mm-delay D mm-link TRACE` with a drop-tail queue, in real time, and reads mm-link's log. It needs
root, mm-link (Debian 12: tools/install_mahimahi.sh) and /dev/net/tun; all traffic stays in network
namespaces that end with it. A table goes to stdout, and with --out one CSV row a run to a file,
which benchmarks/frontier.py puts beside a results folder of the simulator.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from testbed.analysis.frontier import Point, write_points
from testbed.analysis.style import write_whole
from testbed.errors import InputError, TestbedError
from testbed.experiments.inputs import scaled
from testbed.experiments.matrix import Scale
from testbed.network.mmlog import link_use
from testbed.network.spec import QueueSpec
from testbed.traces import ResolvedTrace, resolve
from testbed.worlds.kernel_tcp import TcpFlow, TcpRun, run_flows

#: A run whose processes woke up later than this is not to be trusted.
MOST_LAG_MS: Final = 5.0


def traces_of(arguments: argparse.Namespace) -> list[ResolvedTrace]:
    """The traces as a scenario with the same seed and mean has them."""
    scale = Scale(mean_kbps=arguments.mean_kbps)
    found = [
        scaled(trace, scale)
        for spec in arguments.traces
        for trace in resolve(spec, base=Path(), seed=arguments.seed)
    ]
    if len({trace.name for trace in found}) < len(found):
        raise InputError("a trace is named twice")
    return found


def point_of(
    flow: TcpFlow, trace: str, algorithm: str, repeat: int, arguments: argparse.Namespace
) -> Point:
    use = link_use(
        flow.log, start_ms=round(arguments.warmup * 1000), end_ms=round(arguments.seconds * 1000)
    )
    bound = f" max_kbps={arguments.max_kbps:g}" if arguments.max_kbps else ""
    return Point(
        trace=trace, seed=arguments.seed, flow=f"kernel {algorithm}{bound}", repeat=repeat,
        capacity_kbps=use.capacity_kbps, utilisation=use.utilisation,
        queueing_ms_p50=use.queueing_ms_p50, queueing_ms_p95=use.queueing_ms_p95,
        queueing_ms_mean=use.queueing_ms_mean, lag_ms=flow.lag_ms,
    )  # fmt: skip


def measure(arguments: argparse.Namespace) -> list[Point]:
    """Run everything; the repeats of a flow are not neighbours in time."""
    plan = {
        f"run-{number}": (trace, algorithm, repeat)
        for number, (repeat, trace, algorithm) in enumerate(
            (repeat, trace, algorithm)
            for repeat in range(1, arguments.repeats + 1)
            for trace in traces_of(arguments)
            for algorithm in arguments.algorithms
        )
    }
    runs = [
        TcpRun(
            name, trace.opportunities(), algorithm, QueueSpec("droptail", arguments.packets),
            arguments.delay_ms, arguments.seconds, arguments.max_kbps,
        )
        for name, (trace, algorithm, _) in plan.items()
    ]  # fmt: skip
    flows = run_flows(runs, at_once=arguments.at_once)
    points = [
        point_of(flows[name], trace.name, algorithm, repeat, arguments)
        for name, (trace, algorithm, repeat) in plan.items()
    ]
    return sorted(points, key=lambda point: (point.trace, point.flow, point.repeat))


def table(points: list[Point]) -> Iterator[str]:
    yield "| trace | flow | run | capacity | utilisation | queueing p50 | p95 | mean | lag p99 |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for p in points:
        yield (
            f"| {p.trace} | {p.flow} | {p.repeat} | {p.capacity_kbps:.0f} kbps "
            f"| {p.utilisation:.1%} | {p.queueing_ms_p50:.0f} ms | {p.queueing_ms_p95:.0f} ms "
            f"| {p.queueing_ms_mean:.0f} ms | {p.lag_ms:.1f} ms |"
        )


def whole(least: int, most: int) -> Callable[[str], int]:
    """An argument type: an integer in least..most."""

    def check(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not in {least}..{most}")
        return value

    check.__name__ = "integer"
    return check


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 600:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..600")
    return value


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number > 0")
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("traces", nargs="+", metavar="TRACE", help="a file, or what `testbed traces` knows")
    add("--algorithms", nargs="+", default=["bbr", "cubic"], help="as the kernel calls them")
    add("--seconds", type=seconds, default=60.0, help="of the trace, warm-up included (60)")
    add("--warmup", type=seconds, default=2.0, help="left out of the figures (2)")
    add("--delay-ms", type=whole(0, 10_000), default=20, help="one way (20)")
    add("--packets", type=whole(1, 100_000), default=200, help="limit of the queue (200)")
    add("--mean-kbps", type=positive, help="scale each trace to this mean")
    add("--seed", type=whole(0, 2**32), default=1, help="of synthetic traces (1)")
    add("--max-kbps", type=positive, help="bound on the kernel's pacing rate (none)")
    add("--repeats", type=whole(1, 100), default=1)
    add("--at-once", type=whole(1, 16), default=2, help="shells side by side (2)")
    add("--out", type=Path, metavar="CSV")
    add("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args(argv)
    if arguments.warmup >= arguments.seconds:
        parser.error("--warmup must be below --seconds")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        points = measure(arguments)
        if arguments.out is not None:
            write_whole(arguments.out, write_points(points).encode())
    except TestbedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    late = [point for point in points if point.lag_ms > MOST_LAG_MS]
    if late:
        print(
            f"warning: {len(late)} of {len(points)} runs were late by more than {MOST_LAG_MS:g} ms "
            "(p99): the machine is busy, and their figures are worse than the flow",
            file=sys.stderr,
        )
    if arguments.json:
        print(json.dumps([asdict(point) for point in points], indent=1))
    else:
        print("\n".join(table(points)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
