"""Units, which are what one packet carries, and the `.morphe` file that keeps them.

A unit begins with a header of `HEADER_BYTES` that says all that a decoder must know, so that any
subset of the units of a stream can be decoded (paper, section 6.2, "Intelligent Packetization").
Big-endian:

====== ===== ======================================================================================
Offset Bits  Field
====== ===== ======================================================================================
0      4     version, `VERSION`
0      1     kind: 0 tokens, 1 residual
0      2     part: which token matrices (`Part`); 0 in a residual
0      1     1 = the GoP does not refer to the one before
1      16    index of the GoP, modulo 65536
3      8     index of the unit
4      8     number of units, minus 1
5      7+7   quality of I, quality of P; in a residual pictures of a window, 0
6      2+4+4 scale, pictures minus 1, backend
8      16+16 width and height of the source, minus 1
12     32    CRC-32 of the twelve bytes before and of the payload
====== ===== ======================================================================================

The size of the token matrices follows from the size of the source and the scale, and so does not
travel. The file is `vgc.container`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.tokens import GOP_FRAMES, MOTION_COLS, QUALITIES, TOKEN_SIDE, Grid

#: Version of the unit's form; a decoder refuses any other.
VERSION = 2
#: Bytes of a unit before its payload, the checksum included.
HEADER_BYTES = 16
#: Factors between source and coded pictures (paper, section 5).
SCALES = (1, 2, 3)
#: GoP indices travel modulo this.
GOP_MODULO = 65536
#: Units of one kind and part in a GoP.
MAX_UNITS = 256
#: Backends that the header can name.
MAX_BACKENDS = 16
#: Longest side of a source picture.
MAX_SIDE = 65536

_FIXED = struct.Struct(">BHBB3sHH")
_CRC = struct.Struct(">I")


class Kind(IntEnum):
    """What the payload of a unit is."""

    TOKENS = 0
    RESIDUAL = 1


class Part(IntEnum):
    """Which matrices of its rows a unit holds.

    `JOINT` holds I tokens, P tokens and motion; P's code may lean on I. `I_ONLY` and `P_ONLY` are
    the paper's plain form: one matrix, decodable without the other. Motion travels with P.
    """

    JOINT = 0
    I_ONLY = 1
    P_ONLY = 2


def coded_grid(width: int, height: int, scale: int) -> Grid:
    """Token matrices of a source picture.

    The source is padded to whole cells of two tokens by one, and then made smaller.

    Args:
        width: luma width of the source, in pixels.
        height: luma height of the source, in pixels.
        scale: any of `SCALES`.

    Raises:
        CodecConfigError: no such scale, or the matrices would be larger than `Grid` allows.
    """
    if scale not in SCALES:
        raise CodecConfigError(f"scale {scale}: allowed are {', '.join(map(str, SCALES))}")
    side = scale * TOKEN_SIDE
    cell = side * MOTION_COLS
    return Grid(-(-height // side), MOTION_COLS * -(-width // cell))


@dataclass(frozen=True, slots=True)
class UnitHeader:
    """What a unit says about itself.

    Attributes:
        kind: tokens or residual.
        part: which matrices; `Part.JOINT` in a residual unit.
        gop: index of the GoP, 0..65535 (modulo `GOP_MODULO`).
        unit: index of the unit among those of its kind and part, 0..unit_count - 1.
        unit_count: 1..256; of units with tokens at most the number of token rows.
        scale: source pixels per coded pixel, any of `SCALES`.
        frames: real pictures of the GoP, 1..9; the rest repeat the last one.
        width: luma width of the source, 1..65536 pixels.
        height: luma height of the source, 1..65536 pixels.
        i_quality: 0..127, see `GopTokens`; in a residual unit the pictures that share a residual.
        p_quality: 0..127; in a residual unit 0.
        intra: the GoP does not refer to the one before.
        backend: number of the tokenizer, 0..15.

    Raises:
        CodecConfigError: a field is outside its range.
    """

    kind: Kind
    part: Part
    gop: int
    unit: int
    unit_count: int
    scale: int
    frames: int
    width: int
    height: int
    i_quality: int
    p_quality: int
    intra: bool
    backend: int

    def __post_init__(self) -> None:
        ranges = {
            "gop": (0, GOP_MODULO - 1),
            "unit_count": (1, MAX_UNITS),
            "unit": (0, self.unit_count - 1),
            "frames": (1, GOP_FRAMES),
            "width": (1, MAX_SIDE),
            "height": (1, MAX_SIDE),
            "i_quality": (0, QUALITIES - 1),
            "p_quality": (0, QUALITIES - 1),
            "backend": (0, MAX_BACKENDS - 1),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise CodecConfigError(f"unit {name} {value}: must be within {low} and {high}")
        rows = self.grid.rows
        if self.kind is Kind.TOKENS and self.unit_count > rows:
            raise CodecConfigError(
                f"unit unit_count {self.unit_count}: must be at most the {rows} token rows"
            )
        if self.kind is Kind.RESIDUAL and self.part is not Part.JOINT:
            raise CodecConfigError("unit part: must be JOINT in a residual unit")

    @property
    def grid(self) -> Grid:
        """Size of the GoP's token matrices."""
        return coded_grid(self.width, self.height, self.scale)

    @property
    def rows(self) -> range:
        """Token rows that a unit with tokens holds."""
        return unit_rows(self.grid.rows, self.unit_count, self.unit)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit whose checksum was right.

    Attributes:
        header: what it says about itself.
        payload: what `vgc.entropy` or the residual coder wrote.
    """

    header: UnitHeader
    payload: bytes


def write_unit(header: UnitHeader, payload: bytes) -> bytes:
    """The bytes of a unit."""
    first = VERSION << 4 | header.kind << 3 | header.part << 1 | header.intra
    settings = header.i_quality << 17 | header.p_quality << 10
    settings |= header.scale << 8 | (header.frames - 1) << 4 | header.backend
    fixed = _FIXED.pack(
        first, header.gop, header.unit, header.unit_count - 1, settings.to_bytes(3, "big"),
        header.width - 1, header.height - 1,
    )  # fmt: skip
    return fixed + _CRC.pack(zlib.crc32(payload, zlib.crc32(fixed))) + payload


def read_unit(data: bytes) -> Unit:
    """The unit in `data`, which is all of it.

    Raises:
        BitstreamError: too short, another version, damaged, or fields outside their ranges.
    """
    if len(data) < HEADER_BYTES:
        raise BitstreamError(f"unit of {len(data)} bytes: a header has {HEADER_BYTES}")
    if data[0] >> 4 != VERSION:
        raise BitstreamError(f"unit version {data[0] >> 4}: this decoder reads {VERSION}")
    fixed, payload = data[: _FIXED.size], data[HEADER_BYTES:]
    if _CRC.unpack_from(data, _FIXED.size)[0] != zlib.crc32(payload, zlib.crc32(fixed)):
        raise BitstreamError("unit is damaged: its checksum does not match")
    first, gop, unit, last_unit, packed, width, height = _FIXED.unpack(fixed)
    settings = int.from_bytes(packed, "big")
    try:
        header = UnitHeader(
            kind=Kind(first >> 3 & 1),
            part=Part(first >> 1 & 3),
            gop=gop,
            unit=unit,
            unit_count=last_unit + 1,
            scale=settings >> 8 & 3,
            frames=(settings >> 4 & 15) + 1,
            width=width + 1,
            height=height + 1,
            i_quality=settings >> 17,
            p_quality=settings >> 10 & 127,
            intra=bool(first & 1),
            backend=settings & 15,
        )
    except (CodecConfigError, ValueError) as error:
        raise BitstreamError(f"unit header: {error}") from error
    return Unit(header, payload)


def unit_rows(rows: int, unit_count: int, unit: int) -> range:
    """Token rows of a unit: every `unit_count`-th, so that a lost one leaves its neighbours.

    Args:
        rows: token rows of the GoP.
        unit_count: 1..rows.
        unit: 0..unit_count - 1.

    Raises:
        CodecConfigError: out of these ranges.
    """
    if not (1 <= unit_count <= rows and 0 <= unit < unit_count):
        raise CodecConfigError(
            f"unit {unit} of {unit_count}: with {rows} rows there may be 1 to {rows} units"
        )
    return range(unit, rows, unit_count)


def send_order(unit_count: int) -> list[int]:
    """The order of sending that keeps neighbouring rows apart for as long as can be.

    Rows r and r + 1 are in units u and u + 1 modulo `unit_count`. First the even units and then
    the odd ones puts these at least (unit_count - 1) // 2 places apart, and no order does better
    (it is the antibandwidth of a cycle). So a burst of 4 lost units takes no two adjacent rows
    from 9 units on, and one of 8 from 17 on.
    """
    return [*range(0, unit_count, 2), *range(1, unit_count, 2)]
