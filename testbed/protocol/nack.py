"""Asking again and sending again: selective retransmission for live video.

In the style of ringmaster's sender (`encoder.cc`): at most three tries, at most one a round trip,
resends ahead of everything else, and giving up when it is too late to help. Ringmaster is driven
by acknowledgements; here the receiver finds the gaps and asks (RFC 4585 generic NACK), and the
sender answers on a stream of its own (RFC 4588).

Theory of operation of `NackGenerator`. A number that is skipped becomes SUSPECTED. When enough
later packets have come, or some time has passed, it was not mere reordering and is asked for
(REQUESTED); it is asked for again whenever the repair should have come and has not. It ends
RECOVERED by arriving, or GIVEN_UP: its tries are spent, or no repair could come before its
deadline, or too much is missing at once. All of that is in `TRANSITIONS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from testbed.errors import LocalProtocolError
from testbed.protocol.rtt import RttEstimator

T = TypeVar("T")


class Gap(Enum):
    """State of a packet that was skipped."""

    SUSPECTED = "suspected"
    REQUESTED = "requested"
    RECOVERED = "recovered"
    GIVEN_UP = "given up"


class GapEvent(Enum):
    """What can happen to it."""

    ASK = "ask"
    ARRIVE = "arrive"
    GIVE_UP = "give up"


#: The life of a missing packet. What is not here is against the rules.
TRANSITIONS: Final[dict[tuple[Gap, GapEvent], Gap]] = {
    (Gap.SUSPECTED, GapEvent.ASK): Gap.REQUESTED,
    (Gap.SUSPECTED, GapEvent.ARRIVE): Gap.RECOVERED,
    (Gap.SUSPECTED, GapEvent.GIVE_UP): Gap.GIVEN_UP,
    (Gap.REQUESTED, GapEvent.ASK): Gap.REQUESTED,
    (Gap.REQUESTED, GapEvent.ARRIVE): Gap.RECOVERED,
    (Gap.REQUESTED, GapEvent.GIVE_UP): Gap.GIVEN_UP,
}

#: Tries per packet, as in ringmaster.
MAX_TRIES: Final = 3
#: A repair is overdue after 9/8 of the round trip (kTimeThreshold, RFC 9002 section 6.1.2).
OVERDUE_NUMERATOR: Final = 9
OVERDUE_DENOMINATOR: Final = 8
#: A gap is no mere reordering after this time, however few packets came since; ours.
REORDER_NS: Final = 5_000_000
#: Packets tracked at once, as libwebrtc's kMaxNackPackets.
MAX_MISSING: Final = 1000
#: Half the circle of 16-bit numbers: more would make a number ambiguous.
MAX_HISTORY_PACKETS: Final = 32_768


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The receiver will not ask for some packets (again).

    Attributes:
        sequence: extended number of the first.
        reason: "tries", "deadline" or "overflow".
        count: how many consecutive numbers; more than 1 for "overflow" only.
    """

    sequence: int
    reason: str
    count: int = 1


class _Missing:
    """One missing packet; `due_ns` is when something must be decided about it."""

    __slots__ = ("asked_ns", "confirmed_at", "deadline_ns", "due_ns", "state", "tries")

    def __init__(self, *, due_ns: int, confirmed_at: int, deadline_ns: int | None) -> None:
        self.state = Gap.SUSPECTED
        self.due_ns = due_ns
        self.confirmed_at = confirmed_at  # count of arrivals that confirms the loss
        self.deadline_ns = deadline_ns
        self.tries = 0
        self.asked_ns = 0


