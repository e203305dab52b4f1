"""The GRACE-style receiver: decode each picture with what came of it, ask only when nothing did."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from grace_style.header import Header
from morphe_core.errors import BitstreamError
from testbed.codec.units import join_units
from testbed.errors import RemoteProtocolError
from testbed.media.types import ReceivedFrame
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.reception import AHEAD_NS, RECEIVER_SSRC
from testbed.protocol.rtcp import ApplicationDefined, RtcpMessage, SenderReport, parse_rtcp
from testbed.protocol.rtp import frame_of_timestamp, is_rtcp, parse_rtp, parse_rtx
from testbed.protocol.rtt import RttEstimator
from testbed.protocol.sequence import MAX_DROPOUT, Unwrapper
from testbed.transports.base import FrameAbandoned, ReceiverContext
from testbed.transports.grace.options import GraceOptions
from testbed.transports.grace.wire import MOST_PICTURES, REPORTED_TIMES, Damage, pack_damages
from testbed.transports.reports import Reports, twice_the_way_ns
from testbed.transports.screen import Screen

_NEVER: Final = 1 << 62
#: A repair is overdue after 9/8 of the round trip (kTimeThreshold, RFC 9002 section 6.1.2).
OVERDUE_NUMERATOR: Final = 9
OVERDUE_DENOMINATOR: Final = 8
#: Time kept in hand before a picture's last moment: a real receiver wakes up late.
WAKE_MARGIN_NS: Final = 5_000_000
#: Pictures ahead of the next one that are kept; beyond it packets are dropped.
MOST_AHEAD: Final = 512


@dataclass(slots=True)
class _Picture:
    """What came of a picture.

    Attributes:
        key: it is an intra picture.
        count: packets that it has.
        first: extended sequence number of its first one.
        units: payloads by their number.
    """

    key: bool
    count: int
    first: int
    units: dict[int, bytes] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return len(self.units) == self.count


class GraceReceiver:
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Pictures are decoded in order. A P picture is decoded when all of it came, or with what came
    when a later picture's packet shows, some time for reordering after it, that the rest is lost.
    One of which nothing came is asked for until its deadline; then it is skipped. The intra picture
    that all begins with is asked for until it is whole, and when its packets were asked for often
    enough, another one is (PLI). Capture times are known from the frame
    number, as they would be through an absolute-capture-time extension.
    """

    def __init__(self, context: ReceiverContext) -> None:
        options: GraceOptions = context.options
        self._context = context
        self._options = options
        self._fps = float(context.fps)
        self._reorder_ns = round(options.reorder_ms * 1e6)
        self._rtt = RttEstimator()
        self._repairs = 0
        self._unwrap = Unwrapper(16, most_ahead=MAX_DROPOUT)
        self._unwrap_rtx = Unwrapper(16, most_ahead=MAX_DROPOUT)
        # Session descriptions signal the first packet: number 0, timestamp 0.
        self._unwrap.unwrap(0)
        self._reports = Reports(context.ssrc, interval_ns=options.report_interval_ms * 1_000_000)
        self._screen = Screen(context, catch_up=options.catch_up)
        self._pictures: dict[int, _Picture] = {}
        self._next = 0
        self._next_sequence = 0  # first packet of the next picture
        self._latest = -1  # newest picture of which something came
        self._later_ns = -1  # when a picture after the next one first showed
        self._asked_ns = -1
        self._overdue_ns = -1
        self._answer_ns = -1  # when a packet of the answer came last
        self._tries = 0
        self._timer_ns = _NEVER
        self._kept: dict[int, ReceivedFrame] = {}
        self._damages: OrderedDict[int, tuple[Damage, int]] = OrderedDict()  # and reports left
        self._counts = dict.fromkeys(("decoded", "damaged", "asked", "skipped"), 0)
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
                    self._on_message(message, now_ns)
            else:
                self._on_rtp(data, now_ns)
        except (RemoteProtocolError, BitstreamError):
            self.malformed_datagrams += 1
            return
        self._advance(now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:  # noqa: ARG002 - contract
        """Reports and requests."""
        return self._reports.take()

    def next_timer(self) -> int | None:
        """Earliest of report and decision on a picture."""
        return min(self._reports.next_ns, self._timer_ns)

    def on_timer(self, *, now_ns: int) -> None:
        """Whatever is due."""
        self._advance(now_ns)
        self._reports.report_if_due(now_ns=now_ns, more=self._take_damages)

    def events(self) -> list[Event]:
        """`FrameDecoded` and `FrameAbandoned` events since the last call."""
        events, self._events = self._events, []
        return events

    def received_frames(self, count: int) -> list[ReceivedFrame]:
        """What the decoder had, for frames 0 to count - 1 (needs `keep_received`)."""
        return [
            self._kept.get(index, ReceivedFrame(index, key=False, data=b"", complete=False))
            for index in range(count)
        ]

    def received_frame(self, index: int) -> ReceivedFrame | None:
        """The same for one frame that has been decoded; None: nothing is kept of it."""
        return self._kept.get(index)

    def facts(self) -> dict[str, Any]:
        """Pictures by what became of them, for the manifest."""
        return {"pictures": dict(self._counts), "malformed": self.malformed_datagrams}

    # --- packets --------------------------------------------------------------------------

    def _on_rtp(self, data: bytes, now_ns: int) -> None:
        packet = parse_rtp(data)
        index = frame_of_timestamp(packet.timestamp, fps=self._fps)
        if self._captured_ns(index) > now_ns + AHEAD_NS:
            raise RemoteProtocolError(f"timestamp {packet.timestamp} is ahead of the clock")
        if packet.ssrc == self._context.ssrc:
            sequence = self._unwrap.unwrap(packet.sequence)
            payload = packet.payload
            self._reports.on_media(sequence, packet.timestamp, now_ns=now_ns)
        elif packet.ssrc == self._context.ssrc + 1:
            number = self._unwrap_rtx.unwrap(packet.sequence)
            self._reports.recorder.on_packet(packet.ssrc, number, now_ns=now_ns)
            if packet.padding_bytes and not packet.payload:  # fills a probe of the rate control
                return
            original, payload = parse_rtx(packet)
            sequence = self._unwrap.unwrap(original)
            self._on_repair(now_ns)
        else:
            raise RemoteProtocolError(f"unknown SSRC {packet.ssrc:#x}")
        self._file(index, sequence, payload, now_ns)

    def _file(self, index: int, sequence: int, payload: bytes, now_ns: int) -> None:
        header = Header.parse(payload)
        if header.frame != index & 0xFFFF:
            raise RemoteProtocolError(f"picture {header.frame} at the timestamp of {index}")
        if not self._next <= index < self._next + MOST_AHEAD:
            return
        first = sequence - header.number
        picture = self._pictures.get(index)
        if picture is None:
            picture = _Picture(header.is_piece, header.count, first)
            self._pictures[index] = picture
        if (picture.key, picture.count, picture.first) != (header.is_piece, header.count, first):
            raise RemoteProtocolError(f"packets of picture {index} contradict each other")
        picture.units[header.number] = payload
        if index == self._next and self._asked_ns >= 0:
            self._answer_ns = now_ns
        self._latest = max(self._latest, index)
        if self._later_ns < 0 and index > self._next:
            self._later_ns = now_ns

    def _on_repair(self, now_ns: int) -> None:
        """A retransmission; the first answer to the only request tells the round trip."""
        if self._asked_ns >= 0 and self._tries == 1:
            self._rtt.on_sample(now_ns - self._asked_ns, now_ns=now_ns)
            self._repairs += 1
            self._tries += 1  # later packets of the same answer say nothing more

    # --- decisions ------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Decide on pictures in order, until one has to wait."""
        while True:
            self._timer_ns = self._decide(now_ns)
            if self._timer_ns > now_ns:
                return

    def _decide(self, now_ns: int) -> int:
        """Decide on the next picture; returns when to look again, now if it is done with."""
        index = self._next
        picture = self._pictures.get(index)
        if picture is not None and picture.whole:
            self._decode(picture, now_ns)
            return now_ns
        if self._later_ns < 0 and picture is None:
            return _NEVER  # nothing shows yet that it is missing
        if index == 0 or (picture is not None and picture.key):
            return self._wait_for_key(picture, now_ns)
        limit_ns = self._limit_ns(index)
        over_ns = limit_ns
        if self._later_ns >= 0:
            # Of an answer, too, the rest may follow.
            over_ns = max(self._later_ns, self._answer_ns) + self._reorder_ns
        if now_ns < min(over_ns, limit_ns):
            return min(over_ns, limit_ns)
        if picture is not None:
            self._decode(picture, now_ns)
            return now_ns
        if now_ns < limit_ns and self._options.retransmission:
            return min(self._ask(self._lost(picture), now_ns), limit_ns)
        self._skip(now_ns)
        return now_ns

    def _wait_for_key(self, picture: _Picture | None, now_ns: int) -> int:
        """Nothing can be decoded without it: ask, and in the end ask for another one."""
        if self._jump_to_key():
            return now_ns
        over_ns = self._later_ns + self._reorder_ns
        if self._later_ns < 0:
            return _NEVER
        if now_ns < over_ns:
            return over_ns
        return self._ask(self._lost(picture), now_ns, key=True)

    def _jump_to_key(self) -> bool:
        """Go on with a later intra picture that is whole."""
        keys = [n for n, one in self._pictures.items() if n > self._next and one.key and one.whole]
        if not keys:
            return False
        target = min(keys)
        for index in range(self._next, target):
            self._events.append(FrameAbandoned(index, "reference-lost"))
            self._pictures.pop(index, None)
        self._counts["skipped"] += target - self._next
        self._next = target
        self._next_sequence = self._pictures[target].first
        return True

    def _lost(self, picture: _Picture | None) -> list[int]:
        """Sequence numbers that are missing of the next picture."""
        if picture is not None:
            return [picture.first + n for n in range(picture.count) if n not in picture.units]
        later = min(number for number in self._pictures if number > self._next)
        return list(range(self._next_sequence, self._pictures[later].first))

    def _ask(self, sequences: list[int], now_ns: int, *, key: bool = False) -> int:
        """Ask for packets unless an answer may still come; returns when to look again.

        Of an intra picture (`key`) another one is asked for in the end.
        """
        if self._asked_ns >= 0 and now_ns < self._overdue_ns:
            return self._overdue_ns
        again = self._options.retransmission and self._tries < self._options.max_tries
        if not again and key:
            self._reports.request_key()
        elif again and sequences:
            self._counts["asked"] += 1
            self._reports.request_packets(sequences[:MOST_AHEAD])
        self._asked_ns = now_ns
        self._tries += 1
        overdue_ns = self._rtt.smoothed_ns * OVERDUE_NUMERATOR // OVERDUE_DENOMINATOR
        self._overdue_ns = now_ns + max(1_000_000, overdue_ns) + self._reorder_ns
        return self._overdue_ns

    def _captured_ns(self, index: int) -> int:
        return round(index * 1e9 / self._fps)

    def _limit_ns(self, index: int) -> int:
        """When a picture has to go to the decoder to be in time."""
        deadline_ns = self._captured_ns(index) + self._context.playout_deadline_ns
        return deadline_ns - self._context.decode_ns() - WAKE_MARGIN_NS

    # --- decoding -------------------------------------------------------------------------

    def _decode(self, picture: _Picture, now_ns: int) -> None:
        index = self._next
        units = [picture.units[number] for number in sorted(picture.units)]
        if self._context.keep_received:
            data = join_units(units)
            self._kept[index] = ReceivedFrame(index, picture.key, data, complete=picture.whole)
        self._counts["decoded"] += 1
        if not picture.whole:
            self._counts["damaged"] += 1
            arrived = tuple(number in picture.units for number in range(picture.count))
            self._note(Damage(index, arrived))
        shown = self._screen.show(index, concealed=not picture.whole, now_ns=now_ns)
        self._events.append(shown)
        self._go_on(picture.first + picture.count, now_ns)

    def _skip(self, now_ns: int) -> None:
        """Give the next picture up; the decoder goes on from the one before."""
        index = self._next
        self._counts["skipped"] += 1
        later = [number for number in self._pictures if number > index]
        if later and min(later) == index + 1:
            end = self._pictures[index + 1].first
            count = end - self._next_sequence
            if 0 < count <= 255:
                self._note(Damage(index, (False,) * count))
        else:
            end = self._next_sequence
        self._events.append(FrameAbandoned(index, "nothing-arrived"))
        self._go_on(end, now_ns)

    def _go_on(self, next_sequence: int, now_ns: int) -> None:
        self._pictures.pop(self._next, None)
        self._next += 1
        self._next_sequence = next_sequence
        self._asked_ns = self._overdue_ns = self._answer_ns = -1
        self._tries = 0
        if self._latest <= self._next:
            self._later_ns = -1
        elif self._later_ns < 0:
            self._later_ns = now_ns

    # --- feedback -------------------------------------------------------------------------

    def _note(self, damage: Damage) -> None:
        self._damages[damage.frame] = (damage, REPORTED_TIMES)
        while len(self._damages) > MOST_PICTURES:
            self._damages.popitem(last=False)

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        self._reports.on_message(message, now_ns=now_ns)
        if self._repairs or not isinstance(message, SenderReport):
            return
        if message.ssrc == self._context.ssrc:
            round_trip_ns = twice_the_way_ns(message, now_ns=now_ns)
            if round_trip_ns is not None:  # until a repair has told
                self._rtt.on_sample(round_trip_ns, now_ns=now_ns)

    def _take_damages(self) -> list[ApplicationDefined]:
        """The loss report that is due."""
        if not self._damages:
            return []
        told = [damage for damage, _ in self._damages.values()]
        self._damages = OrderedDict(
            (frame, (damage, left - 1))
            for frame, (damage, left) in self._damages.items()
            if left > 1
        )
        return [pack_damages(RECEIVER_SSRC, told)]
