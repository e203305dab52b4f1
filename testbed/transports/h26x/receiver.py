"""The H.26x receiver: reassemble, ask again, decode in order, ask for key frames, report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from testbed.errors import RemoteProtocolError
from testbed.media.types import ReceivedFrame
from testbed.protocol.assembler import AssembledFrame, FrameAssembler
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.fec.wire import SourcePacket
from testbed.protocol.nack import NackGenerator
from testbed.protocol.payload import PayloadFormat
from testbed.protocol.reception import AHEAD_NS
from testbed.protocol.rtcp import parse_rtcp
from testbed.protocol.rtp import (
    frame_of_timestamp,
    is_rtcp,
    parse_rtp,
)
from testbed.protocol.rtt import RttEstimator
from testbed.protocol.sequence import MAX_DROPOUT, Unwrapper
from testbed.transports.base import FrameAbandoned, ReceiverContext
from testbed.transports.h26x.chain import ChainEvent, ReferenceChain
from testbed.transports.h26x.kept import KeptFrames
from testbed.transports.h26x.options import H26xOptions
from testbed.transports.h26x.recovery import PacketRecovery, nack_timing
from testbed.transports.reports import Reports
from testbed.transports.screen import Screen

#: How many payloads of a frame are searched for its kind.
FIRST_PAYLOADS: Final = 4
#: Packets given up that are remembered: as many as the assembler's window is wide. Beyond it, the
#: whole frames that follow tell as well that something is lost.
MAX_GIVEN_UP: Final = 8192


class WholeFrame(NamedTuple):
    """A frame of which every packet is there and that waits for its turn."""

    key: bool
    data: bytes
    first_sequence: int
    last_sequence: int
    timestamp: int


class H26xReceiver:
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by datagrams and by its timer (reports, retransmission requests, repeated
    key-frame requests). Capture times are known from the frame number: sender and receiver share
    the session's clock, as they would through an absolute-capture-time extension.
    """

    def __init__(self, context: ReceiverContext, payload_format: PayloadFormat) -> None:
        options: H26xOptions = context.options
        self._context = context
        self._options = options
        self._format = payload_format
        self._ssrc = context.ssrc
        self._timestamp = -1  # of the last packet, and its frame's last useful moment
        self._frame_deadline_ns = 0
        self._fps = float(context.fps)
        self._give_up_ns = options.give_up_ms * 1_000_000 or context.playout_deadline_ns
        self._rtt = RttEstimator()
        self._unwrap = Unwrapper(16, most_ahead=MAX_DROPOUT)
        # Session descriptions signal the first packet: number 0, timestamp 0.
        self._unwrap.unwrap(0)
        self._nack = NackGenerator(
            rtt=self._rtt,
            max_tries=options.max_tries,
            first_sequence=0,
            **nack_timing(options, context.fps),
        )
        self._assembler = FrameAssembler(starts_frame=payload_format.starts_frame, first_sequence=0)
        self._reports = Reports(context.ssrc, interval_ns=options.report_interval_ms * 1_000_000)
        self._recovery = PacketRecovery(
            options,
            context.fps,
            ssrc=context.ssrc,
            unwrap=self._unwrap,
            nack=self._nack,
            recorder=self._reports.recorder,
        )
        self._chain = ReferenceChain()
        self._whole: dict[int, WholeFrame] = {}
        self._given_up: set[int] = set()
        self._polluted = False
        self._ended = -1  # highest frame of which the last packet was seen
        self._screen = Screen(context, catch_up=options.catch_up)
        self._next_key_request_ns = 0
        self._kept = KeptFrames(
            payload_format, enabled=context.keep_received, layered=options.layered
        )
        self._events: list[Event] = []
        self.malformed_datagrams = 0

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Receivers capture nothing; the call is part of the contract."""

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        """Media, a retransmission, or RTCP; anything else is counted and ignored."""
        try:
            if is_rtcp(data):
                for message in parse_rtcp(data):
                    self._reports.on_message(message, now_ns=now_ns)
            else:
                self._on_rtp(data, now_ns)
        except RemoteProtocolError:
            self.malformed_datagrams += 1

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:  # noqa: ARG002 - contract
        """Reports and requests."""
        return self._reports.take()

    def next_timer(self) -> int | None:
        """Earliest of report, retransmission request and key-frame request."""
        at_ns = self._reports.next_ns
        nack_ns = self._nack.next_timer()
        if nack_ns is not None and nack_ns < at_ns:
            at_ns = nack_ns
        if self._next_key_request_ns < at_ns and self._wants_key():
            at_ns = self._next_key_request_ns
        return at_ns

    def on_timer(self, *, now_ns: int) -> None:
        """Whatever is due."""
        self._request_missing(now_ns)
        self._request_key(now_ns)
        self._reports.report_if_due(now_ns=now_ns)

    def events(self) -> list[Event]:
        """`FrameDecoded` and `FrameAbandoned` events since the last call."""
        events, self._events = self._events, []
        return events

    def received_frames(self, count: int) -> list[ReceivedFrame]:
        """What the decoder may work with, for frames 0 to count - 1 (needs `keep_received`)."""
        for timestamp in self._assembler.pending():
            index = self._index_of(timestamp)
            frame = self._assembler.take(timestamp)
            if frame is not None and 0 <= index < count:
                self._kept.partial(index, frame)
        for index, whole in self._whole.items():
            self._kept.whole(index, key=whole.key, data=whole.data)
        return self._kept.frames(count)

    def received_frame(self, index: int) -> ReceivedFrame | None:
        """The same for one frame that has been decoded; None: nothing is kept of it."""
        return self._kept.frame(index)

    # --- packets --------------------------------------------------------------------------

    def _on_rtp(self, data: bytes, now_ns: int) -> None:
        packet = parse_rtp(data)
        timestamp = packet.timestamp
        self._check_time(timestamp, now_ns)
        if packet.ssrc == self._ssrc:
            sequence = self._unwrap.unwrap(packet.sequence)
            self._reports.on_media(sequence, timestamp, now_ns=now_ns)
            self._accept(sequence, timestamp, packet.marker, packet.payload, now_ns)
        else:
            found = self._recovery.packets_in(
                packet, now_ns=now_ns, deadline_ns=self._frame_deadline_ns
            )
            self._accept_all(found, now_ns, asked=packet.ssrc == self._ssrc + 1)
        if self._whole or self._nack.next_timer() is not None:
            self._request_missing(now_ns)

    def _check_time(self, timestamp: int, now_ns: int) -> None:
        if timestamp == self._timestamp:
            return
        capture_ns = round(self._index_of(timestamp) * 1e9 / self._fps)
        if capture_ns > now_ns + AHEAD_NS:
            raise RemoteProtocolError(f"timestamp {timestamp} is ahead of the clock")
        self._timestamp = timestamp
        self._frame_deadline_ns = capture_ns + self._give_up_ns

    def _accept_all(
        self, found: Sequence[SourcePacket], now_ns: int, *, asked: bool = False
    ) -> None:
        for packet in found:
            self._check_time(packet.timestamp, now_ns)
            self._accept(
                packet.sequence, packet.timestamp, packet.marker, packet.payload, now_ns, asked
            )

    def _accept(
        self,
        sequence: int,
        timestamp: int,
        marker: bool,
        payload: bytes,
        now_ns: int,
        asked: bool = False,
    ) -> None:
        """A media packet is there, whichever way; `asked`: as a retransmission."""
        self._given_up.discard(sequence)
        if marker:
            self._ended = max(self._ended, self._index_of(timestamp))
        self._nack.on_packet(
            sequence, now_ns=now_ns, deadline_ns=self._frame_deadline_ns, repaired=asked
        )
        if self._assembler.push(sequence, timestamp, marker, payload, now_ns=now_ns):
            for frame in self._assembler.complete_frames():
                self._on_whole(frame)
        more = self._recovery.follow_from(sequence, timestamp, marker, payload, now_ns=now_ns)
        if more:
            self._accept_all(more, now_ns)

    def _index_of(self, timestamp: int) -> int:
        return frame_of_timestamp(timestamp, fps=self._fps)

    def _on_whole(self, frame: AssembledFrame) -> None:
        index = self._index_of(frame.timestamp)
        if index < self._chain.next_index:
            return
        if self._context.keep_received:
            rebuilt = self._format.depacketize(frame.payloads)
            if not rebuilt.complete:  # all packets there, but garbage inside
                self.malformed_datagrams += 1
            key, data = self._format.is_key(rebuilt.nal_types), rebuilt.data
        else:
            # Parameter sets share the first payload, so a key picture shows within the first few.
            payloads = [p for p in frame.payloads[:FIRST_PAYLOADS] if p is not None]
            types = [t for p in payloads for t in self._format.nal_types(p)]
            key, data = self._format.is_key(types), b""
        self._whole[index] = WholeFrame(
            key, data, frame.first_sequence, frame.last_sequence, frame.timestamp
        )

    # --- the decoding chain ---------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Decode what can be decoded; find out whether the chain is broken."""
        chain, whole = self._chain, self._whole
        while True:
            frame = whole.pop(chain.next_index, None)
            if frame is not None:
                self._decode(chain.next_index, frame, now_ns)
                chain.apply(ChainEvent.DECODE)
                chain.next_index += 1
                continue
            if self._options.layered and chain.next_index % 2:
                if self._skip_disposable():
                    continue
                if not self._seen_after(chain.next_index + 1):
                    return
            if not self._next_is_lost():
                return
            if self._options.conceal:
                if not self._conceal_next(now_ns):
                    return
                continue
            if not chain.broken:
                chain.apply(ChainEvent.HOLE)
            if not self._jump_to_key():
                return

    def _skip_disposable(self) -> bool:
        """Go on without the next frame, which is disposable, if the one after it is there."""
        after = self._whole.get(self._chain.next_index + 1)
        if after is None:
            return False
        self._abandon(self._chain.next_index, "skipped")
        self._chain.apply(ChainEvent.DECODE)
        self._chain.next_index += 1
        self._forget_before(after)
        return True

    def _seen_after(self, index: int) -> bool:
        """Something of a frame after `index` has come."""
        return (
            self._ended > index or self._later_pending(index) or max(self._whole, default=0) > index
        )

    def _next_is_lost(self) -> bool:
        """The next frame never becomes whole.

        That is so when the earliest hole has been given up, or when nothing is hoped for any more
        of all that comes before a later frame.
        """
        if not self._given_up and not self._whole:
            return False
        missing = self._nack.missing()
        if not missing:
            return True
        # Without retransmission a hole is given up while the generator still has tries for it.
        if self._given_up and min(self._given_up) <= missing[0]:
            return True
        return any(frame.first_sequence <= missing[0] for frame in self._whole.values())

    def _jump_to_key(self) -> bool:
        keys = [index for index, frame in self._whole.items() if frame.key]
        if not keys:
            return False
        target = min(keys)
        for index in range(self._chain.next_index, target):
            self._abandon(index, "reference-lost" if index in self._whole else "incomplete")
        self._chain.apply(ChainEvent.KEY)
        self._chain.next_index = target
        self._forget_before(self._whole[target])
        return True

    def _forget_before(self, frame: WholeFrame) -> None:
        """The decoder starts at `frame`: nothing before it matters any more."""
        for timestamp in self._assembler.pending():
            if timestamp < frame.timestamp:
                partial = self._assembler.take(timestamp)
                if partial is not None:
                    self._kept.partial(self._index_of(timestamp), partial)
        self._assembler.forget_before(frame.timestamp)
        self._nack.forget_before(frame.first_sequence)
        self._given_up = {s for s in self._given_up if s >= frame.first_sequence}

    def _abandon(self, index: int, reason: str) -> None:
        frame = self._whole.pop(index, None)
        if frame is not None:
            self._kept.whole(index, key=frame.key, data=frame.data)
        self._events.append(FrameAbandoned(index, reason))

    def _conceal_next(self, now_ns: int) -> bool:
        """Go on with what there is of the next frame; False while later packets may come."""
        chain = self._chain
        timestamp = self._timestamp_pending(chain.next_index)
        later = [i for i in self._whole if i > chain.next_index]
        seen = self._ended >= chain.next_index or later or self._later_pending(chain.next_index)
        if not seen:
            return False
        data = b""
        if timestamp is not None:
            partial = self._assembler.take(timestamp)
            if partial is not None:
                data = self._kept.partial(chain.next_index, partial)
                self._drop_holes(partial.last_sequence)
        else:
            self._drop_holes(self._first_sequence_after(chain.next_index) - 1)
        self._polluted = True
        if data:
            self._show(chain.next_index, now_ns)
        else:
            self._events.append(FrameAbandoned(chain.next_index, "nothing-arrived"))
        chain.apply(ChainEvent.DECODE)
        chain.next_index += 1
        self._request_key(now_ns)
        return True

    def _timestamp_pending(self, index: int) -> int | None:
        for timestamp in self._assembler.pending():
            if self._index_of(timestamp) == index:
                return timestamp
        return None

    def _later_pending(self, index: int) -> bool:
        return any(self._index_of(t) > index for t in self._assembler.pending())

    def _first_sequence_after(self, index: int) -> int:
        """First packet number known of any frame after `index`."""
        firsts = [f.first_sequence for i, f in self._whole.items() if i > index]
        if not firsts:
            return max(self._given_up) + 1
        return min(firsts)

    def _drop_holes(self, up_to_sequence: int) -> None:
        self._nack.forget_before(up_to_sequence + 1)
        self._given_up = {s for s in self._given_up if s > up_to_sequence}

    def _decode(self, index: int, frame: WholeFrame, now_ns: int) -> None:
        if frame.key:
            self._polluted = False
        self._kept.whole(index, key=frame.key, data=frame.data)
        if self._given_up:
            self._drop_holes(frame.last_sequence)
        self._show(index, now_ns)

    def _show(self, index: int, now_ns: int) -> None:
        self._events.append(self._screen.show(index, concealed=self._polluted, now_ns=now_ns))

    # --- feedback -------------------------------------------------------------------------

    def _request_missing(self, now_ns: int) -> None:
        nack = self._nack
        wanted = nack.requests(now_ns=now_ns)
        if wanted:
            if self._options.resends:
                self._reports.request_packets(wanted)
            else:
                self._give_up(wanted)
        for lost in nack.given_up():
            self._give_up(range(lost.sequence, lost.sequence + lost.count))
        if self._whole or self._given_up:
            self._advance(now_ns)
            self._request_key(now_ns)

    def _give_up(self, sequences: Sequence[int]) -> None:
        self._given_up.update(sequences[: max(0, MAX_GIVEN_UP - len(self._given_up))])

    def _wants_key(self) -> bool:
        """Nothing can be decoded, or not without errors, before a key frame comes."""
        return (self._chain.broken or self._polluted) and self._options.key_requests

    def _request_key(self, now_ns: int) -> None:
        """Ask for a key frame, and again when none has come after a round trip."""
        if now_ns < self._next_key_request_ns or not self._wants_key():
            return
        if self._chain.broken:
            self._chain.apply(ChainEvent.ASK)
        self._reports.request_key()
        self._next_key_request_ns = now_ns + max(
            self._options.key_interval_ms * 1_000_000, self._rtt.smoothed_ns * 3 // 2
        )
