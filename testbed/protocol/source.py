"""An RTP source with its repairs: numbers, paces, repeats and pads packets, and reports on them.

What every sender over RTP does alike: media packets of one SSRC, their retransmissions (RFC 4588)
and probe padding on the next one, through an outlet under a rate controller, and sender reports.
The transport decides what a packet holds and when a frame is packetised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from testbed.errors import RemoteProtocolError
from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Datagram
from testbed.protocol.nack import RetransmissionHistory
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES, Outlet
from testbed.protocol.reception import ntp_of, round_trip_ns
from testbed.protocol.rtcp import (
    ReceiverReport,
    RtcpMessage,
    SenderReport,
    SourceDescription,
    pack_rtcp,
    parse_rtcp,
)
from testbed.protocol.rtp import (
    MAX_PADDING_BYTES,
    RTP_HEADER_BYTES,
    RTX_HEADER_BYTES,
    VIDEO_CLOCK_HZ,
    is_rtcp,
    pack_padding,
    pack_rtp,
    pack_rtx,
    parse_rtp,
)
from testbed.protocol.rtt import RttEstimator

#: Between sender reports. The receiver echoes them, which is how the sender learns the round
#: trip; RFC 4585 allows this often at our rates (RTCP stays far below 5 % of the session).
REPORT_INTERVAL_NS: Final = 1_000_000_000
#: A packet is kept for retransmission for this long at least.
LEAST_HISTORY_NS: Final = 1_000_000_000


class RtpSource:
    """See the module's text.

    Args:
        controller: rate control; the outlet asks and tells it.
        ssrc: of the media; retransmissions and padding use `ssrc` + 1, repair packets `ssrc` + 2.
        payload_types: of the media and of its retransmissions (RFC 3551 section 3).
        pacing_factor: pacing over target for a controller that does not pace.
        burst_bytes: may leave back to back under such a controller.
        playout_deadline_ns: how long a packet can matter; it is kept for twice that.
        max_tries: times that a packet is repeated at most; 0: never, and none is kept.
        pads: fill the controller's probes with RTP padding.
        repeats: fill them with the packets of the latest frame before that, as repairs (RFC 4588)
            that nobody asked for: redundancy, of which the log says "fec".

    Attributes:
        outlet: what packets leave through.
        sequence: of the next media packet, without wrap: how many there were.
        next_report_ns: when the next sender report is due.
        loss: the loss share that the receiver reported last; None before the first report.
        rtt: round trips, from receiver reports.
        repeated: sequence numbers of repairs that filled probes, and of what they repeat; the
            owner may clear it.
    """

    def __init__(
        self,
        controller: RateController,
        *,
        ssrc: int,
        payload_types: tuple[int, int],
        pacing_factor: float,
        burst_bytes: int,
        playout_deadline_ns: int,
        max_tries: int,
        pads: bool,
        repeats: bool = False,
    ) -> None:
        self._ssrc = ssrc
        self._media_type, self._rtx_type = payload_types
        self.rtt = RttEstimator()
        self._history: RetransmissionHistory[Datagram] | None = None
        if max_tries:
            self._history = RetransmissionHistory(
                rtt=self.rtt,
                max_age_ns=max(LEAST_HISTORY_NS, 2 * playout_deadline_ns),
                max_tries=max_tries,
            )
        self.outlet = Outlet(
            controller,
            factor=pacing_factor,
            burst_bytes=burst_bytes,
            make_fill=self._fill if pads or repeats else None,
        )
        self._pads, self._repeats = pads, repeats
        self._latest: deque[Datagram] = deque()  # of the latest frame, not yet repeated
        self.repeated: list[tuple[int, int]] = []
        self.sequence = 0
        self.next_report_ns = 0
        self.loss: float | None = None
        self._timestamp = 0
        self._rtx_sequence = 0
        self._fec_sequence = 0
        self._token = 0
        self._octets = 0

    def send(
        self,
        payload: bytes,
        *,
        marker: bool,
        timestamp: int,
        frame: int,
        media_bytes: int,
        now_ns: int,
        span: int = 1,
        kept: bool = True,
    ) -> None:
        """Queue a media packet; call `outlet.before_push` before the first of several.

        Args:
            payload: of the packet.
            marker: RTP marker bit.
            timestamp: RTP timestamp.
            frame: see `Datagram`.
            media_bytes: see `Datagram`.
            now_ns: time.
            span: see `Datagram`.
            kept: it can be sent again.
        """
        sequence = self.sequence
        data = pack_rtp(
            payload,
            payload_type=self._media_type,
            marker=marker,
            sequence=sequence,
            timestamp=timestamp,
            ssrc=self._ssrc,
        )
        datagram = Datagram(data, "media", frame, media_bytes, self._token, span=span)
        self.outlet.push(datagram, now_ns=now_ns)
        if self._repeats:
            if self._latest and self._latest[0].frame != frame:
                self._latest.clear()
            self._latest.append(datagram)
        if kept and self._history is not None:
            size_bytes = len(data) + IP_UDP_HEADER_BYTES
            self._history.remember(sequence, datagram, size_bytes=size_bytes, now_ns=now_ns)
        self._timestamp = timestamp
        self.sequence = sequence + 1
        self._token += 1
        self._octets += len(payload)

    def resend(self, lost: Iterable[int], *, now_ns: int) -> list[tuple[int, int]]:
        """Repeat packets that the receiver asked for, ahead of the media that waits.

        Args:
            lost: their sequence numbers, modulo 2**16.
            now_ns: time.

        Returns:
            Sequence number of each repair that was queued, and of what it repeats.
        """
        if self._history is None:
            return []
        self.outlet.before_push(now_ns=now_ns)
        repairs = []
        # Each resend goes ahead of the media queue; the pacer keeps them in this order.
        for sent in self._history.resends(lost, now_ns=now_ns):
            datagram, repair = self._repair(sent, "retransmission")
            repairs.append(repair)
            self.outlet.push(datagram, now_ns=now_ns, front=True)
        return repairs

    def send_fec(
        self,
        payload: bytes,
        *,
        payload_type: int,
        marker: bool,
        timestamp: int,
        frame: int,
        now_ns: int,
        span: int = 1,
        front: bool = False,
    ) -> None:
        """Queue a packet of forward error correction, on the SSRC after the retransmissions'.

        Args:
            payload: of the packet.
            payload_type: of the repair packets.
            marker: RTP marker bit.
            timestamp: RTP timestamp.
            frame: see `Datagram`.
            now_ns: time.
            span: see `Datagram`.
            front: ahead of the media that waits.
        """
        data = pack_rtp(
            payload,
            payload_type=payload_type,
            marker=marker,
            sequence=self._fec_sequence,
            timestamp=timestamp,
            ssrc=self._ssrc + 2,
        )
        self.outlet.push(
            Datagram(data, "fec", frame, 0, self._token, span=span), now_ns=now_ns, front=front
        )
        self._fec_sequence += 1
        self._token += 1

    def _repair(self, sent: Datagram, kind: str) -> tuple[Datagram, tuple[int, int]]:
        """A packet once more (RFC 4588), its sequence number and that of what it repeats."""
        original = parse_rtp(sent.data)
        number = self._rtx_sequence
        data = pack_rtx(
            original.payload,
            payload_type=self._rtx_type,
            marker=original.marker,
            sequence=number,
            timestamp=original.timestamp,
            ssrc=self._ssrc + 1,
            original_sequence=original.sequence,
        )
        self._rtx_sequence += 1
        datagram = Datagram(
            data, kind, sent.frame, sent.media_bytes, self._token, sent.token, sent.span
        )
        self._token += 1
        return datagram, (number, original.sequence)

    def on_receiver_report(self, report: ReceiverReport, *, now_ns: int) -> None:
        """Learn loss and round trip from the block that is of this source."""
        for block in report.reports:
            if block.ssrc != self._ssrc:
                continue
            self.loss = block.fraction_lost / 256
            rtt_ns = round_trip_ns(block, now_ns=now_ns)
            if rtt_ns is not None:
                self.rtt.on_sample(rtt_ns, now_ns=now_ns)

    def report(self, *more: RtcpMessage, now_ns: int) -> Datagram:
        """A sender report, with `more` behind it."""
        report = SenderReport(
            self._ssrc,
            ntp_of(now_ns),
            now_ns * VIDEO_CLOCK_HZ // 10**9,
            self.sequence,
            self._octets,
        )
        cname = SourceDescription.of_cname(self._ssrc, "sender@morphe-testbed")
        return Datagram(pack_rtcp([report, cname, *more]), "feedback")

    def report_if_due(self, *, now_ns: int) -> Datagram | None:
        """The report that is due, if one is."""
        if now_ns < self.next_report_ns:
            return None
        self.next_report_ns = now_ns + REPORT_INTERVAL_NS
        return self.report(now_ns=now_ns)

    def control_view(self) -> tuple[float | None, float | None]:
        """For the log: last reported loss share, and minimum round trip in ms."""
        return self.loss, self.rtt.min_ns / 1e6 if self.rtt.samples else None

    def _fill(self, size_bytes: int) -> Datagram | None:
        """What fills a probe: the latest frame's next packet that fits, else padding."""
        most = size_bytes - IP_UDP_HEADER_BYTES - RTX_HEADER_BYTES
        for sent in self._latest:
            if len(sent.data) <= most:
                self._latest.remove(sent)
                datagram, repair = self._repair(sent, "fec")
                self.repeated.append(repair)
                return datagram
        return self._padding(size_bytes) if self._pads else None

    def _padding(self, size_bytes: int) -> Datagram | None:
        """RTP padding on the retransmission's source, as libwebrtc sends it; none before media."""
        if not self.sequence:
            return None
        padding = size_bytes - RTP_HEADER_BYTES - IP_UDP_HEADER_BYTES
        data = pack_padding(
            min(max(padding, 1), MAX_PADDING_BYTES),
            payload_type=self._rtx_type,
            sequence=self._rtx_sequence,
            timestamp=self._timestamp,
            ssrc=self._ssrc + 1,
        )
        self._rtx_sequence += 1
        datagram = Datagram(data, "padding", -1, 0, self._token)
        self._token += 1
        return datagram


def feedback_in(data: bytes) -> list[RtcpMessage]:
    """The RTCP messages of a datagram that came back.

    Raises:
        RemoteProtocolError: it is no RTCP, or broken.
    """
    if not is_rtcp(data):
        raise RemoteProtocolError("a datagram that is no RTCP")
    return parse_rtcp(data)
