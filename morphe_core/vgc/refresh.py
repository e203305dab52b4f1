"""Which rows of I tokens are sent although the GoP before shows them: how long an error lives."""

from __future__ import annotations

import numpy as np

from morphe_core.vgc.tokens import Mask

#: Token rows by which motion may carry what is damaged further in one GoP: 8 coded pixels in nine
#: pictures. Our choice.
CARRIED_ROWS = 1


class Refresh:
    """A rolling refresh, a few rows each GoP, and what a receiver reports as missing.

    Args:
        gops: every row is due once in so many GoPs, 1 or more.
    """

    def __init__(self, gops: int) -> None:
        self._gops = gops
        self._reports: list[tuple[int, Mask | None]] = []

    def report(self, gop: int, missing: Mask | None) -> None:
        """Rows of GoP `gop` did not come, (rows,); None: nothing of it came."""
        if missing is None or missing.any():
            self._reports.append((gop, missing))

    def due(self, rows: int, index: int) -> Mask:
        """Rows of GoP `index` that must be sent, (rows,).

        What was reported is due with its surroundings, as motion has carried it further since.
        """
        due: Mask = (np.arange(rows) + index) % self._gops == 0
        for gop, missing in self._reports:
            if missing is None or len(missing) != rows:  # all of it, or of another scale
                due[:] = True
            else:
                away = np.abs(np.arange(rows)[:, None] - np.flatnonzero(missing))
                due |= (away <= CARRIED_ROWS * (index - gop)).any(axis=1)
        return due

    def done(self) -> None:
        """What was due was sent."""
        self._reports.clear()
