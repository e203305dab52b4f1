"""Utilisation against queueing delay: which ways of filling one link no other way beats in both.

A *flow* is a way of deciding how much to send: a rate controller of ours in the simulator, or the
kernel's TCP over real mm-link. Two flows can be compared where they had the same link: the same
trace and seed, which shows in the same capacity over the same time.
"""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed.analysis.runs import Run
from testbed.errors import BrokenLogError, InputError
from testbed.protocol.congestion import CONTROLLERS

#: Two capacities of the same trace differ by no more than this share: an opportunity at the edges.
SAME_CAPACITY: Final = 0.005
#: Controllers that know what no sender knows; they are drawn, and beat nobody.
ALL_KNOWING: Final = frozenset({"oracle"})
#: Bounds of a controller are not what it goes by, and stay out of a flow's name.
_BOUNDS: Final = frozenset({"control", "variant", "min_kbps", "max_kbps", "start_kbps", "factor"})


@dataclass(frozen=True, slots=True)
class Point:
    """One run of one flow over one trace.

    Attributes:
        trace: name of the trace.
        seed: of synthetic traces.
        flow: "bbr realtime", "kernel cubic", ...
        repeat: which of several runs of the same; 1 for what is deterministic.
        capacity_kbps: mean of what the link offered.
        utilisation: bytes that left the bottleneck / bytes offered.
        queueing_ms_p50, queueing_ms_p95, queueing_ms_mean: a packet's entry into the bottleneck to
            its last byte's exit, over the packets that left.
        lag_ms: how late real time was at the 99th percentile of wake-ups; 0 in virtual time.
    """

    trace: str
    seed: int
    flow: str
    repeat: int
    capacity_kbps: float
    utilisation: float
    queueing_ms_p50: float
    queueing_ms_p95: float
    queueing_ms_mean: float
    lag_ms: float = 0.0

    def beats(self, other: Point) -> bool:
        """At least as much used and at most as much delay at p95, and better in one of them."""
        gain = self.utilisation - other.utilisation
        saved = other.queueing_ms_p95 - self.queueing_ms_p95
        return gain >= 0 and saved >= 0 and (gain > 0 or saved > 0)


def beaten_by(point: Point, points: Iterable[Point]) -> list[str]:
    """Flows with a run over the same trace and seed that beats `point`; see `ALL_KNOWING`."""
    return sorted(
        {
            other.flow
            for other in points
            if (other.trace, other.seed) == (point.trace, point.seed)
            and other.flow != point.flow
            and other.flow not in ALL_KNOWING
            and other.beats(point)
        }
    )


def flow_name(rate: Mapping[str, Any]) -> str:
    """What a scenario's `rate` is called: the controller, its variant, and what else is set."""
    control = str(rate["control"])
    variant = inspect.signature(CONTROLLERS.get(control)).parameters.get("variant")
    words = [control]
    if variant is not None:
        words.append(str(rate.get("variant", variant.default)))
    words += [f"{key}={rate[key]}" for key in sorted(rate) if key not in _BOUNDS]
    return " ".join(words)


def point_of(run: Run) -> Point:
    """A run of the simulator as a point.

    Raises:
        BrokenLogError: nothing left the bottleneck after the warm-up, or its capacity is unlimited.
    """
    start_ns = float(run.manifest["warmup_s"]) * 1e9
    end_ns = float(run.cell["duration_s"]) * 1e9
    packets = run.table("packets", ["direction", "link_in_ns", "link_out_ns"])
    packets = packets[(packets["direction"] == "down") & packets["link_out_ns"].notna()]
    left = packets["link_out_ns"].to_numpy(dtype=np.float64)
    entered = packets["link_in_ns"].to_numpy(dtype=np.float64)
    inside = (left >= start_ns) & (left < end_ns)
    utilisation, capacity = (run.summary[key] for key in ("utilisation", "capacity_kbps"))
    if utilisation is None or not np.any(inside):
        raise BrokenLogError(f"{run.folder}: no use of a limited link after the warm-up")
    delays = (left - entered)[inside] / 1e6
    p50, p95 = np.percentile(delays, [50, 95])
    return Point(
        trace=str(run.cell["trace"]),
        seed=run.seed,
        flow=flow_name(run.manifest["resolved"]["rate"]),
        repeat=1,
        capacity_kbps=float(capacity),
        utilisation=float(utilisation),
        queueing_ms_p50=float(p50),
        queueing_ms_p95=float(p95),
        queueing_ms_mean=float(delays.mean()),
    )


def check_same_links(points: Sequence[Point]) -> None:
    """Make sure that what is compared had the same link.

    Raises:
        InputError: two points of one trace and seed differ in capacity.
    """
    first: dict[tuple[str, int], Point] = {}
    for point in points:
        other = first.setdefault((point.trace, point.seed), point)
        if abs(point.capacity_kbps - other.capacity_kbps) > SAME_CAPACITY * other.capacity_kbps:
            raise InputError(
                f"{point.trace}, seed {point.seed}: {other.flow} was offered "
                f"{other.capacity_kbps:.0f} kbps and {point.flow} {point.capacity_kbps:.0f}; "
                "trace, mean, warm-up and duration must be the same"
            )


def write_points(points: Sequence[Point]) -> str:
    """CSV, one row a run, with the flows that beat it."""
    out = io.StringIO()
    names = [field.name for field in fields(Point)]
    writer = csv.DictWriter(out, [*names, "beaten_by"], lineterminator="\n")
    writer.writeheader()
    for point in points:
        row = {
            key: f"{value:.4f}" if isinstance(value, float) else value
            for key, value in asdict(point).items()
        }
        writer.writerow({**row, "beaten_by": "; ".join(beaten_by(point, points))})
    return out.getvalue()


def read_points(path: Path) -> list[Point]:
    """Read what `write_points` wrote.

    Raises:
        InputError: no such file, a column missing, or a value that is no number; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read") from None
    points = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            points.append(
                Point(
                    trace=str(row["trace"]),
                    flow=str(row["flow"]),
                    seed=int(row["seed"]),
                    repeat=int(row["repeat"]),
                    **{name: float(row[name]) for name in _NUMBERS},
                )
            )
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}, line {number}: is not a line of kernel_tcp's") from None
    if not points:
        raise InputError(f"{path}: holds no measurement")
    return points


_NUMBERS: Final = (
    "capacity_kbps",
    "utilisation",
    "queueing_ms_p50",
    "queueing_ms_p95",
    "queueing_ms_mean",
    "lag_ms",
)
