"""A rate that knows the link: the upper bound for every real controller."""

from __future__ import annotations

from collections.abc import Callable

from testbed.errors import ScenarioError
from testbed.protocol.congestion.base import CONTROLLERS, ControllerDefaults


@CONTROLLERS.register("oracle")
class OracleRate(ControllerDefaults):
    """Follows the true capacity at once.

    Args:
        capacity_kbps: true capacity of the bottleneck at a session time in ns; injected by the
            world, not by the scenario. The caller decides over which window it is averaged.
        factor: share of it that is used, in (0, 1]. The rest drains the queue after a dip and
            pays for retransmissions.
        min_kbps: floor, because no encoder goes to 0 in an outage.
        max_kbps: ceiling.

    Raises:
        ScenarioError: a value is out of range.
    """

    def __init__(
        self,
        *,
        capacity_kbps: Callable[[int], float],
        factor: float = 0.95,
        min_kbps: float = 50.0,
        max_kbps: float = 100_000.0,
    ) -> None:
        if not 0 < factor <= 1:
            raise ScenarioError(f"rate.factor: {factor} is not in (0, 1]")
        if not 0 < min_kbps <= max_kbps < float("inf"):
            raise ScenarioError(
                f"rate.min_kbps, rate.max_kbps: need 0 < min <= max, got {min_kbps} and {max_kbps}"
            )
        self._capacity_kbps = capacity_kbps
        self._factor = factor
        self._min_kbps = min_kbps
        self._max_kbps = max_kbps

    @property
    def state(self) -> str:
        """Always "oracle"."""
        return "oracle"

    def target_kbps(self, *, now_ns: int) -> float:
        """`factor` times the capacity at `now_ns`, within the bounds."""
        target = self._factor * self._capacity_kbps(now_ns)
        return min(max(target, self._min_kbps), self._max_kbps)
