"""The numbers in the other figures are those of the runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from testbed.analysis.plots import FIGURES
from testbed.analysis.plots.base import bars, over_seeds
from testbed.analysis.plots.tracking import binned, capacity_kbps, rate_limit
from testbed.analysis.runs import Run
from testbed.analysis.statistics import Interval
from testbed.analysis.style import scheme

Suite = Callable[[str], tuple[Run, ...]]
pytestmark = pytest.mark.usefixtures("styled")


def test_bars_are_as_high_as_the_mean_over_seeds(suite: Suite) -> None:
    runs = suite("loss")
    (plan,) = FIGURES.get("rendered-fps").plan(runs)
    figure = plan.draw()
    assert [axis.get_title() for axis in figure.axes] == ["Source at 30 fps", "Source at 60 fps"]
    for axis, fps in zip(figure.axes, (30.0, 60.0), strict=True):
        drawn = [patch.get_height() for patch in axis.patches]
        expected = [
            np.mean(
                [
                    run.summary["rendered_fps"]
                    for run in runs
                    if (run.transport, run.cell["fps"], run.cell["loss_rate"])
                    == (transport, fps, rate)
                ]
            )
            for transport in ("h264", "h265", "h266")
            for rate in (0.0, 0.25)
        ]
        assert drawn == pytest.approx(expected)
        assert len(axis.containers) >= 6


def test_error_bars_stop_where_the_metric_does() -> None:
    wide = Interval(mean=20.0, low=-5.0, high=45.0, n=2, method="t")
    assert bars([wide], 0, 30) == [[20.0], [10.0]]
    assert bars([wide], -100, 100) == [[25.0], [25.0]]


def test_pooling_averages_cells_within_a_seed_first(suite: Suite) -> None:
    runs = [run for run in suite("loss") if run.transport == "h264"]
    found = over_seeds(runs, "rendered_fps")
    assert found is not None
    assert found.n == 3
    assert found.mean == pytest.approx(np.mean([run.summary["rendered_fps"] for run in runs]))


def test_quality_lines_hold_the_means(suite: Suite) -> None:
    runs = [run for run in suite("loss") if run.cell["fps"] == 30]
    (plan,) = FIGURES.get("quality").plan(runs)
    figure = plan.draw()
    assert [axis.get_ylabel() for axis in figure.axes] == ["VMAF", "SSIM (dB)", "PSNR (dB)"]
    (line,) = [ln for ln in figure.axes[0].lines if ln.get_label() == scheme("h266").label]
    expected = [
        np.mean(
            [
                run.summary["vmaf_mean"]
                for run in runs
                if run.transport == "h266" and run.cell["loss_rate"] == rate
            ]
        )
        for rate in (0.0, 0.25)
    ]
    assert list(line.get_ydata()) == pytest.approx(expected)
    assert list(line.get_xdata()) == pytest.approx([0, 25], abs=1)


def test_tracking_shows_the_first_seed_against_the_links_capacity(suite: Suite) -> None:
    runs = suite("tracking")
    (plan,) = FIGURES.get("tracking").plan(runs)
    assert "seed 1" in plan.caption
    figure = plan.draw()
    assert [axis.get_title() for axis in figure.axes] == ["H.264", "H.265", "H.266"]
    (capacity,) = [ln for ln in figure.axes[0].lines if ln.get_label() == "Capacity"]
    run = next(run for run in runs if run.transport == "h264" and run.seed == 1)
    np.testing.assert_allclose(capacity.get_ydata()[:-1], capacity_kbps(run))
    np.testing.assert_allclose(
        capacity_kbps(run).mean(),
        run.link["capacity_bytes"].sum() * 8 / 1e3 / 6.0,
    )


def test_binning_takes_whole_bins() -> None:
    times = np.array([0.0, 0.4e9, 0.999e9, 1.0e9, 2.5e9])
    sizes = np.full(5, 125.0)
    np.testing.assert_allclose(binned(times, sizes, 1.0, end_s=3.0), [3.0, 1.0, 1.0])
    # A bin that the end cuts short would look like a drop.
    np.testing.assert_allclose(binned(times, sizes, 1.0, end_s=2.9), [3.0, 1.0])
    assert binned(np.empty(0), np.empty(0), 1.0, end_s=0.5).size == 0


@pytest.mark.parametrize(
    ("capacity", "rates", "limit"),
    [([2000.0], [400.0], 1200.0), ([500.0], [400.0], 500.0), ([], [400.0], 400.0), ([], [], 1.0)],
)
def test_a_capacity_far_above_does_not_flatten_the_rates(
    capacity: list[float], rates: list[float], limit: float
) -> None:
    assert rate_limit(np.array(capacity), [np.array(rates)]) == limit


def test_flows_are_drawn_while_they_are_there_at_what_they_got(suite: Suite) -> None:
    plans = FIGURES.get("flows").plan(suite("shared"))
    assert [plan.stem for plan in plans] == ["flows--h264", "flows--morphe"]
    figure = plans[1].draw()
    assert len([axis for axis in figure.axes if axis.get_visible()]) == 5
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert list(lines) == ["Capacity", scheme("morphe").label, "Flow 1", "TCP"]
    for label, first, end, rate in (
        (scheme("morphe").label, 0, 6, 800), ("Flow 1", 1, 6, 400), ("TCP", 2, 5, 900),
    ):  # fmt: skip
        drawn = np.asarray(lines[label].get_ydata(), dtype=float)[:6]
        assert drawn[first:end] == pytest.approx(rate, rel=0.001)
        assert np.isnan(drawn[:first]).all()
        assert np.isnan(drawn[end:]).all()


def test_timelines_are_one_run_a_transport_at_the_highest_loss(suite: Suite) -> None:
    plans = FIGURES.get("timeline").plan(suite("loss"))
    assert len(plans) == 3
    assert all("25 % loss" in plan.title for plan in plans)
    run = next(
        r
        for r in suite("loss")
        if (r.transport, r.seed, r.cell["fps"], r.cell["loss_rate"]) == ("h264", 1, 30, 0.25)
    )
    assert run.name in plans[0].caption
    frames = plans[0].draw().axes[2]
    counted = {ln.get_label(): len(ln.get_xdata()) for ln in frames.lines}
    assert counted["Rendered"] == run.timeline.shown.sum()
    assert counted.get("Never rendered", 0) == (~run.timeline.shown).sum()


def test_tradeoff_marks_every_run(suite: Suite) -> None:
    runs = [run for run in suite("loss") if run.cell["fps"] == 30]
    (plan,) = FIGURES.get("tradeoff").plan(runs)
    small = [
        line for axis in plan.draw().axes for line in axis.lines if line.get_markersize() == 2.5
    ]
    assert sum(len(line.get_xdata()) for line in small) == len(runs)


def test_a_missing_run_is_not_a_rate_of_zero(suite: Suite) -> None:
    runs = [
        run
        for run in suite("loss")
        if run.cell["fps"] == 30 and not (run.transport == "h265" and run.cell["loss_rate"])
    ]
    (plan,) = FIGURES.get("rendered-fps").plan(runs)
    (axis,) = plan.draw().axes
    assert [text.get_text() for text in axis.texts] == ["no run"]
    assert len(axis.patches) == 5
