"""Utilisation against queueing delay: our rate control beside kernel TCP over the same traces.

`python benchmarks/frontier.py RESULTS... --kernel CSV --out STEM` joins results folders of the
scenario `frontier` with what benchmarks/kernel_tcp.py wrote, draws STEM.png, a panel a trace, and
writes STEM.csv, a row a run with the flows that beat it. Links must agree in capacity.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from testbed.analysis.frontier import (
    ALL_KNOWING,
    Point,
    beaten_by,
    check_same_links,
    point_of,
    read_points,
    write_points,
)
from testbed.analysis.runs import iter_runs
from testbed.analysis.style import (
    BLACK,
    GREY,
    PAGE_IN,
    PALETTE,
    PNG_DPI,
    new_figure,
    paper_style,
    write_whole,
)
from testbed.errors import InputError, TestbedError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _VERMILLION, _GREEN, _ORANGE, _PURPLE, _SKY, _ = PALETTE
#: Colour, marker and name for readers of each flow; others follow in grey.
LOOKS: Final = {
    "bbr realtime": (_VERMILLION, "o", "BBR, realtime"),
    "bbr draft": (_ORANGE, "s", "BBR, draft"),
    "gcc draft": (_GREEN, "^", "GCC, draft"),
    "gcc libwebrtc": (_PURPLE, "v", "GCC, libwebrtc"),
    "oracle": (GREY, "*", "oracle"),
    "kernel bbr": (_BLUE, "D", "kernel BBR"),
    "kernel cubic": (_SKY, "P", "kernel CUBIC"),
    "kernel bbr max_kbps=1000": (_BLUE, ">", "kernel BBR ≤ 1000 kbps"),
    "kernel bbr max_kbps=500": (_BLUE, "<", "kernel BBR ≤ 500 kbps"),
}
_OTHERS: Final = "<>hXpd8"
_MOST_COLUMNS: Final = 3


def flows_of(points: Sequence[Point]) -> list[str]:
    """Flows in the order of the legend."""
    known = list(LOOKS)
    return sorted(
        {point.flow for point in points},
        key=lambda flow: (known.index(flow) if flow in LOOKS else len(known), flow),
    )


def look(flow: str, flows: Sequence[str]) -> tuple[str, str, str]:
    if flow in LOOKS:
        return LOOKS[flow]
    others = [name for name in flows if name not in LOOKS]
    return BLACK, _OTHERS[others.index(flow) % len(_OTHERS)], flow


def frontier_line(points: Sequence[Point]) -> list[Point]:
    """The points of a panel that no other beats, by delay; those that know all are left out."""
    kept = [p for p in points if p.flow not in ALL_KNOWING and not beaten_by(p, points)]
    return sorted(kept, key=lambda point: (point.queueing_ms_p95, point.utilisation))


def panel(axis: Axes, points: Sequence[Point], flows: Sequence[str]) -> None:
    line = frontier_line(points)
    axis.plot(
        [p.queueing_ms_p95 for p in line], [p.utilisation * 100 for p in line],
        color=GREY, linewidth=0.8, linestyle=(0, (1, 1)), drawstyle="steps-post", zorder=1,
    )  # fmt: skip
    for flow in flows:
        mine = [p for p in points if p.flow == flow]
        if not mine:
            continue
        colour, marker, label = look(flow, flows)
        behind = flow in ALL_KNOWING
        axis.plot(
            [p.queueing_ms_p95 for p in mine], [p.utilisation * 100 for p in mine],
            linestyle="none", color=colour, marker=marker, label=label, zorder=2 if behind else 3,
            clip_on=False,
            markersize=7 if marker == "*" else 5, markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_title(title(points[0]), loc="left")


def legend_of(axes: Iterable[Axes], order: Sequence[str]) -> tuple[list[Artist], list[str]]:
    """Handles and labels of all panels, each once: a flow need not be in every panel."""
    found = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    labels = [label for label in order if label in found]
    return [found[label] for label in labels], labels


def title(point: Point) -> str:
    name = point.trace.replace("-synthetic", "").removesuffix(".down")
    name, scale, mean = name.partition("-mean")
    return (
        f"{name}, {f'scaled to {mean[:-4]} kbps' if scale else f'{point.capacity_kbps:.0f} kbps'}"
    )


def draw(points: Sequence[Point]) -> Figure:
    """A panel a trace and seed; call inside `paper_style`."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    groups = [list(group) for _, group in groupby(points, key=lambda p: (p.trace, p.seed))]
    flows = flows_of(points)
    columns = min(_MOST_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure = new_figure(PAGE_IN, 0.6 + 2.0 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axis, group in zip(axes, groups, strict=False):
        panel(axis, group, flows)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(labelbottom=True)
    axes[0].set_ylim(0, 105)
    handles, labels = legend_of(axes, [look(flow, flows)[2] for flow in flows])
    if len(groups) < len(axes):
        spare = axes[len(groups)]
        spare.legend(handles, labels, loc="center").set_in_layout(False)
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
    else:
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    figure.supxlabel("Queueing delay of the 95th percentile of packets (ms)", fontsize=8)
    figure.supylabel("Utilisation (%)", fontsize=8)
    return figure


def table(points: Sequence[Point]) -> str:
    """Markdown, a row a trace and flow: the mean of its runs."""
    lines = ["| trace | flow | runs | utilisation | queueing p50 | p95 | mean | beaten by |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    key = attrgetter("trace", "seed", "flow")
    for (trace, _, flow), group in groupby(sorted(points, key=key), key=key):
        runs = list(group)
        means = [
            sum(getattr(run, name) for run in runs) / len(runs)
            for name in ("queueing_ms_p50", "queueing_ms_p95", "queueing_ms_mean")
        ]
        beaten = sorted({name for run in runs for name in beaten_by(run, points)})
        utilisation = sum(run.utilisation for run in runs) / len(runs)
        lines.append(
            f"| {trace} | {flow} | {len(runs)} | {utilisation:.1%} | "
            + " | ".join(f"{value:.0f} ms" for value in means)
            + f" | {', '.join(beaten) or 'none'} |"
        )
    return "\n".join(lines)


def collect(arguments: argparse.Namespace) -> list[Point]:
    points = [point_of(run) for folder in arguments.results for run in iter_runs(folder)]
    simulated = {(point.trace, point.seed) for point in points}
    for path in arguments.kernel:
        for point in read_points(path):
            if (point.trace, point.seed) not in simulated:
                raise InputError(
                    f"{path}: {point.trace}, seed {point.seed} is in no results folder; "
                    f"there are {', '.join(sorted(trace for trace, _ in simulated))}"
                )
            points.append(point)
    check_same_links(points)
    return sorted(points, key=lambda point: (point.trace, point.seed, point.flow, point.repeat))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="results folders")
    parser.add_argument("--kernel", nargs="*", type=Path, default=[], metavar="CSV")
    parser.add_argument("--out", type=Path, required=True, metavar="STEM")
    arguments = parser.parse_args(argv)
    try:
        points = collect(arguments)
        with paper_style():
            picture = io.BytesIO()
            draw(points).savefig(picture, format="png", dpi=PNG_DPI)
        write_whole(arguments.out.with_name(f"{arguments.out.name}.png"), picture.getvalue())
        write_whole(
            arguments.out.with_name(f"{arguments.out.name}.csv"), write_points(points).encode()
        )
    except TestbedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(points))
    return 0


if __name__ == "__main__":
    sys.exit(main())
