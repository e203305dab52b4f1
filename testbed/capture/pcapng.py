"""pcapng files (draft-ietf-opsawg-pcapng): a small writer, and a reader of what others write.

A file is a row of blocks, each with its length before and behind it. We write one Section Header,
an Interface Description for every interface, and one Enhanced Packet a packet, in nanoseconds. The
reader takes either byte order, several sections, any resolution of time, Simple Packets and the old
Packet Block, and goes past everything else. What is no such file ends in one `InputError` with file
and offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO, Final, NoReturn

from testbed.capture.source import Source
from testbed.errors import LocalProtocolError

#: Link types (the registry of draft-ietf-opsawg-pcaplinktype).
LINKTYPE_RAW: Final = 101

#: Block types (sections 4.1 to 4.4 and, for the old packet block, appendix A).
SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
OLD_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
ENHANCED_PACKET: Final = 6
#: As written by the section's own byte order.
BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
#: A larger block is taken for garbage; Wireshark draws its line at the same place.
MAX_BLOCK_BYTES: Final = 16 * 1024 * 1024

#: Option codes (section 3.5 and those of the blocks).
_END: Final = 0
_COMMENT: Final = 1
_NAME: Final = 2  # if_name
_FLAGS: Final = 2  # epb_flags
_APPLICATION: Final = 4  # shb_userappl
_RESOLUTION: Final = 9  # if_tsresol
_OFFSET: Final = 14  # if_tsoffset
#: if_tsresol of nanoseconds, and what holds without the option: microseconds.
_NANOSECONDS: Final = 9
_MICROSECONDS: Final = 6
#: The two lowest bits of epb_flags.
_INBOUND: Final = 1
_OUTBOUND: Final = 2

_FRAME_BYTES: Final = 12  # type and both lengths
_BIG, _LITTLE = ">", "<"


@dataclass(slots=True)
class CapturedPacket:
    """One packet of a capture.

    Attributes:
        time_ns: since 1970, in ns; None where the file does not say.
        interface: name of the interface, or "".
        link_type: how `data` begins, a LINKTYPE number.
        data: the bytes that were kept.
        original_bytes: how many there were on the link.
        inbound: True for one that was received, False for one that was sent, None where the file
            does not say.
    """

    time_ns: int | None
    interface: str
    link_type: int
    data: bytes
    original_bytes: int
    inbound: bool | None = None


# --- writing ----------------------------------------------------------------------------------

_OPTION_LE: Final = Struct("<HH")
_FRAME_LE: Final = Struct("<II")
_WORD_LE: Final = Struct("<I")
_SECTION_LE: Final = Struct("<IHHq")
_INTERFACE_LE: Final = Struct("<HHI")
_ENHANCED_LE: Final = Struct("<IIIIIII")
_FLAGS_LE: Final = Struct("<HHIHH")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION_LE.pack(code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + _FRAME_BYTES
    return _FRAME_LE.pack(kind, size) + body + _WORD_LE.pack(size)


def file_header(interfaces: Sequence[str], *, comment: str) -> bytes:
    """What a file begins with: the section, and its interfaces of LINKTYPE_RAW in nanoseconds.

    Args:
        interfaces: their names; packets refer to them by number.
        comment: on the whole capture.
    """
    end = _option(_END, b"")
    section = _SECTION_LE.pack(BYTE_ORDER_MAGIC, 1, 0, -1)  # version 1.0, length not given
    section += _option(_COMMENT, comment.encode()) + _option(_APPLICATION, b"morphe-testbed") + end
    blocks = [_block(SECTION_HEADER, section)]
    for name in interfaces:
        body = _INTERFACE_LE.pack(LINKTYPE_RAW, 0, 0)  # packets are never cut
        body += _option(_NAME, name.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS])) + end
        blocks.append(_block(INTERFACE_DESCRIPTION, body))
    return b"".join(blocks)


def packet_block(interface: int, data: bytes, *, time_ns: int, inbound: bool) -> bytes:
    """An Enhanced Packet Block.

    Args:
        interface: number of the interface, from 0.
        data: the packet as it begins for the interface's link type.
        time_ns: since 1970, in ns.
        inbound: it was received there; else it was sent.

    Raises:
        LocalProtocolError: a time before 1970 or after 2554.
    """
    if not 0 <= time_ns < 1 << 64:
        raise LocalProtocolError(f"a capture cannot hold the time {time_ns} ns")
    flags = _FLAGS_LE.pack(_FLAGS, 4, _INBOUND if inbound else _OUTBOUND, _END, 0)
    size = 28 + len(data) + -len(data) % 4 + len(flags) + 4
    head = _ENHANCED_LE.pack(
        ENHANCED_PACKET, size, interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data)
    )
    return b"".join((head, _padded(data), flags, _WORD_LE.pack(size)))


def next_packet_block(file: BinaryIO) -> tuple[int, bytes]:
    """Time in ns and bytes of the `packet_block` that a file goes on with."""
    head = file.read(_ENHANCED_LE.size)
    _, size, _, high, low, _, _ = _ENHANCED_LE.unpack(head)
    return high << 32 | low, head + file.read(size - len(head))


# --- reading ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Interface:
    name: str
    link_type: int
    snap_bytes: int  # 0: packets are never cut
    ticks_per_s: int
    offset_s: int

    def time_ns(self, ticks: int) -> int:
        return ticks * 10**9 // self.ticks_per_s + self.offset_s * 10**9


class PcapngReader:
    """Reads one file; iterate over it once.

    Args:
        source: at the file's begin.

    Attributes:
        comments: of the sections so far; the first one's are there from the start.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._order = _LITTLE
        self._interfaces: list[_Interface] = []
        self.comments: list[str] = []
        self._structs: dict[str, Struct] = {}
        self._at = 0  # where the block under way begins
        block = self._next_block()
        if block is None or block[0] != SECTION_HEADER:
            source.fail("not a pcapng file", 0)
        self._section(block[1])

    def __iter__(self) -> Iterator[CapturedPacket]:
        """The packets in the order of the file.

        Raises:
            InputError: the file is garbled or cut off.
        """
        while (block := self._next_block()) is not None:
            kind, body = block
            if kind == ENHANCED_PACKET:
                yield self._enhanced(body)
            elif kind == SIMPLE_PACKET:
                yield self._simple(body)
            elif kind == OLD_PACKET:
                yield self._old(body)
            elif kind == INTERFACE_DESCRIPTION:
                self._interface(body)
            elif kind == SECTION_HEADER:
                self._section(body)

    def _unpack(self, layout: str, data: bytes, at: int = 0) -> tuple[int, ...]:
        """Fields in the section's byte order.

        Raises:
            InputError: the block is too short for them.
        """
        layout = self._order + layout
        packed = self._structs.get(layout)
        if packed is None:
            packed = self._structs[layout] = Struct(layout)
        if at + packed.size > len(data):
            self._fail(f"a block of {len(data) + _FRAME_BYTES} bytes is too short for its kind")
        return packed.unpack_from(data, at)

    def _fail(self, what: str) -> NoReturn:
        self._source.fail(what, self._at)

    def _next_block(self) -> tuple[int, bytes] | None:
        """Type and body of the next block; None at the end."""
        source = self._source
        self._at = source.offset
        head = source.take(8, optional=True)
        if not head:
            return None
        # The type of a section header reads the same in both orders; what follows tells which.
        start = b""
        if int.from_bytes(head[:4], "little") == SECTION_HEADER:
            start = source.take(4)
            if start == BYTE_ORDER_MAGIC.to_bytes(4, "big"):
                self._order = _BIG
            elif start == BYTE_ORDER_MAGIC.to_bytes(4, "little"):
                self._order = _LITTLE
            else:
                self._fail("a section header without the byte-order magic")
        kind, size = self._unpack("II", head)
        if size % 4 or size < _FRAME_BYTES + len(start) or size > MAX_BLOCK_BYTES:
            self._fail(f"a block cannot have {size} bytes")
        body = start + source.take(size - _FRAME_BYTES - len(start))
        if self._unpack("I", source.take(4)) != (size,):
            self._fail("a block's two lengths differ")
        return kind, body

    def _options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        """Code and value of each option from `at` on."""
        while at < len(body):
            code, size = self._unpack("HH", body, at)
            if code == _END:
                return
            at += 4
            if at + size > len(body):
                self._fail("an option runs over its block")
            yield code, body[at : at + size]
            at += size + -size % 4

    def _section(self, body: bytes) -> None:
        _, major, _, _, _ = self._unpack("IHHii", body)
        if major != 1:
            self._fail(f"pcapng of version {major}, not 1")
        self._interfaces = []
        for code, value in self._options(body, 16):
            if code == _COMMENT:
                self.comments.append(value.decode("utf-8", "replace"))

    def _interface(self, body: bytes) -> None:
        link_type, _, snap_bytes = self._unpack("HHI", body)
        name, resolution, offset_s = "", _MICROSECONDS, 0
        for code, value in self._options(body, 8):
            if code == _NAME:
                name = value.rstrip(b"\0").decode("utf-8", "replace")
            elif code == _RESOLUTION and len(value) == 1:
                resolution = value[0]
            elif code == _OFFSET and len(value) == 8:
                offset_s = self._signed(value)
        name = name or f"interface {len(self._interfaces)}"
        ticks = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        self._interfaces.append(_Interface(name, link_type, snap_bytes, ticks, offset_s))

    def _signed(self, value: bytes) -> int:
        return int.from_bytes(value, "big" if self._order == _BIG else "little", signed=True)

    def _interface_of(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            self._fail(f"a packet of interface {number}; there are {len(self._interfaces)}")
        return self._interfaces[number]

    def _data(self, body: bytes, at: int, size: int) -> bytes:
        if at + size > len(body):
            self._fail(f"a packet of {size} bytes runs over its block")
        return body[at : at + size]

    def _enhanced(self, body: bytes) -> CapturedPacket:
        number, high, low, kept, original = self._unpack("IIIII", body)
        interface = self._interface_of(number)
        data = self._data(body, 20, kept)
        inbound = None
        for code, value in self._options(body, 20 + kept + -kept % 4):
            if code == _FLAGS and len(value) == 4:
                flags = self._unpack("I", value)[0] & 3
                inbound = {_INBOUND: True, _OUTBOUND: False}.get(flags)
        time_ns = interface.time_ns(high << 32 | low)
        return CapturedPacket(time_ns, interface.name, interface.link_type, data, original, inbound)

    def _simple(self, body: bytes) -> CapturedPacket:
        (original,) = self._unpack("I", body)
        interface = self._interface_of(0)
        kept = min(original, interface.snap_bytes) if interface.snap_bytes else original
        data = self._data(body, 4, kept)
        return CapturedPacket(None, interface.name, interface.link_type, data, original)

    def _old(self, body: bytes) -> CapturedPacket:
        number, _, high, low, kept, original = self._unpack("HHIIII", body)
        interface = self._interface_of(number)
        data = self._data(body, 20, kept)
        time_ns = interface.time_ns(high << 32 | low)
        return CapturedPacket(time_ns, interface.name, interface.link_type, data, original)
