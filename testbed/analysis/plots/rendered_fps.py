"""Figure 12 of the Morphe paper: rendered frames a second, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from testbed.analysis.plots.base import (
    FIGURES,
    INTERVAL_NOTE,
    MAX_PANELS,
    FigureKind,
    Plan,
    bars,
    legend,
    name_panel,
    name_ticks,
    over_seeds,
    panels,
    seeds_text,
    shared_by_all,
    stem,
    titled,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import BLACK, COLUMN_IN, GREY, PAGE_IN, scheme
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

_BARS_A_COLUMN = 24


def plan(runs: Sequence[Run]) -> list[Plan]:
    """One figure a setting, a panel a frame rate; before them one pooled over clips and traces."""
    field = panel_field(runs)
    if field == "fps":
        field = "loss"
    free = {"fps"} | ({field} - {"loss"})
    detailed = settings(runs, free=free)
    pooled = settings(runs, free=free | POOLED_FIELDS)
    plans = []
    if len(pooled) < len(detailed):
        plans += [_plan(setting, "loss", pooled=True) for setting in pooled]
    plans += [_plan(setting, field, pooled=False) for setting in detailed]
    return plans


def _plan(setting: Setting, field: str, *, pooled: bool) -> Plan:
    where = " · ".join(part for part in (setting.title, "pooled" if pooled else "") if part)
    over = ", each seed averaged over clips and traces first" if pooled else ""
    runs, missing = shared_by_all(setting.runs) if pooled else (setting.runs, "")
    return Plan(
        stem("rendered-fps-all" if pooled else "rendered-fps", setting.slug),
        titled("Rendered frame rate", where),
        "Frames rendered (or concealed) before the playout deadline, divided by the media "
        f"duration. Mean over {seeds_text(runs)}{over}; the dashed line is the source's "
        f"frame rate. {INTERVAL_NOTE}{missing}",
        partial(draw, runs, field),
    )


def draw(runs: Sequence[Run], field: str) -> Figure:
    """One panel a frame rate, one group of bars a level of `field`."""
    rates = levels(runs, "fps")[:MAX_PANELS]
    names = transports(runs)
    groups = min(len(levels(runs, field)), MAX_PANELS)
    # In one column a bar and its error bar need about a tenth of an inch to be told apart.
    wide = groups * len(names) > _BARS_A_COLUMN
    figure, axes = panels(len(rates), height_in=1.9, share_y=False, wide=wide)
    for axis, rate in zip(axes, rates, strict=True):
        _panel(axis, rate, field, names, wide=wide)
        if len(rates) > 1:
            name_panel(axis, f"Source at {rate.label}")
    axes[0].set_ylabel("Rendered frames/s")
    legend(figure, axes)
    return figure


def _panel(axis: Axes, rate: Level, field: str, names: Sequence[str], *, wide: bool) -> None:
    shown = levels(rate.runs, field)[:MAX_PANELS]
    fps = rate.value or 0.0
    width = 0.82 / len(names)
    for index, name in enumerate(names):
        look = scheme(name)
        offset = (index - (len(names) - 1) / 2) * width
        for at, level in enumerate(shown):
            found = over_seeds([r for r in level.runs if r.transport == name], "rendered_fps")
            if found is None:  # a run that is missing must not look like one that shows nothing
                axis.text(
                    at + offset, fps / 50, "no run", rotation=90, fontsize=5.5, color=GREY,
                    ha="center", va="bottom",
                )  # fmt: skip
                continue
            axis.bar(
                at + offset,
                found.mean,
                width * 0.94,
                color=look.colour,
                edgecolor="white",
                linewidth=0.3,
                hatch=look.hatch,
                label=look.label,
            )
            if found.method != "none":
                axis.errorbar(
                    at + offset,
                    found.mean,
                    yerr=bars([found], 0, fps),
                    color=BLACK,
                    linewidth=0.7,
                    capsize=1.5,
                )
    axis.axhline(fps, color=BLACK, linewidth=0.7, linestyle=(0, (4, 2)))
    axis.set_ylim(0, fps * 1.12)
    axis.grid(visible=False, axis="x")
    axis.set_xticks(np.arange(len(shown)))
    rates = {level.value for level in shown} - {None}
    numeric = field == "loss" and len(rates) == len(shown) > 1
    if numeric:
        axis.set_xticklabels([f"{(level.value or 0) * 100:g}" for level in shown])
        axis.set_xlabel("Packet loss (%)")
    else:
        room_in = (PAGE_IN if wide else COLUMN_IN) - 0.5
        name_ticks(axis, [level.label for level in shown], room_in=room_in)


FIGURES.register("rendered-fps")(FigureKind(12, "Rendered frame rate", plan))
