"""Classic pcap files (draft-ietf-opsawg-pcap): read only, micro- and nanoseconds, both orders."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from testbed.capture.pcapng import MAX_BLOCK_BYTES, CapturedPacket
from testbed.capture.source import Source

#: First four bytes: byte order, and nanoseconds a fraction.
MAGICS: Final = {
    bytes.fromhex("a1b2c3d4"): (">", 1000),
    bytes.fromhex("d4c3b2a1"): ("<", 1000),
    bytes.fromhex("a1b23c4d"): (">", 1),
    bytes.fromhex("4d3cb2a1"): ("<", 1),
}


class PcapReader:
    """Reads one file; iterate over it once.

    Args:
        source: behind the magic.
        magic: one of `MAGICS`.
    """

    def __init__(self, source: Source, magic: bytes) -> None:
        self._source = source
        order, self._fraction_ns = MAGICS[magic]
        self._record = Struct(order + "IIII")
        header = Struct(order + "HHiIII")
        major, _, _, _, _, link = header.unpack(source.take(header.size))
        if major != 2:
            source.fail(f"pcap of version {major}, not 2", 4)
        # The upper half says how long a frame check sequence is.
        self._link_type = link & 0xFFFF
        #: Classic files have none.
        self.comments: list[str] = []

    def __iter__(self) -> Iterator[CapturedPacket]:
        """The packets in the order of the file.

        Raises:
            InputError: the file is garbled or cut off.
        """
        source, record = self._source, self._record
        while True:
            at = source.offset
            head = source.take(record.size, optional=True)
            if not head:
                return
            seconds, fraction, kept, original = record.unpack(head)
            if kept > MAX_BLOCK_BYTES:
                source.fail(f"a packet cannot have {kept} bytes", at)
            time_ns = seconds * 10**9 + fraction * self._fraction_ns
            yield CapturedPacket(time_ns, "", self._link_type, source.take(kept), original)
