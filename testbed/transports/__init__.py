"""Transports: one folder a scheme, a Sender and a Receiver each."""

from testbed.transports.base import TRANSPORTS, Transport, parse_options
from testbed.transports.h26x.transport import H26xTransport  # importing it registers three
from testbed.transports.morphe.transport import MorpheTransport  # and this one `morphe`

__all__ = ["TRANSPORTS", "H26xTransport", "MorpheTransport", "Transport", "parse_options"]
