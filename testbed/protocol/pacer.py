"""The pacer: spreads a frame's packets over time instead of sending them in one burst.

A bucket of credit fills at the pacing rate up to `burst_bytes`; a packet may go while the credit
is not negative, and then uses up its size. So `burst_bytes` may follow one packet back to back,
and with 0 the packets are spaced by exactly their own length. Credit is counted in bits times
nanoseconds, so all arithmetic is exact in integers.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Pacer(Generic[T]):
    """Token bucket over a queue with a fast lane for retransmissions.

    Args:
        rate_kbps: media rate, > 0.
        factor: the pacing rate is `rate_kbps * factor`; libwebrtc uses 2.5.
        burst_bytes: credit that may be saved, >= 0.
    """

    def __init__(self, *, rate_kbps: float, factor: float = 2.5, burst_bytes: int = 0) -> None:
        raise NotImplementedError

    @property
    def queue_bytes(self) -> int:
        """Bytes waiting."""
        raise NotImplementedError

    @property
    def queue_packets(self) -> int:
        """Packets waiting."""
        raise NotImplementedError

    def queue_delay_ns(self, *, now_ns: int) -> int:
        """Time until the last packet now waiting leaves; 0 when empty."""
        raise NotImplementedError

    def set_rate(self, rate_kbps: float, *, now_ns: int) -> None:
        """Change the media rate from now on."""
        raise NotImplementedError

    def push(self, item: T, size_bytes: int, *, now_ns: int, front: bool = False) -> None:
        """Queue `item`; with `front` ahead of all that is not itself in the front lane."""
        raise NotImplementedError

    def pop(self, *, now_ns: int) -> list[T]:
        """Everything that may leave by `now_ns`, in order."""
        raise NotImplementedError

    def next_timer(self) -> int | None:
        """When the next packet may leave; None when empty."""
        raise NotImplementedError

    def clear(self) -> list[T]:
        """Empty the queue and return what was in it."""
        raise NotImplementedError
