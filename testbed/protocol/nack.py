"""Asking again and sending again: selective retransmission for live video.

In the style of ringmaster (`field.md` A3): at most three tries, at most one a round trip, resends
ahead of everything else, and giving up when it is too late to help.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from testbed.protocol.rtt import RttEstimator

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The receiver will not ask for a packet (again).

    Attributes:
        sequence: extended.
        reason: "tries", "deadline" or "overflow".
    """

    sequence: int
    reason: str


class NackGenerator:
    """Receiver side: finds gaps and decides when to ask.

    Args:
        rtt: round-trip estimate; the generator feeds it with request-to-repair times and the
            owner may feed it too.
        reorder_packets: a gap is a loss once this many later packets have come ...
        reorder_ns: ... or this much time has passed.
        max_tries: requests for one packet, 1 or more.
        max_missing: packets tracked at once; beyond it the oldest are given up.
        first_sequence: extended number of the session's first packet, if it was signalled.
    """

    def __init__(
        self,
        *,
        rtt: RttEstimator | None = None,
        reorder_packets: int = 2,
        reorder_ns: int = 5_000_000,
        max_tries: int = 3,
        max_missing: int = 1000,
        first_sequence: int | None = None,
    ) -> None:
        raise NotImplementedError

    def on_packet(self, sequence: int, *, now_ns: int, deadline_ns: int | None = None) -> None:
        """A packet (extended number) came in, first-hand or recovered.

        Args:
            sequence: extended number of the original packet.
            now_ns: arrival.
            deadline_ns: playout deadline of its frame. A gap that this packet reveals gets this
                deadline: the lost packets belong to this frame or to an earlier one.
        """
        raise NotImplementedError

    def requests(self, *, now_ns: int) -> list[int]:
        """Extended numbers to ask for now, ascending; each counts as one try."""
        raise NotImplementedError

    def next_timer(self) -> int | None:
        """When `requests` should be called next; None if nothing is missing."""
        raise NotImplementedError

    def given_up(self) -> list[GaveUp]:
        """What was given up since the last call."""
        raise NotImplementedError

    def forget_before(self, sequence: int) -> None:
        """Stop caring about packets below `sequence`; silently, it is the caller's decision."""
        raise NotImplementedError

    def missing(self) -> list[int]:
        """Extended numbers still hoped for, ascending."""
        raise NotImplementedError


class RetransmissionHistory(Generic[T]):
    """Sender side: what was sent lately, and whether to send it again.

    Args:
        rtt: the sender's round-trip estimate; only read.
        max_age_ns: packets older than this are forgotten (ringmaster gives up after 1 s).
        max_bytes: bound on the remembered sizes.
        max_tries: resends of one packet.
    """

    def __init__(
        self,
        *,
        rtt: RttEstimator,
        max_age_ns: int = 1_000_000_000,
        max_bytes: int = 8_000_000,
        max_tries: int = 3,
    ) -> None:
        raise NotImplementedError

    def remember(self, sequence: int, packet: T, *, size_bytes: int, now_ns: int) -> None:
        """`packet` went out with extended number `sequence` (ascending)."""
        raise NotImplementedError

    def resends(self, lost: Iterable[int], *, now_ns: int) -> list[T]:
        """Which of the packets asked for (16-bit numbers) to send again now, in that order.

        A packet is sent again if it was never resent, or last longer ago than the smoothed round
        trip, and at most `max_tries` times. Put them at the front of the pacer.
        """
        raise NotImplementedError
