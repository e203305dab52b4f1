"""Pictures are written whole, show what they must, and are the same file again."""

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.traces import resolve
from testbed.traces.plot import plot_traces, plot_validation


def test_svg_has_the_names_and_a_panel_each(tmp_path):
    traces = resolve("set:parametric", base=tmp_path)
    plot_traces(traces, tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text()
    for trace in traces:
        assert trace.name in text
    assert text.count("capacity (kbps)") == len(traces)
    plot_traces(traces, tmp_path / "y.svg")
    assert (tmp_path / "y.svg").read_text() == text


def test_png_of_a_very_short_and_of_a_mahimahi_trace(tmp_path):
    (tmp_path / "x.down").write_text("1\n2\n5\n")
    traces = resolve("x.down", base=tmp_path) + resolve("segments:0kbps@1s,5Mbps@1s", base=tmp_path)
    plot_traces(traces, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn(tmp_path):
    traces = resolve("constant:5kbps", base=tmp_path)
    with pytest.raises(TraceError, match=r"a picture ends in .png, .svg, .pdf"):
        plot_traces(traces, tmp_path / "x.gif")
    with pytest.raises(TraceError, match=r"25 traces do not fit"):
        plot_traces(traces * 25, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_validation_figure_with_and_without_the_fitted_side(tmp_path):
    rng = np.random.default_rng(0)
    real = [np.abs(rng.normal(500, 400, 300)) for _ in range(3)]
    steady = [np.full(300, 700.0)]
    plot_validation("rail", (real, [], steady), tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text()
    assert "model rail" in text
    assert "fitted to" not in text
    plot_validation("rail", (real, real, real), tmp_path / "x.svg")
    assert "fitted to" in (tmp_path / "x.svg").read_text()
