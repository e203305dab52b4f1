"""H.265 in RTP (RFC 7798): single NAL units, aggregation packets and fragmentation units."""

from __future__ import annotations

from typing import Final

from testbed.protocol.payload.base import PAYLOADS
from testbed.protocol.payload.twobyte import TwoByteHeaderFormat

#: NAL unit types (H.265 table 7-1).
LAST_PLAIN_SLICE: Final = 9  # 0 to 9: slices of pictures that are no random access points
IRAP_SLICES: Final = range(16, 22)  # BLA 16-18, IDR 19-20, CRA 21; 22 and 23 are reserved
VPS: Final = 32
ACCESS_UNIT_DELIMITER: Final = 35


class H265Payload(TwoByteHeaderFormat):
    """Header: F (1), type (6), layer id (6), temporal id (3); RFC 7798 section 1.1.4."""

    codec = "h265"
    carried_types = range(48)  # 48 to 50 are structures of the RFC, 51 to 63 unspecified
    aggregation_type = 48  # AP, section 4.4.2
    fragment_type = 49  # FU, section 4.4.3
    key_types = frozenset(IRAP_SLICES)
    opening_types = frozenset({ACCESS_UNIT_DELIMITER, VPS})

    def type_of(self, unit: bytes) -> int:
        """Bits 1 to 6 of the first byte."""
        return unit[0] >> 1 & 0x3F

    def with_type(self, header: bytes, nal_type: int) -> bytes:
        """Keep F, layer and temporal id."""
        return bytes((header[0] & 0x81 | nal_type << 1, header[1]))

    def layer_of(self, unit: bytes) -> int:
        """One bit of the first byte, five of the second."""
        return (unit[0] & 0x01) << 5 | unit[1] >> 3

    def with_layer(self, header: bytes, layer: int) -> bytes:
        """Keep all but the layer id."""
        return bytes((header[0] & 0xFE | layer >> 5, (layer & 0x1F) << 3 | header[1] & 0x07))

    def fragment_type_of(self, fragment_header: int) -> int:
        """S, E, type(6)."""
        return fragment_header & 0x3F

    def opens_picture(self, unit: bytes, nal_type: int) -> bool:
        """A slice of a picture in between, with first_slice_segment_in_pic_flag.

        Messages (SEI) lost before it would go unnoticed; they do not matter for decoding.
        """
        return nal_type <= LAST_PLAIN_SLICE and len(unit) > 2 and unit[2] & 0x80 != 0


PAYLOADS.register("h265")(H265Payload())
