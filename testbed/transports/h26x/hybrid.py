"""Retransmission with as much redundancy as the frame's deadline calls for.

The idea is Hairpin's (Meng et al., NSDI 2024): a packet that is lost early can be asked for again
and needs little beside it; one that is lost shortly before its deadline has only this round, and
redundancy is worth its bytes. Hairpin computes the redundancy of each round ahead by dynamic
programming over the cost of bytes and of missed deadlines. Here it is a closed form: with `rounds`
chances left before the deadline, this one among them, each may fail with probability
residual^(1/rounds), and gets the fewest repair packets that keep it so under independent loss.

The repair packets are further rows of the Reed-Solomon code over the frame, so that each of
them makes up for whichever packet of the frame is still missing.

A packet that cannot arrive before the deadline is of a frame that nobody sees any more. But the
frames behind it refer to it, and all of them wait: it is sent as in a last round. Where it was not
sent at all, a chain of references stayed broken until the next key frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from testbed.protocol.fec.codes import repairs
from testbed.protocol.fec.redundancy import LossEstimate, rows_needed
from testbed.protocol.fec.wire import CODE_BLOCK, MAX_ROWS, MAX_SOURCES, Repair
from testbed.protocol.nack import OVERDUE_DENOMINATOR, OVERDUE_NUMERATOR
from testbed.protocol.source import RtpSource

#: Repair packets beside one packet that is sent again, at most; ours.
MOST_SHARE: Final = 2.0
#: Blocks are remembered so long after their deadline: what is late is asked for some round trips.
REMEMBERED_NS: Final = 1_000_000_000
#: Blocks remembered, whatever their deadlines.
MAX_BLOCKS: Final = 512


class Block:
    """Packets of a frame that are protected together.

    Attributes:
        base: extended number of the first.
        symbols: source symbols.
        frame: number of the frame.
        timestamp: RTP timestamp.
        deadline_ns: when they are of no use any more.
        row: of the next repair packet.
        tries: rounds in which packets of it were sent again.
        tried_ns: when the last of them began.
    """

    __slots__ = (
        "base",
        "deadline_ns",
        "frame",
        "row",
        "symbols",
        "timestamp",
        "tried_ns",
        "tries",
    )

    def __init__(
        self, base: int, symbols: Sequence[bytes], *, frame: int, timestamp: int, deadline_ns: int
    ) -> None:
        self.base, self.symbols = base, symbols
        self.frame, self.timestamp, self.deadline_ns = frame, timestamp, deadline_ns
        self.row = self.tries = self.tried_ns = 0

    def more(self, rows: int) -> list[Repair]:
        """Repair packets that have not been sent before, as far as there are any."""
        first = self.row
        self.row = min(first + rows, MAX_ROWS)
        return repairs(CODE_BLOCK, self.base, self.symbols, range(first, self.row))


def rounds_left(*, now_ns: int, deadline_ns: int, rtt_ns: int, least_rtt_ns: int) -> int:
    """How many chances there are: one if a packet sent now makes it, and one a further round trip.

    Args:
        now_ns: time.
        deadline_ns: of the frame, at the receiver.
        rtt_ns: smoothed round trip, after 9/8 of which the receiver asks again.
        least_rtt_ns: its minimum, half of which is the way there.
    """
    spare_ns = deadline_ns - now_ns - least_rtt_ns // 2
    if spare_ns < 0:
        return 0
    return 1 + spare_ns // max(1, rtt_ns * OVERDUE_NUMERATOR // OVERDUE_DENOMINATOR)


class HybridRepeats:
    """Answers requests for the frames that it was told of; see the module's text.

    Args:
        source: sends packets again.
        loss: what the receiver reports.
        residual: probability with which a frame may miss its deadline.
        max_tries: how often the receiver asks for one packet.
    """

    def __init__(
        self, source: RtpSource, loss: LossEstimate, *, residual: float, max_tries: int
    ) -> None:
        self._source = source
        self._loss = loss
        self._residual = residual
        self._max_tries = max_tries
        self._blocks: deque[Block] = deque()
        self._of: dict[int, Block] = {}  # by sequence number modulo 2**16

    def remember(
        self,
        base: int,
        symbols: Sequence[bytes],
        *,
        sent: Sequence[Repair],
        frame: int,
        timestamp: int,
        deadline_ns: int,
        now_ns: int,
    ) -> None:
        """A frame was sent.

        Args:
            base: extended number of its first packet.
            symbols: source symbols of its packets.
            sent: repair packets that went with it.
            frame: its number.
            timestamp: RTP timestamp.
            deadline_ns: when it is of no use any more, at the receiver.
            now_ns: time.
        """
        self._forget(now_ns)
        count = -(-len(symbols) // MAX_SOURCES)
        for number in range(count):
            start, end = (at * len(symbols) // count for at in (number, number + 1))
            block = Block(
                base + start,
                symbols[start:end],
                frame=frame,
                timestamp=timestamp,
                deadline_ns=deadline_ns,
            )
            # Rows of the very same code that went out already bring nothing new.
            block.row = max(
                (r.row + 1 for r in sent if _same_code(r, block)),
                default=0,
            )
            self._blocks.append(block)
            for sequence in range(block.base, block.base + len(block.symbols)):
                self._of[sequence & 0xFFFF] = block

    def _forget(self, now_ns: int) -> None:
        blocks = self._blocks
        while blocks and (
            blocks[0].deadline_ns + REMEMBERED_NS < now_ns or len(blocks) >= MAX_BLOCKS
        ):
            old = blocks.popleft()
            for sequence in range(old.base, old.base + len(old.symbols)):
                if self._of.get(sequence & 0xFFFF) is old:
                    del self._of[sequence & 0xFFFF]

    def answer(self, lost: Iterable[int], *, now_ns: int) -> list[tuple[Block, list[Repair]]]:
        """Send again what is asked for; the repair packets to go with it.

        Args:
            lost: sequence numbers modulo 2**16, as the receiver asked.
            now_ns: time.
        """
        asked: dict[Block, list[int]] = {}
        for sequence in lost:
            block = self._of.get(sequence & 0xFFFF)
            if block is not None:
                asked.setdefault(block, []).append(sequence)
        made = []
        for block, sequences in asked.items():
            rounds = max(1, self._rounds(block, now_ns))
            repeated = len(self._source.resend(sequences, now_ns=now_ns))
            if not repeated:
                continue
            # Requests within a round trip are of one round.
            if not block.tries or now_ns - block.tried_ns >= self._source.rtt.smoothed_ns:
                block.tries += 1
                block.tried_ns = now_ns
            rounds = min(rounds, max(1, self._max_tries - block.tries + 1))
            made.append((block, block.more(self._rows(repeated, rounds))))
        return made

    def _rounds(self, block: Block, now_ns: int) -> int:
        rtt = self._source.rtt
        return rounds_left(
            now_ns=now_ns,
            deadline_ns=block.deadline_ns,
            rtt_ns=rtt.smoothed_ns,
            least_rtt_ns=rtt.min_ns,
        )

    def _rows(self, repeated: int, rounds: int) -> int:
        allowed = self._residual ** (1 / rounds)
        return rows_needed(
            repeated, self._loss.rounded, allowed, max(1, round(MOST_SHARE * repeated))
        )


def _same_code(repair: Repair, block: Block) -> bool:
    return (
        repair.code == CODE_BLOCK
        and repair.base == block.base
        and repair.count == len(block.symbols)
    )
