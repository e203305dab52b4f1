"""Which counters have been seen: the sliding window of IPsec (RFC 4303 section 3.4.3)."""

from __future__ import annotations

from typing import Final

#: Counters remembered below the highest one. RFC 4303 recommends 64; control messages are few and
#: far between, so nothing honest is ever reordered that far.
WINDOW: Final = 64

_MASK: Final = (1 << WINDOW) - 1


class ReplayWindow:
    """Takes every counter once. Counters begin at 1.

    Attributes:
        highest: highest counter taken, or 0.
    """

    __slots__ = ("_seen", "highest")

    def __init__(self) -> None:
        self.highest = 0
        # Bit n: `highest - n` was taken. Counter 0 does not exist.
        self._seen = 1

    def take(self, counter: int) -> bool:
        """Whether a counter is new. A counter below the window counts as seen."""
        ahead = counter - self.highest
        if ahead > 0:
            # A leap beyond the window leaves nothing of it; the shift stays small.
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & _MASK
            self.highest = counter
            return True
        # The range first: shifting by a far older counter would need all the memory there is.
        if -ahead >= WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True
