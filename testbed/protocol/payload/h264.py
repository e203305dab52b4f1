"""H.264 in RTP, packetization mode 1 (RFC 6184): single NAL units, STAP-A and FU-A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from testbed.protocol.payload.base import PAYLOADS
from testbed.protocol.payload.nal import NalPayloadFormat

#: NAL unit types (H.264 table 7-1).
SLICE: Final = 1
IDR_SLICE: Final = 5
SPS: Final = 7
ACCESS_UNIT_DELIMITER: Final = 9

_TYPE_MASK: Final = 0x1F
_F_MASK: Final = 0x80
_NRI_MASK: Final = 0x60


class H264Payload(NalPayloadFormat):
    """Header: forbidden bit (1), NRI (2), type (5); RFC 6184 section 1.3."""

    codec = "h264"
    header_bytes = 1
    carried_types = range(1, 24)  # 24 to 31 are structures of the RFC, 0 is unspecified
    aggregation_type = 24  # STAP-A, section 5.7.1
    fragment_type = 28  # FU-A, section 5.8
    key_types = frozenset({IDR_SLICE})
    opening_types = frozenset({ACCESS_UNIT_DELIMITER, SPS})

    def type_of(self, unit: bytes) -> int:
        """Low five bits."""
        return unit[0] & _TYPE_MASK

    def with_type(self, header: bytes, nal_type: int) -> bytes:
        """Keep F and NRI."""
        return bytes((header[0] & ~_TYPE_MASK & 0xFF | nal_type,))

    def aggregation_header(self, units: Sequence[bytes]) -> bytes:
        """F if any has it, and the highest NRI (section 5.7)."""
        forbidden = max(unit[0] & _F_MASK for unit in units)
        importance = max(unit[0] & _NRI_MASK for unit in units)
        return bytes((forbidden | importance | self.aggregation_type,))

    def fragment_type_of(self, fragment_header: int) -> int:
        """S, E, R, type(5)."""
        return fragment_header & _TYPE_MASK

    def opens_picture(self, unit: bytes, nal_type: int) -> bool:
        """A non-IDR slice whose first_mb_in_slice is 0: ue(v) 0 is a single 1 bit.

        Messages (SEI) or a picture parameter set lost before it would go unnoticed; x264 in its
        low-latency settings writes them at key frames only.
        """
        return nal_type == SLICE and len(unit) > 1 and unit[1] & 0x80 != 0


PAYLOADS.register("h264")(H264Payload())
