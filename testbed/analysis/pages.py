"""What stands in the report besides figures: the story of the suite and its tables."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.analysis.fairness import PARTS, TOLERANCE, FairnessRow
from testbed.analysis.metrics import definition
from testbed.analysis.runs import Run, RunSet
from testbed.analysis.statistics import Interval, confidence_interval
from testbed.analysis.style import scheme
from testbed.analysis.suite import describe, levels, settings, transports

if TYPE_CHECKING:
    import pandas as pd

    from testbed.analysis.report import Drawn

_TEMPLATES: Final = Path(__file__).resolve().parent / "templates"
#: The table whose values need pictures.
_PICTURE: Final = "Picture"
#: Columns of the three tables of the report; columns without any value are left out.
TABLES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "Delay and playback",
        (
            "frame_delay_ms_p50",
            "frame_delay_ms_censored_p95",
            "latency_ms_p50",
            "latency_ms_p95",
            "latency_ms_censored_p95",
            "latency_ms_censored_p98",
            "rendered_fps",
            "harmonic_fps",
            "freeze_w3c_share",
            "freeze_gap200_count",
            "freeze_gap200_share",
            "non_rendered_share",
        ),
    ),
    (
        "Wire",
        (
            "utilisation",
            "wire_kbps",
            "target_kbps",
            "tracking_error",
            "overshoot_share",
            "mode_switches",
            "queue_delay_ms_p95",
            "media_share",
            "header_share",
            "fec_share",
            "retransmission_share",
            "goodput_share",
            "realised_loss",
            "queue_drop_share",
        ),
    ),
    (_PICTURE, ("vmaf_mean", "vmaf_p5", "ssim_mean", "ssim_db", "psnr_mean")),
)


def render(
    runs: RunSet,
    table: pd.DataFrame,
    drawn: Sequence[Drawn],
    notes: Sequence[str],
    fair: Sequence[FairnessRow],
) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = {key for _, keys in TABLES for key in keys}
    page: str = environment.get_template("report.html.j2").render(
        title=", ".join(dict.fromkeys(run.scenario for run in runs.runs)),
        scenarios=_scenarios(runs.runs),
        facts=_facts(runs),
        synthetic=_synthetic(runs.runs),
        qualified=_qualified(runs.runs),
        figures=drawn,
        notes=notes,
        tables=_tables(runs.runs),
        fairness=_fairness(fair),
        tolerance=f"{TOLERANCE:.0%}".replace("%", " %"),
        definitions=[definition(key) for key in table.columns if key in shown],
        failures=[_failure(entry) for entry in runs.failures],
        broken=[{"folder": folder.name, "message": text} for folder, text in runs.broken],
        versions=_distinct(run.manifest.get("versions") for run in runs.runs),
        hosts=_distinct(run.manifest.get("host") for run in runs.runs),
        commands=_commands(runs),
    )
    return page


def _scenarios(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each scenario with what varies in it and what does not."""
    found = []
    for name in dict.fromkeys(run.scenario for run in runs):
        members = [run for run in runs if run.scenario == name]
        fields = list(dict.fromkeys(key for run in members for key in run.cell))
        fixed, varied = [], []
        for field in fields:
            if field in _IN_WORDS:
                continue
            seen = dict.fromkeys(
                _size(run) if field == "width" else _words(field, run.cell.get(field))
                for run in members
            )
            said = [value for value in seen if value]
            if len(seen) == 1:
                fixed += said
            else:
                varied.append(("size" if field == "width" else field.replace("_", " "), said))
        varied.append(("transports", [scheme(t).label for t in transports(members)]))
        varied.append(("seeds", [str(s) for s in sorted({run.seed for run in members})]))
        found.append(
            {
                "name": name,
                "description": str(members[0].manifest.get("description", "")),
                "runs": len(members),
                "fixed": fixed,
                "varied": varied,
            }
        )
    return found


#: What every plain scenario has and no reader misses.
_UNREMARKABLE: Final = frozenset(
    {
        ("jitter_ms", 0),
        ("uplink_jitter_ms", 0),
        ("phase_ms", 0),
        ("uplink_phase_ms", 0),
        ("uplink_loss", "none"),
        ("uplink_queue", "infinite"),
    }
)
#: Fields that another field says in words, or that say nothing to a reader.
_IN_WORDS: Final = frozenset({"loss_kind", "loss_rate", "mean_burst", "paths", "height"})


