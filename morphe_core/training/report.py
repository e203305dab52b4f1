"""Curves of a training run for the eye and the paper: quality, rate and losses against steps.

Reads what the trainer leaves in its run folder: `metrics.jsonl`, one JSON object a line with
`step`, `seconds`, `stage` and named values averaged over a reporting interval, and, where it is
there, `evaluation.jsonl` with values measured on real files at checkpoints.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from morphe_core.errors import TrainingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS_FILE: Final = "metrics.jsonl"
EVALUATION_FILE: Final = "evaluation.jsonl"
#: Keys of a line that are not values.
_ABOUT: Final = ("step", "seconds", "stage")
#: One column of a two-column paper, and the height of one panel, in inches.
_WIDTH_IN, _PANEL_IN = 3.3, 1.5
_PNG_DPI: Final = 300
#: Share of the run that the running mean looks back on.
_SMOOTH_SHARE: Final = 1 / 60
#: Palette of Okabe and Ito (Color Universal Design, 2008), told apart without colour by the lines.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES: Final = ("-", "--", "-.", ":")
_STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture everywhere
    "font.size": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    # Element names from the content, so that the same run gives the same bytes.
    "svg.hashsalt": "morphe",
}


@dataclass(frozen=True, slots=True)
class _Group:
    """Values that are drawn in one file.

    Attributes:
        stem: file name without its suffix.
        words: a value belongs here if its name contains one of these.
        label: of the axis where values share a panel; "" = a panel each, as units differ.
    """

    stem: str
    words: tuple[str, ...]
    label: str


#: In the order in which they are asked; what nobody wants is a loss.
_GROUPS: Final = (
    _Group("psnr", ("psnr",), "PSNR (dB)"),
    _Group("vmaf", ("vmaf",), "VMAF"),
    _Group("rate", ("bits", "kbps"), ""),
    _Group("loss", ("",), ""),
)

#: Names that the trainer gives, for readers; others lose their underscores only.
_LABELS: Final = {
    "psnr": "all received",
    "impaired_psnr": "with losses",
    "i_bits": "bits per I token",
    "p_bits": "bits per P token",
    "cost": "cost (log2)",
    "norm": "gradient norm",
    "sr_pixel": "pixel loss",
    "sr_vif": "VIF loss",
    "sr_detail": "detail loss",
    "sr_flow": "flow loss",
    "sr_boundary": "boundary loss",
    "sr_adversarial": "adversarial loss",
    "discriminator": "discriminator loss",
}

Entry = Mapping[str, Any]


def draw_report(run: Path, out: Path | None = None) -> list[Path]:
    """Draw every curve of a training run, as SVG and PNG (300 dpi, one column wide).

    Args:
        run: the run folder.
        out: where the figures go; by default `run / "figures"`.

    Returns:
        The files: `psnr`, `vmaf`, `rate` and `loss`, and the same with `evaluation-` in front for
        values measured at checkpoints; only those for which there are values.

    Raises:
        TrainingError: there are no metrics, they are damaged, or a figure cannot be written.
    """
    out = run / "figures" if out is None else out
    written: list[Path] = []
    for name, prefix in ((METRICS_FILE, ""), (EVALUATION_FILE, "evaluation-")):
        if prefix and not (run / name).exists():
            continue
        entries = read_metrics(run / name)
        for group, names in _grouped(entries):
            figure = _draw(entries, group, names, smooth=not prefix)
            written += _save(figure, out, prefix + group.stem)
    return written


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, in the order of their steps.

    Raises:
        TrainingError: as for `read_log`, or there is no line.
    """
    entries = read_log(path)
    if not entries:
        raise TrainingError(f"{path}: holds no metrics yet")
    return entries


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file that may still be empty, in the order of their steps.

    Of a step that is there twice, the later account counts. A last line that was cut short is left
    out.

    Raises:
        TrainingError: the file cannot be read, or another line is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text in UTF-8"
        raise TrainingError(f"{path}: cannot read: {reason}") from None
    kept: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = entry["step"]
            if not isinstance(step, int):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise TrainingError(f'{path}:{number}: must be an object with a "step"') from None
        while kept and kept[-1]["step"] >= step:
            kept.pop()
        kept.append(entry)
    return kept


