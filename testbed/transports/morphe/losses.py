"""What the sender knows of losses, from the receiver's arrival reports (RFC 8888).

For profiles that leave out what the receiver should have already: the encoder is told which token
rows did not arrive, and sends them anew. A packet is lost when it was reported missing and three
later ones were reported to have come (kPacketThreshold, RFC 9002 section 6.1.1), unless its
retransmission came. What the receiver decoded a GoP with may differ a little: a repair can come too
late for it, and is counted as arrived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from testbed.protocol.rtcp import CongestionFeedback
from testbed.protocol.rtcp.congestion import RECEIVED
from testbed.protocol.sequence import wrap_distance

PACKET_THRESHOLD: Final = 3
#: Packets remembered: more than a report can cover.
MAX_PACKETS: Final = 4096


@dataclass(slots=True)
class _Sent:
    gop: int
    rows: tuple[int, ...]
    arrived: bool = False
    told: bool = False


class LossLedger:
    """Packets that carry tokens, and what became of them.

    Args:
        ssrc: of the media; retransmissions have the next one.
    """

    def __init__(self, ssrc: int) -> None:
        self._ssrc = ssrc
        self._sent: dict[int, _Sent] = {}  # by extended sequence number, ascending
        self._rows: dict[int, int] = {}  # token rows of a GoP
        self._repairs: dict[int, int] = {}  # extended number of a retransmission: what it repeats
        self._highest = -1
        self._last_repair = -1
        self._lost: set[int] = set()

    def on_sent(self, sequence: int, *, gop: int, rows: Sequence[int], of_rows: int) -> None:
        """A packet of a unit with these token rows of the GoP's `of_rows` goes out."""
        self._sent[sequence] = _Sent(gop, tuple(rows))
        self._rows[gop] = of_rows
        self._highest = sequence
        while len(self._sent) > MAX_PACKETS:
            oldest = next(iter(self._sent))
            gone = self._sent.pop(oldest)
            self._lost.discard(oldest)
            if self._sent and next(iter(self._sent.values())).gop != gone.gop:
                self._rows.pop(gone.gop, None)

    def on_repaired(self, sequence: int, original: int) -> None:
        """A packet (16-bit number) goes out again, as this retransmission."""
        number = self._highest + wrap_distance(self._highest & 0xFFFF, original & 0xFFFF, bits=16)
        self._repairs[sequence] = number
        self._last_repair = sequence
        while len(self._repairs) > MAX_PACKETS:
            del self._repairs[next(iter(self._repairs))]

    def on_feedback(self, report: CongestionFeedback) -> None:
        """Take in a report; any numbers are allowed."""
        for block in report.blocks:
            if block.ssrc == self._ssrc and self._highest >= 0:
                begin = self._near(block.begin_sequence, self._highest)
                self._on_media(begin, block.metrics)
            elif block.ssrc == self._ssrc + 1 and self._last_repair >= 0:
                begin = self._near(block.begin_sequence, self._last_repair)
                for offset, metric in enumerate(block.metrics):
                    original = self._repairs.get(begin + offset)
                    if metric & RECEIVED and original in self._sent:
                        self._sent[original].arrived = True
                        self._lost.discard(original)

    def _on_media(self, begin: int, metrics: Sequence[int]) -> None:
        later = 0  # packets after this one that came
        for offset in range(len(metrics) - 1, -1, -1):
            sent = self._sent.get(begin + offset)
            if metrics[offset] & RECEIVED:
                later += 1
                if sent is not None:
                    sent.arrived = True
                    self._lost.discard(begin + offset)
            elif later < PACKET_THRESHOLD or sent is None or sent.arrived or sent.told:
                continue
            else:
                self._lost.add(begin + offset)

    @staticmethod
    def _near(number: int, known: int) -> int:
        return known + wrap_distance(known & 0xFFFF, number, bits=16)

    def take(self) -> list[tuple[int, tuple[bool, ...] | None]]:
        """What was found lost since the last call: GoP, and for each token row whether it was.

        None in place of the rows: nothing of the GoP arrived.
        """
        by_gop: dict[int, set[int]] = {}
        for sequence in sorted(self._lost):
            sent = self._sent[sequence]
            sent.told = True
            by_gop.setdefault(sent.gop, set()).update(sent.rows)
        self._lost.clear()
        arrived = {sent.gop for sent in self._sent.values() if sent.arrived}
        return [
            (gop, tuple(row in rows for row in range(self._rows[gop])) if gop in arrived else None)
            for gop, rows in by_gop.items()
        ]
