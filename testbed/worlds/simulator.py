"""The simulator world: virtual time on SimPy, integer nanoseconds, real bytes.

The world is a loop around the six calls of the endpoint contract and the three calls of a path.
Every component has one *alarm* (`testbed.worlds.alarm`): the earliest moment at which it wants to
be called.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from testbed.capture.tap import Tap
from testbed.media.cache import EncodeCache
from testbed.media.clips import open_clip
from testbed.network.packet import IP_UDP_HEADER_BYTES, Packet
from testbed.network.path import Path, build_path
from testbed.protocol.congestion import make_controller
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.tcp import BulkReceiver, BulkSender
from testbed.randomness import generator
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import (
    FrameAbandoned,
    FrameDecoded,
    FrameEncoded,
    ReceiverContext,
    SenderContext,
)
from testbed.worlds.alarm import Alarm, EventLoop
from testbed.worlds.competing import Ends, Flow, FlowTable, Source, starts, transfers
from testbed.worlds.compute import compute_model
from testbed.worlds.direction import Direction
from testbed.worlds.frame_log import FrameLog
from testbed.worlds.session import SessionResult, SessionSpec, TableSink

#: Period of the link and control rows: the receiver's report interval (paper section 6.1).
TICK_NS: Final = 100_000_000
#: How long after the last frame's deadline the world still runs.
DRAIN_NS: Final = 200_000_000


class Session:
    """One session in virtual time."""

    def __init__(
        self, spec: SessionSpec, sink: TableSink, *, base: FilePath, tap: Tap | None = None
    ) -> None:
        self.spec = spec
        self.sink = sink
        self.env = EventLoop()
        self.frames = FrameLog()
        self.clip = open_clip(spec.clip, base=base)
        self.transport = TRANSPORTS.get(spec.transport)
        options = parse_options(self.transport, spec.transport_options)
        compute = compute_model(spec.compute, codec=self.transport.codec, clip=self.clip)
        self.compute = compute

        def rng(direction: str) -> Callable[[str], Any]:
            return lambda name: generator(spec.seed, f"{direction}/{name}")

        self.down = Direction(
            "down",
            self.env,
            build_path(spec.downlink, rng=rng("down")),
            sink,
            self._deliver_down,
            self._after_receiver,
            self.frames.lost,
            tap,
        )
        self.up = Direction(
            "up",
            self.env,
            build_path(spec.uplink, rng=rng("up")),
            sink,
            self._deliver_up,
            self._after_sender,
            self.frames.lost,
            tap,
        )
        self.deadline_ns = round(spec.playout_deadline_ms * 1e6)
        self.options = options
        self.duration_ns = -(
            -self.clip.frame_count * 10**9 * self.clip.fps.denominator // self.clip.fps.numerator
        )
        self.end_ns = self.duration_ns + self.deadline_ns + DRAIN_NS
        ends = self._media_ends(
            spec.rate_control, spec.rate_options, "congestion", 0, keep_received=spec.keep_received
        )
        assert ends.controller is not None
        self.controller, self.sender, self.receiver = ends.controller, ends.sender, ends.receiver
        self.flows = self._competition()
        self.conceal = bool(getattr(options, "conceal", False))
        self.decoder_options = self.transport.decoder_options(options)
        self.facts: dict[str, Any] = {}
        self.sender_alarm = Alarm(self.env, self._sender_timer)
        self.receiver_alarm = Alarm(self.env, self._receiver_timer)
        self._tick_state = _TickState()
        self._flow_table = FlowTable(
            self.down, lambda now_ns: self.controller.target_kbps(now_ns=now_ns), self.flows
        )

    def _media_ends(
        self, control: str, rate_options: Mapping[str, Any], name: str, start_ns: int, *,
        keep_received: bool,
    ) -> Ends:  # fmt: skip
        """Both ends of a stream of the session's clip, for a flow that begins at `start_ns`."""
        clip, transport = self.clip, self.transport
        controller = make_controller(
            control,
            rate_options,
            capacity_kbps=lambda now_ns: self._capacity_kbps(now_ns + start_ns),
            rng=generator(self.spec.seed, name),
        )
        encoder = transport.open_encoder(
            clip,
            self.options,
            EncodeCache.default(),
            adaptive=control != "fixed",
            pixels=keep_received,
        )
        sender = transport.make_sender(
            SenderContext(
                clip.fps, encoder, controller, self.compute.encode_ns, self.deadline_ns,
                self.options,
            )
        )  # fmt: skip
        receiver = transport.make_receiver(
            ReceiverContext(
                clip.fps, self.compute.decode_ns, self.deadline_ns, self.options, keep_received
            )
        )
        frame_ns = (10**9 * clip.fps.denominator, clip.fps.numerator)
        return Ends(sender, receiver, controller, Source(clip.frame_count, frame_ns))

    def _competition(self) -> list[Flow]:
        """Everybody else on the path."""
        flows = []
        for number, (sort, start_ns, stop_ns) in enumerate(
            starts(self.spec.competing, self.duration_ns), start=1
        ):
            made = None
            if sort.kind == "tcp":
                made = transfers(sort, generator(self.spec.seed, f"flow/{number}/idle"))
                ends = made.ends() if made else Ends(BulkSender(), BulkReceiver())
            else:
                control, options = sort.rate_control, sort.rate_options
                if not control:
                    control, options = self.spec.rate_control, self.spec.rate_options
                name = f"flow/{number}/congestion"
                ends = self._media_ends(control, options, name, start_ns, keep_received=False)
            flows.append(
                Flow(
                    number, sort, start_ns=start_ns, stop_ns=stop_ns, ends=ends, env=self.env,
                    down=self.down, up=self.up, transfers=made,
                )
            )  # fmt: skip
        return flows

    # --- the loop -------------------------------------------------------------------------

    def run(self) -> SessionResult:
        """Run to the end and return what the decoder and the viewer would work with."""
        # Nothing here makes reference cycles packet by packet; without collections in between a
        # session is some per cent faster.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._run()
        finally:
            if collecting:
                gc.enable()

    def _run(self) -> SessionResult:
        self._capture(0)
        Alarm(self.env, self._tick).arm(TICK_NS, 0)
        self.receiver_alarm.arm(self.receiver.next_timer(), 0)
        self.env.run_until(self.end_ns)
        self._after_receiver(self.end_ns)
        for direction in (self.down, self.up):
            direction.settle(everything=True)
            direction.flush()
        self.sink.append("frames", [r.row(self.transport.name) for r in self.frames.records])
        self.facts |= {"compute": self.compute.facts(), "clip": self.clip.facts()}
        for name, direction in (("down", self.down), ("up", self.up)):
            self.facts[f"loss_{name}"] = direction.path.realised_loss()
        for name, endpoint in (("sender", self.sender), ("receiver", self.receiver)):
            facts = getattr(endpoint, "facts", None)
            if facts is not None:
                self.facts[name] = facts()
        if self.flows:
            self.facts["flows"] = [flow.facts() for flow in self.flows]
        received = getattr(self.receiver, "received_frames", None)
        return SessionResult(
            received=received(len(self.frames.records)) if received is not None else [],
            displayed=self.frames.displayed(),
            codec=self.transport.codec,
            conceal=self.conceal,
            decoder_options=self.decoder_options,
            facts=self.facts,
        )

    def _capture(self, index: int) -> None:
        fps = self.clip.fps
        step, rate = 10**9 * fps.denominator, fps.numerator

        def captured(now_ns: int) -> None:
            nonlocal index
            self.frames.captured(index, now_ns=now_ns)
            self.sender.push_frame(SourceFrame(index), now_ns=now_ns)
            self._after_sender(now_ns)
            index += 1
            if index < self.clip.frame_count:
                alarm.arm(index * step // rate, now_ns)

        alarm = Alarm(self.env, captured)
        alarm.arm(0, 0)

    def _sender_timer(self, now_ns: int) -> None:
        self.sender.on_timer(now_ns=now_ns)
        self._after_sender(now_ns)

    def _receiver_timer(self, now_ns: int) -> None:
        self.receiver.on_timer(now_ns=now_ns)
        self._after_receiver(now_ns)

    def _after_sender(self, now_ns: int) -> None:
        sender, frames = self.sender, self.frames
        for event in sender.events():
            if isinstance(event, FrameEncoded):
                frames.encoded(event)
        datagrams = sender.datagrams_to_send(now_ns=now_ns)
        if datagrams:
            for datagram in datagrams:
                if datagram.frame >= 0:
                    frames.sent(datagram, len(datagram.data) + IP_UDP_HEADER_BYTES, now_ns=now_ns)
            self.down.send(datagrams, now_ns=now_ns)
        self.sender_alarm.arm(sender.next_timer(), now_ns)

    def _after_receiver(self, now_ns: int) -> None:
        receiver, frames = self.receiver, self.frames
        for event in receiver.events():
            if isinstance(event, FrameDecoded):
                frames.decoded(event)
            elif isinstance(event, FrameAbandoned):
                frames.abandoned(event)
        datagrams = receiver.datagrams_to_send(now_ns=now_ns)
        if datagrams:
            self.up.send(datagrams, now_ns=now_ns)
        self.receiver_alarm.arm(receiver.next_timer(), now_ns)

    def _deliver_down(self, packet: Packet, now_ns: int) -> None:
        datagram: Datagram = packet.payload  # type: ignore[assignment]
        self.frames.arrived(datagram, now_ns=now_ns)
        self.receiver.receive_datagram(datagram.data, now_ns=now_ns)

    def _deliver_up(self, packet: Packet, now_ns: int) -> None:
        datagram: Datagram = packet.payload  # type: ignore[assignment]
        self.sender.receive_datagram(datagram.data, now_ns=now_ns)

    # --- truth and log --------------------------------------------------------------------

    def _capacity_kbps(self, now_ns: int) -> float:
        """Mean capacity of the media direction over the coming 100 ms."""
        return self.down.path.capacity_bytes(now_ns, now_ns + TICK_NS) * 8 / (TICK_NS / 1e6)

    def _tick(self, now_ns: int) -> None:
        """Link rows of the past 100 ms and one control row."""
        start_ns = now_ns - TICK_NS
        state = self._tick_state
        rows = []
        for direction in (self.down, self.up):
            path = direction.path
            path.advance(now_ns=now_ns)
            rows.append(state.link_row(direction, path, start_ns, now_ns))
        self.sink.append("link", rows)
        self.sink.append("control", [state.control_row(self, now_ns)])
        if self.flows:
            self.sink.append("flows", self._flow_table.rows(start_ns, now_ns))
        for direction in (self.down, self.up):
            direction.settle()
        if now_ns + TICK_NS <= self.duration_ns:
            Alarm(self.env, self._tick).arm(now_ns + TICK_NS, now_ns)


class _TickState:
    """Counters at the previous tick, to turn totals into rates."""

    def __init__(self) -> None:
        self._link: dict[str, tuple[int, int, int]] = {"down": (0, 0, 0), "up": (0, 0, 0)}
        self._control = (0, 0, 0)

    def link_row(
        self, direction: Direction, path: Path, start_ns: int, now_ns: int
    ) -> tuple[Any, ...]:
        """One row of `testbed.tables.LINK`."""
        before = self._link[direction.name]
        totals = (path.delivered_bytes, path.queue_drops, path.loss_drops)
        self._link[direction.name] = totals
        return (
            start_ns,
            direction.name,
            path.capacity_bytes(start_ns, now_ns),
            totals[0] - before[0],
            path.queue_packets,
            path.queue_bytes,
            totals[1] - before[1],
            totals[2] - before[2],
        )

    def control_row(self, session: Session, now_ns: int) -> tuple[Any, ...]:
        """One row of `testbed.tables.CONTROL`."""
        down, sender = session.down, session.sender
        totals = (session.frames.encoded_bytes, down.sent_bytes, down.arrived_bytes)
        kbps = [(now - was) * 8e6 / TICK_NS for now, was in zip(totals, self._control, strict=True)]
        self._control = totals
        view = getattr(sender, "control_view", None)
        loss, min_rtt_ms = view() if view is not None else (None, None)
        controller = session.controller
        target = controller.target_kbps(now_ns=now_ns)
        return (
            now_ns,
            controller.estimate_kbps(now_ns=now_ns),
            min_rtt_ms,
            loss,
            controller.state,
            getattr(sender, "mode", "") or session.transport.name,
            target,
            *kbps,
            down.path.capacity_bytes(now_ns - TICK_NS, now_ns) * 8e6 / TICK_NS,
        )


def run_session(
    spec: SessionSpec, sink: TableSink, *, base: FilePath, tap: Tap | None = None
) -> SessionResult:
    """Run one session in virtual time.

    Args:
        spec: everything that determines it.
        sink: where its table rows go.
        base: folder that relative clip paths start from.
        tap: is told of the session's datagrams, see `testbed.worlds.session`.

    Raises:
        InputError: the clip, an option or a name cannot be used.
    """
    return Session(spec, sink, base=base, tap=tap).run()
