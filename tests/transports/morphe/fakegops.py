"""A GoP encoder that knows how to fill a budget and nothing else, and a wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from morphe_core.vgc.bitstream import Kind, Part, UnitHeader, write_unit
from testbed.media.types import EncodedGop
from testbed.protocol.congestion import FixedRate
from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import ReceiverContext, SenderContext
from testbed.transports.morphe.receiver import MorpheReceiver
from testbed.transports.morphe.sender import MorpheSender

FPS = Fraction(30)
DEADLINE_NS = 400_000_000
MS = 1_000_000
ROWS = 15


class FakeGops:
    """A `GopEncoder`: `tokens` units that fill the budget, behind them empty residual units."""

    gop_frames = 9

    def __init__(
        self, frame_count: int, *, tokens: int = 8, residuals: int = 0, keep: bool = False
    ) -> None:
        self.frame_count = frame_count
        self.tokens, self.residuals = tokens, residuals
        self.wants_reports = keep
        self.budgets: list[int] = []
        self.reports: list[tuple[int, tuple[bool, ...] | None]] = []
        self.gops: list[EncodedGop] = []

    def encode(self, index: int, *, budget_bytes: int) -> EncodedGop:
        self.budgets.append(budget_bytes)
        frames = min(9, self.frame_count - 9 * index)
        each = max(0, budget_bytes // self.tokens - 16)
        units = []
        for kind, count, size in (
            (Kind.TOKENS, self.tokens, each),
            (Kind.RESIDUAL, self.residuals, 30),
        ):
            for n in range(count):
                header = UnitHeader(
                    kind=kind, part=Part.JOINT, gop=index % 65536, unit=n, unit_count=count,
                    scale=3, frames=frames, width=640, height=360, i_quality=9, p_quality=0,
                    intra=False, backend=0,
                )  # fmt: skip
                units.append(write_unit(header, bytes(size)))
        gop = EncodedGop(index, frames, 3, tuple(units), tuple(map(len, units)), 0)
        self.gops.append(gop)
        return gop

    def report(self, gop: int, missing: Sequence[bool] | None) -> None:
        self.reports.append((gop, None if missing is None else tuple(missing)))

    def facts(self) -> Mapping[str, Any]:
        return {"kind": "fake"}


def pair(
    encoder: FakeGops,
    *,
    kbps: float = 200.0,
    encode_ns: int = 0,
    decode_ns: int = 0,
    deadline_ns: int = DEADLINE_NS,
    **options: Any,
) -> tuple[MorpheSender, MorpheReceiver]:
    """Both endpoints."""
    transport = TRANSPORTS.get("morphe")
    parsed = parse_options(transport, options)
    sender = transport.make_sender(
        SenderContext(FPS, encoder, FixedRate(kbps=kbps), lambda _: encode_ns, deadline_ns, parsed)
    )
    receiver = transport.make_receiver(
        ReceiverContext(FPS, lambda _scale=0: decode_ns, deadline_ns, parsed)
    )
    assert isinstance(sender, MorpheSender)
    assert isinstance(receiver, MorpheReceiver)
    return sender, receiver


def drive(
    sender: MorpheSender,
    receiver: MorpheReceiver,
    *,
    count: int,
    one_way_ns: int = 20 * MS,
    lose: Callable[[Datagram], bool] = lambda _: False,
    late: Callable[[Datagram], int] = lambda _: 0,
) -> tuple[list[Event], list[Datagram]]:
    """A world in a dozen lines: 1 ms steps, fixed delay, rules for losses and delays.

    Returns:
        The receiver's events, and what the sender sent.
    """
    events: list[Event] = []
    sent: list[Datagram] = []
    wire: list[tuple[int, bool, bytes]] = []
    captures = [-(-n * 10**9 // 30) for n in range(count)]
    for now_ns in range(0, captures[-1] + 600 * MS, MS):
        while captures and captures[0] <= now_ns:
            sender.push_frame(SourceFrame(count - len(captures)), now_ns=now_ns)
            captures.pop(0)
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
                    extra_ns = late(datagram) if down else 0
                    wire.append((now_ns + one_way_ns + extra_ns, down, datagram.data))
        events += receiver.events()
    return events, sent
