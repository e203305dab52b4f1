"""The H.26x sender: encode, packetise, pace, answer NACKs and key-frame requests."""

from __future__ import annotations

from collections import deque
from typing import Final

from testbed.errors import RemoteProtocolError
from testbed.media.types import EncodedFrame
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.nack import RetransmissionHistory
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES, Outlet
from testbed.protocol.payload import PayloadFormat
from testbed.protocol.reception import ntp_of, round_trip_ns
from testbed.protocol.rtcp import (
    CongestionFeedback,
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
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
    VIDEO_CLOCK_HZ,
    is_rtcp,
    pack_padding,
    pack_rtp,
    pack_rtx,
    parse_rtp,
    timestamp_of_frame,
)
from testbed.protocol.rtt import RttEstimator
from testbed.transports.base import FrameEncoded, SenderContext
from testbed.transports.h26x.options import H26xOptions

#: Dynamic payload types (RFC 3551 section 3) of the media and of its RFC 4588 retransmissions.
MEDIA_PAYLOAD_TYPE: Final = 96
RTX_PAYLOAD_TYPE: Final = 97
#: Between sender reports. The receiver echoes them, which is how the sender learns the round
#: trip; RFC 4585 allows this often at our rates (RTCP stays far below 5 % of the session).
REPORT_INTERVAL_NS: Final = 1_000_000_000
#: The encoder never gets less than this share of the target, however small the frames are.
LEAST_MEDIA_SHARE: Final = 0.5


def media_target_kbps(wire_kbps: float, *, fps: float, payload_bytes: int) -> float:
    """What remains for the encoder of a target that counts IP, UDP and RTP headers.

    A frame of n bytes takes n / payload_bytes packets and, on average, half a packet more for
    the last one; whole kbit/s, so that equal targets give equal (cached) encodes.

    Args:
        wire_kbps: target on the wire, > 0.
        fps: frame rate, > 0.
        payload_bytes: largest RTP payload.
    """
    header_bits = 8 * (RTP_HEADER_BYTES + IP_UDP_HEADER_BYTES)
    payload_bits = 8 * payload_bytes
    per_frame_bits = wire_kbps * 1e3 / fps
    packets = max(1.0, per_frame_bits / (payload_bits + header_bits) + 0.5)
    media_bits = max(per_frame_bits - packets * header_bits, LEAST_MEDIA_SHARE * per_frame_bits)
    return max(1.0, float(round(media_bits * fps / 1e3)))


