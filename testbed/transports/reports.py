"""What the receiver sends: reports at regular times, and requests between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from testbed.protocol.endpoint import Datagram
from testbed.protocol.ntp import ntp_of
from testbed.protocol.reception import (
    FEEDBACK_OVERLAP,
    RECEIVER_SSRC,
    ArrivalRecorder,
    ReceptionStatistics,
)
from testbed.protocol.rtcp import (
    GenericNack,
    PictureLossIndication,
    ReceiverReport,
    RtcpMessage,
    SenderReport,
    pack_rtcp,
)

#: A way longer than this is not believed.
MOST_ONE_WAY_NS: Final = 10**10


class Reports:
    """Receiver reports with RFC 8888 feedback, NACKs and key-frame requests for one source.

    Args:
        ssrc: of the media.
        interval_ns: between reports.

    Attributes:
        recorder: arrivals of all the session's sources.
        next_ns: when the next report is due.
    """

    def __init__(self, ssrc: int, *, interval_ns: int) -> None:
        self._ssrc = ssrc
        self._interval_ns = interval_ns
        self._statistics = ReceptionStatistics(ssrc)
        self.recorder = ArrivalRecorder(
            RECEIVER_SSRC, interval_ns=interval_ns, overlap=FEEDBACK_OVERLAP
        )
        self.next_ns = interval_ns
        self._out: list[Datagram] = []

    def on_media(self, sequence: int, timestamp: int, *, now_ns: int) -> None:
        """A media packet came at first hand."""
        self._statistics.on_packet(sequence, timestamp, now_ns=now_ns)
        self.recorder.on_packet(self._ssrc, sequence, now_ns=now_ns)

    def on_message(self, message: RtcpMessage, *, now_ns: int) -> None:
        """RTCP came; sender reports of our source matter."""
        if isinstance(message, SenderReport) and message.ssrc == self._ssrc:
            self._statistics.on_sender_report(message, now_ns=now_ns)

    def report_if_due(
        self, *, now_ns: int, more: Callable[[], Sequence[RtcpMessage]] = tuple
    ) -> None:
        """Report, unless nothing has come yet; `more` gives messages of the scheme's own."""
        if now_ns < self.next_ns:
            return
        self.next_ns += self._interval_ns
        if not self._statistics.received:
            return
        messages: list[RtcpMessage] = [
            ReceiverReport(RECEIVER_SSRC, (self._statistics.report_block(now_ns=now_ns),))
        ]
        feedback = self.recorder.report(now_ns=now_ns)
        if feedback is not None:
            messages.append(feedback)
        self._send(*messages, *more())

    def request_packets(self, sequences: Iterable[int]) -> None:
        """Ask for media packets by their extended numbers."""
        numbers = tuple(sequence & 0xFFFF for sequence in sequences)
        self._send(GenericNack(RECEIVER_SSRC, self._ssrc, numbers))

    def request_key(self) -> None:
        """Ask for a key frame."""
        self._send(PictureLossIndication(RECEIVER_SSRC, self._ssrc))

    def take(self) -> list[Datagram]:
        """What goes out now."""
        out, self._out = self._out, []
        return out

    def _send(self, *messages: RtcpMessage) -> None:
        self._out.append(Datagram(pack_rtcp(messages), "feedback"))


def twice_the_way_ns(report: SenderReport, *, now_ns: int) -> int | None:
    """A round trip as long as the way of a sender report, by the clock that both ends share.

    For receivers that have no repair to tell it yet; None: the report's time makes no sense.
    """
    one_way_ns = (ntp_of(now_ns) - report.ntp) * 10**9 >> 32
    return 2 * one_way_ns if 0 < one_way_ns < MOST_ONE_WAY_NS else None
