"""The sized sender: follow the payload plan, cut units into packets, pace, answer NACKs."""

from __future__ import annotations

from typing import Any

from testbed.protocol.budget import RepairBudget
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES
from testbed.protocol.payload.types import SIZED_MEDIA, SIZED_RTX
from testbed.protocol.rtcp import (
    FullIntraRequest,
    PictureLossIndication,
    RtcpMessage,
)
from testbed.protocol.rtp import timestamp_of_frame
from testbed.protocol.source import RtpSource
from testbed.transports.base import FrameEncoded, SenderContext
from testbed.transports.sending import RtpSender
from testbed.transports.sized.options import SizedOptions
from testbed.transports.sized.plan import Planner, Reference, Slot, Unit
from testbed.transports.sized.wire import DESCRIPTOR_BYTES, Descriptor, filler


class SizedSender(RtpSender[Slot]):
    """An endpoint; see `testbed.protocol.endpoint.Endpoint` for the six calls.

    Driven by captured frames, by RTCP from the receiver, and by its timer (the encoder's end, the
    pacer, sender reports). The encoder is busy with a slot of the plan for as many frames' time as
    the slot stands for.

    Args:
        context: its `encoder` is a `Planner`.
        codec: names the filler.
        key_interval_ms: at least this between key groups that the receiver asks for.
    """

    def __init__(self, context: SenderContext, *, codec: str, key_interval_ms: int = 0) -> None:
        options: SizedOptions = context.options
        source = RtpSource(
            context.controller,
            ssrc=context.ssrc,
            payload_types=(SIZED_MEDIA, SIZED_RTX),
            pacing_factor=options.pacing_factor,
            burst_bytes=2 * options.payload_bytes,
            playout_deadline_ns=context.playout_deadline_ns,
            max_tries=options.max_tries if options.retransmission else 0,
            pads=True,
        )
        super().__init__(context, source)
        self._options = options
        self._codec = codec
        self._planner: Planner = context.encoder
        self._fps = float(context.fps)
        self._budget: RepairBudget | None = None
        if self._planner.follows_target:
            self._budget = RepairBudget(meets_sum=context.controller.constant)
        self._chained = self._planner.structure.reference is Reference.CHAIN
        self._key_interval_ns = key_interval_ms * 1_000_000
        self._key_wanted = False
        self._last_key_ns = -(10**18)
        self._report_wanted = False

    # --- the contract ---------------------------------------------------------------------

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Ask the plan what exists now; it leaves when the encoder's time is over."""
        wire_kbps = self._outlet.source_kbps(now_ns=now_ns)
        if self._budget is not None:
            wire_kbps = self._budget.media_kbps(wire_kbps, now_ns=now_ns)
        force_key, self._key_wanted = self._key_wanted, False
        slot = self._planner.captured(frame.index, wire_kbps=wire_kbps, force_key=force_key)
        if slot is None:
            return
        if slot.key:
            self._last_key_ns = now_ns
        duration_ns = slot.frames * self._context.encode_ns(slot)
        start_ns, end_ns = self._occupy_encoder(slot, duration_ns, now_ns)
        each, more = divmod(sum(unit.size_bytes for unit in slot.units), slot.frames)
        begins = slot.first == self._planner.structure.first(slot.group)
        for n in range(slot.frames):
            key = slot.key and begins and not n
            self._events.append(
                FrameEncoded(
                    slot.first + n, key, slot.target_kbps, start_ns, end_ns, each + (n < more)
                )
            )
        self._release(now_ns)

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What the pacer lets go, and then a report that is wanted."""
        out = super().datagrams_to_send(now_ns=now_ns)
        if self._report_wanted and not self._outlet.queue_bytes:
            self._report_wanted = False
            # Behind all packets that it counts: it tells the receiver which are missing.
            out.append(self._source.report(now_ns=now_ns))
        if self._budget is not None:
            for datagram in out:
                size_bytes = len(datagram.data) + IP_UDP_HEADER_BYTES
                self._budget.on_sent(size_bytes, kind=datagram.kind)
        return out

    def on_timer(self, *, now_ns: int) -> None:
        """Packetise what the encoder has finished; report."""
        self._outlet.on_timer(now_ns=now_ns)
        self._release(now_ns)
        if self._source.report_if_due(now_ns=now_ns) is not None:
            self._report_wanted = True

    def facts(self) -> dict[str, Any]:
        """The plan and where its sizes come from, for the manifest."""
        return {"encoder": dict(self._planner.facts())}

    # --- inside ---------------------------------------------------------------------------

    def _packetise(self, coded: Slot, now_ns: int) -> None:
        self._outlet.before_push(now_ns=now_ns)
        for unit in coded.units:
            self._cut(coded, unit, now_ns)
        end = self._planner.structure.first(coded.group) + coded.group_frames
        if coded.first + coded.frames == end and self._planner.structure.group_frames > 1:
            self._report_wanted = True  # silence follows, in which no packet shows a loss

    def _cut(self, slot: Slot, unit: Unit, now_ns: int) -> None:
        head = Descriptor(slot.group, unit.number, slot.group_units, slot.group_frames, slot.key)
        first, other = head._replace(start=True).pack(), head.pack()
        data = unit.data or filler(self._codec, slot.group, unit.number, unit.size_bytes)
        room = self._options.payload_bytes - DESCRIPTOR_BYTES
        timestamp = timestamp_of_frame(slot.first, fps=self._fps)
        for at in range(0, len(data), room):
            piece = data[at : at + room]
            self._source.send(
                (other if at else first) + piece,
                marker=at + room >= len(data),
                timestamp=timestamp,
                frame=slot.first,
                media_bytes=len(piece),
                now_ns=now_ns,
                span=slot.frames,
            )

    def _on_message(self, message: RtcpMessage, now_ns: int) -> None:
        if isinstance(message, PictureLossIndication | FullIntraRequest):
            if self._chained and now_ns - self._last_key_ns >= self._key_interval_ns:
                self._key_wanted = True
        else:
            super()._on_message(message, now_ns)
