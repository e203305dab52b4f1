"""Who gets what of a bottleneck over time, where flows compete."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from testbed.analysis.metrics.columns import session
from testbed.analysis.plots.base import (
    FIGURES,
    MAX_PANELS,
    FigureKind,
    Plan,
    columns_of,
    legend,
    name_panel,
    panels,
    stem,
    titled,
)
from testbed.analysis.plots.tracking import binned, capacity_kbps, step
from testbed.analysis.runs import Run
from testbed.analysis.style import CAPACITY_EDGE, scheme
from testbed.analysis.suite import settings, slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of the other media flows, from the first on; the session has its transport's colour.
_OTHERS: Final = ("#4477AA", "#228833", "#AA3377", "#66CCEE", "#CCBB44", "#777777", "#000000")
_TCP: Final = "#CC3311"


def plan(runs: Sequence[Run]) -> list[Plan]:
    """One figure a transport and competition, one panel a setting: its first seed."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.flows is not None:
            key = run.transport, str(run.cell.get("competing", ""))
            groups.setdefault(key, []).append(run)
    plans = []
    for (transport, others), mine in groups.items():
        shown = sorted(((one.title, one.runs[0]) for one in settings(mine)), key=lambda p: p[0])
        label = scheme(transport).label
        left_out = len(shown) - MAX_PANELS
        more = f" {left_out} more settings are left out." if left_out > 0 else ""
        plans.append(
            Plan(
                stem("flows", slug(f"{transport} {others}")),
                titled("Shares of the bottleneck", f"{label} beside {others}"),
                f"{label} beside {others}: bitrate that each flow got through, in 1 s bins, over "
                "the capacity (grey). Thick: the session; thin: media flows; dashed: TCP. Of "
                f"several seeds the first.{more}",
                partial(draw, shown[:MAX_PANELS]),
            )
        )
    return plans


def draw(shown: Sequence[tuple[str, Run]]) -> Figure:
    """A panel a run."""
    figure, axes = panels(len(shown), share_y=False)
    columns = columns_of(axes[0])
    for at, (axis, (title, run)) in enumerate(zip(axes, shown, strict=True)):
        _panel(axis, run)
        name_panel(axis, title)
        if at + columns >= len(axes):
            axis.set_xlabel("Time (s)")
        if at % columns == 0:
            axis.set_ylabel("kbit/s")
    legend(figure, axes)
    return figure


def _panel(axis: Axes, run: Run) -> None:
    duration_s = session(run.manifest, run.frames).duration_s
    capacity = capacity_kbps(run)
    step(axis, capacity, color=CAPACITY_EDGE, linewidth=0.8, label="Capacity", fill=True)
    flows = run.flows
    assert flows is not None
    for number in sorted(set(flows["flow"].tolist())):
        rows = flows[flows["flow"] == number]
        times = rows["time_ns"].to_numpy(dtype=np.float64)
        sizes = rows["delivered_bytes"].to_numpy(dtype=np.float64)
        rate = binned(times, sizes, 1.0, duration_s)
        first, last = int(times.min() // 1e9), int(times.max() // 1e9)
        rate[:first] = rate[last + 1 :] = np.nan  # before it came, and after it went
        kind = str(rows["kind"].iloc[0])
        if number == 0:
            look = scheme(run.transport)  # the first in the legend
            step(axis, rate, color=look.colour, linewidth=1.4, label=look.label)
        elif kind == "tcp":
            step(axis, rate, color=_TCP, linewidth=0.9, linestyle=(0, (3, 1.5)), label="TCP")
        else:
            colour = _OTHERS[(number - 1) % len(_OTHERS)]
            step(axis, rate, color=colour, linewidth=0.7, label=f"Flow {number}")
    axis.set_xlim(0, duration_s)
    axis.set_ylim(bottom=0)


FIGURES.register("flows")(FigureKind(16, "Shares of the bottleneck", plan))
