"""The relay: the pure link model between real sockets, in user space, without privileges.

It is a loop around the three calls of a path. What arrives is put on the path at the kernel's time
of arrival, so the relay's own delay in reading does not count; what the path lets go leaves as soon
after its time as the machine allows, and how much later that was is recorded for every datagram.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from testbed.network.packet import LINK_OVERHEAD_BYTES, Packet
from testbed.network.path import Path, build_path
from testbed.protocol.rtp import RTP_HEADER_BYTES, frame_of_timestamp, is_rtcp
from testbed.randomness import generator
from testbed.worlds.realtime.clock import SessionClock
from testbed.worlds.realtime.driver import News, RealAlarm
from testbed.worlds.realtime.records import Carried, NetworkLog, key_of
from testbed.worlds.realtime.udp import Address, UdpPort
from testbed.worlds.session import SessionSpec
from testbed.worlds.ticks import TICK_NS, LinkTicks

_RTP_VERSION: Final = 2


def session_paths(spec: SessionSpec) -> dict[str, Path]:
    """Both directions of the session's path, with the generators that every world gives them."""

    def rng(direction: str) -> Callable[[str], Any]:
        return lambda name: generator(spec.seed, f"{direction}/{name}")

    return {
        "down": build_path(spec.downlink, rng=rng("down")),
        "up": build_path(spec.uplink, rng=rng("up")),
    }


def frame_of(data: bytes, *, fps: float | None) -> int:
    """The source frame that a datagram belongs to, by its RTP timestamp; -1: none.

    For models that lose frame by frame. In these sessions timestamps begin with 0; without `fps`
    nothing is known.
    """
    if fps is None or len(data) < RTP_HEADER_BYTES or data[0] >> 6 != _RTP_VERSION or is_rtcp(data):
        return -1
    return frame_of_timestamp(int.from_bytes(data[4:8], "big"), fps=fps)