class H26xSender:
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by captured frames, by RTCP from the receiver, and by its timer (the encoder's end, the
    pacer, sender reports).
    """

    def __init__(self, context: SenderContext, payload_format: PayloadFormat) -> None:
        options: H26xOptions = context.options
        self._context = context
        self._options = options
        self._format = payload_format
        self._fps = float(context.fps)
        self._rtt = RttEstimator()
        self._history: RetransmissionHistory[Datagram] = RetransmissionHistory(
            rtt=self._rtt,
            max_age_ns=max(1_000_000_000, 2 * context.playout_deadline_ns),
            max_tries=options.max_tries,
        )
        self._outlet = Outlet(
            context.controller,
            factor=options.pacing_factor,
            burst_bytes=2 * options.payload_bytes,
            make_fill=self._make_padding if options.probe_fill == "padding" else None,
        )
        self._wire_kbps = context.controller.target_kbps(now_ns=0)
        self._media_kbps = self._share_of_media(self._wire_kbps)
        self._encoding: deque[tuple[int, EncodedFrame]] = deque()
        self._encoder_free_ns = 0
        self._key_wanted = False
        self._last_key_ns = -(10**18)
        self._sequence = 0
        self._timestamp = 0
        self._rtx_sequence = 0
        self._token = 0
        self._octets = 0
        self._next_report_ns = 0
        self._control: list[Datagram] = []
        self._events: list[Event] = []
        self._loss: float | None = None
        self.malformed_datagrams = 0

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Encode a captured frame; its packets leave when the encoder's time is over."""
        wire_kbps = self._source_kbps(now_ns)
        if wire_kbps != self._wire_kbps:
            self._wire_kbps = wire_kbps
            self._media_kbps = self._share_of_media(wire_kbps)
        target_kbps = self._media_kbps
        force_key, self._key_wanted = self._key_wanted, False
        encoded = self._context.encoder.encode(
            frame.index, target_kbps=target_kbps, force_key=force_key
        )
        if encoded.key:
            self._last_key_ns = now_ns
        start_ns = max(now_ns, self._encoder_free_ns)
        end_ns = start_ns + self._context.encode_ns(encoded)
        self._encoder_free_ns = end_ns
        self._events.append(
            FrameEncoded(frame.index, encoded.key, target_kbps, start_ns, end_ns, len(encoded.data))
        )
        self._encoding.append((end_ns, encoded))
        self._release(now_ns)

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        """Feedback came in; what is not RTCP is counted and ignored."""
        if not is_rtcp(data):
            self.malformed_datagrams += 1
            return
        try:
            messages = parse_rtcp(data)
        except RemoteProtocolError:
            self.malformed_datagrams += 1
            return
        for message in messages:
            self._on_message(message, now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What the pacer lets go, and reports that are due."""
        out = self._outlet.pop(now_ns=now_ns)
        if self._control:
            out = self._control + out
            self._control = []
        return out

    def next_timer(self) -> int | None:
        """Earliest of outlet, encoder and sender report."""
        at_ns = self._next_report_ns
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
        if now_ns >= self._next_report_ns:
            self._report(now_ns)

    def events(self) -> list[Event]:
        """`FrameEncoded` events since the last call."""
        events, self._events = self._events, []
        return events

    def control_view(self) -> tuple[float | None, float | None]:
        """For the log: last reported loss share, and minimum round trip in ms."""
        min_rtt_ms = self._rtt.min_ns / 1e6 if self._rtt.samples else None
        return self._loss, min_rtt_ms

    # --- inside ---------------------------------------------------------------------------

    def _source_kbps(self, now_ns: int) -> float:
        """What the encoder should put on the wire; more than that in a probe filled with media."""
        wire_kbps = self._outlet.source_kbps(now_ns=now_ns)
        controller = self._context.controller
        if self._options.probe_fill == "media" and controller.probe_bytes(now_ns=now_ns) > 0:
            return max(wire_kbps, controller.pacing_kbps(now_ns=now_ns) or 0.0)
        return wire_kbps

    def _share_of_media(self, wire_kbps: float) -> float:
        """What the encoder gets of a target on the wire."""
        if not self._options.count_headers:
            return wire_kbps
        return media_target_kbps(
            wire_kbps, fps=self._fps, payload_bytes=self._options.payload_bytes
        )

    def _release(self, now_ns: int) -> None:
        while self._encoding and self._encoding[0][0] <= now_ns:
            _, encoded = self._encoding.popleft()
            self._packetise(encoded, now_ns)

    def _packetise(self, encoded: EncodedFrame, now_ns: int) -> None:
        options, ssrc, index = self._options, self._context.ssrc, encoded.index
        payloads = self._format.packetize(encoded.data, max_payload_bytes=options.payload_bytes)
        timestamp = self._timestamp = timestamp_of_frame(index, fps=self._fps)
        push = self._outlet.push
        self._outlet.before_push(now_ns=now_ns)
        remember = self._history.remember if options.retransmission else None
        left = len(payloads)
        for payload in payloads:
            left -= 1
            sequence = self._sequence
            data = pack_rtp(
                payload,
                payload_type=MEDIA_PAYLOAD_TYPE,
                marker=not left,
                sequence=sequence,
                timestamp=timestamp,
                ssrc=ssrc,
            )
            size = len(data) + IP_UDP_HEADER_BYTES
            datagram = Datagram(data, "media", index, len(payload), self._token)
            push(datagram, now_ns=now_ns)
            if remember is not None:
                remember(sequence, datagram, size_bytes=size, now_ns=now_ns)
            self._sequence = sequence + 1
            self._token += 1
            self._octets += len(payload)

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        if isinstance(message, GenericNack):
            self._resend(message.lost, now_ns)
        elif isinstance(message, PictureLossIndication | FullIntraRequest):
            if now_ns - self._last_key_ns >= self._options.key_interval_ms * 1_000_000:
                self._key_wanted = True
        elif isinstance(message, ReceiverReport):
            for block in message.reports:
                if block.ssrc != self._context.ssrc:
                    continue
                self._loss = block.fraction_lost / 256
                rtt_ns = round_trip_ns(block, now_ns=now_ns)
                if rtt_ns is not None:
                    self._rtt.on_sample(rtt_ns, now_ns=now_ns)
        elif isinstance(message, CongestionFeedback):
            self._outlet.on_feedback(message, now_ns=now_ns)

    def _resend(self, lost: tuple[int, ...], now_ns: int) -> None:
        if not self._options.retransmission:
            return
        self._outlet.before_push(now_ns=now_ns)
        # Each resend goes ahead of the media queue; the pacer keeps them in this order.
        for sent in self._history.resends(lost, now_ns=now_ns):
            original = parse_rtp(sent.data)
            data = pack_rtx(
                original.payload,
                payload_type=RTX_PAYLOAD_TYPE,
                marker=original.marker,
                sequence=self._rtx_sequence,
                timestamp=original.timestamp,
                ssrc=self._context.ssrc + 1,
                original_sequence=original.sequence,
            )
            self._rtx_sequence += 1
            datagram = Datagram(
                data, "retransmission", sent.frame, sent.media_bytes, self._token, sent.token
            )
            self._token += 1
            self._outlet.push(datagram, now_ns=now_ns, front=True)

    def _make_padding(self, size_bytes: int, now_ns: int) -> Datagram | None:  # noqa: ARG002
        """RTP padding on the retransmission's source, as libwebrtc sends it; none before media."""
        if not self._sequence:
            return None
        padding = size_bytes - RTP_HEADER_BYTES - IP_UDP_HEADER_BYTES
        data = pack_padding(
            min(max(padding, 1), MAX_PADDING_BYTES),
            payload_type=RTX_PAYLOAD_TYPE,
            sequence=self._rtx_sequence,
            timestamp=self._timestamp,
            ssrc=self._context.ssrc + 1,
        )
        self._rtx_sequence += 1
        datagram = Datagram(data, "padding", -1, 0, self._token)
        self._token += 1
        return datagram

    def _report(self, now_ns: int) -> None:
        self._next_report_ns = now_ns + REPORT_INTERVAL_NS
        report = SenderReport(
            self._context.ssrc,
            ntp_of(now_ns),
            now_ns * VIDEO_CLOCK_HZ // 10**9,
            self._sequence,
            self._octets,
        )
        cname = SourceDescription.of_cname(self._context.ssrc, "sender@morphe-testbed")
        self._control.append(Datagram(pack_rtcp([report, cname]), "feedback"))
