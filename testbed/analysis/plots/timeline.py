"""One run over time: rates, queue, frames, losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.analysis.metrics.columns import packet_columns, session
from testbed.analysis.metrics.delay import latency_ms
from testbed.analysis.metrics.wire import window_rates
from testbed.analysis.plots.base import FIGURES, FigureKind, Plan, stem, titled
from testbed.analysis.plots.tracking import (
    capacity_kbps,
    one_run_each,
    rate_limit,
    sent_kbps,
    step,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import BLACK, CAPACITY_EDGE, GREY, PAGE_IN, new_figure, scheme
from testbed.analysis.suite import loss_levels, settings, slug
from testbed.network.trace import OPPORTUNITY_BYTES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Runs that are drawn: one a transport, up to this many.
MAX_RUNS: Final = 6
_QUEUE, _LOSS = "#555555", "#CC3311"


def plan(runs: Sequence[Run]) -> list[Plan]:
    """One run a transport, at the highest loss of the first setting."""
    if not runs:
        return []
    setting = settings(runs)[0]
    level = loss_levels(setting.runs)[-1]
    plans = []
    for run in one_run_each(level.runs)[:MAX_RUNS]:
        label = scheme(run.transport).label
        where = " · ".join(p for p in (label, level.label, setting.title) if p)
        plans.append(
            Plan(
                stem("timeline", slug(f"{run.transport}-{level.label}-{setting.slug}")),
                titled("Timeline of one run", where),
                f"{label}, seed {run.seed}, run {run.name}. From above: capacity, encoder "
                "target, encoded (thick) and sent (thin) bitrate in 1 s bins, a capacity far "
                "above them cut off with its mean in the legend; bytes waiting in the bottleneck "
                "queue every 100 ms; capture-to-render latency of every rendered frame, and a "
                "cross at the playout deadline for each frame that was never rendered; packets "
                "of the media direction lost to the loss model (above the axis) and to the full "
                "queue (below) in 100 ms bins.",
                partial(draw, run),
            )
        )
    return plans


def draw(run: Run) -> Figure:
    """Four panels over a common time axis."""
    figure = new_figure(PAGE_IN, 4.6)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1.5, 0.8, 1.5, 0.8])
    facts = session(run.manifest, run.frames)
    _rates(axes[0], run)
    _queue(axes[1], run)
    _frames(axes[2], run, facts.deadline_ms)
    _losses(axes[3], run)
    axes[3].set_xlabel("Time (s)")
    axes[0].set_xlim(0, facts.duration_s)
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        if handles:
            axis.legend(
                handles, labels, loc="center left", bbox_to_anchor=(1.005, 0.5), borderaxespad=0
            )
    figure.align_ylabels(list(axes))
    return figure


def _rates(axis: Axes, run: Run) -> None:
    look = scheme(run.transport)
    capacity = capacity_kbps(run)
    encoded, target = window_rates(run.timeline, session(run.manifest, run.frames))
    sent = sent_kbps(run)
    limit = rate_limit(capacity, [sent, encoded, target[~np.isnan(target)]]) * 1.08
    if capacity.size:
        beyond = f" ({capacity.mean():.0f})" if float(capacity.max()) > limit else ""
        label = f"Capacity{beyond}"
        step(axis, capacity, color=CAPACITY_EDGE, linewidth=0.8, label=label, fill=True)
    step(axis, sent, color=look.colour, linewidth=0.6, label="Sent", alpha=0.8)
    step(axis, encoded, color=look.colour, linewidth=1.4, label="Encoded")
    step(axis, target, color=BLACK, linewidth=0.9, linestyle=(0, (3, 1.5)), label="Target")
    axis.set_ylabel("kbit/s")
    axis.set_ylim(0, limit)


def _queue(axis: Axes, run: Run) -> None:
    link = run.link[run.link["direction"] == "down"]
    time_s = (link["time_ns"].to_numpy(dtype=np.float64) + 1e8) / 1e9
    waiting = link["queue_bytes"].to_numpy(dtype=np.float64) / 1e3
    axis.plot(time_s, waiting, color=_QUEUE, linewidth=0.9)
    axis.set_ylabel("Queue (kB)")
    # An empty queue is a line at zero below the height of one packet, not noise blown up.
    axis.set_ylim(0, max([OPPORTUNITY_BYTES / 1e3, *waiting]) * 1.08)


def _frames(axis: Axes, run: Run, deadline_ms: float) -> None:
    look = scheme(run.transport)
    frames = run.timeline
    latency = latency_ms(frames)
    capture_s = frames.capture_ns / 1e9
    outcome = frames.outcome.astype(str)
    dots: list[tuple[str, Any, dict[str, Any]]] = [
        ("Rendered", outcome == "rendered", {"color": look.colour, "marker": "."}),
        ("Concealed", outcome == "concealed", {"color": GREY, "marker": "x"}),
    ]
    for label, chosen, how in dots:
        if np.any(chosen):
            axis.plot(
                capture_s[chosen],
                latency[chosen],
                linestyle="none",
                markersize=3,
                label=label,
                clip_on=False,
                **how,
            )
    lost = ~frames.shown
    if np.any(lost):
        axis.plot(
            capture_s[lost],
            np.full(int(lost.sum()), deadline_ms),
            linestyle="none",
            marker="x",
            markersize=3,
            markeredgewidth=0.7,
            color=_LOSS,
            label="Never rendered",
            clip_on=False,
        )
    axis.axhline(deadline_ms, color=BLACK, linewidth=0.6, linestyle=(0, (4, 2)), label="Deadline")
    axis.set_ylabel("Latency (ms)")
    axis.set_ylim(0, deadline_ms * 1.1)


def _losses(axis: Axes, run: Run) -> None:
    from matplotlib.ticker import MaxNLocator

    packets = packet_columns(run.packets)
    index = (packets.sent_ns / 1e8).astype(np.int64)
    bins = int(index.max()) + 1 if index.size else 0
    top = 1.0
    for kind, sign, colour, label in (
        ("loss", 1, _LOSS, "Loss"),
        ("queue", -1, _QUEUE, "Queue full"),
    ):
        count = np.bincount(index[packets.drop.astype(str) == kind], minlength=bins)
        at = np.flatnonzero(count)
        if at.size:
            axis.bar(at / 10, sign * count[at], 0.1, align="edge", color=colour, label=label)
            top = max(top, float(count.max()))
    if not np.any(packets.drop.astype(str) != "none"):
        axis.text(0.5, 0.5, "none", transform=axis.transAxes, ha="center", va="center", color=GREY)
    low = -top if np.any(packets.drop.astype(str) == "queue") else 0
    axis.axhline(0, color=BLACK, linewidth=0.5)
    axis.set_ylim(low * 1.1, top * 1.1)
    axis.set_ylabel("Packets lost")
    axis.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")


FIGURES.register("timeline")(FigureKind(20, "Timelines of single runs", plan))
