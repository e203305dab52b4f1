"""Our wire formats for scapy: Morphe's payload descriptor, retransmissions, and RTCP feedback.

Importing this module binds the layers: UDP from or to the ports of our captures is RTP or RTCP, and
RTP of our payload types goes on with ours.

    import testbed.capture.scapy
    from scapy.utils import rdpcap

    packets = rdpcap("capture.pcapng")

Sender reports, receiver reports and source descriptions are scapy's own (`scapy.contrib.rtcp`);
goodbyes, the feedback of RFC 4585, RFC 5104 and RFC 8888, REMB, and compounds are here. Scapy is
GPL-2.0 and an extra (`pip install 'morphe-testbed[capture]'`); no other file of the testbed imports
it.
"""

from __future__ import annotations

from typing import Any, Final

from scapy.config import conf
from scapy.contrib.rtcp import RTCP
from scapy.fields import (
    BitField,
    BitFieldLenField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FieldListField,
    IntField,
    PacketListField,
    ShortField,
    StrField,
    StrFixedLenField,
    StrLenField,
    XIntField,
)
from scapy.layers.inet import UDP
from scapy.layers.rtp import RTP
from scapy.packet import Packet, Raw, bind_layers

from testbed.capture.datagram import RECEIVER_PORT, SENDER_PORT
from testbed.protocol.payload.types import H26X_FEC, H26X_RTX, MORPHE_MEDIA, MORPHE_RTX
from testbed.protocol.rtcp.feedback import PSFB, REMB_NAME, RTPFB
from testbed.protocol.rtp import RTP_HEADER_BYTES

__all__ = [
    "Fir",
    "FirEntry",
    "MorpheDescriptor",
    "Nack",
    "NackPair",
    "OtherRtcp",
    "PacketMetric",
    "Pli",
    "Remb",
    "RepairHeader",
    "ReportedSource",
    "Rfc8888",
    "RtcpBye",
    "RtcpCompound",
    "RtpOrRtcp",
    "Rtx",
]

#: Second byte of RTCP on a port that RTP shares (RFC 5761 section 4).
_RTCP_TYPES: Final = range(192, 224)
_BYE: Final = 203


# --- RTP payloads -----------------------------------------------------------------------------


class _OneMore(BitField):
    """A count of which the wire has one less."""

    def m2i(self, pkt: Any, x: int) -> int:  # noqa: ARG002 - contract
        """From the wire."""
        return x + 1

    def i2m(self, pkt: Any, x: int | None) -> int:  # noqa: ARG002 - contract
        """To the wire."""
        return (x or 1) - 1


class MorpheDescriptor(Packet):
    """The four bytes before a unit of Morphe's codec; see `morphe_core.nasc.packetizer`."""

    name = "Morphe"
    fields_desc = [
        BitField("position", 0, 10),
        _OneMore("packets", 1, 10),
        _OneMore("tokens", 1, 10),
        BitField("starts", 1, 1),
        BitField("ends", 1, 1),
    ]


class Rtx(Packet):
    """A retransmission's original sequence number (RFC 4588 section 4)."""

    name = "RTX"
    fields_desc = [ShortField("original_sequence", 0)]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """What the media's own packets hold."""
        below = self.underlayer
        if isinstance(below, RTP) and below.payload_type == MORPHE_RTX:
            return MorpheDescriptor
        return super().guess_payload_class(payload)


class RepairHeader(Packet):
    """What a repair packet of forward error correction covers (`testbed.protocol.fec.wire`)."""

    name = "FEC repair"
    fields_desc = [
        ByteField("code", 0),
        ByteField("count", 1),
        ShortField("base", 0),
        ByteField("row", 0),
        ByteField("rows", 1),
    ]


# --- RTCP -------------------------------------------------------------------------------------


