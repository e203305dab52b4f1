"""What one direction of the path is made of, as plain data.

The scenario schema translates into these; `testbed.network.path.build_path` turns them into
stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from testbed.network.trace import Trace


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """Bottleneck queue; limits count waiting packets only (mahimahi F15).

    Attributes:
        kind: "infinite", "droptail", "drophead", "codel", "pie" or a registered name.
        packets: limit in packets, or None.
        bytes: limit in bytes, or None.
        options: further keywords of the kind, such as codel's target_ms and interval_ms.
    """

    kind: str = "infinite"
    packets: int | None = None
    bytes: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LossSpec:
    """One loss model: a registered kind and its keywords (rate, mean_burst, p, r, h, k, ...)."""

    kind: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DelaySpec:
    """Propagation delay after (or before) the queue.

    Attributes:
        delay_ms: fixed one-way delay, >= 0.
        jitter_ms: standard deviation of a Gaussian extra delay, clipped at 0.
        reorder: let jittered packets overtake each other; else they stay in order.
        trace_ms: delay samples that replace `delay_ms`, or empty; one every `trace_step_ms`.
        trace_step_ms: spacing of `trace_ms`.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    reorder: bool = False
    trace_ms: tuple[float, ...] = ()
    trace_step_ms: float = 100.0


@dataclass(frozen=True, slots=True)
class PathSpec:
    """One direction.

    Attributes:
        trace: capacity; None for an unlimited link (then the queue stage passes at once).
        mode: "opportunities" (mahimahi's), "rate" (continuous), or "auto": the trace's own form.
        queue, loss, delay: the stages; several loss models act one after the other.
        order: order of the stages, each of "queue", "loss", "delay" once (mahimahi F25).
        phase_ms: where in the trace the session starts.
        once: the trace ends instead of repeating (mahimahi F12).
    """

    trace: Trace | None = None
    mode: Literal["auto", "opportunities", "rate"] = "auto"
    queue: QueueSpec = field(default_factory=QueueSpec)
    loss: tuple[LossSpec, ...] = ()
    delay: DelaySpec = field(default_factory=DelaySpec)
    order: tuple[str, ...] = ("queue", "loss", "delay")
    phase_ms: int = 0
    once: bool = False
