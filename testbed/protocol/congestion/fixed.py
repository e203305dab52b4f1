"""A constant rate."""

from __future__ import annotations

from testbed.errors import ScenarioError
from testbed.protocol.congestion.base import CONTROLLERS, ControllerDefaults


@CONTROLLERS.register("fixed")
class FixedRate(ControllerDefaults):
    """Always the same target, whatever the network does.

    Args:
        kbps: target in kbit/s, headers included, > 0.

    Raises:
        ScenarioError: `kbps` is not a positive number.
    """

    constant = True

    def __init__(self, *, kbps: float) -> None:
        if not 0 < kbps < float("inf"):
            raise ScenarioError(f"rate.kbps: {kbps} is not a positive number of kbit/s")
        self._kbps = float(kbps)

    @property
    def state(self) -> str:
        """Always "fixed"."""
        return "fixed"

    def target_kbps(self, *, now_ns: int) -> float:  # noqa: ARG002 - part of the contract
        """The constant."""
        return self._kbps
