"""The sized receiver: reassemble units, ask again, decide on groups in order, report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from testbed.codec.units import join_units
from testbed.errors import RemoteProtocolError
from testbed.media.types import ReceivedFrame
from testbed.protocol.assembler import FrameAssembler
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.nack import NackGenerator
from testbed.protocol.reception import (
    AHEAD_NS,
)
from testbed.protocol.rtcp import (
    RtcpMessage,
    SenderReport,
    parse_rtcp,
)
from testbed.protocol.rtp import RtpPacket, is_rtcp, parse_rtp, parse_rtx
from testbed.protocol.rtt import RttEstimator
from testbed.protocol.sequence import MAX_DROPOUT, Unwrapper
from testbed.transports.base import FrameAbandoned, ReceiverContext
from testbed.transports.h26x.chain import ChainEvent, ReferenceChain
from testbed.transports.reports import Reports
from testbed.transports.screen import GroupScreen
from testbed.transports.sized.groups import MAX_GROUPS_HELD, HeldGroup, HeldGroups
from testbed.transports.sized.options import SizedOptions
from testbed.transports.sized.plan import Reference, Structure
from testbed.transports.sized.wire import DESCRIPTOR_BYTES, parse_descriptor, starts_unit

#: Packets given up that are remembered: as many as the assembler's window is wide.
MAX_GIVEN_UP: Final = 8192


class SizedReceiver:
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by datagrams and by its timer (reports, retransmission requests, repeated key requests).
    Groups are decided on in order. One that is whole is decoded at once; one of which a packet is
    given up is decoded without it if it was optional, else abandoned, and where groups hang on
    each other nothing but a key group goes on from there.

    Args:
        context: what the world gives.
        structure: of the stream, from the options.
        key_interval_ms: at least this between requests for a key group; None: it never asks.
    """

    def __init__(
        self,
        context: ReceiverContext,
        structure: Structure,
        *,
        key_interval_ms: int | None = None,
    ) -> None:
        options: SizedOptions = context.options
        self._context, self._options = context, options
        self._structure = structure
        self._key_interval_ns = None if key_interval_ms is None else key_interval_ms * 1_000_000
        self._give_up_ns = options.give_up_ms * 1_000_000 or context.playout_deadline_ns
        self._rtt = RttEstimator()
        self._unwrap = Unwrapper(16, most_ahead=MAX_DROPOUT)
        self._unwrap_rtx = Unwrapper(16, most_ahead=MAX_DROPOUT)
        # Session descriptions signal the first packet: number 0.
        self._unwrap.unwrap(0)
        self._nack = NackGenerator(rtt=self._rtt, max_tries=options.max_tries, first_sequence=0)
        # Units in the place of frames: their numbers ascend as timestamps do.
        self._assembler = FrameAssembler(starts_frame=starts_unit, first_sequence=0, max_frames=256)
        self._groups = HeldGroups(structure)
        self._chain = ReferenceChain()
        self._previous_whole = False
        self._given_up: set[int] = set()
        interval_ns = self._capture_ns(1)
        self._screen = GroupScreen(context, interval_ns=interval_ns, catch_up=options.catch_up)
        self._reports = Reports(context.ssrc, interval_ns=options.report_interval_ms * 1_000_000)
        self._next_key_request_ns = 0
        self._kept: dict[int, ReceivedFrame] = {}
        self._events: list[Event] = []
        self._counts = dict.fromkeys(("decoded", "without-optional", "abandoned"), 0)
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
                self._on_rtp(parse_rtp(data), now_ns)
        except RemoteProtocolError:
            self.malformed_datagrams += 1

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:  # noqa: ARG002 - contract
        """Reports and requests."""
        return self._reports.take()

    def next_timer(self) -> int | None:
        """Earliest of report, retransmission request and key request."""
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
        self._reports.report_if_due(now_ns=now_ns)

    def events(self) -> list[Event]:
        """`FrameDecoded` and `FrameAbandoned` events since the last call."""
        events, self._events = self._events, []
        return events

    def received_frames(self, count: int) -> list[ReceivedFrame]:
        """What a decoder may work with, for frames 0 to count - 1 (needs `keep_received`).

        A group's units are at its first frame, in the form of `testbed.codec.units`.
        """
        return [
            self._kept.get(index, ReceivedFrame(index, key=False, data=b"", complete=False))
            for index in range(count)
        ]

    def received_frame(self, index: int) -> ReceivedFrame | None:
        """The same for one frame that has been decoded; None: nothing is kept of it."""
        return self._kept.get(index)

    def facts(self) -> dict[str, Any]:
        """Groups by what became of them, for the manifest."""
        return {"groups": dict(self._counts), "malformed": self.malformed_datagrams}

    # --- packets --------------------------------------------------------------------------

    def _capture_ns(self, frame: int) -> int:
        fps = self._context.fps
        return frame * 10**9 * fps.denominator // fps.numerator

    def _on_rtp(self, packet: RtpPacket, now_ns: int) -> None:
        ssrc = self._context.ssrc
        if packet.ssrc not in (ssrc, ssrc + 1):
            raise RemoteProtocolError(f"unknown SSRC {packet.ssrc:#x}")
        repaired = packet.ssrc == ssrc + 1
        if repaired and packet.padding_bytes and not packet.payload:
            number = self._unwrap_rtx.unwrap(packet.sequence)
            self._reports.recorder.on_packet(packet.ssrc, number, now_ns=now_ns)
            return
        original, payload = parse_rtx(packet) if repaired else (packet.sequence, packet.payload)
        told = parse_descriptor(payload)
        first = self._structure.first(told.group)
        if self._capture_ns(first) > now_ns + AHEAD_NS:
            raise RemoteProtocolError(f"group {told.group} is ahead of the clock")
        sequence = self._unwrap.unwrap(original)
        if repaired:
            number = self._unwrap_rtx.unwrap(packet.sequence)
            self._reports.recorder.on_packet(packet.ssrc, number, now_ns=now_ns)
        else:
            self._reports.on_media(sequence, packet.timestamp, now_ns=now_ns)
        self._given_up.discard(sequence)
        deadline_ns = self._capture_ns(first + told.frames - 1) + self._give_up_ns
        self._nack.on_packet(sequence, now_ns=now_ns, deadline_ns=deadline_ns, repaired=repaired)
        while told.group >= self._groups.next + MAX_GROUPS_HELD:
            self._abandon("nothing-arrived")
        self._groups.on_packet(told, sequence)
        if self._assembler.push(sequence, told.number, packet.marker, payload, now_ns=now_ns):
            self._take_units()
        self._request_missing(now_ns)

    def _take_units(self) -> None:
        """Units that are whole go to their groups."""
        for unit in self._assembler.complete_frames():
            pieces = [piece for piece in unit.payloads if piece is not None]
            keep = self._context.keep_received
            data = b"".join(piece[DESCRIPTOR_BYTES:] for piece in pieces) if keep else b""
            self._groups.on_unit(parse_descriptor(pieces[0]), data)

    # --- decisions ------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Decide on groups in order, until one has to wait."""
        groups = self._groups
        while True:
            group = groups.get(groups.next)
            follows = group is not None and self._follows(group)
            if group is not None and group.whole and follows:
                self._decode(group, now_ns)
                continue
            if not (self._chain.broken or self._next_is_lost()):
                return
            if group is not None and follows and self._usable(group):
                self._counts["without-optional"] += 1
                self._decode(group, now_ns)
            elif self._structure.reference is not Reference.CHAIN:
                self._abandon("incomplete" if group is not None else "nothing-arrived")
            elif not self._go_on_from_key(now_ns):
                return

    def _next_is_lost(self) -> bool:
        """Nothing is hoped for any more of all that comes before a later group."""
        later = self._groups.after_next()
        if later is None:
            return False
        bound = later.first_sequence
        return not any(s < bound and s not in self._given_up for s in self._nack.missing())

    def _usable(self, group: HeldGroup) -> bool:
        """The group can be decoded as it is."""
        return group.usable(self._structure.may_miss(key=group.key))

    def _follows(self, group: HeldGroup) -> bool:
        """What the next group refers to was decoded."""
        chained = self._structure.reference is Reference.CHAIN
        return group.key or self._previous_whole or not chained

    def _go_on_from_key(self, now_ns: int) -> bool:
        """The chain is broken: go on at a whole key group; False: there is none yet.

        Until then the group that broke it may still turn up, as long as it would be of use.
        """
        if not self._chain.broken:
            self._chain.apply(ChainEvent.HOLE)
        key = self._groups.next_key()
        if key is None:
            number = self._groups.next
            last = self._structure.first(number) + self._structure.most_frames(number) - 1
            if now_ns <= self._capture_ns(last) + self._give_up_ns:
                return False
            key = number + 1
        while self._groups.next < key:
            group = self._groups.get(self._groups.next)
            if group is None:
                self._abandon("nothing-arrived")
            else:
                self._abandon("reference-lost" if group.whole else "incomplete")
        return True

    def _abandon(self, reason: str) -> None:
        """Give the next group up."""
        number = self._groups.next
        group = self._groups.pop_next()
        frames = group.frames if group is not None else self._structure.most_frames(number)
        first = self._structure.first(number)
        self._events += [FrameAbandoned(first + n, reason) for n in range(frames)]
        self._counts["abandoned"] += 1
        self._previous_whole = False
        if self._structure.reference is Reference.CHAIN and not self._chain.broken:
            self._chain.apply(ChainEvent.HOLE)
        later = self._groups.get(self._groups.next) or self._groups.after_next()
        if later is not None:
            self._forget_before(later.first_sequence)

    def _forget_before(self, sequence: int) -> None:
        self._nack.forget_before(sequence)
        self._given_up = {s for s in self._given_up if s >= sequence}

    def _decode(self, group: HeldGroup, now_ns: int) -> None:
        """Decode the next group and show what of it can be shown."""
        number = self._groups.next
        first = self._structure.first(number)
        self._groups.pop_next()
        self._counts["decoded"] += 1
        self._chain.apply(ChainEvent.DECODE)
        self._forget_before(group.last_sequence + 1)
        skipped = 0
        if self._structure.reference is Reference.NEIGHBOUR and number and not self._previous_whole:
            skipped = group.frames - 1
        self._previous_whole = True
        frames = range(first + skipped, first + group.frames)
        self._events += [FrameAbandoned(first + n, "reference-lost") for n in range(skipped)]
        if self._context.keep_received:
            self._keep(first, frames, group)
        self._events += self._screen.show(
            frames,
            [self._capture_ns(index) for index in frames],
            decode_frame_ns=self._context.decode_ns(),
            outcome="rendered" if group.whole else "concealed",
            now_ns=now_ns,
        )

    def _keep(self, first: int, frames: range, group: HeldGroup) -> None:
        units = join_units(group.data.get(unit, b"") for unit in range(group.units))
        self._kept[first] = ReceivedFrame(first, group.key, units, complete=first in frames)
        for index in frames:
            if index != first:
                self._kept[index] = ReceivedFrame(index, key=False, data=b"", complete=True)

    # --- feedback -------------------------------------------------------------------------

    def _request_missing(self, now_ns: int) -> None:
        nack = self._nack
        wanted = nack.requests(now_ns=now_ns)
        if wanted and self._options.retransmission:
            self._ask(wanted)
        elif wanted:
            self._give_up(wanted)
        nack.given_up()  # they are not among the missing any more, which is all that counts here
        if len(self._groups):
            self._advance(now_ns)
        self._request_key(now_ns)

    def _ask(self, wanted: Sequence[int]) -> None:
        """Ask for packets; not for those that a group may miss where keys alone must be whole."""
        asked = wanted
        if self._structure.whole_keys:
            asked = [sequence for sequence in wanted if self._groups.key_may_own(sequence)]
            self._give_up([sequence for sequence in wanted if sequence not in asked])
        if asked:
            self._reports.request_packets(asked)

    def _give_up(self, sequences: Sequence[int]) -> None:
        self._given_up.update(sequences[: max(0, MAX_GIVEN_UP - len(self._given_up))])

    def _wants_key(self) -> bool:
        return self._key_interval_ns is not None and self._chain.broken

    def _request_key(self, now_ns: int) -> None:
        """Ask for a key group, and again when none has come after a round trip."""
        if self._key_interval_ns is None or not self._chain.broken:
            return
        if now_ns < self._next_key_request_ns:
            return
        self._chain.apply(ChainEvent.ASK)
        self._reports.request_key()
        again_ns = max(self._key_interval_ns, self._rtt.smoothed_ns * 3 // 2)
        self._next_key_request_ns = now_ns + again_ns

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        self._reports.on_message(message, now_ns=now_ns)
        if isinstance(message, SenderReport) and message.ssrc == self._context.ssrc:
            # The numbers begin at 0, so the count of packets tells the last one.
            last = message.packet_count - 1
            self._nack.on_sent(last, now_ns=now_ns, deadline_ns=now_ns + self._give_up_ns)
