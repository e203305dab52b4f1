"""The pacer: spreads a frame's packets over time instead of sending them in one burst.

A bucket of credit fills at the pacing rate up to `burst_bytes`; a packet may go while the credit
is not negative, and then uses up its size. So `burst_bytes` may follow one packet back to back,
and with 0 the packets are spaced by their own length, rounded up to whole nanoseconds. Credit is
counted in bits times 10**9 (bit/s times ns), so that all arithmetic is in integers.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from testbed.errors import LocalProtocolError

T = TypeVar("T")

#: Credit of one byte, in bit/s times ns.
_BYTE_CREDIT: Final = 8 * 1_000_000_000


class Pacer(Generic[T]):
    """Token bucket over a queue with a fast lane for retransmissions.

    Args:
        rate_kbps: media rate, > 0.
        factor: the pacing rate is `rate_kbps * factor` (rounded to whole bit/s); libwebrtc uses
            2.5, so that a frame of mean size takes 2/5 of a frame interval.
        burst_bytes: credit that may be saved, >= 0.

    Raises:
        LocalProtocolError: a value is out of range.
    """

    def __init__(self, *, rate_kbps: float, factor: float = 2.5, burst_bytes: int = 0) -> None:
        if not 0 < factor < float("inf") or burst_bytes < 0:
            raise LocalProtocolError(f"pacing factor {factor}, burst of {burst_bytes} bytes")
        self._factor = factor
        self._cap = burst_bytes * _BYTE_CREDIT
        self._credit = self._cap
        self._at_ns = 0  # the time that `_credit` is of
        self._front: deque[tuple[T, int]] = deque()
        self._queue: deque[tuple[T, int]] = deque()
        #: Bytes waiting.
        self.queue_bytes = 0
        #: Pacing rate in bit/s.
        self.pacing_bps = self._pacing_bps(rate_kbps)

    def _pacing_bps(self, rate_kbps: float) -> int:
        pacing_bps = rate_kbps * self._factor * 1000
        if not 0.5 < pacing_bps < float("inf"):
            raise LocalProtocolError(f"cannot pace at {rate_kbps} kbit/s")
        return round(pacing_bps)

    def _advance(self, now_ns: int) -> None:
        """Earn credit up to `now_ns`; time never runs backwards."""
        elapsed_ns = now_ns - self._at_ns
        if elapsed_ns > 0:
            self._credit = min(self._cap, self._credit + elapsed_ns * self.pacing_bps)
            self._at_ns = now_ns

    @property
    def queue_packets(self) -> int:
        """Packets waiting."""
        return len(self._front) + len(self._queue)

    def queue_delay_ns(self, *, now_ns: int) -> int:
        """Time until the last packet now waiting leaves; 0 when empty or all may leave now."""
        lane = self._queue or self._front
        if not lane:
            return 0
        self._advance(now_ns)
        # The last packet itself leaves when all before it are paid for.
        before = (self.queue_bytes - lane[-1][1]) * _BYTE_CREDIT
        return max(0, -((self._credit - before) // self.pacing_bps))

    def set_rate(self, rate_kbps: float, *, now_ns: int) -> None:
        """Change the media rate from now on; debt stays, and is paid off at the new rate."""
        pacing_bps = self._pacing_bps(rate_kbps)
        self._advance(now_ns)
        self.pacing_bps = pacing_bps

    def set_pacing(self, pacing_kbps: float, *, now_ns: int) -> None:
        """Change the pacing rate itself from now on, without the factor."""
        pacing_bps = self._pacing_bps(pacing_kbps / self._factor)
        self._advance(now_ns)
        self.pacing_bps = pacing_bps

    def idle(self, *, now_ns: int) -> bool:
        """Nothing waits, although a packet might leave by now."""
        if self._front or self._queue:
            return False
        self._advance(now_ns)
        return self._credit >= 0

    @property
    def free_ns(self) -> int:
        """When a packet pushed now might leave if nothing were waiting. May lie in the past."""
        return self._at_ns + max(0, -(self._credit // self.pacing_bps))

    def push(self, item: T, size_bytes: int, *, now_ns: int, front: bool = False) -> None:
        """Queue `item`; with `front` ahead of all that is not itself in the front lane.

        Args:
            item: handed back by `pop`.
            size_bytes: what it costs, >= 0; the size on the link, if that is what the rate means.
            now_ns: time of queueing.
            front: retransmissions.
        """
        if size_bytes < 0:
            raise LocalProtocolError(f"packet of {size_bytes} bytes")
        self._advance(now_ns)
        (self._front if front else self._queue).append((item, size_bytes))
        self.queue_bytes += size_bytes

    def pop(self, *, now_ns: int, limit_bytes: int | None = None) -> list[T]:
        """Everything that may leave by `now_ns`, in order.

        Args:
            now_ns: the time.
            limit_bytes: stop once this many bytes have left; below 1 nothing leaves. The last
                packet may go beyond the limit.
        """
        self._advance(now_ns)
        items: list[T] = []
        while self._credit >= 0:
            if limit_bytes is not None and limit_bytes <= 0:
                break
            lane = self._front or self._queue
            if not lane:
                break
            item, size_bytes = lane.popleft()
            self._credit -= size_bytes * _BYTE_CREDIT
            self.queue_bytes -= size_bytes
            if limit_bytes is not None:
                limit_bytes -= size_bytes
            items.append(item)
        return items

    def next_timer(self) -> int | None:
        """When the next packet may leave; None when empty. May lie in the past."""
        if not self._front and not self._queue:
            return None
        return self.free_ns

    def clear(self) -> list[T]:
        """Empty the queue and return what was in it, front lane first; credit stays."""
        items = [item for lane in (self._front, self._queue) for item, _ in lane]
        self._front.clear()
        self._queue.clear()
        self.queue_bytes = 0
        return items
