"""What holds for every figure over every suite: it draws, it is legible, it explains itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from testbed.analysis.plots import FIGURES, Plan
from testbed.analysis.runs import Run
from testbed.analysis.style import PAGE_IN

Suite = Callable[[str], tuple[Run, ...]]
SUITES = ("loss", "tracking", "traces", "all-lost", "unlimited", "no-quality", "shared")
NAMES = (
    "delay-cdf", "latency-cdf", "rendered-fps", "quality", "tracking", "flows", "tradeoff",
    "timeline",
)  # fmt: skip

#: Where a figure has nothing to show, it must not appear.
ABSENT = {
    "quality": {"tracking", "traces", "all-lost", "unlimited", "no-quality", "shared"},
    "tracking": {"loss", "traces", "all-lost", "unlimited", "no-quality", "shared"},
    "flows": {"loss", "tracking", "traces", "all-lost", "unlimited", "no-quality"},
    "tradeoff": {"all-lost", "unlimited"},  # a single run, no capacity
}


def overlap(a: Bbox, b: Bbox, slack: float = 0.5) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack


def texts(axis: Axes, which: str) -> list[Bbox]:
    limits = getattr(axis, f"get_{which}lim")()
    return [
        tick.label1.get_window_extent()
        for tick in getattr(axis, f"{which}axis").get_major_ticks()
        if tick.label1.get_visible()
        and tick.label1.get_text()
        and min(limits) <= tick.get_loc() <= max(limits)
    ]


def check_legible(figure: Figure) -> None:
    figure.canvas.draw()
    page = figure.bbox
    axes = [axis for axis in figure.axes if axis.get_visible()]
    for axis in axes:
        inside = axis.get_window_extent()
        assert inside.width > 20
        assert inside.height > 20
        for legend in figure.legends:
            assert not overlap(legend.get_window_extent(), inside), "legend over data"
        for which in ("x", "y"):
            boxes = texts(axis, which)
            tilted = any(t.get_rotation() for t in getattr(axis, f"get_{which}ticklabels")())
            for first, second in pairwise(boxes):
                assert tilted or not overlap(first, second), f"{which} tick labels collide"
            for box in boxes:
                assert box.x0 >= -1
                assert box.x1 <= page.x1 + 1
                assert box.y0 >= -1
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= page.x1 + 1
    titles = [axis.title.get_window_extent() for axis in axes if axis.get_title()]
    assert not any(overlap(a, b) for a, b in combinations(titles, 2)), "titles collide"


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize("suite_name", SUITES)
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_draws_or_stays_away(suite: Suite, name: str, suite_name: str) -> None:
    runs = suite(suite_name)
    plans = FIGURES.get(name).plan(runs)
    assert bool(plans) == (suite_name not in ABSENT.get(name, set()))
    assert len({plan.stem for plan in plans}) == len(plans)
    for plan in plans[:2]:
        figure = plan.draw()
        assert figure.get_figwidth() <= PAGE_IN
        check_legible(figure)
        explain(plan, figure)


def explain(plan: Plan, figure: Figure) -> None:
    assert plan.title
    assert plan.caption.endswith(".")
    assert plan.stem == plan.stem.lower()
    assert "/" not in plan.stem
    labelled: list[Any] = [a.get_ylabel() for a in figure.axes] + [
        a.get_xlabel() for a in figure.axes
    ]
    labelled.append(figure.get_supxlabel())
    assert any(labelled)


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_no_runs_are_none(name: str) -> None:
    assert FIGURES.get(name).plan([]) == []


def test_all_our_figures_are_registered() -> None:
    assert set(NAMES) <= set(FIGURES.names())
