"""Rows of the tables that have one a tick, made from counters that only grow."""

from __future__ import annotations

from typing import Any, Final

from testbed.network.path import Path
from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Endpoint

#: Period of the link and control rows: the receiver's report interval (paper section 6.1).
TICK_NS: Final = 100_000_000


class LinkTicks:
    """Rows of `testbed.tables.LINK`, of any number of directions."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int, int]] = {}

    def row(self, direction: str, path: Path, start_ns: int, now_ns: int) -> tuple[Any, ...]:
        """The row of (start_ns, now_ns]; the path has been advanced to `now_ns`."""
        before = self._before.get(direction, (0, 0, 0))
        totals = (path.delivered_bytes, path.queue_drops, path.loss_drops)
        self._before[direction] = totals
        return (
            start_ns,
            direction,
            path.capacity_bytes(start_ns, now_ns),
            totals[0] - before[0],
            path.queue_packets,
            path.queue_bytes,
            totals[1] - before[1],
            totals[2] - before[2],
        )


class ControlTicks:
    """The last four columns of `testbed.tables.CONTROL`: rates over a tick."""

    def __init__(self) -> None:
        self._before = (0, 0, 0)

    def rates(
        self, *, encoded_bytes: int, sent_bytes: int, delivered_bytes: int, capacity_bytes: int
    ) -> tuple[float, float, float, float]:
        """From the totals, and the capacity of the tick, encoded_kbps to capacity_kbps."""
        totals = (encoded_bytes, sent_bytes, delivered_bytes)
        grown = [now - was for now, was in zip(totals, self._before, strict=True)]
        self._before = totals
        encoded, sent, delivered, capacity = (
            count * 8e6 / TICK_NS for count in (*grown, capacity_bytes)
        )
        return encoded, sent, delivered, capacity


def control_view(
    sender: Endpoint, controller: RateController, name: str, *, now_ns: int
) -> tuple[Any, ...]:
    """The columns of `testbed.tables.CONTROL` in front of those: what the sender knows.

    Args:
        sender: may have a `control_view` and a `mode`.
        controller: its rate control.
        name: mode of a transport that has none.
        now_ns: time.
    """
    view = getattr(sender, "control_view", None)
    loss, min_rtt_ms = view() if view is not None else (None, None)
    return (
        now_ns,
        controller.estimate_kbps(now_ns=now_ns),
        min_rtt_ms,
        loss,
        controller.state,
        getattr(sender, "mode", "") or name,
        controller.target_kbps(now_ns=now_ns),
    )
