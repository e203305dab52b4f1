"""Rate controllers: how a target bitrate comes about.

A controller lives at the sender. It is told of feedback and asked for a target; it never reads a
clock. BBR and GCC will stand beside `fixed` and `oracle` in this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from testbed.registry import Registry


class RateController(Protocol):
    """What a sender asks of its rate control."""

    @property
    def state(self) -> str:
        """Name of the controller's state, for the log."""

    def target_kbps(self, *, now_ns: int) -> float:
        """What the sender may put on the wire, in kbit/s, headers included."""

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        """A receiver's report came in (see `testbed.protocol.rtcp`)."""


#: Factories take the scenario's rate parameters as keywords.
CONTROLLERS: Registry[Callable[..., RateController]] = Registry(
    "rate control", group="testbed.congestion"
)
