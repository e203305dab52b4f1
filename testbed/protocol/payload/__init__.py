"""Payload formats: how an access unit travels in RTP payloads.

H.264 after RFC 6184 (packetization mode 1), H.265 after RFC 7798, H.266 after RFC 9328; all
without decoding order numbers, in one RTP stream. Importing this package registers all three.
"""

from __future__ import annotations

from testbed.protocol.payload.annexb import join_nal_units, split_nal_units
from testbed.protocol.payload.base import PAYLOADS, DepacketizedFrame, PayloadFormat
from testbed.protocol.payload.h264 import H264Payload
from testbed.protocol.payload.h265 import H265Payload
from testbed.protocol.payload.h266 import H266Payload

__all__ = [
    "PAYLOADS",
    "DepacketizedFrame",
    "H264Payload",
    "H265Payload",
    "H266Payload",
    "PayloadFormat",
    "join_nal_units",
    "split_nal_units",
]