class RelayDirection:
    """One way through the relay.

    Args:
        name: "down" or "up".
        path: the model.
        inlet: socket that datagrams come in by.
        source: the only address that may send there.
        outlet: socket that they leave by.
        target: where to.
        clock: of the session.
        log: shared by both directions.
        fps: of the clip; None: datagrams do not show their frame.
        passes: datagrams that go through at once, beside the path.
        failed: is told of an error, such as one in a third party's queue.
    """

    def __init__(
        self, name: str, path: Path, *, inlet: UdpPort, source: Address, outlet: UdpPort,
        target: Address, clock: SessionClock, log: NetworkLog, fps: float | None,
        passes: Callable[[bytes], bool], failed: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.path = path
        self.strangers = 0
        self._inlet, self._source = inlet, source
        self._outlet, self._target = outlet, target
        self._clock = clock
        self._log = log
        self._fps = fps
        self._passes = passes
        self._failed = failed
        self._now_ns = 0
        self._entries: list[tuple[int, Packet]] = []
        self._alarm = RealAlarm(asyncio.get_running_loop(), clock, self._wake)

    def readable(self) -> None:
        """The inlet has something."""
        try:
            self._take()
            self._alarm.arm(self.path.next_time())
        except Exception as error:
            self._failed(error)

    def _take(self) -> None:
        for data, source, stamp_ns in self._inlet.receive():
            if source != self._source:
                self.strangers += 1
                continue
            if self._passes(data):
                self._outlet.send(data, self._target)
                continue
            self._now_ns = max(self._now_ns, self._clock.of_stamp(stamp_ns))
            packet = Packet(
                len(data) + LINK_OVERHEAD_BYTES, data, frame=frame_of(data, fps=self._fps)
            )
            self._entries.append((key_of(data), packet))
            self.path.enqueue(packet, now_ns=self._now_ns)
            if packet.drop != "none":
                packet.payload = None

    def _wake(self, at_ns: int) -> None:
        try:
            self._let_go(at_ns)
        except Exception as error:
            self._failed(error)

    def _let_go(self, at_ns: int) -> None:
        # What arrived before this moment must be on the path before the path is asked.
        now_ns = max(at_ns, self._clock.now_ns())
        self._take()
        self._now_ns = max(self._now_ns, now_ns)
        for packet in self.path.pop(now_ns=self._now_ns):
            data: bytes = packet.payload  # type: ignore[assignment]
            self._outlet.send(data, self._target)
            self._log.late.add(self._clock.now_ns() - packet.arrival_ns)
            packet.payload = None
        self._alarm.arm(self.path.next_time())

    def advance(self, now_ns: int) -> None:
        """Bring the model's counters to `now_ns`, or to what it was told before."""
        self._take()
        self._now_ns = max(self._now_ns, now_ns)
        self.path.advance(now_ns=self._now_ns)
        self._alarm.arm(self.path.next_time())

    @property
    def decided(self) -> int:
        """Datagrams so far of which the path's model knows whether they get through its queue."""
        return len(self._entries) - self.path.queue_packets

    def cancel(self) -> None:
        """No more."""
        self._alarm.cancel()

    def close(self) -> None:
        """What became of every datagram goes to the log."""
        self._log.carried[self.name] = [
            Carried(key, p.link_in_ns, p.link_out_ns, p.arrival_ns, p.drop)
            for key, p in self._entries
        ]
        self._log.facts[f"loss_{self.name}"] = self.path.realised_loss()


class Relay:
    """Both directions between a sender and a receiver.

    Args:
        spec: the session, for its paths and its seed.
        near: socket that the sender talks to.
        sender: the sender's address.
        far: socket that the receiver talks to.
        receiver: the receiver's address.
        clock: of the session.
        fps: of the clip; None: datagrams do not show their frame.
        ends_ns: when the last tick is, and when the relay stops.
        passes: datagrams that go through at once, beside the path.
        news: is told the media direction's row of every tick, and `RelayDirection.decided`.
    """

    def __init__(
        self, spec: SessionSpec, *, near: UdpPort, sender: Address, far: UdpPort,
        receiver: Address, clock: SessionClock, fps: float | None, ends_ns: tuple[int, int],
        passes: Callable[[bytes], bool] = lambda _data: False, news: News | None = None,
    ) -> None:  # fmt: skip
        self._news = news
        self.log = NetworkLog()
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._duration_ns, self._end_ns = ends_ns
        self._ports = {"down": near, "up": far}
        paths = session_paths(spec)

        def direction(name: str, out: UdpPort, source: Address, target: Address) -> RelayDirection:
            return RelayDirection(
                name, paths[name], inlet=self._ports[name], source=source, outlet=out,
                target=target, clock=clock, log=self.log, fps=fps, passes=passes,
                failed=self._fail,
            )  # fmt: skip

        self.directions = {
            "down": direction("down", far, sender, receiver),
            "up": direction("up", near, receiver, sender),
        }
        self._link_ticks = LinkTicks()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._ticker = RealAlarm(self._loop, clock, self._on_tick)

    async def run(self) -> NetworkLog:
        """Relay to the end; what happened.

        Raises:
            Exception: whatever a path raised.
        """
        for name, direction in self.directions.items():
            self._loop.add_reader(self._ports[name].socket, direction.readable)
        self._ticker.arm(TICK_NS)
        end = RealAlarm(self._loop, self._clock, self._finish)
        end.arm(self._end_ns)
        try:
            await self._done
        finally:
            self._ticker.cancel()
            end.cancel()
            for port in self._ports.values():
                self._loop.remove_reader(port.socket)
            for direction in self.directions.values():
                direction.cancel()
        for direction in self.directions.values():
            direction.close()
        self.log.facts |= {
            "strangers": sum(one.strangers for one in self.directions.values()),
            "overflowed": sum(port.overflowed for port in self._ports.values()),
            "unsent": sum(port.refused for port in self._ports.values()),
        }
        return self.log

    def _finish(self, _at_ns: int) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def _on_tick(self, at_ns: int) -> None:
        try:
            self._tick(at_ns)
        except Exception as error:
            self._fail(error)

    def _tick(self, at_ns: int) -> None:
        for name, direction in self.directions.items():
            direction.advance(at_ns)
            path = direction.path
            row = self._link_ticks.row(name, path, at_ns - TICK_NS, at_ns)
            self.log.link_rows.append(row)
            if name == "down":
                if self._news is not None:
                    self._news(("link", row, direction.decided))
                self.log.capacity_bytes.append(path.capacity_bytes(at_ns - TICK_NS, at_ns))
        if at_ns + TICK_NS <= self._duration_ns:
            self._ticker.arm(at_ns + TICK_NS)
