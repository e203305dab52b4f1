"""What a trace format is, and the parsing that formats share."""

# ruff: noqa: ARG002 - every format has the same signature, used or not

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.network.trace import RateTrace, Trace
from testbed.registry import Registry
from testbed.traces.units import MAX_PERIOD_US, MAX_RATE_KBPS


@dataclass(frozen=True, slots=True)
class Series:
    """One trace of a file.

    Attributes:
        segment: which one, where a file holds several (a carrier, a stream); else "".
        trace: the capacity.
        notes: assumptions that a reader should know, one line each.
    """

    segment: str
    trace: Trace
    notes: tuple[str, ...] = ()


class TraceFormat(ABC):
    """A file format: recognises, reads and perhaps writes.

    `read` raises `TraceError` with a message that starts at the line or field; the caller puts
    the file's name before it. Any bytes give series or a `TraceError`.
    """

    #: One line on what the format is and its unit.
    title: ClassVar[str]
    #: Options that `read` takes, with what they mean.
    options: ClassVar[Mapping[str, str]] = {}
    #: File-name ending of what `write` gives; "" when the format is only read.
    extension: ClassVar[str] = ""

    @abstractmethod
    def matches(self, head: str, path: Path) -> bool:
        """Whether a file that starts with `head` (whole lines, up to 4 KiB) is of this format."""

    @abstractmethod
    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """The traces in `text`; `path` is for formats that join a second file."""

    def write(self, trace: Trace, *, step_us: int) -> str:
        """`trace` in this format; `step_us` bins an opportunity trace where rates are needed."""
        raise TraceError(f"this format is only read, not written (asked for steps of {step_us} us)")


#: Formats by the name that forces them (`puffer:PATH`). Order of registration is the order of
#: detection, most particular first.
FORMATS: Registry[TraceFormat] = Registry("trace format", group="testbed.trace_formats")


def numeric_rows(text: str, columns: int, *, first_line: int = 1) -> NDArray[np.float64]:
    """Lines of exactly `columns` blank- or tab-separated finite numbers.

    Returns:
        float64, shape (lines, columns). Lines of nothing but blanks are skipped.

    Raises:
        TraceError: with the number of the first bad line.
    """
    tokens = text.split()
    try:
        values = np.array(tokens, dtype=np.float64)
    except (ValueError, OverflowError):
        values = np.empty(0)
    lines = text.splitlines()
    whole = sum(1 for line in lines if line.strip())
    # The same number of tokens is no proof that each line has its share.
    if (
        whole
        and values.size == whole * columns
        and bool(np.all(np.isfinite(values)))
        and all(len(line.split()) in (0, columns) for line in lines)
    ):
        return values.reshape(whole, columns)
    for number, line in enumerate(lines, start=first_line):
        fields = line.split()
        if fields and (len(fields) != columns or not all(map(_is_finite, fields))):
            raise TraceError(f"line {number}: {line.strip()[:60]!r} is not {columns} numbers")
    raise TraceError("the file is empty; it needs at least one sample")


def _is_finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except (ValueError, OverflowError):
        return False


def finite_number(value: object, what: str) -> float:
    """`value` as a finite float >= 0 (JSON numbers; no booleans).

    Raises:
        TraceError: naming `what`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TraceError(f"{what} is {value!r}; must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not np.isfinite(number) or number < 0:
        raise TraceError(f"{what} is {value!r}; must be finite and >= 0")
    return number


def rate_trace(durations_us: NDArray[np.float64], rates_kbps: NDArray[np.float64]) -> RateTrace:
    """A checked trace from durations that need rounding; samples of no length are left out.

    Raises:
        TraceError: nothing left, negative, or out of the range that stays exact.
    """
    if float(np.sum(durations_us, initial=0.0)) > MAX_PERIOD_US:
        raise TraceError("the trace is longer than 100 days; is its time column in another unit?")
    if rates_kbps.size and float(np.max(rates_kbps)) > MAX_RATE_KBPS:
        raise TraceError("a rate is above 1000 Gbps; is its column in another unit?")
    # Round the edges, not the durations: rounding must not add up over the trace.
    edges = np.rint(np.concatenate(([0.0], np.cumsum(durations_us)))).astype(np.int64)
    durations = np.diff(edges)
    keep = durations > 0
    return RateTrace(durations[keep], np.asarray(rates_kbps, dtype=np.float64)[keep])


def hold_forward(
    times_us: NDArray[np.float64], rates_kbps: NDArray[np.float64], *, first_line: int = 1
) -> RateTrace:
    """Each sample lasts until the next one; the last as long as the median step.

    Of several samples at one time the last counts.

    Raises:
        TraceError: fewer than two distinct times, or a time that goes back.
    """
    gaps = np.diff(times_us)
    back = np.flatnonzero(gaps < 0)
    if back.size:
        line = int(back[0]) + 1 + first_line
        raise TraceError(f"line {line}: time goes back; times must not decrease")
    steps = gaps[gaps > 0]
    if steps.size == 0:
        raise TraceError("needs at least two samples at different times")
    return rate_trace(np.append(gaps, np.median(steps)), rates_kbps)


def choose(option: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed` (letter case is ignored), spelled as there."""
    for name in allowed:
        if name.lower() == value.lower():
            return name
    raise TraceError(f"option {option}={value!r} is not one of {', '.join(allowed)}")
