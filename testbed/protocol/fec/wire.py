"""Repair packets and what they protect, as bytes.

A source symbol is an RTP packet reduced to what is needed to rebuild it: marker and length (16
bits), timestamp (32 bits), payload. Its sequence number is its place in the block. RFC 5109
section 7.3 and RFC 8627 section 4.2 protect the same fields, with XOR; a length in front of a
zero-padded payload is RFC 6865 section 4.3's.

```text
 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|M|          length             |        timestamp ...          |   source symbol
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|    ... timestamp              |        payload ...            |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|     code      |     count     |        base sequence          |   RTP payload of a
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+   repair packet
|      row      |     rows      |        symbol ...             |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
```

A repair packet is an RTP packet with its own payload type and SSRC. It says that the source symbols
of the `count` media packets from `base sequence` on, each zero-padded and times a coefficient of
GF(2^8), add up to `symbol`. `code` and `row` name the coefficients (see `weights`); `rows` is how
many repair packets go out together, of which the last carries the marker. A receiver needs
nothing else, whatever code made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from testbed.errors import LocalProtocolError, RemoteProtocolError

_SOURCE: Final = Struct("!HI")
_REPAIR: Final = Struct("!BBHBB")
#: Bytes in front of a payload in its source symbol.
SOURCE_HEADER_BYTES: Final = _SOURCE.size
#: Bytes in front of the symbol in a repair packet's payload.
REPAIR_HEADER_BYTES: Final = _REPAIR.size
#: How much longer a repair packet's payload is than the longest that it protects.
OVERHEAD_BYTES: Final = SOURCE_HEADER_BYTES + REPAIR_HEADER_BYTES
#: Longest payload that the 15 bits of a source symbol's length can say.
MAX_PAYLOAD_BYTES: Final = 0x7FFF
#: Most source packets behind one repair packet, and most rows of a sort.
MAX_SOURCES: Final = 128
MAX_ROWS: Final = 127
#: Codes: Reed-Solomon over a block (`rs`), and Cauchy coefficients over a sliding window.
CODE_BLOCK: Final = 0
CODE_SLIDING: Final = 1
_CODES: Final = (CODE_BLOCK, CODE_SLIDING)


@dataclass(frozen=True, slots=True)
class SourcePacket:
    """A media packet, rebuilt.

    Attributes:
        sequence: extended.
        timestamp: the 32 bits of the header.
        marker: last packet of its frame.
        payload: RTP payload.
    """

    sequence: int
    timestamp: int
    marker: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair packet's payload.

    Attributes:
        code: `CODE_BLOCK` or `CODE_SLIDING`.
        base: sequence number of the first source packet; extended at the sender, 16 bits off the
            wire.
        count: source packets, 1 to 128.
        row: 0 to 126.
        rows: repair packets that go out together, 1 to 127.
        symbol: the sum.
    """

    code: int
    base: int
    count: int
    row: int
    rows: int
    symbol: bytes


def pack_source(payload: bytes, *, marker: bool, timestamp: int) -> bytes:
    """The source symbol of a media packet.

    Raises:
        LocalProtocolError: the payload is longer than `MAX_PAYLOAD_BYTES`.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(f"a payload of {len(payload)} bytes cannot be protected")
    length = len(payload) | (0x8000 if marker else 0)
    return _SOURCE.pack(length, timestamp & 0xFFFFFFFF) + payload


def parse_source(symbol: bytes, *, sequence: int) -> SourcePacket:
    """The media packet of a (padded) source symbol.

    Raises:
        RemoteProtocolError: it is shorter than it says, or the padding is not zero.
    """
    if len(symbol) < SOURCE_HEADER_BYTES:
        raise RemoteProtocolError(f"a source symbol cannot have {len(symbol)} bytes")
    length, timestamp = _SOURCE.unpack_from(symbol)
    end = SOURCE_HEADER_BYTES + (length & 0x7FFF)
    if end > len(symbol) or any(symbol[end:]):
        raise RemoteProtocolError("a recovered packet contradicts its own length")
    payload = symbol[SOURCE_HEADER_BYTES:end]
    return SourcePacket(sequence, timestamp, length > MAX_PAYLOAD_BYTES, payload)


def pack_repair(repair: Repair) -> bytes:
    """The payload of a repair packet.

    Raises:
        LocalProtocolError: a field is out of range.
    """
    if repair.code not in _CODES or not _in_range(repair.count, repair.row, repair.rows):
        raise LocalProtocolError(
            f"repair packet of code {repair.code} with count {repair.count}, row {repair.row} of "
            f"{repair.rows}"
        )
    return (
        _REPAIR.pack(repair.code, repair.count, repair.base & 0xFFFF, repair.row, repair.rows)
        + repair.symbol
    )


def parse_repair(payload: bytes) -> Repair:
    """Read a repair packet's payload.

    Raises:
        RemoteProtocolError: too short, an unknown code, or a number that is out of range.
    """
    if len(payload) < OVERHEAD_BYTES:
        raise RemoteProtocolError(f"a repair packet cannot have {len(payload)} payload bytes")
    code, count, base, row, rows = _REPAIR.unpack_from(payload)
    if code not in _CODES:
        raise RemoteProtocolError(f"unknown erasure code {code}")
    if not _in_range(count, row, rows):
        raise RemoteProtocolError(f"repair packet with count {count}, row {row} of {rows}")
    return Repair(code, base, count, row, rows, payload[REPAIR_HEADER_BYTES:])


def _in_range(count: int, row: int, rows: int) -> bool:
    return 1 <= count <= MAX_SOURCES and 0 <= row <= MAX_ROWS - 1 and 1 <= rows <= MAX_ROWS
