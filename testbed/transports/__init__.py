"""Transports: one folder a scheme, a Sender and a Receiver each."""

from testbed.transports.aiortc_media import AiortcTransport  # importing it registers two
from testbed.transports.base import TRANSPORTS, Transport, parse_options
from testbed.transports.grace.transport import GraceTransport  # this one `grace-style`
from testbed.transports.h26x.transport import H26xTransport  # and this one three
from testbed.transports.morphe.transport import MorpheTransport  # and this one `morphe`

__all__ = [
    "TRANSPORTS",
    "AiortcTransport",
    "GraceTransport",
    "H26xTransport",
    "MorpheTransport",
    "Transport",
    "parse_options",
]
