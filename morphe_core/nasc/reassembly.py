"""Packets back into GoPs, whatever the network made of them.

Packets of several GoPs may be on their way at once, in any order, twice, damaged or invented. A
window of GoPs is open from the next one to decode on; what belongs to none of them, contradicts
what came before it, or is no unit at all is counted and left out. Nothing here raises, and memory
is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from morphe_core.errors import BitstreamError
from morphe_core.nasc.packetizer import DESCRIPTOR_BYTES, Descriptor, parse_descriptor
from morphe_core.vgc.bitstream import GOP_MODULO, Kind, UnitHeader, read_unit

#: GoPs open at once: 9.6 s at 30 pictures a second.
WINDOW_GOPS: Final = 32
#: Bytes held at once; a second of 30 Mbit/s.
MAX_BYTES: Final = 4_000_000


class PartialGop:
    """What has come of a GoP.

    Attributes:
        first_sequence: number of its first packet, whether that came or not.
        packets: how many it has.
        tokens: how many of them, from the first on, carry tokens.
    """

    __slots__ = ("_payloads", "first_sequence", "packets", "size_bytes", "tokens")

    def __init__(self, first_sequence: int, packets: int, tokens: int) -> None:
        self.first_sequence = first_sequence
        self.packets = packets
        self.tokens = tokens
        self.size_bytes = 0
        self._payloads: dict[int, tuple[Descriptor, bytes, UnitHeader | None]] = {}

    def says(self, descriptor: Descriptor, first_sequence: int) -> bool:
        """Whether a packet says the same of the GoP as those before it."""
        mine = (self.first_sequence, self.packets, self.tokens)
        return mine == (first_sequence, descriptor.packets, descriptor.tokens)

    def has(self, position: int) -> bool:
        """Whether the packet at `position` came."""
        return position in self._payloads

    def add(self, descriptor: Descriptor, payload: bytes, header: UnitHeader | None) -> None:
        """Keep a packet; the header is that of its unit, if it carries all of one."""
        self._payloads[descriptor.position] = (descriptor, payload, header)
        self.size_bytes += len(payload)

    @property
    def came(self) -> int:
        """Packets that came."""
        return len(self._payloads)

    @property
    def complete(self) -> bool:
        """All packets came."""
        return len(self._payloads) == self.packets

    @property
    def last_position(self) -> int:
        """Position of the last packet that came; -1 if none did."""
        return max(self._payloads, default=-1)

    def missing_tokens(self) -> list[int]:
        """Sequence numbers of the missing packets with tokens, in sending order: I first."""
        first, came = self.first_sequence, self._payloads
        return [first + position for position in range(self.tokens) if position not in came]

    def units(self) -> list[tuple[bytes, UnitHeader | None]]:
        """The units of which all packets came, in sending order.

        The header is known of those that came in one packet; cut ones are not checked yet.
        """
        units: list[tuple[bytes, UnitHeader | None]] = []
        pieces: list[bytes] | None = None
        before = -1
        for position in sorted(self._payloads):
            descriptor, payload, header = self._payloads[position]
            if descriptor.starts:
                pieces = []
            elif position != before + 1:
                pieces = None
            before = position
            if pieces is None:
                continue
            pieces.append(payload[DESCRIPTOR_BYTES:])
            if descriptor.ends:
                units.append((pieces[0] if len(pieces) == 1 else b"".join(pieces), header))
                pieces = None
        return units


@dataclass(frozen=True, slots=True)
class TakenGop:
    """What a decoder gets of a GoP.

    Attributes:
        units: whole and checked, in sending order; empty: nothing of use came.
        header: of the first unit with tokens; None without one, and then `units` is empty.
        complete: every packet with tokens came and was good.
    """

    units: tuple[bytes, ...]
    header: UnitHeader | None
    complete: bool


NOTHING: Final = TakenGop((), None, complete=False)


class Reassembly:
    """Collects the packets of a stream; GoPs are taken out in order.

    Args:
        window_gops: GoPs open at once, >= 1.
        max_bytes: payloads held at once.

    Attributes:
        next_gop: index of the next GoP to take.
        duplicates: packets that came again.
        stale: packets of GoPs that were taken before they came.
        refused: packets that were damaged, contradicted others, or belong to no open GoP.
    """

    def __init__(self, *, window_gops: int = WINDOW_GOPS, max_bytes: int = MAX_BYTES) -> None:
        self._window = window_gops
        self._max_bytes = max_bytes
        self._gops: dict[int, PartialGop] = {}
        self._bytes = 0
        self.next_gop = 0
        self.duplicates = 0
        self.stale = 0
        self.refused = 0

    def push(self, gop: int, sequence: int, payload: bytes) -> PartialGop | None:
        """A packet came in, first-hand or repaired.

        Args:
            gop: index of its GoP, from 0 without wrap.
            sequence: extended sequence number of the original packet.
            payload: descriptor and what follows; any bytes.

        Returns:
            Its GoP, if the packet is of use.
        """
        if gop < self.next_gop:
            self.stale += 1
            return None
        try:
            descriptor, header = self._checked(gop, payload)
        except BitstreamError:
            self.refused += 1
            return None
        partial = self._gops.get(gop)
        first = sequence - descriptor.position
        if partial is None:
            if first < 0 or self._overlaps(gop, first, descriptor.packets):
                self.refused += 1
                return None
            partial = PartialGop(first, descriptor.packets, descriptor.tokens)
        elif not partial.says(descriptor, first):
            self.refused += 1
            return None
        elif partial.has(descriptor.position):
            self.duplicates += 1
            return None
        self._gops[gop] = partial
        partial.add(descriptor, payload, header)
        self._bytes += len(payload)
        return partial

    def _checked(self, gop: int, payload: bytes) -> tuple[Descriptor, UnitHeader | None]:
        """The descriptor of a packet that may be kept, and the header of a whole unit in it.

        Raises:
            BitstreamError: it may not.
        """
        if gop >= self.next_gop + self._window:
            raise BitstreamError(f"GoP {gop}: beyond the window")
        if self._bytes + len(payload) > self._max_bytes:
            raise BitstreamError("too many bytes are held already")
        descriptor = parse_descriptor(payload)
        if not descriptor.whole:
            return descriptor, None
        header = read_unit(payload[DESCRIPTOR_BYTES:]).header
        tokens = descriptor.position < descriptor.tokens
        if header.gop != gop % GOP_MODULO or (header.kind is Kind.TOKENS) is not tokens:
            raise BitstreamError("the unit is not what its packet says")
        return descriptor, header

    def _overlaps(self, gop: int, first: int, packets: int) -> bool:
        """Whether a new GoP's numbers would be those of another one, or out of order."""
        return any(
            first < other.first_sequence + other.packets if known < gop
            else first + packets > other.first_sequence
            for known, other in self._gops.items()
        )  # fmt: skip

    def get(self, gop: int) -> PartialGop | None:
        """What has come of a GoP; None: nothing."""
        return self._gops.get(gop)

    def first_after(self, gop: int) -> int | None:
        """The first GoP after `gop` of which something came."""
        return min((known for known in self._gops if known > gop), default=None)

    def take(self) -> TakenGop:
        """The next GoP as it is; what comes of it later is stale."""
        gop = self.next_gop
        self.next_gop += 1
        partial = self._gops.pop(gop, None)
        if partial is None:
            return NOTHING
        self._bytes -= partial.size_bytes
        units, header = [], None
        damaged = False
        for data, found in partial.units():
            if found is None:
                found = _header_of(data)
            if found is None or found.gop != gop % GOP_MODULO:
                damaged = True
                self.refused += 1
                continue
            units.append(data)
            if header is None and found.kind is Kind.TOKENS:
                header = found
        if header is None:
            return NOTHING
        return TakenGop(tuple(units), header, not damaged and not partial.missing_tokens())


def _header_of(data: bytes) -> UnitHeader | None:
    """The header of a unit; None if it is none."""
    try:
        return read_unit(data).header
    except BitstreamError:
        return None