def _words(field: str, value: Any) -> str:
    if field == "loss":
        return "no loss" if value in (None, "none") else f"{value} loss"
    if (field, value) in _UNREMARKABLE:
        return ""
    plain = value if isinstance(value, str | int | float | None) else str(value)
    return describe(field, plain)


def _size(run: Run) -> str:
    width, height = run.cell.get("width"), run.cell.get("height")
    return f"{width}×{height}" if width and height else ""


def _facts(runs: RunSet) -> list[tuple[str, str]]:
    members = runs.runs
    worlds = dict.fromkeys(str(run.manifest.get("world", "not stated")) for run in members)
    compute = dict.fromkeys(str(run.cell.get("compute", "not stated")) for run in members)
    deadlines = sorted({float(run.cell["playout_deadline_ms"]) for run in members})
    warmups = sorted({float(run.manifest["warmup_s"]) for run in members})
    sizes = dict.fromkeys(scheme(run.transport).label for run in members if run.sizes_only)
    return [
        ("Runs", str(len(members))),
        *([("Sizes only, no pictures", ", ".join(sizes))] if sizes else []),
        ("World", ", ".join(worlds)),
        ("Compute model", ", ".join(compute)),
        ("Neural weights", "none used" if _weightless(members) else _weights(members)),
        ("Playout deadline", ", ".join(f"{value:g} ms" for value in deadlines)),
        ("Warm-up left out of wire metrics", ", ".join(f"{value:g} s" for value in warmups)),
    ]


def _weightless(runs: Sequence[Run]) -> bool:
    return all(not run.manifest.get("inputs", {}).get("weights") for run in runs)


def _weights(runs: Sequence[Run]) -> str:
    found = dict.fromkeys(
        str(run.manifest["inputs"]["weights"])
        for run in runs
        if run.manifest.get("inputs", {}).get("weights")
    )
    return ", ".join(found)


def _synthetic(runs: Sequence[Run]) -> list[str]:
    """Traces that no network was measured for."""
    names = set()
    for run in runs:
        inputs = run.manifest.get("inputs", {})
        for side in ("trace", "uplink_trace"):
            trace = inputs.get(side)
            if isinstance(trace, Mapping) and trace.get("synthetic"):
                names.add(str(trace.get("name", run.cell.get(side))))
    return sorted(names)


