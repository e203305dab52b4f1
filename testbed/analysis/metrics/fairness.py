"""How flows share a bottleneck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.analysis.metrics.columns import Floats, Session
from testbed.errors import BrokenLogError

if TYPE_CHECKING:
    import pandas as pd

_NS: Final = 1e9


def jain_index(shares: Floats) -> float | None:
    """Jain's fairness index of what each flow got: 1 for equal shares, 1/n when one has all.

    None when nobody got anything. Source: Jain, Chiu, Hawe 1984 (DEC-TR-301), equation 2.
    """
    squares = float(np.sum(np.square(shares)))
    return float(np.sum(shares)) ** 2 / (shares.size * squares) if squares else None


def fairness_metrics(flows: pd.DataFrame | None, session: Session) -> dict[str, float | None]:
    """Jain's index and the session's part, over the time in which all flows were there.

    The session's warm-up is taken off the start of that time, in which late flows find their
    place. None without competition, or where there is no such time.

    Raises:
        BrokenLogError: the session's own flow, number 0, is missing, or a size is negative.
    """
    nothing: dict[str, Any] = {"jain_index": None, "fair_share_ratio": None}
    if flows is None or flows.empty:
        return nothing
    if not (flows["flow"] == 0).any():
        raise BrokenLogError("flows: flow 0, the session's own, is missing")
    if (flows["delivered_bytes"] < 0).any():
        raise BrokenLogError("flows: delivered_bytes is negative in a row")
    times = flows.groupby("flow")["time_ns"]
    if times.ngroups < 2:  # the others go the other way
        return nothing
    start = times.min().max() + session.warmup_s * _NS
    common = flows[(flows.time_ns >= start) & (flows.time_ns <= times.max().min())]
    got = common.groupby("flow")["delivered_bytes"].sum()
    if len(got) < times.ngroups or not got.sum():
        return nothing
    shares = got.to_numpy(dtype=np.float64)
    return {
        "jain_index": jain_index(shares),
        "fair_share_ratio": float(got.loc[0] / shares.mean()),
    }
