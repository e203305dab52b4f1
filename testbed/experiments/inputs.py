"""What a suite takes in besides the file itself, checked and put into JSON values."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.errors import InputError
from testbed.experiments.matrix import Direction, Scale
from testbed.network.spec import LossSpec, PathSpec, QueueSpec
from testbed.network.trace import RateTrace, Trace

if TYPE_CHECKING:
    from testbed.traces import ResolvedTrace


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """A trace of one direction and seed; `label` is the same for all seeds."""

    label: str
    resolved: ResolvedTrace | None

    def in_form(self, mode: str) -> Trace | None:
        """The trace as a link in `mode` replays it: converted where its own form is the other."""
        if self.resolved is None:
            return None
        if mode == "rate":
            return self.resolved.rate()
        return self.resolved.opportunities() if mode == "opportunities" else self.resolved.trace


def scaled(trace: ResolvedTrace, scale: Scale) -> ResolvedTrace:
    """The trace with every rate multiplied, its name and notes saying so.

    A mahimahi trace becomes a rate trace of 1 s steps first: opportunities cannot be multiplied by
    a fraction one by one.
    """
    if not scale.label:
        return trace
    rates = trace.rate()
    if scale.factor is not None:
        factor = scale.factor
    else:
        assert scale.mean_kbps is not None
        factor = scale.mean_kbps / rates.mean_kbps
        if math.isclose(factor, 1, rel_tol=1e-6):  # a constant trace of that very rate
            return trace
    # Whole bits per second, as the generators have them.
    capacity = RateTrace(rates.durations_us, np.round(rates.rates_kbps * factor, 3))
    words = f"rates scaled by {factor:.6g}"
    return dataclasses.replace(
        trace,
        name=f"{trace.name}{scale.label}",
        trace=capacity,
        source=f"{trace.source}, {words}",
        notes=(*trace.notes, words),
    )


def check_keywords(factory: Callable[..., Any], what: str, options: Mapping[str, Any]) -> None:
    """Refuse keywords that a factory does not take, and values that it refuses.

    Args:
        factory: called with the options as keywords; the world adds `capacity_kbps` and
            `rng` itself.
        what: for the message.
        options: the user's.

    Raises:
        InputError: an unknown keyword, or the factory's own complaint.
    """
    parameters = inspect.signature(factory).parameters
    by_world = {
        "capacity_kbps": lambda _now_ns: 0.0,
        "rng": np.random.Generator(np.random.PCG64(0)),
    }
    known = [name for name in parameters if name not in by_world]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in options:
        if key not in known and not open_ended:
            raise InputError(f"{what}: unknown option {key!r}; known: {', '.join(known) or 'none'}")
    injected = {name: value for name, value in by_world.items() if name in parameters}
    try:
        factory(**options, **injected)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: {error}") from None


def read_delays(path: Path) -> tuple[float, ...]:
    """Delays in milliseconds from a text file, one a line.

    Raises:
        InputError: unreadable, empty, or a line that is not a delay.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', error)}") from None
    delays = []
    for index, line in enumerate(lines, start=1):
        try:
            delay = float(line)
        except ValueError:
            raise InputError(f"{path}:{index}: {line!r} is not a delay in ms") from None
        if not 0 <= delay < float("inf"):
            raise InputError(f"{path}:{index}: delay must be >= 0 (got {line.strip()})")
        delays.append(delay)
    if not delays:
        raise InputError(f"{path}: is empty; it needs one delay in ms a line")
    return tuple(delays)


def path_data(spec: PathSpec, capacity: Capacity) -> dict[str, Any]:
    """A path as JSON values, the trace by its hash."""
    return {
        "trace": capacity.resolved.sha256 if capacity.resolved else None,
        "mode": spec.mode,
        "once": spec.once,
        "queue": queue_data(spec.queue),
        "loss": [loss_data(loss) for loss in spec.loss],
        "delay": dataclasses.asdict(spec.delay),
        "order": list(spec.order),
        "phase_ms": spec.phase_ms,
    }


def loss_data(loss: LossSpec) -> dict[str, Any]:
    """A loss model as JSON values."""
    return {
        "kind": loss.kind,
        **{key: list(v) if isinstance(v, tuple) else v for key, v in loss.options.items()},
    }


def trace_data(capacity: Capacity) -> dict[str, Any] | None:
    """A trace's provenance as JSON values."""
    trace = capacity.resolved
    if trace is None:
        return None
    return {
        "name": trace.name,
        "sha256": trace.sha256,
        "source": trace.source,
        "synthetic": trace.synthetic,
        "notes": list(trace.notes),
    }


def host_if_measured(compute: str) -> str | None:
    """Measured times differ between machines, so the machine is part of the result's identity."""
    from testbed.experiments.provenance import cpu_model

    return cpu_model() if compute == "measured" else None


def direction_data(direction: Direction) -> dict[str, Any]:
    """What the file says about a direction, the same for all seeds."""
    trace = direction.delay_trace
    return {
        "trace": direction.trace,
        "scale": dataclasses.asdict(direction.scale),
        "mode": direction.fixed.mode,
        "once": direction.fixed.once,
        "queue": queue_data(direction.queue),
        "loss": [loss_data(loss) for loss in direction.loss],
        "delay_ms": direction.delay_ms,
        "delay_trace": None if trace is None else trace.model_dump(mode="json"),
        "jitter_ms": direction.jitter_ms,
        "reorder": direction.fixed.reorder,
        "order": list(direction.fixed.order),
        "phase_ms": direction.phase_ms,
    }


def queue_data(queue: QueueSpec) -> dict[str, Any]:
    """A queue as JSON values."""
    return {
        "kind": queue.kind,
        "packets": queue.packets,
        "bytes": queue.bytes,
        **queue.options,
    }
