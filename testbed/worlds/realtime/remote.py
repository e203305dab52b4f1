"""`testbed send` and `testbed receive`: one session between two machines, or two terminals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from testbed.errors import InputError
from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.protocol.endpoint import Endpoint
from testbed.protocol.session import Ended, JsonObject, Started, Synchronised, Timeouts
from testbed.protocol.session.timeouts import DEFAULT_TIMEOUTS
from testbed.transports.base import FrameDecoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock, monotonic_ns, prompt
from testbed.worlds.realtime.control import InitiatorLoop, ResponderLoop
from testbed.worlds.realtime.driver import Driver, SenderDriver
from testbed.worlds.realtime.offer import Offer
from testbed.worlds.realtime.udp import Address, UdpPort
from testbed.worlds.session import NoRows, SessionSpec
from testbed.worlds.simulator import run_session

#: From the agreement on the start to the start itself.
LEAD_NS: Final = 500_000_000
#: Controllers that are told the capacity, which nobody knows here.
_ALL_KNOWING: Final = frozenset({"oracle"})


async def send_session(
    spec: SessionSpec, *, base: Path, psk: bytes, port: UdpPort, peer: Address,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> dict[str, Any]:  # fmt: skip
    """Send one session to a receiver.

    Args:
        spec: the session; its paths do not matter here.
        base: folder that relative clip paths start from.
        psk: pre-shared key.
        port: the socket.
        peer: the receiver.
        timeouts: of the handshake, and of a peer that falls silent.

    Returns:
        The summary: counters, punctuality, clocks, and what the receiver says ("receiver").

    Raises:
        InputError: the session cannot be run like this.
        SessionEndedError: the receiver refused, broke off or fell silent.
    """
    if spec.rate_control in _ALL_KNOWING:
        raise InputError(f"rate control {spec.rate_control} knows the capacity; nobody does here")
    if spec.competing:
        raise InputError("competing flows run in the simulator only")
    make = EndFactory(spec, base=base)
    run_session(spec, NoRows(), base=base)  # fills the cache: no encoder works while time runs
    endpoint, controller = make.sender(lambda _now_ns: 0.0)
    side = InitiatorLoop(psk, Offer.of(make).as_json(), port, peer, timeouts)
    try:
        side.read(True)
        synchronised = await side.until(Synchronised)
        side.machine.start(monotonic_ns() + LEAD_NS, now_ns=monotonic_ns())
        started = await side.until(Started)
        side.read(False)
        driver = SenderDriver(
            endpoint, controller, make, port, peer, SessionClock(started.epoch_ns),
            remember=False, companion=side,
        )  # fmt: skip
        side.tell_end(driver.stop)
        with prompt(priority=spec.rate_control == "fixed") as scheduling:
            log = await driver.run()
        counters = {
            "datagrams": driver.sent_datagrams,
            "bytes": driver.sent_bytes - LINK_OVERHEAD_BYTES * driver.sent_datagrams,
        }
        side.check()  # the last moment may have brought the other side's end
        side.machine.finish(counters, now_ns=monotonic_ns())
        side.read(True)
        ended = await side.until(Ended)
    except BaseException as error:
        _break_off(side, error)
        raise
    finally:
        side.close()
    return {
        **counters,
        "feedback_datagrams": driver.arrived_datagrams,
        "send_late": log.late.facts(),
        "captures_late": log.captures_late.facts(),
        "scheduling": scheduling,
        "clocks": {
            "offset_ms": synchronised.offset_ns / 1e6,
            "bound_ms": synchronised.bound_ns / 1e6,
            "round_trip_ms": synchronised.rtt_ns / 1e6,
        },
        "strangers": log.strangers + side.strangers,
        "ignored_control": {str(why): n for why, n in side.machine.ignored.items()},
        "malformed": getattr(endpoint, "malformed_datagrams", 0),
        "unsent": log.unsent,
        "receiver": ended.report,
    }


def _break_off(side: InitiatorLoop | ResponderLoop, error: BaseException) -> None:
    """Tell the other side, where there is one that has not told us."""
    from testbed.errors import LocalProtocolError

    try:
        side.machine.abort(str(error) or type(error).__name__)
        side.send()
    except LocalProtocolError:  # it is over already
        return


@dataclass(slots=True)
class Tally:
    """What a receiver counts; fixed memory but for one number a frame.

    Attributes:
        outcomes: frames by outcome.
        delays_ms: capture to decodable, of frames that were shown.
    """

    offer: Offer
    outcomes: dict[str, int] = field(default_factory=dict)
    delays_ms: list[float] = field(default_factory=list)

    def on_event(self, event: object) -> None:
        """One of the receiver's events."""
        if isinstance(event, FrameDecoded):
            self.outcomes[event.outcome] = self.outcomes.get(event.outcome, 0) + 1
            if event.render_ns >= 0:
                late_ns = event.decodable_ns - self.offer.capture_ns(event.index)
                self.delays_ms.append(late_ns / 1e6)

    def facts(self) -> dict[str, Any]:
        """For the summary: at most a few numbers."""
        shown = len(self.delays_ms)
        facts: dict[str, Any] = {
            "frames": self.offer.frames,
            "shown": shown,
            "rendered_fps": round(shown * float(self.offer.fps) / self.offer.frames, 3),
            "outcomes": self.outcomes,
        }
        if shown:
            p50, p95 = np.percentile(self.delays_ms, [50, 95])
            facts["capture_to_decodable_ms"] = {"p50": round(p50, 3), "p95": round(p95, 3)}
        return facts


class CountingDriver(Driver):
    """A receiver's driver that counts instead of remembering."""

    tally: Tally

    def on_event(self, event: object) -> None:
        """See `Tally`."""
        self.tally.on_event(event)


async def receive_session(
    psk: bytes, port: UdpPort, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> dict[str, Any]:
    """Wait for a sender, receive one session.

    Args:
        psk: pre-shared key.
        port: the socket.
        timeouts: of the handshake, and of a peer that falls silent.

    Returns:
        The summary: frames, delays, counters, and what the sender says ("sender").

    Raises:
        SessionEndedError: the sender broke off or fell silent.
    """
    made: dict[str, tuple[Offer, Endpoint]] = {}

    def accept(description: JsonObject) -> str | None:
        offer = Offer.parse(description)
        made["it"] = (offer, offer.receiver())
        return None

    side = ResponderLoop(psk, accept, port, timeouts)
    try:
        side.read(True)
        started = await side.until(Started)
        offer, endpoint = made["it"]
        side.read(False)
        driver = CountingDriver(
            endpoint, port, cast("Address", started.peer), SessionClock(started.epoch_ns),
            end_ns=offer.end_ns, remember=False, companion=side,
        )  # fmt: skip
        driver.tally = Tally(offer)
        side.tell_end(driver.stop)
        with prompt(priority=True):
            log = await driver.run()
        side.read(True)
        ended = await side.until(Ended)
        summary = {
            **driver.tally.facts(),
            "datagrams": driver.arrived_datagrams,
            "strangers": log.strangers + side.strangers,
            "malformed": getattr(endpoint, "malformed_datagrams", 0),
        }
        side.machine.finish(summary)
        side.settle()
        await side.linger()
    except BaseException as error:
        _break_off(side, error)
        raise
    finally:
        side.close()
    return {
        "transport": offer.transport,
        "clip": offer.clip,
        "peer": f"{driver.peer[0]}:{driver.peer[1]}",
        **summary,
        "ignored_control": {str(why): n for why, n in side.machine.ignored.items()},
        "overflowed": log.overflowed,
        "sender": ended.report,
    }