class _Message(Packet):
    """An RTCP packet whose length is filled in."""

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Words after the first (RFC 3550 section 6.4.1)."""
        whole = pkt + pay
        if self.length is None:
            whole = whole[:2] + (len(whole) // 4 - 1).to_bytes(2, "big") + whole[4:]
        return whole


class _Part(Packet):
    """A piece of a message: what follows is not its own."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """No payload."""
        return b"", s


def _header(packet_type: int, count: int) -> list[Any]:
    """The four bytes that all messages begin with."""
    return [
        BitField("version", 2, 2),
        BitField("padding", 0, 1),
        BitField("count", count, 5),
        ByteField("packet_type", packet_type),
        ShortField("length", None),
    ]


def _feedback(packet_type: int, form: int) -> list[Any]:
    """Header and both sources of a feedback message (RFC 4585 section 6.1)."""
    sources = [XIntField("sender_ssrc", 0), XIntField("media_ssrc", 0)]
    return _header(packet_type, form) + sources


def _body_bytes(fixed: int) -> Any:
    """Bytes of a message beyond its header and `fixed` more."""
    return lambda message: max(0, 4 * message.length - fixed)


class RtcpBye(_Message):
    """BYE (RFC 3550 section 6.6)."""

    name = "RTCP BYE"
    fields_desc = [
        BitField("version", 2, 2),
        BitField("padding", 0, 1),
        BitFieldLenField("count", None, 5, count_of="sources"),
        ByteField("packet_type", _BYE),
        ShortField("length", None),
        FieldListField("sources", [], XIntField("", 0), count_from=lambda message: message.count),
        StrField("reason", b""),
    ]


class NackPair(_Part):
    """A packet that is missing, and a bit for each of the 16 after it."""

    name = "lost"
    fields_desc = [ShortField("pid", 0), BitField("blp", 0, 16)]


class Nack(_Message):
    """Generic NACK (RFC 4585 section 6.2.1)."""

    name = "RTCP NACK"
    fields_desc = [
        *_feedback(RTPFB, 1),
        PacketListField("lost", [], NackPair, length_from=_body_bytes(8)),
    ]


class Pli(_Message):
    """Picture loss indication (RFC 4585 section 6.3.1)."""

    name = "RTCP PLI"
    fields_desc = _feedback(PSFB, 1)


class FirEntry(_Part):
    """A source that is asked for a key frame."""

    name = "request"
    fields_desc = [
        XIntField("ssrc", 0), ByteField("number", 0), BitField("reserved", 0, 24),
    ]  # fmt: skip


class Fir(_Message):
    """Full intra request (RFC 5104 section 4.3.1)."""

    name = "RTCP FIR"
    fields_desc = [
        *_feedback(PSFB, 4),
        PacketListField("requests", [], FirEntry, length_from=_body_bytes(8)),
    ]


class Remb(_Message):
    """Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03)."""

    name = "RTCP REMB"
    fields_desc = [
        *_feedback(PSFB, 15),
        StrFixedLenField("identifier", REMB_NAME, 4),
        FieldLenField("num_ssrc", None, count_of="ssrcs", fmt="B"),
        BitField("exponent", 0, 6),
        BitField("mantissa", 0, 18),
        FieldListField("ssrcs", [], XIntField("", 0), count_from=lambda message: message.num_ssrc),
    ]


class PacketMetric(_Part):
    """What RFC 8888 says of one packet; `arrival_offset` in 1/1024 s before the report."""

    name = "packet"
    fields_desc = [
        BitField("received", 0, 1), BitField("ecn", 0, 2), BitField("arrival_offset", 0, 13),
    ]  # fmt: skip


class ReportedSource(_Part):
    """The packets of one source, padded to 32 bits."""

    name = "source"
    fields_desc = [
        XIntField("ssrc", 0),
        ShortField("begin_seq", 0),
        FieldLenField("num_reports", None, count_of="metrics", fmt="H"),
        PacketListField("metrics", [], PacketMetric, count_from=lambda source: source.num_reports),
        ConditionalField(ShortField("padding", 0), lambda source: len(source.metrics) % 2 == 1),
    ]


class Rfc8888(_Message):
    """Congestion control feedback (RFC 8888 section 3.1); it names no media source itself."""

    name = "RTCP congestion feedback"
    fields_desc = [
        *_header(RTPFB, 11),
        XIntField("sender_ssrc", 0),
        PacketListField("sources", [], ReportedSource, length_from=_body_bytes(8)),
        IntField("report_timestamp", 0),
    ]


class OtherRtcp(_Message):
    """A message of a kind that neither scapy nor this module knows."""

    name = "RTCP message"
    fields_desc = [
        *_header(0, 0),
        StrLenField("body", b"", length_from=_body_bytes(0)),
    ]


_FEEDBACK: Final[dict[tuple[int, int], type[Packet]]] = {
    (RTPFB, 1): Nack,
    (RTPFB, 11): Rfc8888,
    (PSFB, 1): Pli,
    (PSFB, 4): Fir,
    (PSFB, 15): Remb,
}
_KINDS: Final[dict[int, type[Packet]]] = {200: RTCP, 201: RTCP, 202: RTCP, _BYE: RtcpBye}


def _kind_of(message: bytes) -> type[Packet]:
    kind = _FEEDBACK.get((message[1], message[0] & 0x1F)) or _KINDS.get(message[1], OtherRtcp)
    if kind is Remb and message[12:16] != REMB_NAME:  # application feedback of another name
        return OtherRtcp
    return kind


def _next_message(data: bytes, *_: Any) -> Packet:
    """The first message of `data`; the rest goes into padding, where scapy looks for it."""
    size = 4 * (int.from_bytes(data[2:4], "big") + 1)
    if len(data) < 4 or size > len(data):
        return Raw(data)
    first, rest = data[:size], data[size:]
    try:
        message = _kind_of(first)(first)
        whole = bytes(message) == first
    except Exception:  # scapy's fields raise whatever comes when a message ends inside them
        whole = False
    if not whole:  # more, or something else, than the layer can hold
        message = OtherRtcp(first)
    if rest:
        message.lastlayer().add_payload(conf.padding_layer(rest))
    return message


class RtcpCompound(Packet):
    """The RTCP packets of a datagram, in order."""

    name = "RTCP compound"
    fields_desc = [PacketListField("messages", [], _next_message)]


class RtpOrRtcp(Packet):
    """What a shared port carries (RFC 5761): turns into `RTP` or `RtcpCompound`."""

    name = "RTP or RTCP"

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_: Any, **__: Any) -> type[Packet]:
        """Scapy asks which layer the bytes are."""
        if _pkt is not None and len(_pkt) > 1 and _pkt[1] in _RTCP_TYPES:
            return RtcpCompound
        return Raw if _pkt is not None and len(_pkt) < RTP_HEADER_BYTES else RTP


for _port in (SENDER_PORT, RECEIVER_PORT):
    bind_layers(UDP, RtpOrRtcp, dport=_port)
    bind_layers(UDP, RtpOrRtcp, sport=_port)
# Padding that fills a probe has the retransmissions' payload type and is none.
bind_layers(RTP, MorpheDescriptor, payload_type=MORPHE_MEDIA, padding=0)
bind_layers(RTP, Rtx, payload_type=MORPHE_RTX, padding=0)
bind_layers(RTP, Rtx, payload_type=H26X_RTX, padding=0)
bind_layers(RTP, RepairHeader, payload_type=H26X_FEC)