def _qualified(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What the schemes' files say that qualifies their results."""
    found: dict[tuple[str, str], None] = {}
    for name in transports(runs):
        for run in runs:
            look = run.manifest.get("look")
            told = (
                look.get("notes") if run.transport == name and isinstance(look, Mapping) else None
            )
            for note in told if isinstance(told, list) else []:
                found[scheme(name).label, str(note)] = None
    return list(found)


def _tables(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each table its columns and rows: a row a setting, loss level and transport."""
    found = []
    for title, keys in TABLES:
        used = [k for k in keys if any(run.summary.get(k) is not None for run in runs)]
        if not used:
            continue
        rows = []
        for setting in settings(runs):
            for level in levels(setting.runs, "loss"):
                names = transports(level.runs)
                for index, name in enumerate(names):
                    mine = [run for run in level.runs if run.transport == name]
                    rows.append(
                        {
                            "setting": setting.title,
                            "level": level.label,
                            "first": index == 0,
                            "transport": scheme(name).label,
                            "colour": scheme(name).colour,
                            "n": len(mine),
                            "cells": _cells(mine, used, title),
                        }
                    )
        found.append(
            {
                "title": title,
                "columns": [_heading(key) for key in used],
                "settings": any(row["setting"] for row in rows),
                "rows": rows,
            }
        )
    return found


def _fairness(rows: Sequence[FairnessRow]) -> dict[str, Any]:
    """The fairness table: parts that nobody sent are left out."""
    parts = [part for part in PARTS if any(row.shares[part] > 0 for row in rows)]
    shown = []
    group = None
    for row in rows:
        here = (row.setting, row.level)
        shown.append(
            {
                "setting": row.setting,
                "level": row.level,
                "first": here != group,
                "transport": scheme(row.transport).label,
                "colour": scheme(row.transport).colour,
                "n": row.runs,
                "target": "–" if row.target_kbps is None else _number(row.target_kbps),
                "wire": _number(row.wire_kbps),
                "deviation": _percent(row.deviation),
                "worst": _percent(row.worst_deviation),
                "parts": [_number(100 * row.shares[part]) for part in parts],
                "deadline": f"{row.playout_deadline_ms:g}",
                "mask": row.mask,
                "mask_title": _compared(row),
                "trace": _same(row.trace),
                "clip": _same(row.clip),
                "verdict": row.verdict,
                "wrong": row.verdict not in ("ok", "not judged"),
            }
        )
        group = here
    return {"parts": parts, "rows": shown, "settings": any(row.setting for row in rows)}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _same(value: bool | None) -> str:
    return {True: "same", False: "differs", None: "alone"}[value]


def _compared(row: FairnessRow) -> str:
    if row.mask_packets is None:
        return ""
    return f"{row.mask_packets} positions compared, {', '.join(dict.fromkeys(row.mask_sha256))}"


def _heading(key: str) -> tuple[str, str]:
    metric = definition(key)
    unit = "%" if metric.unit == "share" else metric.unit
    return metric.title, unit


def _cells(runs: Sequence[Run], keys: Sequence[str], table: str) -> list[dict[str, str]]:
    """The cells of a row; of a codec without pictures its row of the picture table says so."""
    if table == _PICTURE and all(run.sizes_only for run in runs):
        why = "only the sizes of this codec are known: there was nothing to decode"
        return [{"mean": "sizes only", "spread": "", "title": why}] * len(keys)
    return [_cell(runs, key) for key in keys]


def _cell(runs: Sequence[Run], key: str) -> dict[str, str]:
    """Mean and half-width of the interval over seeds, as text."""
    values = []
    for run in runs:
        value = run.summary.get(key)
        values.append(math.nan if value is None else float(value))
    found = confidence_interval(values)
    if found is None:
        return {"mean": "–", "spread": "", "title": "not defined in this cell"}
    scale = 100.0 if definition(key).unit == "share" else 1.0
    return {
        "mean": _number(found.mean * scale),
        "spread": _spread(found, scale),
        "title": _how(found, scale),
    }


def _spread(found: Interval, scale: float) -> str:
    if found.method == "none":
        return ""
    return f"± {_number(max(found.below, found.above) * scale, like=found.mean * scale)}"


def _how(found: Interval, scale: float) -> str:
    if found.method == "none":
        return "one seed: no interval"
    how = {"t": "Student's t", "bca": "BCa bootstrap"}[found.method]
    low, high = _number(found.low * scale), _number(found.high * scale)
    return f"95 % interval {low} to {high}, {how} over {found.n} seeds"


def _number(value: float, *, like: float | None = None) -> str:
    """About three significant digits; with `like`, as many decimals as that number has."""
    size = abs(value if like is None else like)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{value:.{digits}f}"
    return "0" if float(text) == 0 else text


def _failure(entry: Mapping[str, Any]) -> dict[str, str]:
    cell = entry.get("cell")
    if isinstance(cell, Mapping):
        words = [str(cell.get(k)) for k in ("transport", "seed") if cell.get(k) is not None]
        words += [
            text
            for key, value in cell.items()
            if key not in ({"transport", "seed"} | _IN_WORDS) and (text := _words(str(key), value))
        ]
        name = ", ".join(words)
    else:
        parts = (entry.get("transport"), entry.get("seed"), cell or entry.get("run"))
        name = ", ".join(str(part) for part in parts if part is not None)
    return {"cell": name, "error": str(entry.get("error", entry.get("message", "no reason given")))}


def _distinct(values: Any) -> list[list[tuple[str, str]]]:
    """Each distinct mapping once, as rows."""
    found: dict[tuple[tuple[str, str], ...], None] = {}
    for value in values:
        if isinstance(value, Mapping) and value:
            found[tuple((str(k), "none" if v is None else str(v)) for k, v in value.items())] = None
    return [list(rows) for rows in found]


def _commands(runs: RunSet) -> list[str]:
    """What makes these runs and this report again."""
    names = dict.fromkeys(run.scenario for run in runs.runs)
    folder = runs.directory.name
    out = shlex.quote(f"results/{folder}")
    lines = [f"testbed run {shlex.quote(name)} --out {out}" for name in names]
    return [*lines, f"testbed report {out}"]
