"""Quantile-quantile figures: an emulated world's delays over the simulator's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from testbed.analysis.agreement import Pair, delays_ms, packet_delays_ms
from testbed.analysis.metrics.columns import Floats
from testbed.analysis.plots.base import MAX_PANELS, legend, name_panel, panels
from testbed.analysis.runs import Run
from testbed.analysis.style import GREY, PALETTE, paper_style, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Quantiles that are drawn: fine in the tail, where worlds differ.
_QUANTILES: Final = np.concatenate([np.linspace(0, 95, 96), np.linspace(95.5, 99.5, 9)])
_MARKERS: Final = ("o", "s", "^", "D")
_KINDS: Final[dict[str, tuple[str, Callable[[Run], Floats]]]] = {
    "qq-frames": ("frame delay (ms)", delays_ms),
    "qq-packets": ("one-way packet delay (ms)", packet_delays_ms),
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
    """One panel a cell, one colour a world; the dashed line is equality."""
    shown = list(cells.items())[:MAX_PANELS]
    figure, axes = panels(len(shown), share_y=False)
    for panel, (label, found) in zip(axes, shown, strict=True):
        _panel(panel, found, delays)
        name_panel(panel, label)
        panel.set_xlabel(f"Simulated {axis}")
        panel.set_ylabel("Emulated (ms)")
    legend(figure, axes)
    return figure


def _panel(panel: Axes, found: list[Pair], delays: Callable[[Run], Floats]) -> None:
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
        panel.plot(
            x, y, linestyle="none", marker=_MARKERS[number % len(_MARKERS)], markersize=2.5,
            color=PALETTE[number % len(PALETTE)], markeredgewidth=0, label=world,
        )  # fmt: skip
    panel.plot([0, most], [0, most], color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    panel.set_xlim(0, most * 1.03 or 1)
    panel.set_ylim(0, most * 1.03 or 1)
