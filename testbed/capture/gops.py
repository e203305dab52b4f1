"""Morphe's groups of pictures, as the packets of a flow show them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from morphe_core.errors import BitstreamError
from morphe_core.nasc.packetizer import DESCRIPTOR_BYTES, Descriptor, parse_descriptor
from morphe_core.vgc.bitstream import read_unit
from testbed.errors import RemoteProtocolError
from testbed.protocol.payload.types import MORPHE_MEDIA, MORPHE_RTX
from testbed.protocol.rtp import RtpPacket, parse_rtx

#: GoPs looked at; a capture with more is summed up by its first day, at 30 pictures a second.
MAX_GOPS: Final = 288_000


@dataclass(slots=True)
class _Gop:
    packets: int
    seen: set[int] = field(default_factory=set)
    units: int = 0  # that begin in packets that were seen


class GopView:
    """Takes the RTP packets of a flow and knows Morphe's among them.

    Others use the same payload types, so a flow counts as ours only once a unit's checksum was
    right. A GoP is known by its RTP timestamp.
    """

    def __init__(self) -> None:
        self._gops: dict[tuple[int, int], _Gop] = {}
        self._scales: Counter[int] = Counter()
        self._sizes: Counter[str] = Counter()
        self._verified = 0
        self._refused = 0
        self._retransmissions = 0
        self._repaired = 0
        self._padding = 0

    def add(self, packet: RtpPacket) -> None:
        """A packet of the flow, of whatever payload type."""
        if packet.payload_type == MORPHE_MEDIA:
            self._add_unit(packet.ssrc, packet.timestamp, packet.payload, repair=False)
        elif packet.payload_type != MORPHE_RTX:
            return
        elif packet.padding_bytes and not packet.payload:
            self._padding += 1
        else:
            self._retransmissions += 1
            try:
                _, payload = parse_rtx(packet)
            except RemoteProtocolError:
                self._refused += 1
                return
            # The source of repairs is the next one after the media's.
            self._add_unit(packet.ssrc - 1, packet.timestamp, payload, repair=True)

    def _add_unit(self, ssrc: int, timestamp: int, payload: bytes, *, repair: bool) -> None:
        try:
            descriptor = parse_descriptor(payload)
        except BitstreamError:
            self._refused += 1
            return
        gop = self._gops.get((ssrc, timestamp))
        if gop is None:
            if len(self._gops) >= MAX_GOPS:
                return
            gop = self._gops[ssrc, timestamp] = _Gop(descriptor.packets)
        if gop.packets != descriptor.packets:
            self._refused += 1
            return
        if descriptor.position in gop.seen:
            return
        gop.seen.add(descriptor.position)
        gop.units += descriptor.starts
        self._repaired += repair
        self._verify(descriptor, payload)

    def _verify(self, descriptor: Descriptor, payload: bytes) -> None:
        if not descriptor.whole:
            return
        try:
            header = read_unit(payload[DESCRIPTOR_BYTES:]).header
        except BitstreamError:
            self._refused += 1
            return
        self._verified += 1
        self._scales[header.scale] += 1
        self._sizes[f"{header.width}x{header.height}"] += 1

    def summary(self) -> dict[str, Any] | None:
        """What there was, as JSON values; None if this was not Morphe.

        `packets`, `units` and their ranges are a GoP's; units are counted in complete GoPs, where
        none can be missing. `repaired` packets came by a retransmission alone.
        """
        if not self._verified:
            return None
        gops = self._gops.values()
        complete = [gop for gop in gops if len(gop.seen) == gop.packets]
        return {
            "gops": len(self._gops),
            "complete_gops": len(complete),
            "packets": _range([gop.packets for gop in gops]),
            "units": _range([gop.units for gop in complete]),
            "missing_packets": sum(gop.packets - len(gop.seen) for gop in gops),
            "retransmissions": self._retransmissions,
            "repaired": self._repaired,
            "padding": self._padding,
            "refused": self._refused,
            "scales": {str(scale): count for scale, count in sorted(self._scales.items())},
            "sizes": dict(sorted(self._sizes.items())),
        }


def _range(values: list[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"least": min(values), "mean": sum(values) / len(values), "most": max(values)}
