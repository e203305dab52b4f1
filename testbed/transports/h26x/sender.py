"""The H.26x sender: encode, packetise, pace, answer NACKs and key-frame requests."""

from __future__ import annotations

from typing import Final

from testbed.media.types import EncodedFrame
from testbed.protocol.budget import PAYBACK_S, RepairBudget
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES
from testbed.protocol.payload import PayloadFormat
from testbed.protocol.payload.types import H26X_MEDIA, H26X_RTX
from testbed.protocol.rtcp import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    ReceiverReport,
    RtcpMessage,
)
from testbed.protocol.rtp import RTP_HEADER_BYTES, timestamp_of_frame
from testbed.protocol.source import RtpSource
from testbed.transports.base import FrameEncoded, SenderContext
from testbed.transports.h26x.options import H26xOptions
from testbed.transports.h26x.protection import Protection, media_payload_bytes
from testbed.transports.sending import RtpSender

#: Payload types of the media and of its RFC 4588 retransmissions.
MEDIA_PAYLOAD_TYPE: Final = H26X_MEDIA
RTX_PAYLOAD_TYPE: Final = H26X_RTX
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


class H26xSender(RtpSender[EncodedFrame]):
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by captured frames, by RTCP from the receiver, and by its timer (the encoder's end, the
    pacer, sender reports).
    """

    def __init__(
        self,
        context: SenderContext,
        payload_format: PayloadFormat,
        *,
        payback_s: float = PAYBACK_S,
    ) -> None:
        options: H26xOptions = context.options
        source = RtpSource(
            context.controller,
            ssrc=context.ssrc,
            payload_types=(MEDIA_PAYLOAD_TYPE, RTX_PAYLOAD_TYPE),
            pacing_factor=options.pacing_factor,
            burst_bytes=2 * options.payload_bytes,
            playout_deadline_ns=context.playout_deadline_ns,
            max_tries=options.max_tries if options.resends else 0,
            pads=options.probe_fill == "padding",
        )
        super().__init__(context, source)
        self._options = options
        self._format = payload_format
        self._fps = float(context.fps)
        self._protection = Protection(
            options,
            self._source,
            fps=self._fps,
            playout_deadline_ns=context.playout_deadline_ns,
        )
        self._budget: RepairBudget | None = None
        if options.count_repairs:
            self._budget = RepairBudget(meets_sum=context.controller.constant, payback_s=payback_s)
        self._payload_bytes = media_payload_bytes(options)
        self._wire_kbps = context.controller.target_kbps(now_ns=0)
        self._media_kbps = self._share_of_media(self._wire_kbps)
        self._key_wanted = False
        self._last_key_ns = -(10**18)

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Encode a captured frame; its packets leave when the encoder's time is over."""
        fills_probes = self._options.probe_fill == "media"
        wire_kbps = self._outlet.source_kbps(now_ns=now_ns, fills_probes=fills_probes)
        if self._budget is not None:
            wire_kbps = self._budget.media_kbps(
                wire_kbps, foreseen=self._protection.foreseen(), now_ns=now_ns
            )
        if wire_kbps != self._wire_kbps:
            self._wire_kbps = wire_kbps
            self._media_kbps = self._share_of_media(wire_kbps)
        target_kbps = self._media_kbps
        force_key = self._key_wanted and not self._disposable(frame.index)
        self._key_wanted = self._key_wanted and not force_key
        encoded = self._context.encoder.encode(
            frame.index, target_kbps=target_kbps, force_key=force_key
        )
        if encoded.key:
            self._last_key_ns = now_ns
        start_ns, end_ns = self._occupy_encoder(encoded, self._context.encode_ns(encoded), now_ns)
        self._events.append(
            FrameEncoded(frame.index, encoded.key, target_kbps, start_ns, end_ns, len(encoded.data))
        )
        self._release(now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What the pacer lets go, and reports that are due."""
        out = super().datagrams_to_send(now_ns=now_ns)
        if self._budget is not None:
            for datagram in out:
                size_bytes = len(datagram.data) + IP_UDP_HEADER_BYTES
                self._budget.on_sent(size_bytes, kind=datagram.kind)
        return out

    # --- inside ---------------------------------------------------------------------------

    def _share_of_media(self, wire_kbps: float) -> float:
        """What the encoder gets of a target on the wire."""
        if not self._options.count_headers:
            return wire_kbps
        return media_target_kbps(wire_kbps, fps=self._fps, payload_bytes=self._payload_bytes)

    def _disposable(self, index: int) -> bool:
        """No frame refers to this one."""
        return self._options.layered and index % 2 == 1

    def _packetise(self, encoded: EncodedFrame, now_ns: int) -> None:
        index = encoded.index
        payloads = self._format.packetize(encoded.data, max_payload_bytes=self._payload_bytes)
        timestamp = timestamp_of_frame(index, fps=self._fps)
        send = self._source.send
        kept = not self._disposable(index)
        self._outlet.before_push(now_ns=now_ns)
        first, left = self._source.sequence, len(payloads)
        for payload in payloads:
            left -= 1
            send(
                payload,
                marker=not left,
                timestamp=timestamp,
                frame=index,
                media_bytes=len(payload),
                now_ns=now_ns,
                kept=kept,
            )
        if kept:
            self._protection.after_frame(
                payloads, first_sequence=first, timestamp=timestamp, frame=index, now_ns=now_ns
            )

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        if isinstance(message, GenericNack):
            self._protection.on_request(message.lost, now_ns=now_ns)
        elif isinstance(message, PictureLossIndication | FullIntraRequest):
            if now_ns - self._last_key_ns >= self._options.key_interval_ms * 1_000_000:
                self._key_wanted = True
        elif isinstance(message, ReceiverReport):
            super()._on_message(message, now_ns)
            self._protection.on_report(now_ns=now_ns)
        else:
            super()._on_message(message, now_ns)
