"""Rate controllers: how a target bitrate comes about.

A controller lives at the sender. It is told what was sent and what the receiver reports, and is
asked for three things: what the encoder may make (`target_kbps`), how fast packets may leave
(`pacing_kbps`), and how many bytes may still be under way (`window_bytes`). It never reads a clock
and never makes a packet. A controller that probes says so (`probe_bytes`), and the transport fills
the probe with whatever serves it best: residual, redundancy or padding.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from testbed.registry import Registry


class RateController(Protocol):
    """What a sender asks of its rate control.

    `ControllerDefaults` gives all but `state` and `target_kbps` to a controller that does not care;
    derive from it.
    """

    #: Whether `on_packet_sent` wants to be called; a sender may leave it out otherwise.
    tracks_packets: bool
    #: Whether the target is a constant, which what is sent has to add up to.
    constant: bool

    @property
    @abstractmethod
    def state(self) -> str:
        """Name of the controller's state, for the log."""

    @abstractmethod
    def target_kbps(self, *, now_ns: int) -> float:
        """What the source should put on the wire, in kbit/s, headers included."""

    def estimate_kbps(self, *, now_ns: int) -> float:
        """What the controller believes the path carries, in kbit/s, for the log."""

    def pacing_kbps(self, *, now_ns: int) -> float | None:
        """How fast packets may leave, in kbit/s; None leaves it to the transport."""

    def window_bytes(self, *, now_ns: int) -> int | None:
        """Bytes that may be sent now (headers included); below 1: none. None: no limit."""

    def probe_bytes(self, *, now_ns: int) -> int:
        """Bytes that the controller would like to see sent beyond the media; 0: not probing."""

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        """A packet left; `sequence` counts modulo 2**16, `size_bytes` has IP and UDP headers."""

    def on_application_limited(self, *, now_ns: int) -> None:
        """Pacing and window would have let a packet go, and there was none to send."""

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        """A receiver's report came in (see `testbed.protocol.rtcp`)."""

    def next_timer(self) -> int | None:
        """When to call `on_timer`, in ns; None for never."""

    def on_timer(self, *, now_ns: int) -> None:
        """The time of `next_timer` has come (or passed)."""


class ControllerDefaults(RateController):
    """A controller that neither paces, limits nor probes, and learns nothing from feedback.

    Methods have the contract's arguments, whether a default looks at them or not.
    """

    tracks_packets: bool = False
    constant: bool = False

    def estimate_kbps(self, *, now_ns: int) -> float:
        """The target: there is no other belief."""
        return self.target_kbps(now_ns=now_ns)

    def pacing_kbps(self, *, now_ns: int) -> float | None:  # noqa: ARG002 - part of the contract
        """The transport paces by its own factor."""
        return None

    def window_bytes(self, *, now_ns: int) -> int | None:  # noqa: ARG002 - part of the contract
        """No limit."""
        return None

    def probe_bytes(self, *, now_ns: int) -> int:  # noqa: ARG002 - part of the contract
        """Never probes."""
        return 0

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        """Nothing to remember."""

    def on_application_limited(self, *, now_ns: int) -> None:
        """Nothing to mark."""

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        """Feedback changes nothing."""

    def next_timer(self) -> int | None:
        """Never."""
        return None

    def on_timer(self, *, now_ns: int) -> None:
        """Never called."""


#: Factories take the scenario's rate parameters as keywords.
CONTROLLERS: Registry[Callable[..., RateController]] = Registry(
    "rate control", group="testbed.congestion"
)


def make_controller(
    name: str,
    options: Mapping[str, Any],
    *,
    capacity_kbps: Callable[[int], float],
    rng: np.random.Generator,
) -> RateController:
    """The controller called `name`, with what only a world can give it.

    Args:
        name: registered name.
        options: the scenario's keywords.
        capacity_kbps: true capacity at a time in ns, for a factory that has such a parameter.
        rng: the controller's own generator, for a factory that has such a parameter.

    Raises:
        UnknownNameError: no such controller.
        InputError: the controller refuses an option.
    """
    factory = CONTROLLERS.get(name)
    parameters = inspect.signature(factory).parameters
    injected = {"capacity_kbps": capacity_kbps, "rng": rng}
    wanted = {key: value for key, value in injected.items() if key in parameters}
    return factory(**options, **wanted)
