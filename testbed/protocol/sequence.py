"""Counters that wrap on the wire, without the wrap.

RTP sequence numbers have 16 bits and timestamps 32 (RFC 3550 section 5.1). Inside the testbed
they are plain integers that never wrap, as the "extended sequence number" of RFC 3550 section
6.4.1; only the bytes hold the short form.
"""

from __future__ import annotations

from typing import Final

from testbed.errors import LocalProtocolError, RemoteProtocolError

#: Packets that may be missing in a row before a number is doubted. RFC 3550 (appendix A.1) has
#: 3000 for audio; a video sender at 6 Mbit/s fills an outage of ten seconds with twice as many.
MAX_DROPOUT: Final = 8192


def wrap_distance(start: int, end: int, *, bits: int = 16) -> int:
    """Signed shortest way from `start` to `end` on a circle of 2**bits values.

    Returns:
        A number in [-2**(bits-1), 2**(bits-1)); `(start + result) % 2**bits == end % 2**bits`.
    """
    half = 1 << (bits - 1)
    return ((end - start + half) & ((1 << bits) - 1)) - half


class Unwrapper:
    """Extends a wrapping counter to an unbounded one, relative to the highest value seen.

    The first value stands for itself. A later one is taken to be the candidate nearest to the
    highest value so far, so reordering and gaps up to half the circle are understood. A value
    from before the very first may come out negative.

    Args:
        bits: width of the counter on the wire, 2 or more.
        most_ahead: a value further ahead of the highest is believed only when the next one follows
            it (RFC 3550 appendix A.1): a single damaged packet would make all others old. 0: any
            is believed.
    """

    __slots__ = ("_doubted", "_half", "_mask", "_most_ahead", "highest")

    def __init__(self, bits: int = 16, *, most_ahead: int = 0) -> None:
        if bits < 2:
            raise LocalProtocolError(f"a wrapping counter has at least 2 bits, not {bits}")
        self._half = 1 << (bits - 1)
        self._mask = (1 << bits) - 1
        self._most_ahead = most_ahead or self._half
        self._doubted: int | None = None
        #: Highest extended value so far; None before the first.
        self.highest: int | None = None

    def unwrap(self, value: int) -> int:
        """The extended form of `value` (only its low `bits` bits count).

        Raises:
            RemoteProtocolError: it is further ahead than `most_ahead`, and does not follow another
                such value.
        """
        highest = self.highest
        if highest is None:
            self.highest = value & self._mask
            return self.highest
        extended = highest + ((value - highest + self._half) & self._mask) - self._half
        if extended > highest:
            if extended - highest > self._most_ahead:
                follows, self._doubted = extended - 1 == self._doubted, extended
                if not follows:
                    raise RemoteProtocolError(f"number {value} is {extended - highest} ahead")
            self.highest = extended
        return extended
