"""An encoder that knows how to fill a budget with packets and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from grace_style.header import HEADER_BYTES, Header, pieces_of
from testbed.media.types import EncodedGop
from testbed.protocol.congestion import FixedRate
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import ReceiverContext, SenderContext
from testbed.transports.grace.receiver import GraceReceiver
from testbed.transports.grace.sender import PACKET_HEADER_BYTES, GraceSender

FPS = Fraction(30)
DEADLINE_NS = 400_000_000


class FakePictures:
    """`packets` packets a picture, behind an intra picture in pieces."""

    def __init__(self, packets: int = 4) -> None:
        self.packets = packets
        self.budgets: list[int] = []
        self.pictures: list[tuple[bytes, ...]] = []
        self.reports: list[tuple[int, tuple[bool, ...]]] = []

    def encode(self, index: int, *, wire_bytes: int, intra: bool) -> EncodedGop:
        self.budgets.append(wire_bytes)
        if intra:
            data = bytes(wire_bytes * 9 // 10)
            units = tuple(pieces_of(data, frame=index, most_bytes=1200))
            mode = "key"
        else:
            size = max(0, wire_bytes // self.packets - PACKET_HEADER_BYTES - HEADER_BYTES)
            units = tuple(
                Header(index % 65536, n, self.packets, 5, 6, 0).pack() + bytes(size)
                for n in range(self.packets)
            )
            mode = "p"
        self.pictures.append(units)
        return EncodedGop(index, 1, 1, units, (), 0, mode)

    def report(self, frame: int, arrived: Sequence[bool]) -> bool:
        told = (frame, tuple(arrived))
        if told in self.reports:
            return False
        self.reports.append(told)
        return True

    def facts(self) -> Mapping[str, Any]:
        return {"kind": "fake"}


def pair(
    encoder: FakePictures, *, kbps: float = 400.0, decode_ns: int = 0,
    deadline_ns: int = DEADLINE_NS, controller: FixedRate | None = None, **options: Any,
) -> tuple[GraceSender, GraceReceiver]:  # fmt: skip
    """Both endpoints."""
    transport = TRANSPORTS.get("grace-style")
    parsed = parse_options(transport, options)
    sender = transport.make_sender(
        SenderContext(
            FPS, encoder, controller or FixedRate(kbps=kbps), lambda _: 0, deadline_ns, parsed
        )
    )
    receiver = transport.make_receiver(
        ReceiverContext(FPS, lambda _scale=0: decode_ns, deadline_ns, parsed)
    )
    assert isinstance(sender, GraceSender)
    assert isinstance(receiver, GraceReceiver)
    return sender, receiver
