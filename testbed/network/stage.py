"""The shape of everything a packet passes through.

A stage is a pure model that a world drives: it never reads a clock. `Path` (path.py) has the same
shape and chains stages in the order that the scenario states.
"""

from __future__ import annotations

from typing import Protocol

from testbed.network.packet import Packet


class Stage(Protocol):
    """One element of one direction."""

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """Take a packet at `now_ns` (>= every earlier `now_ns`)."""

    def next_time(self) -> int | None:
        """When `pop` may next have something, in ns; None while nothing is under way."""

    def pop(self, *, now_ns: int) -> list[Packet]:
        """Packets that have left by `now_ns`, in order of leaving.

        A stage stamps the exact leaving time into the packet (`link_out_ns` or `arrival_ns`).
        """
