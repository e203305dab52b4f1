"""Figure 14 of the Morphe paper: how the sent bitrate follows a changing network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.analysis.metrics.columns import Floats, link_columns, packet_columns, session
from testbed.analysis.metrics.wire import window_rates
from testbed.analysis.plots.base import (
    FIGURES,
    FigureKind,
    Plan,
    columns_of,
    legend,
    name_panel,
    panels,
    stem,
    titled,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import BLACK, CAPACITY_EDGE, CAPACITY_FILL, scheme
from testbed.analysis.suite import Setting, loss_levels, settings, transports

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NS = 10**9
#: Capacity or target that moves by more than this share of its mean counts as changing.
_MOVES = 0.05


def plan(runs: Sequence[Run]) -> list[Plan]:
    """One figure a setting in which capacity or target changes: first seed, lowest loss."""
    plans = []
    for setting in settings(runs):
        chosen = one_run_each(loss_levels(setting.runs)[0].runs)
        if any(_moves(run) for run in chosen):
            plans.append(_plan(setting, chosen))
    return plans


def one_run_each(runs: Sequence[Run]) -> list[Run]:
    """For each transport the run with the lowest seed, in the order of legends."""
    found = []
    for transport in transports(runs):
        mine = [run for run in runs if run.transport == transport]
        found.append(min(mine, key=lambda run: (run.seed, run.name)))
    return found


def _moves(run: Run) -> bool:
    series = [capacity_kbps(run)]
    target = run.timeline.target_kbps
    series.append(target[~np.isnan(target)])
    return any(
        s.size > 1 and float(np.ptp(s)) > _MOVES * abs(float(np.mean(s))) > 0 for s in series
    )


def _plan(setting: Setting, chosen: Sequence[Run]) -> Plan:
    label = loss_levels(chosen)[0].label
    return Plan(
        stem("tracking", setting.slug),
        titled("Rate tracking", setting.title),
        "Bitrate in 1 s bins: what the link offered (grey), the encoder's target (black dashed), "
        "what the encoder made of it (coloured; coded pictures without headers), and what the "
        "sender put on the wire with IP, UDP and RTP headers, recovery and retransmissions (thin). "
        f"One run each: seed {chosen[0].seed}, {label}.",
        partial(draw, chosen),
    )


def draw(runs: Sequence[Run]) -> Figure:
    """One panel a transport over the same axes."""
    figure, axes = panels(len(runs), height_in=2.0)
    columns = columns_of(axes[0])
    top = 0.0
    for index, (axis, run) in enumerate(zip(axes, runs, strict=True)):
        top = max(top, _panel(axis, run))
        name_panel(axis, scheme(run.transport).label)
        if index % columns == 0:
            axis.set_ylabel("Bitrate (kbit/s)")
    for axis in axes:
        axis.set_ylim(0, top * 1.08)
    figure.supxlabel("Time (s)", fontsize=8)
    legend(figure, axes)
    return figure


def _panel(axis: Axes, run: Run) -> float:
    look = scheme(run.transport)
    facts = session(run.manifest, run.frames)
    capacity = capacity_kbps(run)
    encoded, target = window_rates(run.timeline, facts)
    sent = sent_kbps(run)
    shown = [encoded, sent, target[~np.isnan(target)]]
    if capacity.size and float(capacity.max()) > 0:
        step(axis, capacity, color=CAPACITY_EDGE, linewidth=0.8, label="Capacity", fill=True)
    step(axis, sent, color=look.colour, linewidth=0.6, alpha=0.8, label=None)
    step(axis, encoded, color=look.colour, linewidth=1.4, label=None)
    step(axis, target, color=BLACK, linewidth=0.9, linestyle=(0, (3, 1.5)), label="Target")
    # The legend speaks of line kinds; the panel's title names the transport and so the colour.
    axis.plot([], [], color="#555555", linewidth=1.4, label="Encoded")
    axis.plot([], [], color="#555555", linewidth=0.6, label="Sent, with headers and recovery")
    axis.set_xlim(0, max(facts.duration_s, 1.0))
    return rate_limit(capacity, shown)


def rate_limit(capacity: Floats, rates: Sequence[Floats]) -> float:
    """Upper end of a bitrate axis: all rates, and capacity up to three times the highest.

    A capacity far above the rates would flatten what the figure is about.
    """
    top = max((float(series.max()) for series in rates if series.size), default=0.0)
    offered = float(capacity.max()) if capacity.size else 0.0
    return max(top, min(offered, 3 * top) if top > 0 else offered, 1.0)


def step(
    axis: Axes,
    series: Floats,
    *,
    color: str,
    linewidth: float,
    label: str | None,
    linestyle: Any = "-",
    alpha: float = 1.0,
    fill: bool = False,
    bin_s: float = 1.0,
) -> None:
    """Draw a binned series as a staircase; with `fill`, the ground below it too."""
    if series.size == 0:
        return
    edges = np.arange(series.size + 1) * bin_s
    held = np.append(series, series[-1])
    if fill:
        axis.fill_between(edges, held, step="post", color=CAPACITY_FILL, linewidth=0)
    axis.plot(
        edges,
        held,
        drawstyle="steps-post",
        color=color,
        linewidth=linewidth,
        linestyle=linestyle,
        alpha=alpha,
        label=label,
    )


def capacity_kbps(run: Run, bin_s: float = 1.0) -> Floats:
    """Offered capacity of the media direction in whole bins; empty for an unlimited link."""
    link = link_columns(run.link)
    if not np.any(link.capacity_bytes):
        return np.empty(0)
    weights = link.capacity_bytes.astype(np.float64)
    return binned(link.time_ns, weights, bin_s, _duration_s(run))


def sent_kbps(run: Run, bin_s: float = 1.0) -> Floats:
    """IP bitrate sent in the media direction in whole bins."""
    packets = packet_columns(run.packets)
    weights = packets.ip_bytes.astype(np.float64)
    return binned(packets.sent_ns, weights, bin_s, _duration_s(run))


def _duration_s(run: Run) -> float:
    return session(run.manifest, run.frames).duration_s


def binned(time_ns: Floats, size_bytes: Floats, bin_s: float, end_s: float) -> Floats:
    """Bytes at times, as kbit/s in the whole bins between 0 and `end_s`.

    A last bin that the end cuts short would look like a drop in the rate; it is left out, as
    `window_rates` leaves it out.
    """
    count = int(end_s / bin_s + 1e-9)
    total: Floats = np.zeros(count)
    index = (time_ns / (bin_s * _NS)).astype(np.int64)
    inside = index < count
    np.add.at(total, index[inside], size_bytes[inside])
    return total * 8 / 1e3 / bin_s


FIGURES.register("tracking")(FigureKind(14, "Rate tracking", plan))
