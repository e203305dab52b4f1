"""RTCP messages as values and as bytes.

Sources: RFC 3550 section 6 (SR, RR, SDES, BYE, APP), RFC 4585 (generic NACK, PLI), RFC 5104 (FIR),
draft-alvestrand-rmcat-remb-03 (REMB), RFC 8888 (congestion control feedback), RFC 5506
(reduced-size packets: a compound need not start with a report).
"""

from __future__ import annotations

from testbed.protocol.rtcp.application import ApplicationDefined
from testbed.protocol.rtcp.compound import (
    RtcpMessage,
    UnknownRtcp,
    pack_rtcp,
    parse_rtcp,
)
from testbed.protocol.rtcp.congestion import (
    CongestionFeedback,
    FeedbackBlock,
    PacketArrival,
    metric_word,
)
from testbed.protocol.rtcp.feedback import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    Remb,
)
from testbed.protocol.rtcp.reports import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SdesChunk,
    SenderReport,
    SourceDescription,
)

__all__ = [
    "ApplicationDefined",
    "CongestionFeedback",
    "FeedbackBlock",
    "FullIntraRequest",
    "GenericNack",
    "Goodbye",
    "PacketArrival",
    "PictureLossIndication",
    "ReceiverReport",
    "Remb",
    "ReportBlock",
    "RtcpMessage",
    "SdesChunk",
    "SenderReport",
    "SourceDescription",
    "UnknownRtcp",
    "metric_word",
    "pack_rtcp",
    "parse_rtcp",
]
