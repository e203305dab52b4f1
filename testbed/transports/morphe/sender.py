"""The Morphe sender: collect a GoP, encode it into the budget, packetise, pace, answer NACKs."""

from __future__ import annotations

from typing import Any, Final

from morphe_core.nasc.packetizer import (
    DESCRIPTOR_BYTES,
    MAX_PACKETS,
    packetize,
    payload_sizes,
    sending_order,
)
from morphe_core.vgc.bitstream import Kind, UnitHeader, read_unit
from testbed.codec.rates import PACKET_HEADER_BYTES, GopBudget
from testbed.media.types import EncodedGop, GopEncoder
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES
from testbed.protocol.rtcp import (
    CongestionFeedback,
    GenericNack,
    Goodbye,
    RtcpMessage,
)
from testbed.protocol.source import RtpSource
from testbed.transports.base import FrameEncoded, SenderContext
from testbed.transports.morphe.losses import LossLedger
from testbed.transports.morphe.options import MorpheOptions
from testbed.transports.morphe.wire import MEDIA_PAYLOAD_TYPE, RTX_PAYLOAD_TYPE, GopClock
from testbed.transports.sending import RtpSender

#: Packets that may leave back to back.
BURST_PACKETS: Final = 2
#: In front of every unit, or piece of one.
HEADER_BYTES: Final = PACKET_HEADER_BYTES + DESCRIPTOR_BYTES


class MorpheSender(RtpSender[EncodedGop]):
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by captured frames, by RTCP from the receiver, and by its timer (the encoder's end, the
    pacer, sender reports). A GoP is encoded when its last frame is captured; its budget is what the
    controller's target is worth over its frames, headers counted, less what repeats of lost packets
    took, and what earlier GoPs left over or took in advance.
    """

    def __init__(self, context: SenderContext) -> None:
        options: MorpheOptions = context.options
        source = RtpSource(
            context.controller,
            ssrc=context.ssrc,
            payload_types=(MEDIA_PAYLOAD_TYPE, RTX_PAYLOAD_TYPE),
            pacing_factor=options.pacing_factor,
            burst_bytes=BURST_PACKETS * options.payload_bytes,
            playout_deadline_ns=context.playout_deadline_ns,
            max_tries=1 if options.retransmission else 0,
            pads=True,
            repeats=options.probe_fill != "padding",
        )
        super().__init__(context, source)
        self._options = options
        self._encoder: GopEncoder = context.encoder
        self._clock = GopClock(context.fps)
        self._budget = GopBudget(
            context.controller.target_kbps(now_ns=0),
            context.fps,
            least_packets=options.settings().config().least_units,
            header_bytes=HEADER_BYTES,
        )
        self._ledger = LossLedger(context.ssrc) if self._encoder.wants_reports else None
        self._collected = 0  # frames of the GoP that is being captured
        self._gop = 0
        self._last = False  # the clip's last GoP was encoded
        self._modes: dict[str, int] = {}
        #: How the latest GoP was coded, for the log.
        self.mode = ""

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Collect a captured frame; with the last one of a GoP, or of the clip, encode."""
        fills_probes = self._options.probe_fill == "media"
        self._budget.set_rate(self._outlet.source_kbps(now_ns=now_ns, fills_probes=fills_probes))
        self._collected += 1
        last = frame.index == self._encoder.frame_count - 1
        if last or self._collected == self._encoder.gop_frames:
            self._encode(frame.index + 1 - self._collected, now_ns)
            self._collected = 0
            self._last = last
            self._release(now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What the pacer lets go, and reports that are due."""
        out = super().datagrams_to_send(now_ns=now_ns)
        # A controller that paces has them in the backlog that it asks the source to leave room for.
        if not self._outlet.paced_by_controller:
            for datagram in out:
                if datagram.kind == "retransmission":
                    self._budget.repeat(len(datagram.data) + IP_UDP_HEADER_BYTES)
        if self._ledger is not None:
            for number, original in self._source.repeated:
                self._ledger.on_repaired(number, original)
        self._source.repeated.clear()
        if self._last and not self._encoding and not self._outlet.queue_bytes:
            self._last = False
            # Its packet count tells the receiver at the end what there was.
            out.append(self._source.report(Goodbye((self._context.ssrc,)), now_ns=now_ns))
        return out

    def facts(self) -> dict[str, Any]:
        """The encoder and what it did, for the manifest."""
        modes = dict(sorted(self._modes.items()))
        return {"encoder": dict(self._encoder.facts()), "gops_by_mode": modes}

    # --- encoding -------------------------------------------------------------------------

    def _encode(self, first: int, now_ns: int) -> None:
        """Encode the GoP that begins with frame `first`."""
        frames, most_bytes = self._collected, self._options.payload_bytes
        if self._ledger is not None:
            for lost_gop, missing in self._ledger.take():
                self._encoder.report(lost_gop, missing)
        # A GoP whose packets cannot be numbered is no use; half of them leaves room for small ones.
        most = MAX_PACKETS // 2 * (most_bytes - HEADER_BYTES)
        budget_bytes = min(self._budget.next(frames), most)
        gop = self._encoder.encode(self._gop, budget_bytes=budget_bytes)
        self._gop += 1
        # The descriptors are counted as headers, the pieces of a cut unit as packets of their own.
        pieces = payload_sizes(gop.budgeted, most_bytes=most_bytes)
        self._budget.record(frames, [size - DESCRIPTOR_BYTES for size in pieces])
        self.mode = gop.mode or f"{gop.scale}x"
        self._modes[self.mode] = self._modes.get(self.mode, 0) + 1
        start_ns, end_ns = self._occupy_encoder(gop, self._context.encode_ns(gop), now_ns)
        target_kbps = budget_bytes * 8 / 1e3 * float(self._context.fps) / frames
        each, more = divmod(sum(map(len, gop.units)), frames)
        for n in range(frames):
            self._events.append(
                FrameEncoded(
                    first + n, n == 0, target_kbps, start_ns, end_ns, each + (n < more), self.mode
                )
            )

    def _packetise(self, coded: EncodedGop, now_ns: int) -> None:
        units = sending_order(coded.units)
        timestamp = self._clock.timestamp(coded.index)
        self._outlet.before_push(now_ns=now_ns)
        for packet in packetize(units, most_bytes=self._options.payload_bytes):
            if self._ledger is not None:
                self._remember_rows(self._ledger, read_unit(units[packet.unit]).header, coded.index)
            self._source.send(
                packet.payload,
                marker=packet.last,
                timestamp=timestamp,
                frame=coded.index * self._encoder.gop_frames,
                media_bytes=len(packet.payload) - DESCRIPTOR_BYTES,
                now_ns=now_ns,
                span=coded.frames,
            )

    def _remember_rows(self, ledger: LossLedger, header: UnitHeader, gop: int) -> None:
        """What the next packet carries."""
        if header.kind is Kind.TOKENS:
            ledger.on_sent(
                self._source.sequence, gop=gop, rows=header.rows, of_rows=header.grid.rows
            )

    # --- feedback -------------------------------------------------------------------------

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        if isinstance(message, GenericNack):
            repairs = self._source.resend(message.lost, now_ns=now_ns)
            if self._ledger is not None:
                for number, original in repairs:
                    self._ledger.on_repaired(number, original)
            return
        super()._on_message(message, now_ns)
        if isinstance(message, CongestionFeedback) and self._ledger is not None:
            self._ledger.on_feedback(message)
