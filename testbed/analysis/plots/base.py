"""What a registered figure is, and the pieces that figures share."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.analysis.metrics import definition
from testbed.analysis.runs import Run
from testbed.analysis.statistics import Interval, confidence_interval
from testbed.analysis.style import COLUMN_IN, PAGE_IN, new_figure, scheme
from testbed.registry import Registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More panels than this do not fit a page; a caption says what was left out.
MAX_PANELS: Final = 12
INTERVAL_NOTE: Final = (
    "Error bars: 95 % confidence interval over seeds (Student's t; BCa bootstrap from 20 values); "
    "none with a single seed; cut where the metric's range ends."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One figure file to be.

    Attributes:
        stem: file name without its suffix.
        title: heading in the report.
        caption: what is shown and how it is defined, in full sentences.
        draw: makes the figure; called inside `testbed.analysis.style.paper_style`.
    """

    stem: str
    title: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A registered figure.

    Attributes:
        rank: position in the report.
        title: one line.
        plan: which files it makes of these runs; none where it does not apply.
    """

    rank: float
    title: str
    plan: Callable[[Sequence[Run]], list[Plan]]


FIGURES: Registry[FigureKind] = Registry("figure", group="testbed.figures")


def stem(name: str, slug: str) -> str:
    """File name of figure `name` for one setting."""
    return f"{name}--{slug}" if slug else name


def titled(title: str, setting: str) -> str:
    """Heading of a figure for one setting."""
    return f"{title} — {setting}" if setting else title


def shared_by_all(runs: Sequence[Run]) -> tuple[tuple[Run, ...], str]:
    """The runs whose (cell, seed) every transport has, and a sentence on those left out.

    Pooling over cells compares transports only if each pools the same cells; a transport whose
    hard cells failed would look better than it is. With no cell common to all, all runs are kept.
    """
    names = {run.transport for run in runs}
    have: dict[tuple[str, int], set[str]] = {}
    for run in runs:
        have.setdefault((run.cell_id, run.seed), set()).add(run.transport)
    kept = tuple(run for run in runs if have[run.cell_id, run.seed] == names)
    if len(kept) == len(runs):
        return kept, ""
    if not kept:
        return tuple(runs), " Not all transports have the same cells."
    left_out = len(have) - len({(run.cell_id, run.seed) for run in kept})
    return kept, f" {left_out} cells and seeds that not every transport has are left out."


def with_pictures(runs: Sequence[Run]) -> tuple[tuple[Run, ...], str]:
    """The runs that picture quality applies to, and a sentence on the transports left out."""
    kept = tuple(run for run in runs if not run.sizes_only)
    names = dict.fromkeys(scheme(run.transport).label for run in runs if run.sizes_only)
    if not names:
        return kept, ""
    verb = "is" if len(names) == 1 else "are"
    return kept, f" {', '.join(names)} {verb} left out: sizes only, no pictures."


def seeds_text(runs: Iterable[Run]) -> str:
    """How many seeds, in words for a caption."""
    seeds = sorted({run.seed for run in runs})
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"{len(seeds)} seeds"


def panels(
    count: int, *, height_in: float = 1.75, share_y: bool = True, wide: bool = False
) -> tuple[Figure, Any]:
    """A figure with `count` panels in reading order, and those panels.

    One panel is a column wide unless `wide`, more go over the page. Room for the legend comes on
    top.
    """
    columns = count if count <= 4 else 3 if count <= 6 else 4
    rows = math.ceil(count / columns)
    width = COLUMN_IN if count == 1 and not wide else PAGE_IN
    tall = 2.2 if count == 1 else height_in
    figure = new_figure(width, rows * tall + 0.3)
    axes = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False)
    engine = figure.get_layout_engine()
    if engine is not None and columns > 1:
        engine.set(w_pad=0.07, h_pad=0.05)  # type: ignore[call-arg]  # the stub knows no engine's own keywords
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    for index, axis in enumerate(flat[:count]):
        # A panel above a hidden one still needs its tick labels.
        if index + columns >= count:
            axis.tick_params(labelbottom=True)
    return figure, flat[:count]


def columns_of(axis: Axes) -> int:
    """How many panels stand side by side in the figure of this one."""
    spec = axis.get_subplotspec()
    return 1 if spec is None else spec.get_gridspec().ncols


def in_lines(text: str, room: int) -> str:
    """`text` in lines of up to `room` characters, longer where a part of it is.

    Lines are broken at spaces, and where that does not do behind hyphens.
    """

    def filled(text: str) -> str:
        return textwrap.fill(text, room, break_long_words=False, break_on_hyphens=False)

    lines = filled(text)
    if max(map(len, lines.split("\n"))) <= room or "- " in text:
        return lines
    # Traces have long names without a space. `break_on_hyphens` breaks between letters only.
    return filled(text.replace("-", "- ")).replace("- ", "-")


def name_panel(axis: Axes, text: str) -> None:
    """Put a title over a panel, on two lines where it would run into its neighbour."""
    # At 8 pt a character is about 0.068 in wide.
    room = int(PAGE_IN / columns_of(axis) / 0.068) - 4
    lines = in_lines(text, room).split("\n")
    # What has no gap at all is cut: a title must not run into the next one.
    axis.set_title("\n".join(textwrap.fill(line, room, break_on_hyphens=False) for line in lines))


def name_ticks(axis: Axes, labels: Sequence[str], *, room_in: float) -> None:
    """Names at 0, 1, 2, ... on the x axis: on several lines where that fits, else tilted."""
    # At 7 pt a character of such names is about 0.055 in wide.
    room = max(int(room_in / max(len(labels), 1) / 0.055), 4)
    wrapped = [in_lines(label, room) for label in labels]
    tilt = any(len(line) > room for label in wrapped for line in label.split("\n"))
    axis.set_xticks(
        range(len(labels)),
        list(labels) if tilt else wrapped,
        rotation=30 if tilt else 0,
        ha="right" if tilt else "center",
    )
    axis.set_xlim(-0.6, len(labels) - 0.4)


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend above all panels, outside the data; each label once, in reading order."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    columns = _legend_columns(list(handles), figure.get_figwidth())
    # matplotlib fills column by column; readers go row by row.
    order = [label for start in range(columns) for label in list(handles)[start::columns]]
    figure.legend(
        [handles[label] for label in order], order, loc="outside upper center", ncols=columns
    )


def _legend_columns(labels: Sequence[str], width_in: float) -> int:
    """Most columns that fit, from the widths of 7 pt text, handle and gaps."""
    for columns in range(len(labels), 1, -1):
        widest = [max(len(label) for label in labels[at::columns]) for at in range(columns)]
        if sum(0.47 + 0.057 * length for length in widest) <= width_in:
            return columns
    return 1


def values(runs: Iterable[Run], metric: str) -> list[float]:
    """The metric of each run, NaN where undefined."""
    found = []
    for run in runs:
        value = run.summary.get(metric)
        found.append(math.nan if value is None else float(value))
    return found


def over_seeds(runs: Iterable[Run], metric: str) -> Interval | None:
    """Mean of a metric with its interval over seeds.

    Where several cells are pooled, a seed's value is first its mean over the cells, so that
    differences between cells do not widen the interval.
    """
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).extend(values([run], metric))
    means = []
    for seed in sorted(by_seed):
        known = [value for value in by_seed[seed] if not math.isnan(value)]
        if known:
            means.append(float(np.mean(known)))
    return confidence_interval(means)


def bars(found: Sequence[Interval], low: float, high: float) -> list[list[float]]:
    """Lengths of error bars, cut where the metric's own range ends.

    Student's interval does not know that a frame rate cannot be negative or VMAF exceed 100.
    """
    return [
        [min(one.below, max(one.mean - low, 0.0)) for one in found],
        [min(one.above, max(high - one.mean, 0.0)) for one in found],
    ]


def axis_label(metric: str) -> str:
    """Title and unit of a metric for an axis."""
    found = definition(metric)
    unit = {"share": "%", "": ""}.get(found.unit, found.unit)
    return f"{found.title} ({unit})" if unit else found.title


def curve_style(transport: str) -> dict[str, Any]:
    """Keywords for a line of this transport."""
    look = scheme(transport)
    return {"color": look.colour, "linestyle": look.line, "label": look.label}


def point_style(transport: str) -> dict[str, Any]:
    """Keywords for a line with markers."""
    return curve_style(transport) | {
        "marker": scheme(transport).marker,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }
