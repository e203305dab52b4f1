"""What can be said of the RTP and RTCP of one flow, packet by packet."""

from __future__ import annotations

from collections import Counter
from typing import Final

from testbed.capture.gops import GopView
from testbed.capture.links import UdpDatagram
from testbed.capture.sequence import SequenceLog
from testbed.errors import RemoteProtocolError
from testbed.protocol.rtcp import RtcpMessage, UnknownRtcp, parse_rtcp
from testbed.protocol.rtp import VIDEO_CLOCK_HZ, RtpPacket, is_rtcp, parse_rtp

#: Clock rates of static payload types that differ from 90 kHz (RFC 3551 section 6).
STATIC_CLOCKS_HZ: Final = {
    **dict.fromkeys((0, 3, 4, 5, 7, 8, 9, 12, 13, 15, 18), 8000),
    6: 16_000,
    10: 44_100,
    11: 44_100,
    16: 11_025,
    17: 22_050,
}
#: The first dynamic payload type (RFC 3551 section 3).
FIRST_DYNAMIC: Final = 96
#: SSRCs kept of a flow; noise that looks like RTP has another one in every packet.
MAX_SOURCES: Final = 1024
#: Stands for the kind of what looks like RTCP from its first two bytes alone.
UNREADABLE: Final = "unreadable"

_VERSION: Final = 2
#: Kinds of RTCP that the testbed has no class for, by packet type and format (the registries of
#: RTP parameters at IANA); -1: any.
_OTHER_KINDS: Final = {
    (205, 3): "TMMBR",
    (205, 4): "TMMBN",
    (205, 15): "TWCC",
    (206, 2): "SLI",
    (206, 3): "RPSI",
    (206, 15): "AFB",
    (207, -1): "XR",
}
_KINDS: Final = {
    "SenderReport": "SR",
    "ReceiverReport": "RR",
    "SourceDescription": "SDES",
    "Goodbye": "BYE",
    "GenericNack": "NACK",
    "PictureLossIndication": "PLI",
    "FullIntraRequest": "FIR",
    "Remb": "REMB",
    "CongestionFeedback": "CCFB",
    "ApplicationDefined": "APP",
}


def rtcp_kind(message: RtcpMessage) -> str:
    """Short name of a message: `SR`, `NACK`, `CCFB`, or `type 205/7` for an unknown one."""
    if not isinstance(message, UnknownRtcp):
        return _KINDS[type(message).__name__]
    kind, form = message.packet_type, message.count
    known = _OTHER_KINDS.get((kind, -1)) or _OTHER_KINDS.get((kind, form))
    return known or f"type {kind}/{form}"


class Jitter:
    """Interarrival jitter (RFC 3550 section 6.4.1), in ns."""

    def __init__(self) -> None:
        self.now_ns = 0.0
        self.most_ns = 0.0
        self._sum_ns = 0.0
        self._samples = 0
        self._last: tuple[int, int] | None = None

    def add(self, time_ns: int, timestamp: int, clock_hz: int) -> None:
        """A packet with this RTP timestamp came."""
        last, self._last = self._last, (time_ns, timestamp)
        if last is None:
            return
        ticks = (timestamp - last[1] + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        difference_ns = abs(time_ns - last[0] - ticks * 1e9 / clock_hz)
        self.now_ns += (difference_ns - self.now_ns) / 16
        self.most_ns = max(self.most_ns, self.now_ns)
        self._sum_ns += self.now_ns
        self._samples += 1

    @property
    def mean_ns(self) -> float | None:
        """Mean over the packets after the first; None without any."""
        return self._sum_ns / self._samples if self._samples else None


class Source:
    """One SSRC of a flow.

    Attributes:
        packets: all of them, duplicates too.
        size_bytes: their UDP payloads.
        payload_types: packets by payload type.
        first_ns, last_ns: since 1970; None where the capture has no times.
        sequence, jitter: see there.
        clock_hz: that the jitter was computed with: the payload type's, else as the caller says.
    """

    def __init__(self, ssrc: int) -> None:
        self.ssrc = ssrc
        self.packets = 0
        self.size_bytes = 0
        self.payload_types: Counter[int] = Counter()
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.sequence = SequenceLog()
        self.jitter = Jitter()
        self.clock_hz = 0

    def add(
        self, packet: RtpPacket, size_bytes: int, time_ns: int | None, *, clock_hz: int
    ) -> None:
        """A packet of it came; `clock_hz` is that of dynamic payload types."""
        self.packets += 1
        self.size_bytes += size_bytes
        self.payload_types[packet.payload_type] += 1
        self.sequence.add(packet.sequence)
        if packet.payload_type >= FIRST_DYNAMIC:
            self.clock_hz = clock_hz
        else:
            self.clock_hz = STATIC_CLOCKS_HZ.get(packet.payload_type, VIDEO_CLOCK_HZ)
        if time_ns is not None:
            self.first_ns = time_ns if self.first_ns is None else self.first_ns
            self.last_ns = time_ns
            self.jitter.add(time_ns, packet.timestamp, self.clock_hz)


class Flow:
    """UDP datagrams from one address and port to another, as seen on one interface.

    Whether they are RTP only the whole flow tells: bytes that look like a header are taken for one
    where some source has two different packets in a sensible sequence (RFC 3550 appendix A.1).

    Args:
        interface: name of the interface.
        datagram: its first.
        clock_hz: of dynamic payload types.
    """

    def __init__(self, interface: str, datagram: UdpDatagram, *, clock_hz: int) -> None:
        self.interface = interface
        self.source = (datagram.source, datagram.source_port)
        self.destination = (datagram.destination, datagram.destination_port)
        self.datagrams = 0
        self.size_bytes = 0
        self.cut = 0  # of which the capture does not hold all bytes
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.rtcp: Counter[str] = Counter()
        self.gops = GopView()
        self._clock_hz = clock_hz
        self._sources: dict[int, Source] = {}
        self._other = 0

    def add(self, datagram: UdpDatagram, time_ns: int | None) -> None:
        """A datagram of it came."""
        self.datagrams += 1
        self.size_bytes += datagram.size_bytes
        self.cut += len(datagram.payload) < datagram.size_bytes
        if time_ns is not None:
            self.first_ns = time_ns if self.first_ns is None else self.first_ns
            self.last_ns = time_ns
        data = datagram.payload
        if not data or data[0] >> 6 != _VERSION:
            self._other += 1
        elif is_rtcp(data):
            self._add_rtcp(data)
        else:
            self._add_rtp(data, datagram.size_bytes, time_ns)

    def _add_rtcp(self, data: bytes) -> None:
        try:
            messages = parse_rtcp(data)
        except RemoteProtocolError:
            # Encrypted (RFC 3711), cut off, or none at all.
            self.rtcp[UNREADABLE] += 1
            return
        self.rtcp.update(rtcp_kind(message) for message in messages)

    def _add_rtp(self, data: bytes, size_bytes: int, time_ns: int | None) -> None:
        try:
            packet = parse_rtp(data)
        except RemoteProtocolError:
            self._other += 1
            return
        source = self._sources.get(packet.ssrc)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                self._other += 1
                return
            source = self._sources[packet.ssrc] = Source(packet.ssrc)
        source.add(packet, size_bytes, time_ns, clock_hz=self._clock_hz)
        self.gops.add(packet)

    @property
    def is_rtp(self) -> bool:
        """Some source proved to be one."""
        return any(source.sequence.received > 1 for source in self._sources.values())

    @property
    def is_known(self) -> bool:
        """There is RTP, or RTCP that can be read."""
        return self.is_rtp or any(kind != UNREADABLE for kind in self.rtcp)

    @property
    def sources(self) -> list[Source]:
        """In the order of their first packets; none if this is not RTP."""
        return list(self._sources.values()) if self.is_rtp else []

    @property
    def not_rtp(self) -> int:
        """Datagrams that are neither RTP nor RTCP."""
        if self.is_rtp:
            return self._other
        return self._other + sum(source.packets for source in self._sources.values())