class NackGenerator:
    """Receiver side: finds gaps and decides when to ask.

    Args:
        rtt: round-trip estimate; the generator feeds it with request-to-repair times and the
            owner may feed it too.
        reorder_packets: a gap is a loss once this many later packets have come (1: at once) ...
        reorder_ns: ... or this much time has passed.
        max_tries: requests for one packet, 1 or more.
        max_missing: packets tracked at once; beyond it the oldest are given up.
        first_sequence: extended number of the session's first packet, if it was signalled.
        reserve_round_trips: a gap waits no longer than until so many smoothed round trips before
            its deadline; 0: as long as `reorder_ns` says.

    Raises:
        LocalProtocolError: a value is out of range.
    """

    def __init__(
        self,
        *,
        rtt: RttEstimator | None = None,
        reorder_packets: int = 2,
        reorder_ns: int = REORDER_NS,
        max_tries: int = MAX_TRIES,
        max_missing: int = MAX_MISSING,
        first_sequence: int | None = None,
        reserve_round_trips: int = 0,
    ) -> None:
        if (
            min(reorder_packets, max_tries, max_missing) < 1
            or min(reorder_ns, reserve_round_trips) < 0
        ):
            raise LocalProtocolError(
                f"NACK with reorder_packets={reorder_packets}, reorder_ns={reorder_ns}, "
                f"max_tries={max_tries}, max_missing={max_missing}, "
                f"reserve_round_trips={reserve_round_trips}"
            )
        self.rtt = rtt if rtt is not None else RttEstimator()
        self._reorder_packets = reorder_packets
        self._reorder_ns = reorder_ns
        self._max_tries = max_tries
        self._max_missing = max_missing
        self._reserve_round_trips = reserve_round_trips
        self._highest = None if first_sequence is None else first_sequence - 1
        self._missing: dict[int, _Missing] = {}  # ascending
        self._given_up: list[GaveUp] = []
        self._arrivals = 0
        # Lower bounds over `_missing`, exact after `requests`.
        self._next_due_ns: int | None = None
        self._next_confirmed_at: int | None = None

    def on_packet(
        self, sequence: int, *, now_ns: int, deadline_ns: int | None = None, repaired: bool = False
    ) -> None:
        """A packet (extended number) came in, first-hand or repaired.

        Args:
            sequence: extended number of the original packet.
            now_ns: arrival.
            deadline_ns: playout deadline of its frame. A gap that this packet reveals gets this
                deadline: the lost packets belong to this frame or to an earlier one.
            repaired: it came as a retransmission; the time since the request is a round trip if
                there was only one request (Karn's rule).
        """
        self._arrivals += 1
        highest = self._highest
        if highest is None:
            self._highest = sequence
        elif sequence > highest:
            if sequence > highest + 1:
                self._on_gap(highest + 1, sequence, now_ns=now_ns, deadline_ns=deadline_ns)
            self._highest = sequence
        elif sequence in self._missing:
            entry = self._missing.pop(sequence)
            if repaired and entry.tries == 1:
                self.rtt.on_sample(now_ns - entry.asked_ns, now_ns=now_ns)
            entry.state = TRANSITIONS[entry.state, GapEvent.ARRIVE]
        if self._next_confirmed_at is not None and self._arrivals >= self._next_confirmed_at:
            self._next_confirmed_at = None
            self._next_due_ns = now_ns

    def on_sent(self, sequence: int, *, now_ns: int, deadline_ns: int | None = None) -> None:
        """The sender says that it has sent the packets up to `sequence` (extended number).

        So the loss of a last packet before a silence shows, too. What is further ahead than the
        packets that may be missing is not believed.
        """
        highest = self._highest
        if highest is not None and highest < sequence <= highest + self._max_missing:
            self._on_gap(highest + 1, sequence + 1, now_ns=now_ns, deadline_ns=deadline_ns)
            self._highest = sequence

    def _on_gap(self, start: int, end: int, *, now_ns: int, deadline_ns: int | None) -> None:
        """Numbers start..end-1 were skipped."""
        if end - start > self._max_missing:
            skipped = end - start - self._max_missing
            self._given_up.append(GaveUp(start, "overflow", skipped))
            start += skipped
        # The packet that reveals the gap is the first later one, and already counted.
        confirmed_at = self._arrivals + self._reorder_packets - 1
        due_ns = now_ns + self._reorder_ns
        if self._reserve_round_trips and deadline_ns is not None:
            last_ns = deadline_ns - self._reserve_round_trips * self.rtt.smoothed_ns
            due_ns = min(due_ns, max(last_ns, now_ns + REORDER_NS))
        for sequence in range(start, end):
            self._missing[sequence] = _Missing(
                due_ns=due_ns, confirmed_at=confirmed_at, deadline_ns=deadline_ns
            )
        while len(self._missing) > self._max_missing:
            self._give_up(next(iter(self._missing)), "overflow")
        if self._next_due_ns is None or due_ns < self._next_due_ns:
            self._next_due_ns = due_ns
        if self._next_confirmed_at is None or confirmed_at < self._next_confirmed_at:
            self._next_confirmed_at = confirmed_at

    def reveal(self, sequence: int, *, now_ns: int, deadline_ns: int | None = None) -> None:
        """Numbers up to `sequence` were sent, as something else than a later packet tells."""
        if self._highest is None or sequence <= self._highest:
            return
        self._on_gap(self._highest + 1, sequence + 1, now_ns=now_ns, deadline_ns=deadline_ns)
        self._highest = sequence

    def confirm(self, sequence: int, *, now_ns: int) -> None:
        """What is missing up to `sequence` is lost, not late: `requests` need not wait for it."""
        for number, entry in self._missing.items():
            if number > sequence:
                break
            if entry.state is Gap.SUSPECTED and entry.due_ns > now_ns:
                entry.due_ns = now_ns
                self._next_due_ns = now_ns

    def _give_up(self, sequence: int, reason: str) -> None:
        entry = self._missing.pop(sequence)
        entry.state = TRANSITIONS[entry.state, GapEvent.GIVE_UP]
        self._given_up.append(GaveUp(sequence, reason))

    def requests(self, *, now_ns: int) -> list[int]:
        """Extended numbers to ask for now, ascending; each counts as one try."""
        if self._next_due_ns is None or now_ns < self._next_due_ns:
            return []
        asked = []
        for sequence, entry in list(self._missing.items()):
            confirmed = entry.state is Gap.SUSPECTED and self._arrivals >= entry.confirmed_at
            if (confirmed or entry.due_ns <= now_ns) and self._decide(sequence, entry, now_ns):
                asked.append(sequence)
        missing = self._missing.values()
        self._next_due_ns = min([entry.due_ns for entry in missing], default=None)
        self._next_confirmed_at = min(
            [entry.confirmed_at for entry in missing if entry.state is Gap.SUSPECTED],
            default=None,
        )
        return asked

    def _decide(self, sequence: int, entry: _Missing, now_ns: int) -> bool:
        """Ask (True), wait or give up."""
        deadline_ns = entry.deadline_ns
        if entry.tries >= self._max_tries:
            self._give_up(sequence, "tries")
            return False
        if deadline_ns is not None and now_ns + self.rtt.min_ns > deadline_ns:
            # A new request is pointless; an earlier one may still be answered in time.
            if entry.state is Gap.SUSPECTED or now_ns >= deadline_ns:
                self._give_up(sequence, "deadline")
            else:
                entry.due_ns = deadline_ns
            return False
        entry.state = TRANSITIONS[entry.state, GapEvent.ASK]
        entry.tries += 1
        entry.asked_ns = now_ns
        overdue_ns = self.rtt.smoothed_ns * OVERDUE_NUMERATOR // OVERDUE_DENOMINATOR
        entry.due_ns = now_ns + max(1, overdue_ns)
        if deadline_ns is not None:
            entry.due_ns = min(entry.due_ns, deadline_ns)
        return True

    def next_timer(self) -> int | None:
        """When `requests` should be called next; None if nothing is missing.

        May be early (the packet that it was for has come), never late.
        """
        return self._next_due_ns if self._missing else None

    def given_up(self) -> list[GaveUp]:
        """What was given up since the last call."""
        given_up = self._given_up
        self._given_up = []
        return given_up

    def forget_before(self, sequence: int) -> None:
        """Stop caring about packets below `sequence`; silently, it is the caller's decision."""
        if self._highest is None or self._highest < sequence - 1:
            self._highest = sequence - 1
        for old in [number for number in self._missing if number < sequence]:
            del self._missing[old]

    def missing(self) -> list[int]:
        """Extended numbers still hoped for, ascending."""
        return list(self._missing)


