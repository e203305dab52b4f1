"""Figures and tables of the codec by itself: rate-distortion, BD-rate, quality under loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.analysis.style import (
    COLUMN_IN,
    PALETTE,
    new_figure,
    paper_style,
    save,
    scheme,
    write_whole,
)
from testbed.codec.evaluate import ClipResult, Row
from testbed.codec.rd import BdRate, bd_rate
from testbed.codec.steadiness import Steadiness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEAN: Final = "mean"
#: Columns of `rd.csv`, beside one for each anchor's VMAF at the same bytes.
_COLUMNS: Final = tuple(field.name for field in fields(Row) if field.name != "same_bytes")
#: Which scheme of the other figures a codec looks like, and how its form differs.
_LOOKS: Final = {"x264": "h264", "x265": "h265"}
_BURST_LINES: Final = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.2, 1, 1.2)))
_FORM_LINES: Final = {"lowlatency": "-", "keyint9": (0, (4, 1.5))}


@dataclass(frozen=True, slots=True)
class BdRow:
    """BD-rate of a codec against an anchor.

    Attributes:
        clip: its name, or `MEAN`.
        codec: profile.
        anchor: name.
        metric: VMAF or another column of `Row`.
        percent: negative: the codec needs so much less at equal quality; None: the curves share
            no quality.
        overlap: share of the qualities that both reach; of the mean, the mean.
        clips: how many clips the figure is of.
    """

    clip: str
    codec: str
    anchor: str
    metric: str
    percent: float | None
    overlap: float
    clips: int


def bd_rows(
    results: Sequence[ClipResult], *, metrics: Sequence[str] = ("vmaf", "vmaf_neg", "psnr")
) -> list[BdRow]:
    """BD-rate of every profile against every anchor, clip by clip, and the mean over clips.

    The mean is over the clips whose curves share qualities; `clips` says how many these are.
    """
    rows: list[BdRow] = []
    for codec in _codecs(results):
        for anchor in _anchors(results):
            for metric in metrics:
                rows += _bd_of(results, codec, anchor, metric)
    return rows


def _bd_of(results: Sequence[ClipResult], codec: str, anchor: str, metric: str) -> list[BdRow]:
    rows: list[BdRow] = []
    known: list[BdRate] = []
    for result in results:
        curves = [
            [(row.kbps, float(getattr(row, metric))) for row in _curve(result.rows, name)]
            for name in (anchor, codec)
        ]
        found = bd_rate(*curves)
        percent, overlap = (found.percent, found.overlap) if found else (None, 0.0)
        rows.append(BdRow(result.clip, codec, anchor, metric, percent, overlap, int(bool(found))))
        known += [found] if found else []
    if len(results) > 1:
        percent = float(np.mean([one.percent for one in known])) if known else None
        overlap = float(np.mean([one.overlap for one in known])) if known else 0.0
        rows.append(BdRow(MEAN, codec, anchor, metric, percent, overlap, len(known)))
    return rows


def mean_rows(results: Sequence[ClipResult]) -> list[Row]:
    """Means over clips and seeds for every codec, target and loss that each clip has.

    An anchor's VMAF at the same bytes is there where it is known of each clip.
    """
    groups: dict[tuple[str, float, float, float], list[Row]] = {}
    for row in (row for result in results for row in result.rows):
        groups.setdefault((row.codec, row.target_kbps, row.loss, row.burst), []).append(row)
    means = []
    for (codec, target, loss, burst), rows in groups.items():
        if {row.clip for row in rows} != {result.clip for result in results}:
            continue
        same = {
            name: float(np.mean([row.same_bytes[name] for row in rows]))
            for name in rows[0].same_bytes
            if all(name in row.same_bytes for row in rows)
        }
        kbps, vmaf, ssim, psnr, neg = (
            float(np.mean([getattr(row, name) for row in rows]))
            for name in ("kbps", "vmaf", "ssim", "psnr", "vmaf_neg")
        )
        means.append(Row(MEAN, codec, target, kbps, loss, burst, 0, vmaf, ssim, psnr, neg, same))
    return means


def write_tables(results: Sequence[ClipResult], folder: Path) -> list[Path]:
    """`rd.csv`, `bd_rate.csv` and `steadiness.csv`.

    Raises:
        OutputError: they cannot be written.
    """
    anchors = _anchors(results)
    rd = [[*_COLUMNS, *(f"vmaf_of_{name}_at_same_bytes" for name in anchors)]]
    for row in (row for result in results for row in result.rows):
        values = [getattr(row, name) for name in _COLUMNS]
        rd.append([*map(_text, values), *(_text(row.same_bytes.get(name)) for name in anchors)])
    bd = [[field.name for field in fields(BdRow)]]
    bd += [[_text(getattr(row, name)) for name in bd[0]] for row in bd_rows(results)]
    names = [field.name for field in fields(Steadiness)]
    steady = [["clip", "codec", "target_kbps", *names]]
    for result in results:
        for codec, rate, found in result.steadiness:
            numbers = [_text(getattr(found, name)) for name in names]
            steady.append([result.clip, codec, _text(rate), *numbers])
    tables = {"rd.csv": rd, "bd_rate.csv": bd, "steadiness.csv": steady}
    for name, lines in tables.items():
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        write_whole(folder / name, buffer.getvalue().encode())
    return [folder / name for name in tables]


def write_figures(results: Sequence[ClipResult], folder: Path) -> list[Path]:
    """`rd.svg`/`.png` of each clip and of their mean, `loss.svg`/`.png` if there were losses.

    Raises:
        OutputError: they cannot be written.
    """
    paths: list[Path] = []
    with paper_style():
        for result in results:
            stem = f"rd--{result.clip}" if len(results) > 1 else "rd"
            paths += _draw_rd([result], folder, stem, result.clip)
        if len(results) > 1:
            paths += _draw_rd(results, folder, "rd", f"mean of {len(results)} clips")
        if any(row.loss for result in results for row in result.rows):
            paths += _draw_loss(results, folder)
    return paths


def _draw_rd(
    results: Sequence[ClipResult], folder: Path, stem: str, title: str
) -> tuple[Path, Path]:
    figure = new_figure(COLUMN_IN, 2.6)
    axis = figure.subplots()
    for codec in [*_codecs(results), *_anchors(results)]:
        points = _mean_curve(results, codec)
        if points:
            x, y = zip(*points, strict=True)
            axis.plot(x, y, **_style(codec))
    axis.set_xscale("log")
    _rate_ticks(axis)
    axis.set_ylim(0, 100)
    axis.set_xlabel("kbps, packet headers included")
    axis.set_ylabel("VMAF")
    axis.set_title(title)
    figure.legend(loc="outside lower center", ncols=2)
    return save(figure, folder, stem)


def _rate_ticks(axis: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    low, high = axis.get_xlim()
    ticks = [50.0 * 2**power for power in range(-4, 14)]
    axis.set_xticks(shown := [t for t in ticks if low <= t <= high], [f"{t:g}" for t in shown])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()


def _mean_curve(results: Sequence[ClipResult], codec: str) -> list[tuple[float, float]]:
    """Mean rate and VMAF over clips for each target that every clip has."""
    by_target: dict[float, list[Row]] = {}
    for result in results:
        for row in _curve(result.rows, codec):
            by_target.setdefault(row.target_kbps, []).append(row)
    return [
        (float(np.mean([row.kbps for row in rows])), float(np.mean([row.vmaf for row in rows])))
        for _, rows in sorted(by_target.items())
        if len(rows) == len(results)
    ]


def _draw_loss(results: Sequence[ClipResult], folder: Path) -> tuple[Path, Path]:
    """VMAF against loss, one line a codec, rate and burst; mean over clips and seeds."""
    figure = new_figure(COLUMN_IN, 2.8)
    axis = figure.subplots()
    rows = [row for result in results for row in result.rows]
    codecs = _codecs(results)
    bursts = sorted({row.burst for row in rows if row.loss})
    rates = sorted({row.target_kbps for row in rows if row.loss})
    for codec, (at, rate), burst in product(codecs, enumerate(rates), bursts):
        means = _means_by_loss(rows, codec, rate, burst)
        words = [codec] * (len(codecs) > 1) + [f"{rate:g} kbps"]
        if len(bursts) > 1:
            words.append("single losses" if burst == 1 else f"bursts of {burst:g}")
        axis.plot(
            [100 * loss for loss in means], list(means.values()), label=", ".join(words),
            color=PALETTE[at % len(PALETTE)], marker="os^Dv"[codecs.index(codec) % 5],
            linestyle=_BURST_LINES[bursts.index(burst) % len(_BURST_LINES)],
        )  # fmt: skip
    axis.set_ylim(0, 100)
    axis.set_xlabel("units lost (%)")
    axis.set_ylabel("VMAF")
    figure.legend(loc="outside lower center", ncols=2 if len(codecs) == 1 else 1)
    return save(figure, folder, "loss")


def _means_by_loss(
    rows: Sequence[Row], codec: str, rate: float, burst: float
) -> dict[float, float]:
    """Mean VMAF for each loss, 0 included."""
    vmaf: dict[float, list[float]] = {}
    for row in rows:
        if (row.codec, row.target_kbps) == (codec, rate) and (row.burst == burst or not row.loss):
            vmaf.setdefault(row.loss, []).append(row.vmaf)
    return {loss: float(np.mean(values)) for loss, values in sorted(vmaf.items())}


def _style(codec: str) -> dict[str, Any]:
    family, _, form = codec.partition("-")
    if family not in _LOOKS:
        look = scheme(codec)
        return {
            "color": look.colour, "linestyle": look.line, "marker": look.marker,
            "label": look.label,
        }  # fmt: skip
    look = scheme(_LOOKS[family])
    return {
        "color": look.colour, "linestyle": _FORM_LINES.get(form, look.line),
        "marker": look.marker, "label": codec.replace("-", ", "), "markersize": 3,
    }  # fmt: skip


def _curve(rows: Iterable[Row], codec: str) -> list[Row]:
    return [row for row in rows if row.codec == codec and not row.loss]


def _codecs(results: Sequence[ClipResult]) -> list[str]:
    """The profiles that were measured, in their order."""
    found = (codec for result in results for codec, _, _ in result.steadiness)
    return list(dict.fromkeys(found))


def _anchors(results: Sequence[ClipResult]) -> list[str]:
    codecs = set(_codecs(results))
    found = (row.codec for result in results for row in result.rows if row.codec not in codecs)
    return list(dict.fromkeys(found))


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
