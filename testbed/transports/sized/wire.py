"""What both ends of a sized stream agree on: the descriptor in front of every packet, and filler.

No payload format is published for these codecs, so this one is ours: seven bytes that name the
packet's group and unit, how many units and frames the group has, and two flags. A unit is what its
codec would write as one bitstream; it is cut into packets, and the RTP marker is on its last.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import Final, NamedTuple

from testbed.errors import RemoteProtocolError

_DESCRIPTOR: Final = Struct("!IBBB")
DESCRIPTOR_BYTES: Final = _DESCRIPTOR.size
#: Groups are numbered in 24 bits: 155 hours of one-frame groups at 30 fps.
MAX_GROUPS: Final = 1 << 24
#: Units and frames of a group are counted in a byte each.
MAX_UNITS: Final = 255
MAX_GROUP_FRAMES: Final = 255
_KEY: Final = 1
_START: Final = 2


class Descriptor(NamedTuple):
    """What a packet says of itself.

    Attributes:
        group: number of its group, 0 to `MAX_GROUPS` - 1.
        unit: its unit's number in the group, below `units`.
        units: how many the group has, 1 to `MAX_UNITS`.
        frames: source frames of the group, 1 to `MAX_GROUP_FRAMES`.
        key: decoding can start at this group.
        start: the packet is the first of its unit.
    """

    group: int
    unit: int
    units: int
    frames: int
    key: bool = False
    start: bool = False

    @property
    def number(self) -> int:
        """Of the unit in the stream, ascending, below 2**32."""
        return self.group << 8 | self.unit

    def pack(self) -> bytes:
        """The seven bytes."""
        flags = _KEY * self.key | _START * self.start
        return _DESCRIPTOR.pack(self.number, self.units, self.frames, flags)


def parse_descriptor(payload: bytes) -> Descriptor:
    """The descriptor in front of an RTP payload.

    Raises:
        RemoteProtocolError: too short, or it contradicts itself.
    """
    if len(payload) < DESCRIPTOR_BYTES:
        raise RemoteProtocolError(f"payload of {len(payload)} bytes has no descriptor")
    number, units, frames, flags = _DESCRIPTOR.unpack_from(payload)
    if number & 0xFF >= units or not frames or flags & ~(_KEY | _START):
        raise RemoteProtocolError(
            f"descriptor of unit {number & 0xFF} of {units}, {frames} frames, flags {flags:#x}"
        )
    return Descriptor(
        number >> 8, number & 0xFF, units, frames, bool(flags & _KEY), bool(flags & _START)
    )


def starts_unit(payload: bytes) -> bool:
    """Whether an RTP payload, with its descriptor, begins a unit."""
    return parse_descriptor(payload).start


def filler(codec: str, group: int, unit: int, size_bytes: int) -> bytes:
    """Bytes in place of a unit: SHAKE-128 of its name, the same everywhere, and incompressible.

    Args:
        codec: name of the codec.
        group: as in `Descriptor`.
        unit: as in `Descriptor`.
        size_bytes: how many, >= 0.
    """
    name = f"{codec}/{group}/{unit}".encode()
    return hashlib.shake_128(name).digest(size_bytes)
