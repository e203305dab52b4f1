"""Figure 13 of the Morphe paper: picture quality against loss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from testbed.analysis.metrics.picture import MAX_DB
from testbed.analysis.plots.base import (
    FIGURES,
    INTERVAL_NOTE,
    FigureKind,
    Plan,
    axis_label,
    bars,
    legend,
    name_ticks,
    over_seeds,
    panels,
    point_style,
    seeds_text,
    shared_by_all,
    stem,
    titled,
    values,
    with_pictures,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import PAGE_IN, scheme
from testbed.analysis.suite import POOLED_FIELDS, Setting, loss_levels, settings, transports

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS: Final = ("vmaf_mean", "ssim_db", "psnr_mean")
_RANGES: Final = {"vmaf_mean": (0, 100), "ssim_db": (0, MAX_DB), "psnr_mean": (0, MAX_DB)}


def plan(runs: Sequence[Run]) -> list[Plan]:
    """One figure a setting that has two loss levels and a quality metric."""
    detailed = settings(runs)
    pooled = settings(runs, free=POOLED_FIELDS)
    plans = []
    if len(pooled) < len(detailed):
        plans += [p for p in (_plan(setting, pooled=True) for setting in pooled) if p]
    return plans + [p for p in (_plan(setting, pooled=False) for setting in detailed) if p]


def _plan(setting: Setting, *, pooled: bool) -> Plan | None:
    shown, left_out = with_pictures(setting.runs)
    measured = [m for m in METRICS if any(v == v for v in values(shown, m))]
    if not measured or len(loss_levels(shown)) < 2:
        return None
    where = " · ".join(part for part in (setting.title, "pooled" if pooled else "") if part)
    over = ", each seed averaged over clips and traces first" if pooled else ""
    runs, missing = shared_by_all(shown) if pooled else (shown, "")
    return Plan(
        stem("quality-all" if pooled else "quality", setting.slug),
        titled("Picture quality against loss", where),
        "Quality of what was on the screen, frame slot by frame slot, against the source: a "
        "frozen picture is measured against the frame that should have been there. VMAF and PSNR "
        "are means over slots; SSIM is averaged linearly and then turned into decibels, "
        f"−10·log10(1 − SSIM). Mean over {seeds_text(runs)}{over}. {INTERVAL_NOTE}{missing}"
        f"{left_out}",
        partial(draw, runs, measured),
    )


def draw(runs: Sequence[Run], metrics: Sequence[str]) -> Figure:
    """One panel a metric, one line a transport, loss rate on the x axis."""
    figure, axes = panels(len(metrics), height_in=2.1, share_y=False)
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, runs, metric)
        axis.set_ylabel(axis_label(metric))
    legend(figure, axes)
    return figure


def _panel(axis: Axes, runs: Sequence[Run], metric: str) -> None:
    shown = loss_levels(runs)
    # Rates of one model make an axis; different models stand side by side without a line.
    numeric = len({level.value for level in shown} - {None}) == len(shown)
    places = [(level.value or 0.0) * 100 if numeric else at for at, level in enumerate(shown)]
    names = transports(runs)
    # Side by side rather than on top of each other, so that every error bar can be seen.
    shift = 0.014 * (max(places) - min(places)) if numeric else 0.1
    for index, transport in enumerate(names):
        points = []
        for place, level in zip(places, shown, strict=True):
            found = over_seeds([r for r in level.runs if r.transport == transport], metric)
            if found is not None:
                points.append((place, found))
        if not points:
            continue
        x = [at + (index - (len(names) - 1) / 2) * shift for at, _ in points]
        y = [found.mean for _, found in points]
        look = point_style(transport) | ({} if numeric else {"linestyle": "none"})
        axis.plot(x, y, **look)
        spread = [(at, found) for at, (_, found) in zip(x, points, strict=True) if found.n > 1]
        axis.errorbar(
            [at for at, _ in spread],
            [found.mean for _, found in spread],
            yerr=bars([found for _, found in spread], *_RANGES[metric]),
            fmt="none",
            ecolor=scheme(transport).colour,
            elinewidth=0.7,
            capsize=1.5,
        )
    if numeric:
        axis.set_xlabel("Packet loss (%)")
        if len(places) <= 8:
            axis.set_xticks(places, [f"{place:g}" for place in places])
    else:
        name_ticks(axis, [level.label for level in shown], room_in=PAGE_IN / 3 - 0.6)


FIGURES.register("quality")(FigureKind(13, "Picture quality against loss", plan))
