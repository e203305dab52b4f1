"""A bulk flow under TCP's CUBIC: what else is on a bottleneck."""

from testbed.protocol.tcp.bulk import BulkReceiver, BulkSender
from testbed.protocol.tcp.cubic import Cubic

__all__ = ["BulkReceiver", "BulkSender", "Cubic"]
