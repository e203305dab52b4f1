"""The receiver's per-packet arrival reports (RFC 8888)."""

from __future__ import annotations

from collections import deque
from typing import Final

from testbed.errors import LocalProtocolError
from testbed.protocol.ntp import compact_ntp_of
from testbed.protocol.rtcp.congestion import (
    ATO_TOO_OLD,
    CCFB_BLOCK_BYTES,
    CCFB_FIXED_BYTES,
    MAX_REPORTS,
    RECEIVED,
    CongestionFeedback,
    FeedbackBlock,
)

#: Sources kept; a session has two (media and retransmission).
MAX_SOURCES: Final = 16
#: Report interval and size of pion's implementation.
REPORT_INTERVAL_NS: Final = 100_000_000
MAX_REPORT_BYTES: Final = 1200

_SECOND_NS: Final = 1_000_000_000


class _Source:
    """Arrival times of one source, by extended sequence number, first copy only."""

    __slots__ = ("arrivals", "ecn", "highest", "reported_to", "starts")

    def __init__(self, sequence: int, overlap: int) -> None:
        self.arrivals: dict[int, int] = {}
        self.ecn: dict[int, int] = {}  # of the marked ones among them
        self.highest = sequence
        #: Where the new part of each of the last reports began; the head begins the next report.
        self.starts: deque[int] = deque(maxlen=overlap + 1)
        self.reported_to: int | None = None

    def span(self) -> tuple[int, int]:
        """First and last number of the next report; moves on to it."""
        new = min(self.arrivals) if self.reported_to is None else self.reported_to + 1
        self.starts.append(new)
        self.reported_to = self.highest
        return self.starts[0], self.highest

    def block(self, ssrc: int, begin: int, end: int, now_ns: int) -> FeedbackBlock:
        """The metric words of begin..end."""
        get = self.arrivals.get
        # `metric_word` in line, for every packet is here `overlap + 1` times.
        words = [
            0
            if (arrival_ns := get(sequence)) is None
            else RECEIVED | min((now_ns - arrival_ns) * 1024 // _SECOND_NS, ATO_TOO_OLD)
            for sequence in range(begin, end + 1)
        ]
        for sequence, ecn in self.ecn.items():
            if begin <= sequence <= end:
                words[sequence - begin] |= ecn << 13
        return FeedbackBlock(ssrc, begin & 0xFFFF, tuple(words))

    def forget_before(self, sequence: int) -> None:
        """Drop arrivals that no report will cover again."""
        for old in [number for number in self.arrivals if number < sequence]:
            del self.arrivals[old]
            self.ecn.pop(old, None)


class ArrivalRecorder:
    """Remembers arrivals and makes RFC 8888 reports of them.

    Each report starts where the new part of the report `overlap` reports ago started, so every
    packet is reported `overlap + 1` times: losing a feedback datagram loses nothing, and a packet
    that came late is still seen. Reports keep to `max_bytes` by leaving out the oldest packets.

    Args:
        sender_ssrc: our own SSRC.
        interval_ns: time between reports, > 0.
        overlap: how many earlier reports each report covers again, >= 0.
        max_bytes: bound on the size of one report, RTCP header included.

    Raises:
        LocalProtocolError: a value is out of range.
    """

    def __init__(
        self,
        sender_ssrc: int,
        *,
        interval_ns: int = REPORT_INTERVAL_NS,
        overlap: int = 2,
        max_bytes: int = MAX_REPORT_BYTES,
    ) -> None:
        smallest = CCFB_FIXED_BYTES + MAX_SOURCES * (CCFB_BLOCK_BYTES + 4)
        if interval_ns <= 0 or overlap < 0 or max_bytes < smallest:
            raise LocalProtocolError(
                f"reports every {interval_ns} ns, overlap {overlap}, {max_bytes} bytes "
                f"(at least {smallest})"
            )
        self._sender_ssrc = sender_ssrc
        self._interval_ns = interval_ns
        self._overlap = overlap
        self._max_bytes = max_bytes
        self._sources: dict[int, _Source] = {}
        self._due_ns: int | None = None

    def on_packet(self, ssrc: int, sequence: int, *, now_ns: int, ecn: int = 0) -> None:
        """A packet of source `ssrc` with extended number `sequence` came in.

        Args:
            ssrc: its source; more than `MAX_SOURCES` different ones are not recorded.
            sequence: extended, of that source.
            now_ns: arrival.
            ecn: ECN field of the IP header, 0 to 3.
        """
        source = self._sources.get(ssrc)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                return
            source = self._sources[ssrc] = _Source(sequence, self._overlap)
            if self._due_ns is None:
                self._due_ns = now_ns + self._interval_ns
        arrivals = source.arrivals
        if sequence in arrivals:
            return
        arrivals[sequence] = now_ns
        if ecn:
            source.ecn[sequence] = ecn & 3
        if sequence > source.highest:
            source.highest = sequence
        if len(arrivals) > MAX_REPORTS:
            # Far more than a report can say came between two reports.
            source.forget_before(source.highest - self._max_bytes)

    def next_timer(self) -> int | None:
        """When `report` is due; None while nothing has ever arrived."""
        return self._due_ns

    def report(self, *, now_ns: int) -> CongestionFeedback | None:
        """The report, and schedule the next; None when there is nothing to say."""
        if self._due_ns is None:
            return None
        while self._due_ns <= now_ns:
            self._due_ns += self._interval_ns
        spans = []
        for ssrc, source in self._sources.items():
            if source.arrivals:
                begin, end = source.span()
                if begin <= end:
                    spans.append((end - begin, ssrc, begin, end))
                source.forget_before(begin)
        room = self._max_bytes - CCFB_FIXED_BYTES - CCFB_BLOCK_BYTES * len(spans)
        blocks = []
        # Shortest first: what a short block leaves of its share goes to the longer ones.
        for done, (_, ssrc, begin, end) in enumerate(sorted(spans)):
            # In pairs of words, because a block is padded to 32 bits.
            share = room // (len(spans) - done) // 4 * 2
            block = self._sources[ssrc].block(ssrc, max(begin, end + 1 - share), end, now_ns)
            room -= 2 * (len(block.metrics) + len(block.metrics) % 2)
            blocks.append(block)
        if not blocks:
            return None
        return CongestionFeedback(self._sender_ssrc, compact_ntp_of(now_ns), tuple(blocks))
