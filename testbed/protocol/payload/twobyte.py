"""The rule that H.265 and H.266 share for the header of an aggregation packet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from testbed.protocol.payload.nal import NalPayloadFormat

_F_MASK: Final = 0x80
_TID_MASK: Final = 0x07


class TwoByteHeaderFormat(NalPayloadFormat):
    """Payload formats whose NAL unit header has two bytes, ending in the temporal id (3 bits)."""

    header_bytes = 2

    @abstractmethod
    def layer_of(self, unit: bytes) -> int:
        """Layer id (6 bits) of a NAL unit."""

    @abstractmethod
    def with_layer(self, header: bytes, layer: int) -> bytes:
        """`header` with another layer id."""

    def aggregation_header(self, units: Sequence[bytes]) -> bytes:
        """F if any has it; lowest layer and temporal id (RFC 7798 4.4.2, RFC 9328 4.3.2)."""
        forbidden = max(unit[0] & _F_MASK for unit in units)
        temporal = min(unit[1] & _TID_MASK for unit in units)
        header = self.with_type(bytes((forbidden, temporal)), self.aggregation_type)
        return self.with_layer(header, min(self.layer_of(unit) for unit in units))
