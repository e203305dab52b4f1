"""The byte budget of each picture, so that all that leaves meets the rate."""

from __future__ import annotations

from typing import Final

#: What was spent too much is paid back over this time.
PAYBACK_S: Final = 0.3
#: A picture gets between these shares of its time's worth, whatever was spent before.
LEAST_SHARE: Final = 0.2
MOST_SHARE: Final = 2.0
#: Bytes that were left over are kept for this long: a burst after a still scene helps nobody.
CREDIT_S: Final = 0.1


class PictureBudget:
    """Bytes on the wire, headers and retransmissions counted.

    Args:
        kbps: rate, > 0.
        fps: frame rate, > 0.
    """

    def __init__(self, kbps: float, fps: float) -> None:
        self._fps = fps
        self._worth = 0.0
        self._owed = 0.0
        self.set_rate(kbps)

    def set_rate(self, kbps: float) -> None:
        """The rate from now on; what is owed stays."""
        self._worth = kbps * 1000 / 8 / self._fps

    def next(self) -> int:
        """Bytes for the next picture."""
        wanted = self._worth - self._owed / (PAYBACK_S * self._fps)
        return round(min(max(wanted, LEAST_SHARE * self._worth), MOST_SHARE * self._worth))

    def key(self, pictures: float) -> int:
        """Bytes for an intra picture that may take those of so many pictures."""
        return round(max(self._worth, pictures * self._worth - max(0.0, self._owed)))

    def spent(self, wire_bytes: int) -> None:
        """So many bytes leave, of a picture or as a retransmission."""
        self._owed += wire_bytes

    def passed(self) -> None:
        """The time of one picture has passed."""
        self._owed = max(self._owed - self._worth, -CREDIT_S * self._fps * self._worth)
