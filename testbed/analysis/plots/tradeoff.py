"""Utilisation against tail latency: what a scheme pays for the capacity that it uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.analysis.plots.base import (
    FIGURES,
    INTERVAL_NOTE,
    MAX_PANELS,
    FigureKind,
    Plan,
    axis_label,
    bars,
    columns_of,
    legend,
    name_panel,
    over_seeds,
    panels,
    seeds_text,
    shared_by_all,
    stem,
    titled,
    values,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import scheme
from testbed.analysis.suite import POOLED_FIELDS, Setting, loss_levels, settings, transports

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

X: Final = "latency_ms_censored_p95"
Y: Final = "utilisation"


def plan(runs: Sequence[Run]) -> list[Plan]:
    """One figure a setting, over all its clips and traces; needs a limited link."""
    return [
        _plan(setting)
        for setting in settings(runs, free=POOLED_FIELDS)
        if len(_points(shared_by_all(setting.runs)[0])) >= 2
    ]


def _points(runs: Sequence[Run]) -> list[tuple[Run, float, float]]:
    rows = zip(runs, values(runs, X), values(runs, Y), strict=True)
    return [row for row in rows if not (math.isnan(row[1]) or math.isnan(row[2]))]


def _plan(setting: Setting) -> Plan:
    runs, missing = shared_by_all(setting.runs)
    return Plan(
        stem("tradeoff", setting.slug),
        titled("Utilisation against tail latency", setting.title),
        "Utilisation is the bytes that left the bottleneck over the bytes of offered delivery "
        "opportunities, without the warm-up. Latency is capture to render at the 95th percentile "
        "of all frames, one never rendered counting as the playout deadline. Small marks are runs "
        f"({seeds_text(runs)}, all clips and traces of the setting), large "
        "ones their mean, each seed averaged over clips and traces first; up and to the left is "
        f"better. {INTERVAL_NOTE}{missing}",
        partial(draw, runs),
    )


def draw(runs: Sequence[Run]) -> Figure:
    """One panel a loss level: runs as small marks, a transport's mean as a large one."""
    shown = [level for level in loss_levels(runs) if _points(level.runs)][:MAX_PANELS]
    figure, axes = panels(len(shown), height_in=1.9)
    columns = columns_of(axes[0])
    for index, (axis, level) in enumerate(zip(axes, shown, strict=True)):
        _panel(axis, level.runs)
        if len(shown) > 1:
            name_panel(axis, level.label)
        if index % columns == 0:
            axis.set_ylabel(axis_label(Y))
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlim(0, max(x for _, x, _ in _points(runs)) * 1.08)
    figure.supxlabel("Latency of the 95th percentile of all frames (ms)", fontsize=8)
    legend(figure, axes)
    return figure


def _panel(axis: Axes, runs: Sequence[Run]) -> None:
    points = _points(runs)
    deadline = max(float(run.cell["playout_deadline_ms"]) for run in runs)
    for transport in transports(run for run, _, _ in points):
        look = scheme(transport)
        mine = [(x, y * 100) for run, x, y in points if run.transport == transport]
        marks: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": "none"}
        x, y = (np.array(part) for part in zip(*mine, strict=True))
        axis.plot(x, y, markersize=2.5, alpha=0.35, markeredgewidth=0, **marks)
        members = [run for run, _, _ in points if run.transport == transport]
        at_x, at_y = over_seeds(members, X), over_seeds(members, Y)
        if at_x is None or at_y is None:
            continue
        axis.errorbar(
            at_x.mean,
            at_y.mean * 100,
            xerr=bars([at_x], 0, deadline),
            yerr=[[100 * side[0]] for side in bars([at_y], 0, 1)],
            fmt="none",
            ecolor=look.colour,
            elinewidth=0.8,
        )
        axis.plot(
            at_x.mean,
            at_y.mean * 100,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=look.label,
            zorder=3,
            **marks,
        )


FIGURES.register("tradeoff")(FigureKind(15, "Utilisation against tail latency", plan))
