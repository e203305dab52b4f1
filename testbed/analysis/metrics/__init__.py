"""Metrics of a run: each has one definition, in one place.

`summarise` is the only producer of numbers; `DEFINITIONS` says what each is, in which unit, and
which direction is better. A broken log raises `BrokenLogError`; it never becomes a 0. Where a
metric has no meaning for a run (utilisation of an unlimited link) its value is None.

Delays, playback and quality are over the whole run; nothing is skipped silently. Wire metrics
leave out the warm-up that the manifest states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from testbed.analysis.metrics.definitions import DEFINITIONS, Metric, definition

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEFINITIONS", "METRICS_VERSION", "Metric", "definition", "summarise"]

#: Raised whenever a definition changes, so that stored summaries of older versions are not mixed
#: with new ones.
METRICS_VERSION: Final = 4


def summarise(
    frames: pd.DataFrame,
    packets: pd.DataFrame,
    control: pd.DataFrame,
    link: pd.DataFrame,
    *,
    manifest: Mapping[str, Any],
    flows: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """All metrics of one run as a flat mapping of JSON values.

    The keys are those of `DEFINITIONS`, in that order, after `metrics_version`.

    Args:
        frames: `frames.parquet`, with or without quality columns.
        packets: `packets.parquet`.
        control: `control.parquet`.
        link: `link.parquet`.
        manifest: read for `cell.fps`, `cell.duration_s`, `cell.playout_deadline_ms`, `warmup_s`.
        flows: `flows.parquet`, where others competed.

    Raises:
        BrokenLogError: the tables contradict themselves or each other.
    """
    from testbed.analysis.metrics.columns import (
        frame_columns,
        link_columns,
        packet_columns,
        session,
    )
    from testbed.analysis.metrics.delay import delay_metrics
    from testbed.analysis.metrics.fairness import fairness_metrics
    from testbed.analysis.metrics.picture import quality_metrics
    from testbed.analysis.metrics.playback import playback_metrics
    from testbed.analysis.metrics.wire import wire_metrics

    facts = session(manifest, frames)
    checked = frame_columns(frames)
    found = {
        **playback_metrics(checked, facts),
        **delay_metrics(checked, facts),
        **wire_metrics(checked, packet_columns(packets), control, link_columns(link), facts),
        **fairness_metrics(flows, facts),
        **quality_metrics(checked),
    }
    return {"metrics_version": METRICS_VERSION, **{key: found.pop(key) for key in DEFINITIONS}}
