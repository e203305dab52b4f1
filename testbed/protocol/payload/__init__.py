"""Payload formats: how an access unit travels in RTP payloads.

H.264 after RFC 6184 (packetization mode 1), H.265 after RFC 7798, H.266 after RFC 9328; all
without decoding order numbers, in one RTP stream.
"""

from __future__ import annotations

from testbed.protocol.payload.annexb import join_nal_units, split_nal_units
from testbed.protocol.payload.base import PAYLOADS, DepacketizedFrame, PayloadFormat

__all__ = [
    "PAYLOADS",
    "DepacketizedFrame",
    "PayloadFormat",
    "join_nal_units",
    "split_nal_units",
]
