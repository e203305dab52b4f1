"""The validation as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from testbed.traces.models.validation import Distance, Summary, Validation
from testbed.traces.statistics import LAGS_S

_ROWS: Final[tuple[tuple[str, Callable[[Summary], str]], ...]] = (
    ("windows (300 s) / hours", lambda s: f"{s.windows} / {s.hours:.1f}"),
    (
        "rate p5 / p25 / p50 / p75 / p95 (kbps)",
        lambda s: " / ".join(f"{value:.0f}" for value in s.percentiles_kbps),
    ),
    ("time below 400 kbps", lambda s: f"{100 * s.below_400k:.1f} %"),
    (
        f"autocorrelation at {', '.join(map(str, LAGS_S))} s",
        lambda s: " / ".join(f"{value:.2f}" for value in s.acf),
    ),
    ("outages (<100 kbps) per hour", lambda s: f"{s.outages_per_hour:.1f}"),
    (
        "outage mean / p50 / p95 / max (s)",
        lambda s: (
            f"{s.outage_mean_s:.1f} / {s.outage_p50_s:.0f} / {s.outage_p95_s:.0f} / "
            f"{s.outage_max_s:.0f}"
        ),
    ),
    ("time in outage", lambda s: f"{100 * s.outage_share:.1f} %"),
)
_DISTANCES: Final[tuple[tuple[str, Callable[[Distance], str]], ...]] = (
    ("KS of rates", lambda d: f"{d.ks_rate:.2f}"),
    ("W1 of log10(rate)", lambda d: f"{d.w1_rate:.2f}"),
    ("KS of window means", lambda d: f"{d.ks_mean:.2f}"),
    ("largest gap in autocorrelation", lambda d: f"{d.acf:.2f}"),
    ("KS of outage lengths", lambda d: f"{d.ks_outage:.2f}"),
    ("outages per hour, ratio", lambda d: f"{d.outages_ratio:.2f}"),
)


def markdown(result: Validation) -> str:
    """Figures of the three sides, then distances to the held-out half."""
    sides = [result.held, result.fitted, result.drawn]
    heads = (
        result.model,
        f"held out ({result.held_files} files)",
        f"fitted to ({result.fit_files} files)",
        "drawn",
    )
    lines = [f"| {' | '.join(heads)} |", "| --- | --- | --- | --- |"]
    for title, show in _ROWS:
        cells = [show(side) if side else "" for side in sides]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines.append("| **distance to held out** |  |  |  |")
    for title, measure in _DISTANCES:
        cells = [
            measure(side) if side else "" for side in (result.fitted_to_held, result.drawn_to_held)
        ]
        lines.append(f"| {title} |  | {' | '.join(cells)} |")
    return "\n".join(lines)
