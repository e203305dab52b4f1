"""H.266 in RTP (RFC 9328): single NAL units, aggregation packets and fragmentation units."""

from __future__ import annotations

from typing import Final

from testbed.protocol.payload.base import PAYLOADS
from testbed.protocol.payload.nal import FRAGMENT_END
from testbed.protocol.payload.twobyte import TwoByteHeaderFormat

#: NAL unit types (H.266 table 5).
LAST_PICTURE_UNIT: Final = 11  # 0 to 11: VCL NAL units
IRAP_SLICES: Final = range(7, 10)  # IDR_W_RADL, IDR_N_LP, CRA
OPERATING_POINT: Final = 12
DECODING_CAPABILITY: Final = 13
VPS: Final = 14
SPS: Final = 15
ACCESS_UNIT_DELIMITER: Final = 20

#: Last fragment of the last picture unit of a coded picture (RFC 9328 section 4.3.3).
FRAGMENT_PICTURE_END: Final = 0x20


class H266Payload(TwoByteHeaderFormat):
    """Header: F (1), Z (1), layer id (6), type (5), temporal id (3); RFC 9328 section 1.1.4.

    `opens_picture` stays False: adaptation parameter sets, which decoding needs, may come before
    any slice, so only parameter sets and delimiters are sure to begin an access unit.
    """

    codec = "h266"
    carried_types = range(28)  # 28 and 29 are structures of the RFC, 30 and 31 unspecified
    aggregation_type = 28  # AP, section 4.3.2
    fragment_type = 29  # FU, section 4.3.3
    key_types = frozenset(IRAP_SLICES)
    opening_types = frozenset(
        {ACCESS_UNIT_DELIMITER, OPERATING_POINT, DECODING_CAPABILITY, VPS, SPS}
    )

    def type_of(self, unit: bytes) -> int:
        """High five bits of the second byte."""
        return unit[1] >> 3

    def with_type(self, header: bytes, nal_type: int) -> bytes:
        """Keep F, Z, layer and temporal id."""
        return bytes((header[0], nal_type << 3 | header[1] & 0x07))

    def layer_of(self, unit: bytes) -> int:
        """Low six bits of the first byte."""
        return unit[0] & 0x3F

    def with_layer(self, header: bytes, layer: int) -> bytes:
        """Keep all but the layer id."""
        return bytes((header[0] & 0xC0 | layer, header[1]))

    def fragment_type_of(self, fragment_header: int) -> int:
        """S, E, P, type(5)."""
        return fragment_header & 0x1F

    def is_picture_unit(self, nal_type: int) -> bool:
        """VCL NAL units."""
        return nal_type <= LAST_PICTURE_UNIT

    def last_fragment_flags(self, *, last_picture_unit: bool) -> int:
        """E, and P when the picture ends here."""
        return FRAGMENT_END | (FRAGMENT_PICTURE_END if last_picture_unit else 0)


PAYLOADS.register("h266")(H266Payload())