def _grouped(entries: Sequence[Entry]) -> list[tuple[_Group, list[str]]]:
    """The groups for which there are values, and the values' names in order of appearance."""
    found: dict[str, None] = {}
    for entry in entries:
        found.update(dict.fromkeys(name for name in entry if _value(entry, name) is not None))
    chosen: dict[_Group, list[str]] = {}
    for name in found:
        group = next(one for one in _GROUPS if any(word in name for word in one.words))
        chosen.setdefault(group, []).append(name)
    return [(group, chosen[group]) for group in _GROUPS if group in chosen]


def _value(entry: Entry, name: str) -> float | None:
    """A finite number, or None for what is no value."""
    value = entry.get(name)
    if name in _ABOUT or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _draw(entries: Sequence[Entry], group: _Group, names: Sequence[str], *, smooth: bool) -> Figure:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.ticker import MaxNLocator

    panels = [list(names)] if group.label else [[name] for name in names]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = NewFigure((_WIDTH_IN, 0.4 + _PANEL_IN * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for number, (axes, inside) in enumerate(zip(grid, panels, strict=True)):
            _mark_stages(axes, entries, named=number == 0)
            looks = cycle(zip(_COLOURS, cycle(_LINES), strict=False))
            for name, (colour, line) in zip(inside, looks, strict=False):
                _curve(axes, entries, name, colour, line, smooth=smooth)
            axes.set_ylabel(group.label or _readable(inside[0]))
            if len(inside) > 1:
                axes.legend(loc="best")
        grid[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        grid[-1].set_xlabel(f"step ({_duration(entries)} in all)")
        # Fixed now, under these settings: saving comes after them.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _curve(
    axes: Axes, entries: Sequence[Entry], name: str, colour: str, line: str, *, smooth: bool
) -> None:
    points = [
        (entry["step"], value) for entry in entries if (value := _value(entry, name)) is not None
    ]
    steps, values = zip(*points, strict=True)
    if not smooth or len(points) < 1 / _SMOOTH_SHARE:
        marker = "o" if len(points) < 60 else ""
        axes.plot(steps, values, line, color=colour, marker=marker, ms=2, label=_readable(name))
        return
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.5)
    mean = _running_mean(values, max(2, round(len(points) * _SMOOTH_SHARE)))
    axes.plot(steps, mean, line, color=colour, label=_readable(name))


def _running_mean(values: Iterable[float], length: int) -> list[float]:
    """Exponential mean over about `length` values, without the pull towards its start."""
    total = weight = 0.0
    keep = 1.0 - 1.0 / length
    means = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1.0
        means.append(total / weight)
    return means


def _mark_stages(axes: Axes, entries: Sequence[Entry], *, named: bool) -> None:
    """A line where a stage begins, with its name above the first panel."""
    before = None
    for entry in entries:
        stage = entry.get("stage")
        if stage is None or stage == before:
            continue
        if before is not None:
            axes.axvline(entry["step"], color="#9a9a9a", linewidth=0.6, zorder=0.5)
        if named:
            axes.annotate(
                str(stage), (entry["step"], 1.0), xycoords=("data", "axes fraction"),
                xytext=(1, 1), textcoords="offset points", fontsize=6, va="bottom",
            )  # fmt: skip
        before = stage


def _readable(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def _duration(entries: Sequence[Entry]) -> str:
    seconds = float(entries[-1].get("seconds", 0.0))
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write `stem.svg` and `stem.png`, each whole or not at all."""
    import matplotlib as mpl

    paths = [folder / f"{stem}{suffix}" for suffix in (".svg", ".png")]
    with mpl.rc_context(_STYLE):
        for path, metadata in zip(paths, ({"Date": None}, None), strict=True):
            content = io.BytesIO()
            figure.savefig(content, format=path.suffix[1:], dpi=_PNG_DPI, metadata=metadata)
            part = path.with_name(f".{path.name}.part")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                part.write_bytes(content.getvalue())
                part.replace(path)
            except OSError as error:
                raise TrainingError(f"{path}: cannot be written ({error.strerror})") from None
    return paths
