"""The GRACE-style sender: encode, packetise, pace; resynchronise after loss reports."""

from __future__ import annotations

from typing import Any, Final

from grace_style.config import HISTORY
from testbed.media.types import EncodedGop
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES
from testbed.protocol.rtcp import (
    ApplicationDefined,
    PictureLossIndication,
    RtcpMessage,
)
from testbed.protocol.rtp import RTP_HEADER_BYTES, timestamp_of_frame
from testbed.protocol.sequence import wrap_distance
from testbed.protocol.source import RtpSource
from testbed.transports.base import FrameEncoded, SenderContext
from testbed.transports.grace.budget import PictureBudget
from testbed.transports.grace.options import GraceOptions
from testbed.transports.grace.wire import (
    MEDIA_PAYLOAD_TYPE,
    RTX_PAYLOAD_TYPE,
    parse_damages,
)
from testbed.transports.sending import RtpSender

#: IPv4, UDP and RTP in front of every payload.
PACKET_HEADER_BYTES: Final = IP_UDP_HEADER_BYTES + RTP_HEADER_BYTES
KEY_MODE: Final = "key"
#: At least this between intra pictures that were asked for.
KEY_INTERVAL_S: Final = 0.3


class GraceSender(RtpSender[EncodedGop]):
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by captured frames, by RTCP from the receiver, and by its timer. Each picture gets the
    bytes that its time is worth at the controller's target, headers counted, less what earlier
    pictures and retransmissions took too much.
    """

    def __init__(self, context: SenderContext) -> None:
        options: GraceOptions = context.options
        source = RtpSource(
            context.controller,
            ssrc=context.ssrc,
            payload_types=(MEDIA_PAYLOAD_TYPE, RTX_PAYLOAD_TYPE),
            pacing_factor=options.pacing_factor,
            burst_bytes=2 * options.payload_bytes,
            playout_deadline_ns=context.playout_deadline_ns,
            max_tries=options.max_tries if options.retransmission else 0,
            pads=True,
        )
        super().__init__(context, source)
        self._options = options
        self._fps = float(context.fps)
        self._budget = PictureBudget(context.controller.target_kbps(now_ns=0), self._fps)
        self._latest = -1  # picture encoded last
        self._latest_key = -1
        self._key_wanted = False
        self._resyncs = 0
        self._heard: dict[int, tuple[bool, ...]] = {}  # of each picture since the latest key

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Encode a captured frame; its packets leave when the encoder's time is over."""
        options = self._options
        target_kbps = self._outlet.source_kbps(now_ns=now_ns, fills_probes=False)
        self._budget.set_rate(target_kbps)
        key, self._key_wanted = frame.index == 0 or self._key_wanted, False
        wire = self._budget.key(options.key_frames) if key else self._budget.next()
        coded = self._context.encoder.encode(frame.index, wire_bytes=wire, intra=key)
        self._latest = frame.index
        sizes = [len(unit) for unit in coded.units]
        self._budget.spent(sum(sizes) + len(sizes) * PACKET_HEADER_BYTES)
        self._budget.passed()
        start_ns, end_ns = self._occupy_encoder(coded, self._context.encode_ns(coded), now_ns)
        is_key = coded.mode == KEY_MODE
        if is_key:
            self._latest_key = frame.index
            self._heard.clear()
        self._events.append(
            FrameEncoded(
                frame.index, is_key, wire * 8 * self._fps / 1e3, start_ns, end_ns, sum(sizes),
                coded.mode,
            )
        )  # fmt: skip
        self._release(now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What the pacer lets go, and reports that are due."""
        out = super().datagrams_to_send(now_ns=now_ns)
        # A controller that paces has them in the backlog that it asks the source to leave room for.
        if not self._outlet.paced_by_controller:
            for datagram in out:
                if datagram.kind == "retransmission":
                    self._budget.spent(len(datagram.data) + IP_UDP_HEADER_BYTES)
        return out

    def facts(self) -> dict[str, Any]:
        """The encoder and what it did, for the manifest."""
        return {"encoder": dict(self._context.encoder.facts()), "resyncs": self._resyncs}

    # --- inside ---------------------------------------------------------------------------

    def _packetise(self, coded: EncodedGop, now_ns: int) -> None:
        timestamp = timestamp_of_frame(coded.index, fps=self._fps)
        self._outlet.before_push(now_ns=now_ns)
        last = len(coded.units) - 1
        for number, unit in enumerate(coded.units):
            self._source.send(
                unit,
                marker=number == last,
                timestamp=timestamp,
                frame=coded.index,
                media_bytes=len(unit),
                now_ns=now_ns,
            )

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        if isinstance(message, ApplicationDefined):
            self._on_damages(message)
        elif isinstance(message, PictureLossIndication):
            # Asked again while the intra picture that answers is on its way.
            apart = self._latest - self._latest_key
            self._key_wanted = apart >= KEY_INTERVAL_S * self._fps
        else:
            super()._on_message(message, now_ns)

    def _on_damages(self, message: ApplicationDefined) -> None:
        """Tell the encoder with what the receiver decoded; with the next picture it catches up."""
        for damage in parse_damages(message):
            back = wrap_distance(damage.frame, self._latest & 0xFFFF, bits=16)
            frame = self._latest - back
            if back < 0 or frame < max(0, self._latest_key):
                continue  # the latest intra picture made up for it
            if self._heard.get(frame) != damage.arrived:
                self._heard[frame] = damage.arrived
                self._on_damage(frame, damage.arrived, too_old=back >= HISTORY)

    def _on_damage(self, frame: int, arrived: tuple[bool, ...], *, too_old: bool) -> None:
        if frame == self._latest_key:
            # Skipped, as of all its packets none came to tell that it was an intra picture.
            self._key_wanted = self._key_wanted or not arrived
        elif self._options.resync and too_old:
            self._key_wanted = True  # the encoder cannot decode it again any more
        elif self._options.resync:
            self._resyncs += bool(self._context.encoder.report(frame, arrived))
