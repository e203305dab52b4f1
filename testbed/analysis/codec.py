"""Figures and tables of the codec by itself: rate-distortion, losses, dropped tokens."""

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
    GREY,
    PAGE_IN,
    PALETTE,
    new_figure,
    paper_style,
    save,
    scheme,
    write_whole,
)
from testbed.codec.drops import DROP_SCOPES, SELECTIONS, scope_name
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


@dataclass(frozen=True, slots=True)
class DropRow:
    """What a way to drop tokens leaves of the quality, mean over clips.

    Attributes:
        codec: profile.
        target_kbps: rate that gave the qualities.
        drop_scope, drop, selection: see `Row`.
        clips: how many the means are of.
        kbps: what was sent.
        vmaf: mean.
        of_undropped: VMAF over that where the rate control decides what is left out; None where
            that is 0.
        of_random: VMAF over that of random dropping; None where it is 0 or was not measured.
    """

    codec: str
    target_kbps: float
    drop_scope: str
    drop: float
    selection: str
    clips: int
    kbps: float
    vmaf: float
    of_undropped: float | None
    of_random: float | None


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
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in (row for result in results for row in result.rows):
        drop = (row.drop, row.selection, row.drop_scope)
        key = (row.codec, row.target_kbps, row.loss, row.burst, drop)
        groups.setdefault(key, []).append(row)
    means = []
    for (codec, target, loss, burst, drop), rows in groups.items():
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
        means.append(
            Row(MEAN, codec, target, kbps, loss, burst, 0, vmaf, ssim, psnr, neg, same, *drop)
        )
    return means


def drop_rows(results: Sequence[ClipResult]) -> list[DropRow]:
    """Every way to drop tokens that each clip has, beside no dropping and random dropping."""
    means = [row for row in mean_rows(results) if not row.loss and row.codec in _codecs(results)]
    whole = {(row.codec, row.target_kbps): row.vmaf for row in means if not row.drop}
    chance = {_dropping(row): row.vmaf for row in means if row.selection == "random"}
    return [
        DropRow(
            *_dropping(row), row.selection, len(results), row.kbps, row.vmaf,
            _ratio(row.vmaf, whole[row.codec, row.target_kbps]),
            _ratio(row.vmaf, chance.get(_dropping(row), 0.0)),
        )
        for row in means
        if row.drop
    ]  # fmt: skip


def _dropping(row: Row) -> tuple[str, float, str, float]:
    """What is the same for all selections that are compared."""
    return row.codec, row.target_kbps, row.drop_scope, row.drop


def _ratio(value: float, base: float) -> float | None:
    return value / base if base > 0 else None


def write_tables(results: Sequence[ClipResult], folder: Path) -> list[Path]:
    """`rd.csv`, `bd_rate.csv` and `steadiness.csv`, and `drop.csv` if tokens were dropped.

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
    if dropped := drop_rows(results):
        heads = [field.name for field in fields(DropRow)]
        lines = [[_text(getattr(row, name)) for name in heads] for row in dropped]
        tables["drop.csv"] = [heads, *lines]
    for name, lines in tables.items():
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        write_whole(folder / name, buffer.getvalue().encode())
    return [folder / name for name in tables]


def write_figures(results: Sequence[ClipResult], folder: Path) -> list[Path]:
    """`rd.svg`/`.png` of each clip and of their mean, `loss` and `drop` if there were such.

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
        if any(row.loss for row in _rows(results)):
            paths += _draw_loss(results, folder)
        if rows := drop_rows(results):
            paths += _draw_drop(results, rows, folder)
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
    rows = _rows(results)
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
        mine = (row.codec, row.target_kbps, row.drop) == (codec, rate, 0)
        if mine and (row.burst == burst or not row.loss):
            vmaf.setdefault(row.loss, []).append(row.vmaf)
    return {loss: float(np.mean(values)) for loss, values in sorted(vmaf.items())}


def _draw_drop(
    results: Sequence[ClipResult], rows: Sequence[DropRow], folder: Path
) -> tuple[Path, Path]:
    """VMAF against the share that is dropped, a panel for each codec and rate; mean over clips."""
    panels = list(dict.fromkeys((row.codec, row.target_kbps) for row in rows))
    figure = new_figure(min(PAGE_IN, COLUMN_IN * len(panels)), 2.8)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (codec, rate) in zip(axes, panels, strict=True):
        # A point by itself: where the rate control leaves tokens out, no line begins at it.
        whole = _means_by_loss(_rows(results), codec, rate, 1)[0]
        axis.plot([0], [whole], color=GREY, marker="*", linestyle="", label="rate control's choice")
        _drop_lines(axis, [row for row in rows if (row.codec, row.target_kbps) == (codec, rate)])
        axis.set_ylim(0, 100)
        axis.set_xlabel("tokens dropped (%)")
        axis.set_title(f"{codec}, steps of {rate:g} kbps")
    axes[0].set_ylabel("VMAF")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return save(figure, folder, "drop")


def _drop_lines(axis: Axes, rows: Sequence[DropRow]) -> None:
    """A colour for each selection, a line style for each scope."""
    for (style, scope), (at, selection) in product(enumerate(DROP_SCOPES), enumerate(SELECTIONS)):
        points = sorted(
            (100 * row.drop, row.vmaf)
            for row in rows
            if (row.drop_scope, row.selection) == (scope, selection)
        )
        if points:
            x, y = zip(*points, strict=True)
            axis.plot(
                x, y, label=f"{selection}, of {scope_name(scope)}", color=PALETTE[at],
                marker="os^"[at], linestyle=_BURST_LINES[style],
            )  # fmt: skip


def _rows(results: Sequence[ClipResult]) -> list[Row]:
    return [row for result in results for row in result.rows]


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
    return [row for row in rows if row.codec == codec and not (row.loss or row.drop)]


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
