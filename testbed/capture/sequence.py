"""Lost, late and repeated packets of an RTP source, from its sequence numbers alone."""

from __future__ import annotations

from typing import Final

from testbed.protocol.sequence import wrap_distance

#: A leap ahead of more is no loss but another place in the sequence (RFC 3550 appendix A.1).
MAX_DROPOUT: Final = 3000
#: A number further back than this is not taken for a late packet. RFC 3550 has 100; a
#: retransmission under its own number may be far behind, so the same width as ahead.
MAX_MISORDER: Final = MAX_DROPOUT


class SequenceLog:
    """Takes 16-bit sequence numbers in the order of arrival.

    Attributes:
        received: different packets.
        late: of these, the ones that came after a higher number.
        duplicates: numbers that had come before.
        restarts: times that the numbers went on somewhere else for good: two in a row.
        strays: packets from nowhere, which nothing followed.
    """

    def __init__(self) -> None:
        self.received = 0
        self.late = 0
        self.duplicates = 0
        self.restarts = 0
        self.strays = 0
        self._first = 0  # lowest extended number since the last restart
        self._highest = -1
        self._missing: set[int] = set()  # those that may still come
        self._lost = 0  # those that will not
        self._gaps = 0
        self._expected_after_leap = -1

    def add(self, sequence: int) -> None:
        """A packet came."""
        if not self.received:
            self._begin(sequence)
            return
        step = wrap_distance(self._highest & 0xFFFF, sequence)
        if step > MAX_DROPOUT or step < -MAX_MISORDER:
            self._leap(sequence)
            return
        self._expected_after_leap = -1
        number = self._highest + step
        if step > 0:
            self._missing.update(range(self._highest + 1, number))
            self._highest = number
            self.received += 1
            if len(self._missing) > 2 * MAX_MISORDER:
                self._settle(number - MAX_MISORDER)
        elif number in self._missing:
            self._missing.discard(number)
            self._came_late()
        elif number < self._first:
            self._missing.update(range(number + 1, self._first))
            self._first = number
            self._came_late()
        else:
            self.duplicates += 1

    @property
    def lost(self) -> int:
        """Numbers between the lowest and the highest that did not come."""
        return self._lost + len(self._missing)

    @property
    def gaps(self) -> int:
        """Runs of lost numbers."""
        return self._gaps + _runs(self._missing)

    def _begin(self, sequence: int) -> None:
        self._first = self._highest = sequence
        self.received += 1

    def _came_late(self) -> None:
        self.late += 1
        self.received += 1

    def _leap(self, sequence: int) -> None:
        """RFC 3550 appendix A.1: only a second packet in sequence shows that the source went on."""
        self.strays += 1
        if sequence == self._expected_after_leap:
            self.strays -= 2
            self.restarts += 1
            self._settle(self._highest + 1)
            self._begin((sequence - 1) & 0xFFFF)
            self._highest += 1
            self.received += 1
        self._expected_after_leap = (sequence + 1) & 0xFFFF

    def _settle(self, before: int) -> None:
        """Numbers below `before` will not come any more."""
        gone = {number for number in self._missing if number < before}
        self._missing -= gone
        self._lost += len(gone)
        self._gaps += _runs(gone)
        if before - 1 in gone and before in self._missing:
            self._gaps -= 1  # one run, of which the rest is counted later


def _runs(numbers: set[int]) -> int:
    return sum(number - 1 not in numbers for number in numbers)
