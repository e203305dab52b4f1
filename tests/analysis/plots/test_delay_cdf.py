from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.plots import FIGURES
from testbed.analysis.plots.delay_cdf import steps
from testbed.analysis.runs import Run
from testbed.analysis.style import scheme

Suite = Callable[[str], tuple[Run, ...]]
pytestmark = pytest.mark.usefixtures("styled")


def test_curves_end_at_the_share_of_frames_that_were_rendered(suite: Suite) -> None:
    runs = [run for run in suite("loss") if run.cell["fps"] == 30]
    (plan,) = FIGURES.get("latency-cdf").plan(runs)
    axes = [axis for axis in plan.draw().axes if axis.get_title()]
    assert [axis.get_title() for axis in axes] == ["0 % loss", "25 % loss"]
    for axis, rate in zip(axes, (0.0, 0.25), strict=True):
        for transport in ("h264", "h265", "h266"):
            mine = [
                run for run in runs if run.transport == transport and run.cell["loss_rate"] == rate
            ]
            shown = np.concatenate([run.timeline.shown for run in mine])
            (curve,) = [line for line in axis.lines if line.get_label() == scheme(transport).label]
            x, y = curve.get_data()
            assert y[-1] == pytest.approx(shown.mean())
            assert x[-1] == 400
            assert y[0] == 0


def test_median_lines_stand_where_half_of_all_frames_were_rendered(suite: Suite) -> None:
    runs = [r for r in suite("loss") if r.cell["fps"] == 30 and r.transport == "h264"]
    (plan,) = FIGURES.get("latency-cdf").plan(runs)
    axis = plan.draw().axes[0]
    curve, median = axis.lines[0], axis.lines[1]
    x, y = curve.get_data()
    at = float(median.get_xdata()[0])
    # The first step that reaches one half.
    assert at == pytest.approx(float(np.asarray(x)[np.asarray(y) >= 0.5][0]), abs=1.0)
    assert list(median.get_ydata()) == [0, 0.5]


def test_a_transport_that_rendered_less_than_half_has_no_median(suite: Suite) -> None:
    (plan,) = FIGURES.get("delay-cdf").plan(suite("all-lost"))
    axis = plan.draw().axes[0]
    assert [line.get_label() for line in axis.lines if line.get_label()[0] != "_"] == ["H.264"]
    assert axis.lines[0].get_ydata()[-1] == 0
    assert len(axis.lines) == 2  # the curve and its end mark


def test_more_panels_than_fit_are_said_to_be_missing(suite: Suite) -> None:
    plans = FIGURES.get("delay-cdf").plan(suite("traces"))
    assert "2 more panels are left out." in plans[-1].caption


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=1500), st.integers(0, 500))
def test_thinned_steps_lie_on_the_empirical_distribution(values: list[float], lost: int) -> None:
    known = np.sort(np.array(values))
    count = known.size + lost
    x, y = steps(known, count)
    assert x[0] == known[0]
    assert x[-1] == known[-1]
    assert y[-1] == pytest.approx(known.size / count)
    assert np.all(np.diff(x) >= 0)
    assert np.all(np.diff(y) > 0)
    # At each corner the curve is between the shares of values below and up to it.
    below = np.searchsorted(known, x[1:], side="left") / count
    upto = np.searchsorted(known, x[1:], side="right") / count
    assert np.all((below <= y[1:]) & (y[1:] <= upto + 1e-12))
