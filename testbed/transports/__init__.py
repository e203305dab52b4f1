"""Transports: one folder a scheme, a Sender and a Receiver each."""

from testbed.transports.aiortc_media import AiortcTransport  # importing it registers two
from testbed.transports.base import TRANSPORTS, Transport, parse_options
from testbed.transports.grace.transport import GraceTransport  # this one `grace-style`
from testbed.transports.grace_original.transport import GraceOriginalTransport  # and this one one
from testbed.transports.h26x.transport import H26xTransport  # and this one three
from testbed.transports.morphe.transport import MorpheTransport  # and this one `morphe`
from testbed.transports.sized.transport import SizedTransport  # and this one those without pictures

__all__ = [
    "TRANSPORTS",
    "AiortcTransport",
    "GraceOriginalTransport",
    "GraceTransport",
    "H26xTransport",
    "MorpheTransport",
    "SizedTransport",
    "Transport",
    "parse_options",
]
