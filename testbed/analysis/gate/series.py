"""A run over time in a few numbers, and whether two of them run alongside each other.

A golden series is about the course of a session, such as how fast a controller climbs after a
step. Re-drawn randomness or a packet more shifts a feature by a report or two, so a value may lie
anywhere between the baseline's neighbouring steps, widened by the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from testbed.analysis.gate.limits import Limit
from testbed.errors import BrokenLogError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from testbed.analysis.gate.records import Series
    from testbed.analysis.runs import Run

#: Name and unit of each series.
UNITS: Final = {
    "target_kbps": "kbit/s",
    "capacity_kbps": "kbit/s",
    "delivered_kbps": "kbit/s",
    "queueing_delay_ms": "ms",
}
#: The tables hold the link in bins of so many milliseconds, so steps are multiples of it.
BIN_MS: Final = 100
#: Steps outside the limit that are forgiven, as a share of all: one in fifty.
FORGIVEN: Final = 0.02
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Course:
    """How two series compare.

    Attributes:
        steps: length of the longer one.
        outside: steps outside the limit.
        worst: index of the step that is furthest outside; None when none is.
        before: the baseline's value there.
        after: the value now.
        allowed: how far it may be from the baseline's neighbouring values there.
        excess: how far it is from them, in units of `allowed`; infinite for a missing value.
    """

    steps: int
    outside: int
    worst: int | None = None
    before: float | None = None
    after: float | None = None
    allowed: float = 0.0
    excess: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether no more steps are outside than are forgiven."""
        return self.outside <= math.floor(FORGIVEN * self.steps)


def check_step(step_ms: int) -> None:
    """Refuse a step that the tables cannot give.

    Raises:
        InputError: not a positive multiple of `BIN_MS`.
    """
    if step_ms < BIN_MS or step_ms % BIN_MS:
        raise InputError(f"--series {step_ms}: must be a multiple of {BIN_MS} (ms), such as 500")


def decimate(run: Run, step_ms: int) -> Series:
    """The media direction of a run in steps.

    `target_kbps` is the mean over the reports of a step, and holds on until the next report;
    `capacity_kbps` and `delivered_kbps` are means over the link's bins; `queueing_delay_ms` is the
    mean over packets by when they reached the bottleneck, without those that it dropped. Values
    are rounded to 0.1, which keeps the file small and is far below any limit.

    Args:
        run: the run.
        step_ms: length of a step, a multiple of `BIN_MS`.

    Raises:
        BrokenLogError: a table cannot be read.
    """
    import numpy as np

    steps = math.ceil(float(run.cell["duration_s"]) * 1000 / step_ms)
    width = step_ms * _MS
    control = run.table("control", ["time_ns", "target_kbps"])
    link = run.table("link", ["time_ns", "direction", "capacity_bytes", "delivered_bytes"])
    packets = run.table("packets", ["direction", "link_in_ns", "link_out_ns"])
    link = link[link["direction"] == "down"]
    packets = packets[(packets["direction"] == "down")].dropna()
    try:
        at = _numbers(link["time_ns"]) // width
        kbps = 8 / BIN_MS
        entered, left = _numbers(packets["link_in_ns"]), _numbers(packets["link_out_ns"])
        # A report speaks of the time up to it.
        reported = (_numbers(control["time_ns"]) - 1) // width
        found = {
            "target_kbps": _held(_means(reported, _numbers(control["target_kbps"]), steps)),
            "capacity_kbps": _means(at, _numbers(link["capacity_bytes"]) * kbps, steps),
            "delivered_kbps": _means(at, _numbers(link["delivered_bytes"]) * kbps, steps),
            "queueing_delay_ms": _means(entered // width, (left - entered) / _MS, steps),
        }
    except (TypeError, ValueError):
        raise BrokenLogError(f"{run.folder}: times, bytes and rates must be numbers") from None
    return {
        name: [None if np.isnan(value) else round(float(value), 1) for value in values]
        for name, values in found.items()
    }


def _numbers(column: Any) -> NDArray[np.float64]:
    import numpy as np

    values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _means(at: NDArray[np.float64], values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Mean of the values of each step; NaN for a step without any."""
    import numpy as np

    kept = (at >= 0) & (at < steps) & ~np.isnan(values)
    index = at[kept].astype(np.int64)
    count = np.bincount(index, minlength=steps)
    total = np.bincount(index, weights=values[kept], minlength=steps)
    means = np.full(steps, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _held(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each gap filled with the value before it."""
    import numpy as np

    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(values.size)))
    filled: NDArray[np.float64] = np.where(last >= 0, values[np.maximum(last, 0)], np.nan)
    return filled


def follow(before: Sequence[float | None], after: Sequence[float | None], limit: Limit) -> Course:
    """Hold a series against the baseline's.

    Args:
        before: the baseline's values.
        after: the values now, from the same start and in the same steps.
        limit: how far they may differ either way.
    """
    outside = 0
    found = Course(max(len(before), len(after)), 0)
    for index, (then, now) in enumerate(zip_longest(before, after)):
        allowed, excess = _excess(before[max(index - 1, 0) : index + 2], now, limit)
        if excess > 1 + 1e-9:  # exactly the limit is within it
            outside += 1
            if excess > found.excess:
                found = Course(found.steps, 0, index, then, now, allowed, excess)
    return replace(found, outside=outside)


def _excess(near: Sequence[float | None], now: float | None, limit: Limit) -> tuple[float, float]:
    """What is allowed, and how far `now` is from the baseline's neighbouring values in it."""
    values = [value for value in near if value is not None]
    if now is None:
        # A gap fits where the baseline has one nearby; where it has ended there is nothing to miss.
        return 0.0, math.inf if near and len(values) == len(near) else 0.0
    if not values:
        return 0.0, math.inf
    edge = min(max(now, min(values)), max(values))
    allowed, beyond = limit.allowed(edge), abs(now - edge)
    return allowed, beyond / allowed if allowed else math.inf if beyond else 0.0
