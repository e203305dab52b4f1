"""The GRACE-style receiver: decode each picture with what came of it, ask only when nothing did."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
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
from testbed.transports.grace.pictures import NEVER, Picture, Pictures
from testbed.transports.grace.requests import Requests
from testbed.transports.grace.wire import MOST_PICTURES, REPORTED_TIMES, Damage, pack_damages
from testbed.transports.reports import Reports, twice_the_way_ns
from testbed.transports.screen import Screen

#: Time kept in hand before a picture's last moment: a real receiver wakes up late.
WAKE_MARGIN_NS: Final = 5_000_000
#: Pictures from the next one on that are kept; one further ahead moves the next one up.
MOST_AHEAD: Final = 512
#: Packets in one request, at most.
MOST_ASKED: Final = 512


class GraceReceiver:
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Pictures are decoded in order. A P picture is decoded when all of it came, or with what came
    when a later picture's packet shows, some time for reordering after it, that the rest is lost.
    One of which nothing came is asked for while an answer can be in time; then it is skipped, and
    the sender is told. An intra picture is asked for until it is whole, and when its packets were
    asked for often enough, another one is (PLI); nothing is decoded before the first. Capture times
    are known from the frame number, as they would be through an absolute-capture-time extension.
    """

    def __init__(self, context: ReceiverContext) -> None:
        options: GraceOptions = context.options
        self._context = context
        self._options = options
        self._fps = float(context.fps)
        self._reorder_ns = round(options.reorder_ms * 1e6)
        self._rtt = RttEstimator()
        self._repairs = 0
        self._requests = Requests(self._rtt, most=options.max_tries, slack_ns=self._reorder_ns)
        self._unwrap = Unwrapper(16, most_ahead=MAX_DROPOUT)
        self._unwrap_rtx = Unwrapper(16, most_ahead=MAX_DROPOUT)
        # Session descriptions signal the first packet: number 0, timestamp 0.
        self._unwrap.unwrap(0)
        self._reports = Reports(context.ssrc, interval_ns=options.report_interval_ms * 1_000_000)
        self._screen = Screen(context, catch_up=options.catch_up)
        self._pictures = Pictures()
        self._started = False  # an intra picture was decoded
        self._key_asked_ns = -NEVER
        self._timer_ns = NEVER
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
            header = _header(packet.payload, index)
            sequence = self._unwrap.unwrap(packet.sequence)
            payload = packet.payload
            self._reports.on_media(sequence, packet.timestamp, now_ns=now_ns)
        elif packet.ssrc == self._context.ssrc + 1:
            number = self._unwrap_rtx.unwrap(packet.sequence)
            self._reports.recorder.on_packet(packet.ssrc, number, now_ns=now_ns)
            if packet.padding_bytes and not packet.payload:  # fills a probe of the rate control
                return
            original, payload = parse_rtx(packet)
            header = _header(payload, index)
            sequence = self._unwrap.unwrap(original)
            self._repairs += self._requests.answered(sequence, now_ns=now_ns)
        else:
            raise RemoteProtocolError(f"unknown SSRC {packet.ssrc:#x}")
        pictures = self._pictures
        if index < pictures.next:
            return
        while index >= pictures.next + MOST_AHEAD:
            self._skip_to(pictures.first_after(pictures.next) or index)
        pictures.file(index, sequence, header, payload, now_ns)

    # --- decisions ------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Decide on pictures in order, until one has to wait."""
        while True:
            self._timer_ns = self._decide(now_ns)
            if self._timer_ns > now_ns:
                return

    def _decide(self, now_ns: int) -> int:
        """Decide on the next picture; returns when to look again, now if it is done with."""
        index = self._pictures.next
        picture = self._pictures.get(index)
        if picture is not None and picture.whole and (picture.key or self._started):
            self._decode(picture, now_ns)
            return now_ns
        if not self._started or (picture is not None and picture.key):
            return self._wait_for_key(now_ns)
        later_ns = self._pictures.shown_after_ns(index)
        if picture is not None:
            return self._wait_for_rest(picture, later_ns, now_ns)
        if later_ns == NEVER:
            return NEVER  # nothing shows yet that it is missing
        limit_ns = self._limit_ns(index)
        over_ns = min(later_ns + self._reorder_ns, limit_ns)
        if now_ns < over_ns:
            return over_ns
        if now_ns < limit_ns and self._options.retransmission:
            again_ns = self._ask_for_next(limit_ns, now_ns)
            if again_ns > now_ns:
                return again_ns
        self._skip_to(index + 1)
        return now_ns

    def _wait_for_rest(self, picture: Picture, later_ns: int, now_ns: int) -> int:
        """Decode a P picture with holes when nothing more of it is to come, or it has to be shown.

        One that began to come when it was too late to be shown has all the time: its packets are
        what the next ones are decoded with.
        """
        limit_ns = self._limit_ns(self._pictures.next)
        hurry_ns = limit_ns if picture.came_ns < limit_ns else NEVER
        over_ns = later_ns + self._reorder_ns if later_ns < NEVER else NEVER
        if over_ns <= now_ns:  # the answer to a request may still be on its way
            over_ns = self._requests.expected_ns(picture.missing(), now_ns=now_ns)
            if over_ns == NEVER:
                over_ns = now_ns
        over_ns = min(over_ns, hurry_ns)
        if now_ns < over_ns:
            return over_ns
        self._decode(picture, now_ns)
        return now_ns

    def _ask_for_next(self, limit_ns: int, now_ns: int) -> int:
        """Ask for the next picture, of which nothing came; now: an answer would be too late."""
        lost = self._pictures.lost()
        expected_ns = self._requests.expected_ns(lost, now_ns=now_ns)
        if now_ns + self._rtt.smoothed_ns <= limit_ns:
            expected_ns = min(expected_ns, self._ask(lost, now_ns))
        elif expected_ns == NEVER:
            return now_ns
        return min(expected_ns, limit_ns)

    def _ask(self, sequences: Sequence[int], now_ns: int) -> int:
        """Ask for what is due; returns when answers are overdue, `NEVER` where none is expected."""
        wanted = self._requests.take(sequences[:MOST_ASKED], now_ns=now_ns)
        if wanted:
            self._counts["asked"] += 1
            self._reports.request_packets(wanted)
        return self._requests.expected_ns(sequences, now_ns=now_ns)

    def _wait_for_key(self, now_ns: int) -> int:
        """Nothing can be decoded without it: ask, and in the end ask for another one.

        The newest one of which something came is the one that is asked for.
        """
        pictures = self._pictures
        keys = pictures.keys()
        whole = [n for n in keys if (one := pictures.get(n)) is not None and one.whole]
        if whole:
            self._skip_to(whole[0], "reference-lost")
            return now_ns
        wanted = max(keys, default=pictures.next)
        picture = pictures.get(wanted)
        later_ns = pictures.shown_after_ns(wanted)
        if later_ns == NEVER:
            return NEVER  # the rest of it may follow
        if now_ns < later_ns + self._reorder_ns:
            return later_ns + self._reorder_ns
        if self._options.retransmission:
            missing = pictures.lost() if picture is None else picture.missing()
            again_ns = self._ask(missing, now_ns)
            if again_ns < NEVER:
                return again_ns
        again_ns = self._key_asked_ns + self._requests.overdue_after_ns
        if now_ns >= again_ns:
            self._reports.request_key()
            self._key_asked_ns = now_ns
            again_ns = now_ns + self._requests.overdue_after_ns
        return again_ns

    def _captured_ns(self, index: int) -> int:
        return round(index * 1e9 / self._fps)

    def _limit_ns(self, index: int) -> int:
        """When a picture has to go to the decoder to be in time."""
        deadline_ns = self._captured_ns(index) + self._context.playout_deadline_ns
        return deadline_ns - self._context.decode_ns() - WAKE_MARGIN_NS

    # --- decoding -------------------------------------------------------------------------

    def _decode(self, picture: Picture, now_ns: int) -> None:
        index = self._pictures.next
        units = [picture.units[number] for number in sorted(picture.units)]
        if self._context.keep_received:
            data = join_units(units)
            self._kept[index] = ReceivedFrame(index, picture.key, data, complete=picture.whole)
        self._started = True
        self._counts["decoded"] += 1
        if not picture.whole:
            self._counts["damaged"] += 1
            arrived = tuple(number in picture.units for number in range(picture.count))
            self._note(Damage(index, arrived))
        shown = self._screen.show(index, concealed=not picture.whole, now_ns=now_ns)
        self._events.append(shown)
        self._pictures.go_on(index + 1)

    def _skip_to(self, target: int, reason: str = "nothing-arrived") -> None:
        """Give pictures up; the decoder goes on from the one before."""
        begin = self._pictures.next
        self._counts["skipped"] += target - begin
        for index in range(begin, target):
            self._events.append(FrameAbandoned(index, reason))
        if self._started:
            for index in range(max(begin, target - MOST_PICTURES), target):
                self._note(Damage(index, ()))
        self._pictures.go_on(target)

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


def _header(payload: bytes, index: int) -> Header:
    """The header of a packet of picture `index`.

    Raises:
        BitstreamError: there is none.
        RemoteProtocolError: it is of another picture.
    """
    header = Header.parse(payload)
    if header.frame != index & 0xFFFF:
        raise RemoteProtocolError(f"picture {header.frame} at the timestamp of {index}")
    return header
