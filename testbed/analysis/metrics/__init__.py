"""Metrics of a run: each has one definition, in one place.

`summarise` is the only producer of numbers; `DEFINITIONS` says what each is, in which unit, and
which direction is better. A broken log raises `BrokenLogError`; it never becomes a 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

#: Raised whenever a definition changes, so that stored summaries of older versions are not mixed
#: with new ones.
METRICS_VERSION: Final = 1


def summarise(
    frames: pd.DataFrame,
    packets: pd.DataFrame,
    control: pd.DataFrame,
    link: pd.DataFrame,
    *,
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    """All metrics of one run as a flat mapping of JSON values; None where one is undefined.

    Args:
        frames, packets, control, link: the run tables (`testbed.tables`).
        manifest: read for `cell.fps`, `cell.duration_s`, `cell.playout_deadline_ms`, `warmup_s`.

    Raises:
        BrokenLogError: the tables contradict themselves or each other.
    """
    raise NotImplementedError