class _Sent(Generic[T]):
    __slots__ = ("packet", "resent_ns", "sent_ns", "sequence", "size_bytes", "tries")

    def __init__(self, sequence: int, packet: T, size_bytes: int, sent_ns: int) -> None:
        self.sequence = sequence
        self.packet = packet
        self.size_bytes = size_bytes
        self.sent_ns = sent_ns
        self.resent_ns = 0
        self.tries = 0


class RetransmissionHistory(Generic[T]):
    """Sender side: what was sent lately, and whether to send it again.

    Args:
        rtt: the sender's round-trip estimate; only read.
        max_age_ns: packets older than this are forgotten (ringmaster gives up after 1 s).
        max_bytes: bound on the remembered sizes; the newest packet is kept in any case.
        max_tries: resends of one packet.
    """

    def __init__(
        self,
        *,
        rtt: RttEstimator,
        max_age_ns: int = 1_000_000_000,
        max_bytes: int = 8_000_000,
        max_tries: int = MAX_TRIES,
    ) -> None:
        self._rtt = rtt
        self._max_age_ns = max_age_ns
        self._max_bytes = max_bytes
        self._max_tries = max_tries
        self._order: deque[_Sent[T]] = deque()
        self._by_sequence: dict[int, _Sent[T]] = {}
        #: Bytes remembered.
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    def remember(self, sequence: int, packet: T, *, size_bytes: int, now_ns: int) -> None:
        """`packet` went out with number `sequence` (ascending, 16-bit or extended)."""
        sent = _Sent(sequence & 0xFFFF, packet, size_bytes, now_ns)
        self._order.append(sent)
        self._by_sequence[sent.sequence] = sent
        self.size_bytes += size_bytes
        # The common case, that there is nothing to forget, without the call.
        if self._order[0].sent_ns < now_ns - self._max_age_ns or self._is_full():
            self._forget(now_ns)

    def _is_full(self) -> bool:
        return len(self._order) > MAX_HISTORY_PACKETS or self.size_bytes > self._max_bytes

    def _forget(self, now_ns: int) -> None:
        order = self._order
        oldest_ns = now_ns - self._max_age_ns
        while order and (
            order[0].sent_ns < oldest_ns
            or len(order) > MAX_HISTORY_PACKETS
            or (self.size_bytes > self._max_bytes and len(order) > 1)
        ):
            old = order.popleft()
            self.size_bytes -= old.size_bytes
            if self._by_sequence.get(old.sequence) is old:
                del self._by_sequence[old.sequence]

    def resends(self, lost: Iterable[int], *, now_ns: int) -> list[T]:
        """Which of the packets asked for (16-bit numbers) to send again now, in that order.

        A packet is sent again if it was never resent, or last at least a smoothed round trip ago,
        and at most `max_tries` times. Put them at the front of the pacer.
        """
        self._forget(now_ns)
        again = []
        for sequence in lost:
            sent = self._by_sequence.get(sequence & 0xFFFF)
            if sent is None or sent.tries >= self._max_tries:
                continue
            if sent.tries and now_ns - sent.resent_ns < self._rtt.smoothed_ns:
                continue
            sent.tries += 1
            sent.resent_ns = now_ns
            again.append(sent.packet)
        return again
