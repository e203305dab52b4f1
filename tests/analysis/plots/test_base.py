from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_runs import Cell, manifest

from testbed.analysis.plots.base import (
    legend,
    name_panel,
    name_ticks,
    panels,
    seeds_text,
    shared_by_all,
)
from testbed.analysis.runs import Run
from testbed.analysis.style import COLUMN_IN, PAGE_IN


def run(transport: str, seed: int, trace: str = "x") -> Run:
    facts = manifest(Cell(trace=trace), transport, seed)
    return Run(Path(facts["run"]), facts)


def test_pooling_compares_the_same_cells_only() -> None:
    runs = [run(t, s, trace) for t in ("h264", "h265") for s in (1, 2) for trace in "xy"]
    assert shared_by_all(runs) == (tuple(runs), "")
    # h265 failed on one trace with one seed: h264's run there must not count either.
    gone = [
        r for r in runs if not (r.transport == "h265" and r.seed == 2 and r.cell["trace"] == "y")
    ]
    kept, said = shared_by_all(gone)
    assert len(kept) == 6
    assert {(r.seed, r.cell["trace"]) for r in kept} == {(1, "x"), (1, "y"), (2, "x")}
    assert said == " 1 cells and seeds that not every transport has are left out."


def test_transports_without_a_common_cell_are_said_to_differ() -> None:
    runs = [run("h264", 1), run("h265", 2)]
    kept, said = shared_by_all(runs)
    assert list(kept) == runs
    assert "Not all transports have the same cells." in said


def test_seeds_in_words() -> None:
    assert seeds_text([run("h264", 7)]) == "seed 7"
    assert seeds_text([run("h264", 1), run("h265", 2)]) == "2 seeds"


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 4), (5, 3), (6, 3), (7, 4)])
def test_panels_come_in_reading_order(count: int, columns: int) -> None:
    figure, axes = panels(count)
    assert len(axes) == count
    assert sum(axis.get_visible() for axis in figure.axes) == count
    assert axes[0].get_subplotspec().get_gridspec().ncols == columns
    assert figure.get_figwidth() == (COLUMN_IN if count == 1 else PAGE_IN)


@pytest.mark.usefixtures("styled")
def test_legends_name_each_curve_once_in_reading_order() -> None:
    figure, axes = panels(2)
    names = [f"a longer name {i}" for i in range(9)]
    for axis in axes:
        for name in names:
            axis.plot([0], [0], label=name)
    legend(figure, axes)
    figure.canvas.draw()
    (box,) = figure.legends
    places = [
        (round(t.get_window_extent().y0), round(t.get_window_extent().x0), t.get_text())
        for t in box.get_texts()
    ]
    assert [name for _, _, name in sorted(places, key=lambda p: (-p[0], p[1]))] == names


@pytest.mark.usefixtures("styled")
def test_long_names_are_wrapped_and_then_tilted() -> None:
    _, (axis,) = panels(1)
    name_ticks(axis, ["no loss", "gilbert-elliott 5 % burst 4"], room_in=2.8)
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        "no loss",
        "gilbert-elliott 5 % burst\n4",
    ]
    name_ticks(axis, ["rail-synthetic-600s-3-mean600kbps"] * 2, room_in=2.8)
    label = axis.get_xticklabels()[0]
    assert (label.get_text(), label.get_rotation()) == ("rail-synthetic-600s-3-\nmean600kbps", 0.0)
    name_ticks(axis, ["a_name_without_any_gap_in_it"] * 4, room_in=2.8)
    assert {label.get_rotation() for label in axis.get_xticklabels()} == {30.0}


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("constant 500kbps of the rail", ["constant 500kbps of", "the rail"]),
        ("driving-synthetic-600s-0-mean600kbps", ["driving-synthetic-", "600s-0-mean600kbps"]),
        ("a_name_without_any_gap_in_it", ["a_name_without_any_ga", "p_in_it"]),
    ],
)
def test_titles_of_panels_stay_within_their_room(name: str, lines: list[str]) -> None:
    _, axes = panels(4)
    name_panel(axes[0], name)
    assert axes[0].get_title().split("\n") == lines
