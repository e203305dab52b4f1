"""What senders over RTP do alike.

A sender encodes what is captured; the encoder is busy for as long as the compute model says; what
comes out is packetised, and leaves through the pacer. Between that it answers the receiver and
reports. A scheme says what is encoded when, what its packets hold, and what else it hears.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeVar

from testbed.errors import RemoteProtocolError
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.rtcp import CongestionFeedback, GenericNack, ReceiverReport, RtcpMessage
from testbed.protocol.source import RtpSource, feedback_in
from testbed.transports.base import SenderContext

T = TypeVar("T")


class RtpSender(ABC, Generic[T]):
    """A sender of what an encoder gives (`T`) at a time.

    Args:
        context: what the world gives.
        source: packets, repairs and reports.

    Attributes:
        malformed_datagrams: came and were no feedback.
    """

    def __init__(self, context: SenderContext, source: RtpSource) -> None:
        self._context, self._source = context, source
        self._outlet = source.outlet
        self._encoding: deque[tuple[int, T]] = deque()  # and when it is ready
        self._encoder_free_ns = 0
        self._control: list[Datagram] = []
        self._events: list[Event] = []
        self.malformed_datagrams = 0

    # --- the contract ---------------------------------------------------------------------

    @abstractmethod
    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """A frame was captured."""

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        """Feedback came in; what is not RTCP is counted and ignored."""
        try:
            for message in feedback_in(data):
                self._on_message(message, now_ns)
        except RemoteProtocolError:
            self.malformed_datagrams += 1

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What the pacer lets go, and reports that are due."""
        out = self._outlet.pop(now_ns=now_ns)
        if self._control:
            out = self._control + out
            self._control = []
        return out

    def next_timer(self) -> int | None:
        """Earliest of outlet, encoder and sender report."""
        at_ns = self._source.next_report_ns
        outlet_ns = self._outlet.next_timer()
        if outlet_ns is not None and outlet_ns < at_ns:
            at_ns = outlet_ns
        if self._encoding and self._encoding[0][0] < at_ns:
            at_ns = self._encoding[0][0]
        return at_ns

    def on_timer(self, *, now_ns: int) -> None:
        """Packetise what the encoder has finished; report."""
        self._outlet.on_timer(now_ns=now_ns)
        self._release(now_ns)
        report = self._source.report_if_due(now_ns=now_ns)
        if report is not None:
            self._control.append(report)

    def events(self) -> list[Event]:
        """`FrameEncoded` events since the last call."""
        events, self._events = self._events, []
        return events

    def control_view(self) -> tuple[float | None, float | None]:
        """For the log: last reported loss share, and minimum round trip in ms."""
        return self._source.control_view()

    # --- for the schemes ------------------------------------------------------------------

    def _occupy_encoder(self, coded: T, duration_ns: int, now_ns: int) -> tuple[int, int]:
        """The encoder is busy with `coded` as soon as it is free; from when and until when."""
        start_ns = max(now_ns, self._encoder_free_ns)
        self._encoder_free_ns = end_ns = start_ns + duration_ns
        self._encoding.append((end_ns, coded))
        return start_ns, end_ns

    def _release(self, now_ns: int) -> None:
        """Packetise what the encoder has finished."""
        while self._encoding and self._encoding[0][0] <= now_ns:
            _, coded = self._encoding.popleft()
            self._packetise(coded, now_ns)

    @abstractmethod
    def _packetise(self, coded: T, now_ns: int) -> None:
        """Hand the packets of `coded` to the source."""

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        """Answer requests, and learn from reports."""
        if isinstance(message, GenericNack):
            self._source.resend(message.lost, now_ns=now_ns)
        elif isinstance(message, ReceiverReport):
            self._source.on_receiver_report(message, now_ns=now_ns)
        elif isinstance(message, CongestionFeedback):
            self._outlet.on_feedback(message, now_ns=now_ns)
