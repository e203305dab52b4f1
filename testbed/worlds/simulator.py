"""The simulator world: virtual time on SimPy, integer nanoseconds, real bytes.

The world is a loop around the six calls of the endpoint contract and the three calls of a path.
Every component has one *alarm* (`testbed.worlds.alarm`): the earliest moment at which it wants to
be called.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

from testbed.capture.tap import Tap
from testbed.network.packet import IP_UDP_HEADER_BYTES, Packet
from testbed.network.path import build_path
from testbed.protocol.endpoint import Datagram, SourceFrame
from testbed.protocol.tcp import BulkReceiver, BulkSender
from testbed.randomness import generator
from testbed.transports.base import (
    FrameAbandoned,
    FrameDecoded,
    FrameEncoded,
)
from testbed.worlds.alarm import Alarm, EventLoop
from testbed.worlds.competing import Ends, Flow, FlowTable, Source, starts, transfers
from testbed.worlds.direction import Direction
from testbed.worlds.ends import EndFactory
from testbed.worlds.frame_log import FrameLog
from testbed.worlds.session import CompetingSpec, SessionResult, SessionSpec, TableSink
from testbed.worlds.ticks import TICK_NS, ControlTicks, LinkTicks, control_view


class Session:
    """One session in virtual time."""

    def __init__(
        self, spec: SessionSpec, sink: TableSink, *, base: FilePath, tap: Tap | None = None
    ) -> None:
        self.spec = spec
        self.sink = sink
        self.env = EventLoop()
        self.frames = FrameLog()
        self.make = EndFactory(spec, base=base)
        self.clip, self.transport = self.make.clip, self.make.transport

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
        self.duration_ns, self.end_ns = self.make.duration_ns, self.make.end_ns
        self.sender, self.controller = self.make.sender(self._capacity_kbps)
        self.receiver = self.make.receiver()
        self.flows = self._competition()
        self.facts: dict[str, Any] = {}
        self.sender_alarm = Alarm(self.env, self._sender_timer)
        self.receiver_alarm = Alarm(self.env, self._receiver_timer)
        self._link_ticks, self._control_ticks = LinkTicks(), ControlTicks()
        self._flow_table = FlowTable(
            self.down, lambda now_ns: self.controller.target_kbps(now_ns=now_ns), self.flows
        )

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
                ends = self._media_ends(sort, number, start_ns)
            flows.append(
                Flow(
                    number, sort, start_ns=start_ns, stop_ns=stop_ns, ends=ends, env=self.env,
                    down=self.down, up=self.up, transfers=made,
                )
            )  # fmt: skip
        return flows

    def _media_ends(self, sort: CompetingSpec, number: int, start_ns: int) -> Ends:
        """Both ends of another stream of the session's clip, which begins at `start_ns`."""
        sender, controller = self.make.sender(
            lambda now_ns: self._capacity_kbps(now_ns + start_ns),
            control=sort.rate_control,
            rate_options=sort.rate_options,
            name=f"flow/{number}/congestion",
            pixels=False,
        )
        receiver = self.make.receiver(keep_received=False)
        fps = self.clip.fps
        frame_ns = (10**9 * fps.denominator, fps.numerator)
        return Ends(sender, receiver, controller, Source(self.clip.frame_count, frame_ns))

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
        self.facts |= {"compute": self.make.compute.facts(), "clip": self.clip.facts()}
        for name, direction in (("down", self.down), ("up", self.up)):
            self.facts[f"loss_{name}"] = direction.path.realised_loss()
        for name, endpoint in (("sender", self.sender), ("receiver", self.receiver)):
            facts = getattr(endpoint, "facts", None)
            if facts is not None:
                self.facts[name] = facts()
        if self.flows:
            self.facts["flows"] = [flow.facts() for flow in self.flows]
        received = getattr(self.receiver, "received_frames", None)
        return self.make.result(
            received(len(self.frames.records)) if received is not None else [],
            self.frames,
            self.facts,
        )

    def _capture(self, index: int) -> None:
        def captured(now_ns: int) -> None:
            nonlocal index
            self.frames.captured(index, now_ns=now_ns)
            self.sender.push_frame(SourceFrame(index), now_ns=now_ns)
            self._after_sender(now_ns)
            index += 1
            if index < self.clip.frame_count:
                alarm.arm(self.make.capture_ns(index), now_ns)

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
        rows = []
        for direction in (self.down, self.up):
            path = direction.path
            path.advance(now_ns=now_ns)
            rows.append(self._link_ticks.row(direction.name, path, start_ns, now_ns))
        self.sink.append("link", rows)
        self.sink.append("control", [self._control_row(start_ns, now_ns)])
        if self.flows:
            self.sink.append("flows", self._flow_table.rows(start_ns, now_ns))
        for direction in (self.down, self.up):
            direction.settle()
        if now_ns + TICK_NS <= self.duration_ns:
            Alarm(self.env, self._tick).arm(now_ns + TICK_NS, now_ns)

    def _control_row(self, start_ns: int, now_ns: int) -> tuple[Any, ...]:
        """One row of `testbed.tables.CONTROL`."""
        down = self.down
        return control_view(
            self.sender, self.controller, self.transport.name, now_ns=now_ns
        ) + self._control_ticks.rates(
            encoded_bytes=self.frames.encoded_bytes,
            sent_bytes=down.sent_bytes,
            delivered_bytes=down.arrived_bytes,
            capacity_bytes=down.path.capacity_bytes(start_ns, now_ns),
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
