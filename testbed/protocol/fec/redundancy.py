"""How many repair packets a block gets: a fixed share, or what the reported loss calls for.

Under independent loss of probability p, a block of k source and r repair packets of a code that
recovers from any r losses is beyond repair with the probability of more than r losses in k + r,
the upper tail of a binomial distribution. The adaptive rule takes the least r that keeps that
below a target. The loss is the receiver's (RFC 3550 fraction lost), smoothed over 2 s, the time
between two choices of redundancy in Tambur (Rudow et al., NSDI 2023).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Protocol

from testbed.errors import LocalProtocolError
from testbed.protocol.fec.wire import MAX_ROWS, MAX_SOURCES

#: Time constant of the smoothed loss (Tambur, see above).
SMOOTHING_NS: Final = 2_000_000_000
#: Loss that is assumed before the first report. Ours: the first frame is a key frame, which a
#: conversation cannot do without.
FIRST_LOSS: Final = 0.02
#: Loss below this is none: reports count in 1/256 (RFC 3550 section 6.4.1), and what is smoothed
#: never quite vanishes.
LEAST_LOSS: Final = 1 / 512
#: Loss is taken in steps of this when rows are computed, so that they are computed once.
LOSS_STEPS: Final = 256


class Redundancy(Protocol):
    """Tells how many repair packets to make."""

    def rows(self, sources: int, *, block: int | None = None) -> int:
        """Repair packets for `sources` packets that are in blocks of `block` (None: the same)."""

    def share(self, block: int) -> float:
        """Repair over source packets to expect for blocks of `block` packets, >= 1."""


class FixedShare:
    """A constant share of repair packets; what a block gets too little, the next gets more.

    Args:
        share: repair over source packets, > 0.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share < math.inf:
            raise LocalProtocolError(f"share of repair packets {share}")
        self._share = share
        self._owed = 0.0

    def rows(self, sources: int, *, block: int | None = None) -> int:  # noqa: ARG002 - contract
        """`share` times `sources`, the fraction carried over."""
        owed = self._owed + self._share * sources
        rows = math.floor(owed + 1e-9)  # so that three times a third is one
        self._owed = owed - rows
        return rows

    def share(self, block: int) -> float:  # noqa: ARG002 - contract
        """The constant."""
        return self._share


def block_failure(sources: int, rows: int, loss: float) -> float:
    """Probability that more than `rows` of `sources` + `rows` packets are lost.

    Args:
        sources: 0 to `wire.MAX_SOURCES`.
        rows: 0 to `wire.MAX_ROWS`.
        loss: of each packet, independently, 0 to 1.
    """
    total = sources + rows
    return math.fsum(
        math.comb(total, lost) * loss**lost * (1 - loss) ** (total - lost)
        for lost in range(rows + 1, total + 1)
    )


@lru_cache(maxsize=65536)
def rows_needed(sources: int, loss: float, residual: float, most: int) -> int:
    """Least number of repair packets that keeps `block_failure` at or below `residual`.

    Args:
        sources: of the block, >= 0.
        loss: of each packet, 0 to 1.
        residual: > 0.
        most: never more than this.
    """
    for rows in range(most):
        if block_failure(sources, rows, loss) <= residual:
            return rows
    return most


class LossEstimate:
    """The loss that the receiver reports, smoothed.

    Attributes:
        share: 0 to 1.
    """

    def __init__(self) -> None:
        self.share = FIRST_LOSS
        self._at_ns: int | None = None

    def on_report(self, loss: float, *, now_ns: int) -> None:
        """A report came; the first counts in full."""
        if self._at_ns is None:
            self.share = loss
        else:
            elapsed_ns = max(0, now_ns - self._at_ns)
            self.share += (loss - self.share) * (1 - math.exp(-elapsed_ns / SMOOTHING_NS))
        self._at_ns = now_ns

    @property
    def rounded(self) -> float:
        """Up to the next of `LOSS_STEPS` steps; 0 below `LEAST_LOSS`."""
        if self.share < LEAST_LOSS:
            return 0.0
        return math.ceil(min(self.share, 1.0) * LOSS_STEPS) / LOSS_STEPS


class AdaptiveShare:
    """Repair packets by the reported loss; see the module's text.

    Args:
        loss: what the receiver reports; its owner keeps it up to date.
        residual: probability that a block may stay beyond repair, 0 to 1.
        most_share: repair over source packets at most.
    """

    def __init__(self, loss: LossEstimate, *, residual: float, most_share: float) -> None:
        if not (0 < residual < 1 and 0 < most_share < math.inf):
            raise LocalProtocolError(f"residual loss {residual}, at most a share of {most_share}")
        self._loss = loss
        self._residual = residual
        self._most_share = most_share
        self._owed = 0.0

    def rows(self, sources: int, *, block: int | None = None) -> int:
        """What the block needs, or the part of it that belongs to `sources`."""
        block = sources if block is None else block
        needed = self._needed(block)
        if not needed:
            return 0
        if block == sources:
            return needed
        owed = self._owed + needed * sources / block
        rows = math.floor(owed + 1e-9)
        self._owed = owed - rows
        return rows

    def share(self, block: int) -> float:
        """By the loss of now; what would be a longer block is several."""
        block = min(block, MAX_SOURCES)
        return self._needed(block) / block

    def _needed(self, block: int) -> int:
        loss = self._loss.rounded
        if not loss or not block:
            return 0
        most = min(math.ceil(self._most_share * block), MAX_ROWS)
        return rows_needed(block, loss, self._residual, most)
