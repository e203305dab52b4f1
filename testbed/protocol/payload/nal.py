"""What the three payload formats share: single NAL units, aggregation, fragmentation.

RFC 6184, 7798 and 9328 differ in header layout and type numbers only. A payload is a single NAL
unit, an aggregation packet (a header, then units each after its 16-bit size), or a fragment (the
NAL header with its type replaced, then one byte with start bit, end bit and the true type).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from testbed.errors import LocalProtocolError
from testbed.protocol.payload.annexb import join_nal_units, split_nal_units
from testbed.protocol.payload.base import DepacketizedFrame

FRAGMENT_START: Final = 0x80
FRAGMENT_END: Final = 0x40
#: Bytes of the size before each unit of an aggregation packet.
SIZE_BYTES: Final = 2
#: What an IPv4 packet of 65535 bytes leaves after the IP, UDP and RTP headers; so every unit that
#: needs no fragmentation has a size of 16 bits.
MAX_PAYLOAD_BYTES: Final = 65_535 - 20 - 8 - 12


class NalPayloadFormat(ABC):
    """A payload format of the NAL unit family; see `PayloadFormat` for the public methods."""

    codec: ClassVar[str]
    #: Bytes of a NAL unit header, and of the payload header, which looks the same.
    header_bytes: ClassVar[int]
    #: NAL unit types that may travel.
    carried_types: ClassVar[range]
    aggregation_type: ClassVar[int]
    fragment_type: ClassVar[int]
    #: Types of random access pictures.
    key_types: ClassVar[frozenset[int]]
    #: Types that can only be the first of an access unit, in streams as our encoders write them.
    opening_types: ClassVar[frozenset[int]]

    @abstractmethod
    def type_of(self, unit: bytes) -> int:
        """Type field of a NAL unit or payload header."""

    @abstractmethod
    def with_type(self, header: bytes, nal_type: int) -> bytes:
        """`header` with another type."""

    @abstractmethod
    def aggregation_header(self, units: Sequence[bytes]) -> bytes:
        """Payload header over several units."""

    @abstractmethod
    def fragment_type_of(self, fragment_header: int) -> int:
        """True type of the fragmented unit, from the byte after the payload header."""

    def last_fragment_flags(self, *, last_picture_unit: bool) -> int:  # noqa: ARG002
        """Flags of the last fragment of a unit; H.266 has one more."""
        return FRAGMENT_END

    def is_picture_unit(self, nal_type: int) -> bool:  # noqa: ARG002
        """Whether the unit holds coded picture data (asked for H.266's extra flag only)."""
        return False

    def opens_picture(self, unit: bytes, nal_type: int) -> bool:  # noqa: ARG002
        """Whether a slice is the first of its picture and nothing of weight comes before it."""
        return False

    # Sending

    def packetize(self, access_unit: bytes, *, max_payload_bytes: int) -> list[bytes]:
        """See `PayloadFormat.packetize`."""
        if not self.header_bytes + 2 <= max_payload_bytes <= MAX_PAYLOAD_BYTES:
            raise LocalProtocolError(
                f"max_payload_bytes {max_payload_bytes} of {self.codec} is not in "
                f"{self.header_bytes + 2}..{MAX_PAYLOAD_BYTES}"
            )
        units = split_nal_units(access_unit)
        if not units:
            raise LocalProtocolError(f"{self.codec} access unit without a NAL unit")
        for unit in units:
            if len(unit) < self.header_bytes or self.type_of(unit) not in self.carried_types:
                raise LocalProtocolError(f"RTP cannot carry {self.codec} NAL unit {unit[:2].hex()}")
        picture_units = [i for i, u in enumerate(units) if self.is_picture_unit(self.type_of(u))]
        last_picture_unit = picture_units[-1] if picture_units else -1
        payloads: list[bytes] = []
        group: list[bytes] = []
        group_bytes = self.header_bytes
        for index, unit in enumerate(units):
            needed = SIZE_BYTES + len(unit)
            if group and group_bytes + needed > max_payload_bytes:
                payloads.append(self._aggregate(group))
                group = []
                group_bytes = self.header_bytes
            if len(unit) > max_payload_bytes:
                last = index == last_picture_unit
                payloads += self._fragment(unit, max_payload_bytes, last_picture_unit=last)
            else:
                group.append(unit)
                group_bytes += needed
        if group:
            payloads.append(self._aggregate(group))
        return payloads

    def _aggregate(self, units: Sequence[bytes]) -> bytes:
        if len(units) == 1:
            return units[0]
        parts = [self.aggregation_header(units)]
        for unit in units:
            parts += [len(unit).to_bytes(SIZE_BYTES, "big"), unit]
        return b"".join(parts)

    def _fragment(self, unit: bytes, max_bytes: int, *, last_picture_unit: bool) -> list[bytes]:
        body = unit[self.header_bytes :]
        nal_type = self.type_of(unit)
        header = self.with_type(unit[: self.header_bytes], self.fragment_type)
        room = max_bytes - self.header_bytes - 1
        count = -(-len(body) // room)
        # Pieces of nearly equal size: no tiny last packet with a full-size header.
        cuts = [len(body) * i // count for i in range(count + 1)]
        payloads = []
        for i in range(count):
            flags = FRAGMENT_START if i == 0 else 0
            if i == count - 1:
                flags = self.last_fragment_flags(last_picture_unit=last_picture_unit)
            payloads.append(header + bytes((flags | nal_type,)) + body[cuts[i] : cuts[i + 1]])
        return payloads

    # Receiving

    def depacketize(self, payloads: Sequence[bytes | None]) -> DepacketizedFrame:
        """See `PayloadFormat.depacketize`."""
        units: list[bytes] = []
        complete = True
        parts: list[bytes] | None = None  # of the fragmented unit being collected
        for payload in payloads:
            kind = self._kind(payload)
            if payload is None or kind != self.fragment_type:
                if parts is not None:
                    parts = None
                    complete = False
                found = [] if payload is None else self._whole_units(payload, kind)
                units += found
                complete = complete and bool(found)
                continue
            flags = payload[self.header_bytes]
            if flags & FRAGMENT_START:
                complete = complete and parts is None
                parts = [self._unit_header(payload)]
            if parts is None or parts[0] != self._unit_header(payload):
                parts = None
                complete = False
                continue
            parts.append(payload[self.header_bytes + 1 :])
            if flags & FRAGMENT_END:
                units.append(b"".join(parts))
                parts = None
        complete = complete and parts is None and bool(units)
        types = tuple([self.type_of(unit) for unit in units])
        return DepacketizedFrame(join_nal_units(units), complete, types)

    def _unit_header(self, fragment: bytes) -> bytes:
        """NAL unit header of the unit that a fragment belongs to."""
        nal_type = self.fragment_type_of(fragment[self.header_bytes])
        return self.with_type(fragment[: self.header_bytes], nal_type)

    def _kind(self, payload: bytes | None) -> int:
        """Type of a payload; -1 for one that is missing or malformed."""
        if payload is None or len(payload) < self.header_bytes:
            return -1
        kind = self.type_of(payload)
        if kind != self.fragment_type:
            return kind
        if len(payload) < self.header_bytes + 2:
            return -1
        flags = payload[self.header_bytes]
        both = flags & FRAGMENT_START and flags & FRAGMENT_END  # forbidden by all three RFCs
        return kind if not both and self.fragment_type_of(flags) in self.carried_types else -1

    def _whole_units(self, payload: bytes, kind: int) -> list[bytes]:
        """NAL units of a payload that is not a fragment; empty if it is malformed."""
        if kind in self.carried_types:
            return [payload]
        if kind != self.aggregation_type:
            return []
        units = []
        at = self.header_bytes
        while at < len(payload):
            start = at + SIZE_BYTES
            at = start + int.from_bytes(payload[at:start], "big")
            unit = payload[start:at]
            if at > len(payload) or len(unit) < self.header_bytes:
                return []
            if self.type_of(unit) not in self.carried_types:
                return []
            units.append(unit)
        return units

    # Looking

    def nal_types(self, payload: bytes) -> tuple[int, ...]:
        """See `PayloadFormat.nal_types`."""
        kind = self._kind(payload)
        if kind == self.fragment_type:
            return (self.fragment_type_of(payload[self.header_bytes]),)
        return tuple([self.type_of(unit) for unit in self._whole_units(payload, kind)])

    def is_key(self, nal_types: Iterable[int]) -> bool:
        """See `PayloadFormat.is_key`."""
        return not self.key_types.isdisjoint(nal_types)

    def starts_frame(self, payload: bytes) -> bool:
        """See `PayloadFormat.starts_frame`."""
        kind = self._kind(payload)
        if kind == self.fragment_type:
            flags = payload[self.header_bytes]
            if not flags & FRAGMENT_START:
                return False
            nal_type = self.fragment_type_of(flags)
            unit = payload[: self.header_bytes] + payload[self.header_bytes + 1 :]
        else:
            units = self._whole_units(payload, kind)
            if not units:
                return False
            unit = units[0]
            nal_type = self.type_of(unit)
        return nal_type in self.opening_types or self.opens_picture(unit, nal_type)
