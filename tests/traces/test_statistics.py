"""Figures on the 1 s grid, against hand-made cases, scipy, and the table of the real traces."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces.formats import read_file
from testbed.traces.statistics import (
    autocorrelation,
    describe,
    outage_lengths,
    runs,
    seconds_grid,
)

SHARED = Path(__file__).parents[3] / "shared" / "traces"


def trace_of(*parts: tuple[float, float]) -> RateTrace:
    return RateTrace(
        np.array([round(s * 1e6) for s, _ in parts], dtype=np.int64),
        np.array([r for _, r in parts], dtype=np.float64),
    )


def test_grid_is_the_mean_of_whole_seconds():
    trace = trace_of((0.5, 100), (1.0, 300), (1.0, 0), (0.7, 50))
    # [0,1): half 100, half 300; [1,2): half 300, half 0; [2,3): half 0, half 50; the rest is left.
    assert seconds_grid(trace).tolist() == pytest.approx([200, 150, 25])


def test_grid_of_less_than_a_second_is_its_mean():
    assert seconds_grid(trace_of((0.25, 80), (0.25, 40))).tolist() == [60.0]
    assert seconds_grid(OpportunityTrace(np.array([100]))).tolist() == pytest.approx([120.32])


def test_grid_of_opportunities_counts_them():
    grid = seconds_grid(OpportunityTrace(np.array([1, 1000, 1001, 2400])))
    assert grid.tolist() == pytest.approx([24.064, 12.032])


def test_runs_and_outages():
    assert runs(np.array([True, False, True, True])) == [(0, 1), (2, 2)]
    assert runs(np.array([], dtype=bool)) == []
    grid = np.array([99.9, 100.0, 0, 0, 0, 500, 50])
    assert outage_lengths(grid).tolist() == [1, 3, 1]


def test_describe_by_hand():
    figures = describe(trace_of((2, 1000), (3, 0), (1, 200), (2, 1000), (1, 50), (1, 750)))
    assert figures.duration_s == 10.0
    assert figures.mean_kbps == 500.0
    assert figures.outages == 2
    assert (figures.outage_mean_s, figures.outage_max_s) == (2.0, 3.0)
    assert figures.outage_share == 0.4
    assert figures.below_400k == 0.5
    assert figures.p50_kbps == 475.0
    values = np.array([1000, 1000, 0, 0, 0, 200, 1000, 1000, 50, 750.0])
    assert figures.cv == pytest.approx(stats.variation(values))


def test_autocorrelation_is_pearson_of_the_shifted_series():
    values = np.random.default_rng(1).standard_normal(300).cumsum()
    for lag in (1, 5, 30):
        expected = stats.pearsonr(values[:-lag], values[lag:]).statistic
        assert autocorrelation(values, lag) == pytest.approx(expected)
    assert math.isnan(autocorrelation(np.full(50, 1234.567), 1))
    assert math.isnan(autocorrelation(np.array([1.0, 2.0]), 1))


def test_nan_is_none_for_json():
    assert describe(trace_of((60, 400))).as_dict()["autocorrelation_1s"] is None


@pytest.mark.shared
def test_every_real_trace_has_the_figures_of_the_table():
    """stats.csv was made by other code, over the same files; it is rounded to the digits shown."""
    if not (SHARED / "stats.csv").is_file():
        pytest.skip(f"no real traces in {SHARED}")
    columns = {
        "duration_s": ("duration_s", 1.0, 0.0),  # the table counts whole seconds
        "mean_kbps": ("mean_kbps", 0.06, 1e-4),
        "p5_kbps": ("p5_kbps", 0.06, 1e-4),
        "p50_kbps": ("p50_kbps", 0.06, 1e-4),
        "p95_kbps": ("p95_kbps", 0.06, 1e-4),
        "cv": ("cv", 6e-4, 0.0),
        "frac_below_400k": ("below_400k", 6e-5, 0.0),
        "outage_n": ("outages", 0.0, 0.0),
        "outage_mean_s": ("outage_mean_s", 6e-3, 0.0),
        "outage_max_s": ("outage_max_s", 0.0, 0.0),
        "outage_frac": ("outage_share", 6e-5, 0.0),
        "acf1_1s": ("autocorrelation_1s", 6e-4, 0.0),
    }
    with (SHARED / "stats.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "throughput"]
    found = {}
    for name in {row["file"] for row in rows}:
        for part in read_file(SHARED / name)[1]:
            found[name, part.segment] = describe(part.trace)
    assert len(found) == len(rows) > 200
    for row in rows:
        figures = found[row["file"], row["segment"]]
        for column, (field, absolute, relative) in columns.items():
            expected = float(row[column])
            got = getattr(figures, field)
            assert got == pytest.approx(expected, abs=absolute + relative * expected), (
                row["file"],
                column,
            )
