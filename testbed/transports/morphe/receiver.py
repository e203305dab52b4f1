"""The Morphe receiver: reassemble, decode what came or ask again, show at a steady pace, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from morphe_core.nasc.loss_policy import Action, LossPolicy, Situation, decide
from morphe_core.nasc.reassembly import PartialGop, Reassembly, TakenGop
from testbed.codec.units import join_units
from testbed.errors import RemoteProtocolError
from testbed.media.types import ReceivedFrame
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.nack import OVERDUE_DENOMINATOR, OVERDUE_NUMERATOR
from testbed.protocol.reception import (
    AHEAD_NS,
)
from testbed.protocol.rtcp import (
    Goodbye,
    RtcpMessage,
    SenderReport,
    parse_rtcp,
)
from testbed.protocol.rtp import is_rtcp, parse_rtp, parse_rtx
from testbed.protocol.rtt import RttEstimator
from testbed.protocol.sequence import MAX_DROPOUT, Unwrapper
from testbed.transports.base import FrameAbandoned, ReceiverContext
from testbed.transports.morphe.arrival import GopArrivals
from testbed.transports.morphe.options import MorpheOptions
from testbed.transports.morphe.wire import GOP_FRAMES, GopClock
from testbed.transports.reports import Reports, twice_the_way_ns
from testbed.transports.screen import GroupScreen

#: Longest request: half a GoP of the largest size; more is not asked for at a time.
MAX_ASKED: Final = 512
#: A GoP goes to the decoder so long before its last useful moment: a timer set to that very moment
#: is late by a fraction of a millisecond on any real machine, and every frame with it.
WAKE_MARGIN_NS: Final = 5_000_000
_NEVER: Final = 1 << 62


@dataclass(slots=True)
class _Waiting:
    """What is known of the GoP whose turn it is, besides its packets.

    Attributes:
        last_ns: arrival of its latest packet; -1: none.
        ended_ns: when its end showed, by its last packet or a later GoP; -1: not yet.
        asked_ns: when its tokens were asked for; -1: not.
        overdue_ns: when the answers are.
    """

    last_ns: int = -1
    ended_ns: int = -1
    asked_ns: int = -1
    overdue_ns: int = 0


class MorpheReceiver:
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    GoPs are decoded in order. One is decided on when all of it came, or when what is missing has to
    be taken for lost: some time after its end showed, or after it should have. Capture times are
    known from the frame number: sender and receiver share the session's clock, as they would
    through an absolute-capture-time extension.
    """

    def __init__(self, context: ReceiverContext) -> None:
        options: MorpheOptions = context.options
        self._context = context
        self._clock = GopClock(context.fps)
        self._policy = LossPolicy(options.ask_above, options.retransmission)
        self._reorder_ns = round(options.reorder_ms * 1e6)
        self._reassembly = Reassembly()
        self._arrivals = GopArrivals(slack_ns=self._reorder_ns)
        self._screen = GroupScreen(
            context, interval_ns=self._clock.interval_ns, catch_up=options.catch_up
        )
        self._rtt = RttEstimator()
        self._repairs = 0
        self._unwrap = Unwrapper(16, most_ahead=MAX_DROPOUT)
        self._unwrap_rtx = Unwrapper(16, most_ahead=MAX_DROPOUT)
        # Session descriptions signal the first packet: number 0, timestamp 0.
        self._unwrap.unwrap(0)
        self._unwrap_timestamp = Unwrapper(32)
        self._unwrap_timestamp.unwrap(0)
        self._reports = Reports(context.ssrc, interval_ns=options.report_interval_ms * 1_000_000)
        self._waiting: dict[int, _Waiting] = {}
        self._next_sequence = 0  # first packet of the next GoP
        self._tokens = 0  # packets with tokens of the last GoP that came
        self._scale = 0
        self._silent = False  # nothing came of the GoP before
        self._sent = 0  # packets that the sender said it had sent
        self._goodbye = False
        self._gop_timer_ns = _NEVER
        self._kept: dict[int, TakenGop] = {}
        self._abandoned: set[int] = set()
        self._events: list[Event] = []
        self._counts = dict.fromkeys(("decoded", "damaged", "asked", "abandoned"), 0)
        self.malformed_datagrams = 0

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Receivers capture nothing; the call is part of the contract."""

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        """Media, a retransmission, or RTCP; anything else is counted and ignored."""
        try:
            if is_rtcp(data):
                for message in parse_rtcp(data):
                    self._on_message(message, now_ns)
            else:
                self._on_rtp(data, now_ns)
        except RemoteProtocolError:
            self.malformed_datagrams += 1
            return
        self._advance(now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:  # noqa: ARG002 - contract
        """Reports and requests."""
        return self._reports.take()

    def next_timer(self) -> int | None:
        """Earliest of report and decision on a GoP."""
        return min(self._reports.next_ns, self._gop_timer_ns)

    def on_timer(self, *, now_ns: int) -> None:
        """Whatever is due."""
        self._advance(now_ns)
        self._reports.report_if_due(now_ns=now_ns)

    def events(self) -> list[Event]:
        """`FrameDecoded` and `FrameAbandoned` events since the last call."""
        events, self._events = self._events, []
        return events

    def received_frames(self, count: int) -> list[ReceivedFrame]:
        """What the decoder had, for frames 0 to count - 1 (needs `keep_received`)."""
        return [
            self.received_frame(index) or ReceivedFrame(index, key=False, data=b"", complete=False)
            for index in range(count)
        ]

    def received_frame(self, index: int) -> ReceivedFrame | None:
        """The same for one frame that has been decoded; None: nothing is kept at it."""
        gop, within = divmod(index, GOP_FRAMES)
        taken = self._kept.get(gop)
        if within or taken is None:
            return None
        return ReceivedFrame(index, key=True, data=join_units(taken.units), complete=taken.complete)

    def facts(self) -> dict[str, Any]:
        """GoPs and packets by what became of them, for the manifest."""
        reassembly = self._reassembly
        return {
            "gops": dict(self._counts),
            "duplicates": reassembly.duplicates,
            "stale": reassembly.stale,
            "refused": reassembly.refused,
            "malformed": self.malformed_datagrams,
        }

    # --- packets --------------------------------------------------------------------------

    def _on_rtp(self, data: bytes, now_ns: int) -> None:
        packet = parse_rtp(data)
        ssrc = self._context.ssrc
        if packet.ssrc not in (ssrc, ssrc + 1):
            raise RemoteProtocolError(f"unknown SSRC {packet.ssrc:#x}")
        # Of a damaged timestamp nothing may stay: the unwrapper would follow it.
        highest = self._unwrap_timestamp.highest
        timestamp = self._unwrap_timestamp.unwrap(packet.timestamp)
        try:
            gop = self._clock.gop_of(timestamp)
            if gop < 0 or self._clock.capture_ns(gop * GOP_FRAMES) > now_ns + AHEAD_NS:
                raise RemoteProtocolError(f"timestamp {packet.timestamp} is of no captured frame")
        except RemoteProtocolError:
            self._unwrap_timestamp.highest = highest
            raise
        if packet.ssrc == ssrc:
            sequence = self._unwrap.unwrap(packet.sequence)
            payload = packet.payload
            self._reports.on_media(sequence, timestamp, now_ns=now_ns)
            self._arrivals.on_packet(gop, sequence, now_ns=now_ns)
        else:
            number = self._unwrap_rtx.unwrap(packet.sequence)
            if packet.padding_bytes and not packet.payload:  # fills a probe of the rate control
                self._reports.recorder.on_packet(packet.ssrc, number, now_ns=now_ns)
                return
            original, payload = parse_rtx(packet)
            self._reports.recorder.on_packet(packet.ssrc, number, now_ns=now_ns)
            sequence = self._unwrap.unwrap(original)
            self._on_repair(gop, now_ns)
        partial = self._reassembly.push(gop, sequence, payload)
        if partial is None:
            self._on_useless(gop)
            return
        waiting = self._waiting.setdefault(gop, _Waiting())
        if waiting.last_ns < 0 and packet.ssrc == ssrc:
            position = sequence - partial.first_sequence
            self._arrivals.on_start(now_ns - self._captured_ns(gop), position=position)
        waiting.last_ns = now_ns
        if waiting.ended_ns < 0 and partial.has(partial.packets - 1):
            waiting.ended_ns = now_ns

    def _on_repair(self, gop: int, now_ns: int) -> None:
        """A retransmission; the first of an answer tells the round trip."""
        waiting = self._waiting.get(gop)
        if waiting is not None and waiting.asked_ns >= 0 and waiting.last_ns < waiting.asked_ns:
            self._repairs += 1
            self._rtt.on_sample(now_ns - waiting.asked_ns, now_ns=now_ns)

    def _on_useless(self, gop: int) -> None:
        """Too late, twice or damaged; of a GoP that was abandoned we know now why."""
        if gop in self._abandoned:
            self._abandoned.discard(gop)
            self._abandon(gop, "late")

    def _captured_ns(self, gop: int) -> int:
        """When the last frame of a full GoP is captured."""
        return self._clock.capture_ns((gop + 1) * GOP_FRAMES - 1)

    # --- decisions ------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Decide on GoPs in order, until one has to wait."""
        while True:
            self._gop_timer_ns = self._decide(now_ns)
            if self._gop_timer_ns > now_ns:
                return

    def _decide(self, now_ns: int) -> int:
        """Decide on the next GoP; returns when to look again, now if it is done with."""
        gop = self._reassembly.next_gop
        partial = self._reassembly.get(gop)
        if partial is not None and partial.complete:
            self._take(now_ns)
            return now_ns
        if partial is None and self._finished:
            return _NEVER
        left_ns = self._limit_ns(gop) - now_ns
        waiting = self._waiting.setdefault(gop, _Waiting())
        lost_ns = self._lost_ns(gop, partial, waiting, now_ns)
        if left_ns > 0 and lost_ns > now_ns:
            return min(lost_ns, now_ns + left_ns)
        if partial is None and self._silent and waiting.ended_ns < 0 and left_ns > 0:
            # The path seems to be down: asking for what is queued somewhere would not help.
            return now_ns + left_ns
        situation = self._situation(gop, partial, waiting, left_ns=left_ns, now_ns=now_ns)
        decision = decide(situation, self._policy)
        if decision.action is Action.ASK:
            return self._ask(waiting, decision.ask, now_ns)
        if decision.action is Action.WAIT:
            return now_ns + min(situation.overdue_in_ns, left_ns)
        if partial is None and waiting.ended_ns < 0 and left_ns > 0:
            return now_ns + left_ns  # nothing to decode: it may still come
        self._take(now_ns)
        return now_ns

    @property
    def _finished(self) -> bool:
        """The sender has said goodbye, and all of its packets belong to GoPs that are done with."""
        return self._goodbye and self._next_sequence >= self._sent

    def _limit_ns(self, gop: int) -> int:
        """When a GoP has to go to the decoder for its frames to be in time."""
        decoding_ns = GOP_FRAMES * self._context.decode_ns(self._scale) if self._scale else 0
        deadline_ns = self._captured_ns(gop) + self._context.playout_deadline_ns
        return deadline_ns - decoding_ns - WAKE_MARGIN_NS

    def _lost_ns(self, gop: int, partial: PartialGop | None, waiting: _Waiting, now_ns: int) -> int:
        """When what is missing of a GoP has to be taken for lost."""
        if waiting.ended_ns < 0 and self._reassembly.first_after(gop) is not None:
            waiting.ended_ns = now_ns
        if waiting.ended_ns >= 0:
            return waiting.ended_ns + self._reorder_ns
        if partial is not None:
            left = partial.packets - 1 - partial.last_position
            missed_ns = self._arrivals.end_missed_ns(last_ns=waiting.last_ns, left=left)
        else:
            missed_ns = self._arrivals.all_missed_ns(self._captured_ns(gop), packets=self._tokens)
        return self._limit_ns(gop) if missed_ns is None else missed_ns

    def _situation(
        self,
        gop: int,
        partial: PartialGop | None,
        waiting: _Waiting,
        *,
        left_ns: int,
        now_ns: int,
    ) -> Situation:
        """What the policy wants to know."""
        if partial is not None:
            tokens, missing = partial.tokens, partial.missing_tokens()
        else:
            missing = list(self._supposed(gop))
            tokens = len(missing)
        return Situation(
            tokens=max(1, tokens),
            missing=missing[:MAX_ASKED],
            round_trip_ns=self._rtt.smoothed_ns,
            left_ns=left_ns,
            asked=waiting.asked_ns >= 0,
            overdue_in_ns=waiting.overdue_ns - now_ns,
        )

    def _supposed(self, gop: int) -> range:
        """Numbers of the packets of a GoP of which nothing came: as many as of the one before.

        A later GoP shows where they end.
        """
        first, end = self._next_sequence, self._next_sequence + self._tokens
        later = self._reassembly.first_after(gop)
        if later is not None:
            known = self._reassembly.get(later)
            assert known is not None
            end = known.first_sequence if later == gop + 1 else min(end, known.first_sequence)
            if self._silent:  # where the GoPs between begin is not known
                first = max(first, end - self._tokens)
        return range(first, max(first, end))

    def _ask(self, waiting: _Waiting, sequences: tuple[int, ...], now_ns: int) -> int:
        """Ask for packets; returns when the answers are overdue."""
        self._counts["asked"] += 1
        self._reports.request_packets(sequences)
        waiting.asked_ns = now_ns
        overdue_ns = self._rtt.smoothed_ns * OVERDUE_NUMERATOR // OVERDUE_DENOMINATOR
        overdue_ns += len(sequences) * self._arrivals.spacing_ns + self._reorder_ns
        waiting.overdue_ns = now_ns + max(1, overdue_ns)
        return waiting.overdue_ns

    # --- decoding -------------------------------------------------------------------------

    def _take(self, now_ns: int) -> None:
        """Decode the next GoP as it is, or give it up when nothing of use came."""
        gop = self._reassembly.next_gop
        partial = self._reassembly.get(gop)
        taken = self._reassembly.take()
        self._waiting.pop(gop, None)
        self._silent = partial is None
        if partial is not None:
            self._next_sequence = partial.first_sequence + partial.packets
            self._tokens = partial.tokens
        if taken.header is None:
            self._counts["abandoned"] += 1
            self._abandon(gop, "nothing-arrived" if partial is None else "incomplete")
            self._abandoned = {old for old in self._abandoned if old > gop - GOP_FRAMES} | {gop}
            return
        self._counts["decoded"] += 1
        self._counts["damaged"] += not taken.complete
        if self._context.keep_received:
            self._kept[gop] = taken
        self._scale = taken.header.scale
        outcome = "rendered" if taken.complete else "concealed"
        self._show(gop, taken.header.frames, outcome, now_ns)

    def _abandon(self, gop: int, reason: str) -> None:
        first = gop * GOP_FRAMES
        self._events += [FrameAbandoned(first + n, reason) for n in range(GOP_FRAMES)]

    def _show(self, gop: int, frames: int, outcome: str, now_ns: int) -> None:
        """Decode and show: all pictures are ready at once, and are shown at the clip's pace.

        A GoP cannot be sent before its last frame is captured, so its frames are late when they are
        decoded later than the deadline after that.
        """
        first = gop * GOP_FRAMES
        captured = [self._clock.capture_ns(first + n) for n in range(frames)]
        self._events += self._screen.show(
            range(first, first + frames),
            captured,
            decode_frame_ns=self._context.decode_ns(self._scale),
            outcome=outcome,
            now_ns=now_ns,
        )

    # --- feedback -------------------------------------------------------------------------

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        if isinstance(message, Goodbye) and self._context.ssrc in message.sources:
            self._goodbye = True
        self._reports.on_message(message, now_ns=now_ns)
        if not isinstance(message, SenderReport) or message.ssrc != self._context.ssrc:
            return
        self._sent = message.packet_count
        if not self._repairs:  # until one has told
            round_trip_ns = twice_the_way_ns(message, now_ns=now_ns)
            if round_trip_ns is not None:
                self._rtt.on_sample(round_trip_ns, now_ns=now_ns)
