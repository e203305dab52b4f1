"""Pictures: capacity over time, and models beside the recordings that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.traces.files import written_whole
from testbed.traces.resolved import ResolvedTrace
from testbed.traces.statistics import OUTAGE_KBPS, autocorrelation, outage_lengths, runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES: Final = (".png", ".svg", ".pdf")
_STYLE: Final[Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.alpha": 0.5,
    "legend.frameon": False,
    "svg.hashsalt": "testbed",  # the same figure is the same file
    "svg.fonttype": "none",
}
#: Colours that remain apart in grey and for the colour-blind (Okabe and Ito).
_CAPACITY: Final = "#0072B2"
_OUTAGE: Final = "#D55E00"
#: Sides of a comparison: label to colour and line.
_SIDES: Final = (
    ("held out (real)", "#000000", "-"),
    ("fitted to (real)", "#999999", "-"),
    ("drawn (synthetic)", "#D55E00", "--"),
)
_PANEL_INCHES: Final = (6.4, 1.5)
_MAX_PANELS: Final = 24
_MAX_LAG_S: Final = 30


def plot_traces(traces: Sequence[ResolvedTrace], path: Path) -> None:
    """Capacity over time, one panel a trace; seconds under 100 kbps are marked.

    Raises:
        TraceError: too many traces for one picture, or a file ending that is no picture.
        OutputError: cannot be written.
    """
    if len(traces) > _MAX_PANELS:
        raise TraceError(f"{len(traces)} traces do not fit into one picture; at most {_MAX_PANELS}")
    width, height = _PANEL_INCHES
    figure, panels = _figure(len(traces), 1, (width, 0.5 + height * len(traces)), path)
    for trace, axes in zip(traces, panels[:, 0], strict=True):
        _draw_capacity(axes, trace)
    panels[-1, 0].set_xlabel("time (s)")
    _save(figure, path)


def _draw_capacity(axes: Any, trace: ResolvedTrace) -> None:
    rates = trace.rate(min(1_000_000, max(1000, int(trace.duration_s * 1e6) // 20)))
    scale, unit = (1000.0, "Mbps") if float(rates.rates_kbps.max()) >= 10_000 else (1.0, "kbps")
    edges = np.concatenate(([0], np.cumsum(rates.durations_us))) / 1e6
    axes.stairs(rates.rates_kbps / scale, edges, color=_CAPACITY, linewidth=0.8, baseline=None)
    top = float(rates.rates_kbps.max()) / scale * 1.05
    spans = [
        (edges[start], edges[start + length] - edges[start])
        for start, length in runs(rates.rates_kbps < OUTAGE_KBPS)
    ]
    axes.broken_barh(spans, (0, top), color=_OUTAGE, alpha=0.25, linewidth=0)
    axes.set_ylim(0, top)
    axes.set_xlim(0, float(edges[-1]))
    axes.set_ylabel(f"capacity ({unit})")
    axes.set_title(trace.name, loc="left", fontsize=8)


def plot_validation(
    name: str,
    sides: Sequence[Sequence[NDArray[np.float64]]],
    path: Path,
) -> None:
    """A model beside real recordings: rates, window means, autocorrelation, outage lengths.

    Args:
        name: the model's.
        sides: windows held out, fitted to (may be empty) and drawn, on the 1 s grid.
        path: .png, .svg or .pdf.

    Raises:
        TraceError: a file ending that is no picture.
        OutputError: cannot be written.
    """
    figure, panels = _figure(2, 2, (6.4, 4.4), path)
    for (label, colour, line), parts in zip(_SIDES, sides, strict=True):
        if not parts:
            continue
        look = {"color": colour, "linestyle": line, "linewidth": 1.0, "label": label}
        pooled = np.maximum(np.concatenate(parts), 1.0)
        _cdf(panels[0, 0], pooled, look)
        _cdf(panels[0, 1], np.maximum([part.mean() for part in parts], 1.0), look)
        lags = np.arange(1, _MAX_LAG_S + 1)
        panels[1, 0].plot(lags, [_median_acf(parts, int(lag)) for lag in lags], **look)
        lengths = np.concatenate([outage_lengths(part) for part in parts])
        if lengths.size:
            at = np.sort(lengths)
            panels[1, 1].step(at, 1 - np.arange(at.size) / at.size, where="pre", **look)
    for axes, text in (
        (panels[0, 0], "capacity of a second (kbps)"),
        (panels[0, 1], "mean of a window (kbps)"),
    ):
        axes.set_xscale("log")
        axes.set_xlabel(text)
        axes.set_ylabel("share below")
    panels[1, 0].set_xlabel("lag (s)")
    panels[1, 0].set_ylabel("autocorrelation (median)")
    panels[1, 1].set_xscale("log")
    panels[1, 1].set_yscale("log")
    panels[1, 1].set_xlabel("outage length (s)")
    panels[1, 1].set_ylabel("share at least as long")
    panels[0, 0].legend(fontsize=7, loc="upper left", frameon=False)
    figure.suptitle(f"model {name}", x=0.02, ha="left", fontsize=9)
    _save(figure, path)


def _cdf(axes: Any, values: NDArray[np.float64], look: Mapping[str, Any]) -> None:
    """Empirical CDF, thinned to a few hundred points for small files."""
    levels = np.linspace(0, 100, min(400, values.size))
    axes.plot(np.percentile(values, levels), levels / 100, **look)


def _median_acf(parts: Sequence[NDArray[np.float64]], lag: int) -> float:
    values = [autocorrelation(part, lag) for part in parts]
    return float(np.nanmedian(values)) if not np.all(np.isnan(values)) else float("nan")


def _figure(rows: int, columns: int, inches: tuple[float, float], path: Path) -> tuple[Figure, Any]:
    if path.suffix not in _SUFFIXES:
        raise TraceError(f"{path}: a picture ends in {', '.join(_SUFFIXES)}")
    import matplotlib as mpl
    from matplotlib.figure import Figure as NewFigure

    with mpl.rc_context(_STYLE):
        figure = NewFigure(figsize=inches, layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Figure, path: Path) -> None:
    import matplotlib as mpl

    date = {"Date": None} if path.suffix == ".svg" else {}
    with mpl.rc_context(_STYLE), written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata=date or None)
