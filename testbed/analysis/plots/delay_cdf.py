"""Figure 11 of the Morphe paper: the distribution of frame delay, and beside it of latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from testbed.analysis.metrics.columns import Floats, Frames
from testbed.analysis.metrics.delay import frame_delay_ms, latency_ms
from testbed.analysis.plots.base import (
    FIGURES,
    MAX_PANELS,
    FigureKind,
    Plan,
    columns_of,
    curve_style,
    legend,
    name_panel,
    panels,
    point_style,
    seeds_text,
    shared_by_all,
    stem,
    titled,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import scheme
from testbed.analysis.suite import (
    POOLED_FIELDS,
    Level,
    Setting,
    levels,
    panel_field,
    settings,
    transports,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Steps that a curve is drawn with at most; finer ones cannot be seen at a column's width.
_MAX_STEPS: Final = 400
#: More curves than this have markers on them.
_PLAIN_CURVES: Final = 6


@dataclass(frozen=True, slots=True)
class _Delay:
    name: str
    title: str
    axis: str
    definition: str
    of: Callable[[Frames], Floats]


_DELAYS: Final = {
    "delay-cdf": _Delay(
        "delay-cdf",
        "Frame delay",
        "Frame delay (ms)",
        "Frame delay is the transmission delay: from the end of encoding to the moment at which "
        "the receiver holds all that it needs to decode the frame",
        frame_delay_ms,
    ),
    "latency-cdf": _Delay(
        "latency-cdf",
        "Latency",
        "Capture-to-render latency (ms)",
        "Latency is from capture to render, with encoding, network, recovery, decoding and "
        "waiting for display",
        latency_ms,
    ),
}


def plan(runs: Sequence[Run], delay: _Delay) -> list[Plan]:
    """One figure a setting, and before them one that pools clips and traces if they vary."""
    field = panel_field(runs)
    free = {field} - {"loss"}
    detailed = settings(runs, free=free)
    pooled = settings(runs, free=free | POOLED_FIELDS)
    plans = []
    if len(pooled) < len(detailed):
        plans += [_plan(delay, setting, "loss", pooled=True) for setting in pooled]
    plans += [_plan(delay, setting, field, pooled=False) for setting in detailed]
    return plans


def _plan(delay: _Delay, setting: Setting, field: str, *, pooled: bool) -> Plan:
    runs, missing = shared_by_all(setting.runs) if pooled else (setting.runs, "")
    shown = levels(runs, field)[:MAX_PANELS]
    left_out = len(levels(runs, field)) - len(shown)
    name = f"{delay.name}-all" if pooled else delay.name
    over = "clips, traces and " if pooled else ""
    caption = (
        f"{delay.definition}. Share of all source frames, over the frames of {over}"
        f"{seeds_text(runs)}. A curve that ends below 100 % belongs to a transport that "
        "never rendered the rest by the playout deadline; dashed vertical lines mark the median "
        f"over all frames, where half of them were rendered.{missing}"
    )
    if left_out:
        caption += f" {left_out} more panels are left out."
    where = " · ".join(part for part in (setting.title, "pooled" if pooled else "") if part)
    return Plan(
        stem(name, setting.slug),
        titled(f"{delay.title} distribution", where),
        caption,
        partial(draw, shown, delay),
    )


def draw(shown: Sequence[Level], delay: _Delay) -> Figure:
    """One panel a level, one curve a transport."""
    figure, axes = panels(len(shown))
    limit = 0.0
    for axis, level in zip(axes, shown, strict=True):
        limit = max(limit, _panel(axis, level, delay))
        name_panel(axis, level.label)
    for index, axis in enumerate(axes):
        axis.set_xlim(0, limit)
        axis.set_ylim(0, 1.02)
        axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
        if index % columns_of(axis) == 0:
            axis.set_ylabel("Frames (%)")
    figure.supxlabel(delay.axis, fontsize=8)
    legend(figure, axes)
    return figure


def _panel(axis: Axes, level: Level, delay: _Delay) -> float:
    """Draw one panel; returns how far to the right it needs the axis to go, in ms."""
    curves = {}
    right = 0.0
    for transport in transports(level.runs):
        mine = [run for run in level.runs if run.transport == transport]
        delays = np.concatenate([delay.of(run.timeline) for run in mine])
        known = np.sort(delays[~np.isnan(delays)])
        curves[transport] = (known, delays.size)
        deadline = max(float(run.cell["playout_deadline_ms"]) for run in mine)
        right = max(right, deadline, float(known[-1]) if known.size else 0.0)
    colours = {scheme(transport).colour for transport in curves}
    # Variants of one scheme have its colour, and lines that dash differently are soon too many.
    style = (
        point_style if len(colours) < len(curves) or len(curves) > _PLAIN_CURVES else curve_style
    )
    for index, (transport, (known, count)) in enumerate(curves.items()):
        look = style(transport)
        if "marker" in look:
            look |= {"markersize": 3.2, "markevery": (0.02 + 0.03 * (index % 6), 0.19)}
        x, y = steps(known, count)
        axis.plot(np.append(x, right), np.append(y, y[-1]), drawstyle="steps-post", **look)
        if 2 * known.size >= count:
            # The same order statistic as the curve crosses, so the line meets it.
            median = float(known[(count + 1) // 2 - 1])
            axis.plot(
                [median, median],
                [0, 0.5],
                color=look["color"],
                linewidth=0.8,
                linestyle=(0, (3, 2)),
            )
        if known.size < count:
            axis.plot(
                [right],
                [y[-1]],
                marker=scheme(transport).marker,
                color=look["color"],
                markersize=3.5,
                clip_on=False,
                zorder=3,
            )
    return right


def steps(known: Floats, count: int) -> tuple[Floats, Floats]:
    """Corners of the empirical CDF of `known` sorted values among `count` (>= 1) in all.

    At most `_MAX_STEPS` corners, always with the first and the last value, each on the curve.
    """
    if known.size == 0:
        return np.array([0.0]), np.array([0.0])
    keep = np.unique(np.linspace(0, known.size - 1, _MAX_STEPS).round().astype(np.int64))
    x = np.concatenate([[known[0]], known[keep]])
    y = np.concatenate([[0.0], (keep + 1) / count])
    return x, y


for _rank, _name in ((11, "delay-cdf"), (11.5, "latency-cdf")):
    FIGURES.register(_name)(
        FigureKind(
            _rank,
            f"{_DELAYS[_name].title} distribution",
            partial(plan, delay=_DELAYS[_name]),
        )
    )
