"""Both endpoints of a sized transport on a wire in 1 ms steps; no world, no clip on disc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

from testbed.media.clips import Clip
from testbed.protocol.congestion import FixedRate
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import ReceiverContext, SenderContext
from testbed.transports.sized.receiver import SizedReceiver
from testbed.transports.sized.sender import SizedSender

FPS = Fraction(30)
MS = 1_000_000
DEADLINE_NS = 400 * MS
ONE_WAY_NS = 20 * MS


@dataclass(frozen=True)
class ClipShape:
    """All that a payload plan asks of a clip."""

    frame_count: int
    width: int = 1280
    height: int = 720
    fps: Fraction = FPS


def planner(name: str, count: int, *, width: int = 1280, height: int = 720, **options: Any) -> Any:
    transport = TRANSPORTS.get(name)
    parsed = parse_options(transport, options)
    clip = cast("Clip", ClipShape(count, width, height))
    return transport.open_encoder(clip, parsed, None, adaptive=False, pixels=False)


def pair(
    name: str,
    count: int,
    *,
    kbps: float = 300.0,
    encode_ns: int = 0,
    decode_ns: int = 0,
    keep: bool = True,
    deadline_ns: int = DEADLINE_NS,
    **options: Any,
) -> tuple[SizedSender, SizedReceiver]:
    transport = TRANSPORTS.get(name)
    parsed = parse_options(transport, options)
    plan = planner(name, count, **options)
    sender = transport.make_sender(
        SenderContext(FPS, plan, FixedRate(kbps=kbps), lambda _: encode_ns, deadline_ns, parsed)
    )
    receiver = transport.make_receiver(
        ReceiverContext(FPS, lambda _scale=0: decode_ns, deadline_ns, parsed, keep)
    )
    assert isinstance(sender, SizedSender)
    assert isinstance(receiver, SizedReceiver)
    return sender, receiver


def capture_ns(frame: int) -> int:
    return frame * 10**9 // 30


def drive(
    sender: SizedSender,
    receiver: SizedReceiver,
    *,
    count: int,
    lose: Callable[[Datagram], bool] = lambda _: False,
    extra_ms: int = 600,
) -> tuple[list[Event], list[Datagram]]:
    """Fixed delay, rules for losses.

    Returns:
        Both ends' events, and what the sender sent.
    """
    events: list[Event] = []
    sent: list[Datagram] = []
    wire: list[tuple[int, bool, bytes]] = []
    index = 0
    for now_ns in range(0, capture_ns(count - 1) + extra_ms * MS, MS):
        while index < count and capture_ns(index) <= now_ns:
            sender.push_frame(SourceFrame(index), now_ns=now_ns)
            index += 1
        for to_receiver, data in [(d, x) for at, d, x in wire if at <= now_ns]:
            (receiver if to_receiver else sender).receive_datagram(data, now_ns=now_ns)
        wire = [entry for entry in wire if entry[0] > now_ns]
        for endpoint, down in ((sender, True), (receiver, False)):
            timer_ns = endpoint.next_timer()
            if timer_ns is not None and timer_ns <= now_ns:
                endpoint.on_timer(now_ns=now_ns)
            for datagram in endpoint.datagrams_to_send(now_ns=now_ns):
                sent += [datagram] if down else []
                if not (down and lose(datagram)):
                    wire.append((now_ns + ONE_WAY_NS, down, datagram.data))
            events += endpoint.events()
    return events, sent
