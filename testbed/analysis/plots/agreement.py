"""Quantile-quantile figures: an emulated world's delays over the simulator's."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from testbed.analysis.agreement import Pair, delays_ms, packet_delays_ms
from testbed.analysis.metrics.columns import Floats
from testbed.analysis.plots.base import MAX_PANELS, legend
from testbed.analysis.runs import Run
from testbed.analysis.style import COLUMN_IN, GREY, PAGE_IN, PALETTE, new_figure, paper_style, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Quantiles that are drawn: fine in the tail, where worlds differ.
_QUANTILES: Final = np.concatenate([np.linspace(0, 95, 96), np.linspace(95.5, 99.5, 9)])
_MARKERS: Final = ("o", "s", "^", "D")
_KINDS: Final[dict[str, tuple[str, Callable[[Run], Floats]]]] = {
    "qq-frames": ("frame delay (ms)", delays_ms),
    "qq-packets": ("packet delay, one way (ms)", packet_delays_ms),
}


def draw_all(labelled: Sequence[tuple[str, Pair]], folder: Path) -> list[Path]:
    """Write one figure of frames and one of packets for each transport.

    Args:
        labelled: pairs with the cell in a few words.
        folder: where to.

    Raises:
        OutputError: a file cannot be written.
    """
    written: list[Path] = []
    transports = sorted({pair.emulated.transport for _, pair in labelled})
    for transport in transports:
        cells: dict[str, list[Pair]] = {}
        for label, pair in labelled:
            if pair.emulated.transport == transport:
                cells.setdefault(label, []).append(pair)
        for name, (axis, delays) in _KINDS.items():
            with paper_style():
                figure = draw(cells, axis, delays)
                written += save(figure, folder, f"{name}--{transport}")
    return written


def draw(cells: dict[str, list[Pair]], axis: str, delays: Callable[[Run], Floats]) -> Figure:
    """One square panel a cell, one colour a world; the dashed line is equality."""
    shown = list(cells.items())[:MAX_PANELS]
    columns = min(len(shown), 4)
    rows = math.ceil(len(shown) / columns)
    width = COLUMN_IN if columns == 1 else PAGE_IN
    side_in = width / columns
    figure = new_figure(width, rows * (side_in + 0.25) + 0.45)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in axes[len(shown) :]:
        panel.set_visible(False)
    names = _short([label for label, _ in shown])
    for panel, name, (_, found) in zip(axes, names, shown, strict=False):
        _panel(panel, found, delays)
        panel.set_title(textwrap.fill(name, int(side_in / 0.068)))
    figure.supxlabel(f"Simulated {axis}", fontsize=8)
    figure.supylabel(f"Emulated {axis}", fontsize=8)
    legend(figure, axes[: len(shown)])
    return figure


def _short(labels: list[str]) -> list[str]:
    """The labels without an end that all of them share."""
    if len(labels) < 2:
        return labels
    first = labels[0]
    # Cut at a joint, not within a word.
    ends = [first[at:] for at, letter in enumerate(first) if at and letter in "-., "]
    end = next((e for e in ends if all(label.endswith(e) for label in labels)), "")
    return [label.removesuffix(end) or label for label in labels]


def _panel(panel: Axes, found: list[Pair], delays: Callable[[Run], Floats]) -> None:
    from matplotlib.ticker import MaxNLocator

    worlds = sorted({str(pair.emulated.manifest["world"]) for pair in found})
    most = 0.0
    for number, world in enumerate(worlds):
        of_world = [p for p in found if p.emulated.manifest["world"] == world]
        ours = np.concatenate([delays(p.simulated) for p in of_world])
        theirs = np.concatenate([delays(p.emulated) for p in of_world])
        if not ours.size or not theirs.size:
            continue
        x, y = (np.percentile(values, _QUANTILES) for values in (ours, theirs))
        most = max(most, float(x[-1]), float(y[-1]))
        # Open and of different size: points of two worlds often lie on each other.
        panel.plot(
            x, y, linestyle="none", marker=_MARKERS[number % len(_MARKERS)],
            markersize=5.0 - 2.2 * min(number, 1), markerfacecolor="none", markeredgewidth=0.7,
            markeredgecolor=PALETTE[number % len(PALETTE)], label=world,
        )  # fmt: skip
    panel.plot([0, most], [0, most], color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    panel.set_xlim(0, most * 1.03 or 1)
    panel.set_ylim(0, most * 1.03 or 1)
    panel.set_aspect("equal")
    for side in (panel.xaxis, panel.yaxis):
        side.set_major_locator(MaxNLocator(4))
