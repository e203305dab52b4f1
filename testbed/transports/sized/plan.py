"""Payload plans: which units a codec sends when, and which of them a frame needs.

A plan says for each source frame what comes into being once it is captured. Frames are in groups,
in order; what the frames of one group need is sent as the units of that group. How much has to be
captured before a unit exists is thereby part of the plan, and waiting for it part of the latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from testbed.protocol.outlet import IP_UDP_HEADER_BYTES
from testbed.protocol.rtp import RTP_HEADER_BYTES
from testbed.transports.sized.wire import DESCRIPTOR_BYTES

#: In front of every packet's share of a unit.
PACKET_HEADER_BYTES: Final = IP_UDP_HEADER_BYTES + RTP_HEADER_BYTES + DESCRIPTOR_BYTES


class Reference(Enum):
    """What a group needs besides its own units.

    NONE: nothing. CHAIN: the group before it decoded, unless it is a key group. NEIGHBOUR: the
    units of the group before it, except for its own last frame.
    """

    NONE = "none"
    CHAIN = "chain"
    NEIGHBOUR = "neighbour"


@dataclass(frozen=True, slots=True)
class Structure:
    """How frames fall into groups; both ends know it from the options.

    Attributes:
        group_frames: frames of a group, 1-255; the last of a clip may have fewer.
        reference: what a group needs besides itself.
        lead_frames: frames of group 0 where it is not a full one, else 0.
        optional: numbers of the units that a group can be decoded without, if any arrived.
        whole_keys: of a key group none may be missing, and only of key groups is a packet asked for
            again.
    """

    group_frames: int
    reference: Reference
    lead_frames: int = 0
    optional: frozenset[int] = frozenset()
    whole_keys: bool = False

    def first(self, group: int) -> int:
        """The first source frame of a group."""
        if group and self.lead_frames:
            return self.lead_frames + (group - 1) * self.group_frames
        return group * self.group_frames

    def may_miss(self, *, key: bool) -> frozenset[int]:
        """Units that such a group can be decoded without."""
        return frozenset() if key and self.whole_keys else self.optional

    def most_frames(self, group: int) -> int:
        """Frames that a group may have."""
        return self.lead_frames if not group and self.lead_frames else self.group_frames


class Unit(NamedTuple):
    """One bitstream of a group.

    Attributes:
        number: in its group.
        size_bytes: >= 1.
        data: the bitstream itself; empty: filler stands for it.
    """

    number: int
    size_bytes: int
    data: bytes = b""


class Slot(NamedTuple):
    """What came into being with a captured frame.

    Attributes:
        first: the first of the source frames that it stands for.
        frames: how many, up to and including the captured one.
        group: number of the group.
        group_units: units of that group.
        group_frames: frames of that group.
        key: decoding can start at this group.
        target_kbps: what the codec was asked for, without headers.
        units: in order of sending.
    """

    first: int
    frames: int
    group: int
    group_units: int
    group_frames: int
    key: bool
    target_kbps: float
    units: tuple[Unit, ...]


class Planner(Protocol):
    """A codec's payload plan over one clip; call with frames 0, 1, 2, ... without gaps."""

    @property
    def structure(self) -> Structure:
        """How frames fall into groups."""

    @property
    def follows_target(self) -> bool:
        """Sizes follow the rate target, so that what is sent again can be paid for."""

    def captured(self, index: int, *, wire_kbps: float, force_key: bool) -> Slot | None:
        """Frame `index` is captured: what exists now that did not before.

        Args:
            index: source frame.
            wire_kbps: rate target on the wire at this moment, > 0.
            force_key: the receiver asks for a group that it can start from.
        """

    def facts(self) -> Mapping[str, Any]:
        """What the manifest says of it (JSON values): where the sizes come from above all."""


def media_bytes(wire_bytes: float, *, payload_bytes: int) -> int:
    """The largest unit that takes at most `wire_bytes` with its packets' headers, at least 1.

    Args:
        wire_bytes: on the wire.
        payload_bytes: largest RTP payload.
    """
    room = payload_bytes - DESCRIPTOR_BYTES
    full, rest = divmod(int(wire_bytes), room + PACKET_HEADER_BYTES)
    return max(1, full * room + max(0, rest - PACKET_HEADER_BYTES))


class Meter:
    """Turns a rate target into sizes: fractions of bytes are carried over, and so are debts.

    Args:
        fps: frame rate.
        payload_bytes: largest RTP payload.
        count_headers: the target includes IP, UDP and RTP headers and our descriptor.
    """

    def __init__(self, *, fps: float, payload_bytes: int, count_headers: bool) -> None:
        self._fps = fps
        self._payload_bytes = payload_bytes
        self._count_headers = count_headers
        self._credit_bytes = 0.0

    def take(self, frames: int, *, wire_kbps: float, weight: float = 1.0) -> int:
        """Size in bytes of the next unit, which stands for `frames` frames.

        A unit of `weight` above 1 is that much larger than its share; what it took is kept back
        from later units, from each at most half of its share.

        Args:
            frames: how many, >= 1.
            wire_kbps: target, > 0.
            weight: >= 1.
        """
        share = wire_kbps * 125 * frames / self._fps
        if weight > 1:
            wanted = share * weight
        else:
            wanted = max(share / 2, share + min(self._credit_bytes, share))
        size = self._size(wanted)
        self._credit_bytes += share - (self._wire(size) if self._count_headers else size)
        return size

    def _size(self, wire_bytes: float) -> int:
        if self._count_headers:
            return media_bytes(wire_bytes, payload_bytes=self._payload_bytes)
        return max(1, int(wire_bytes))

    def _wire(self, size_bytes: int) -> int:
        room = self._payload_bytes - DESCRIPTOR_BYTES
        return size_bytes + -(-size_bytes // room) * PACKET_HEADER_BYTES

    def media_kbps(self, wire_kbps: float, *, frames: int) -> float:
        """What of a target is left for the units, for the log."""
        share = wire_kbps * 125 * frames / self._fps
        return self._size(share) * self._fps / frames / 125
