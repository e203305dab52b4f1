"""The `.morphe` file: a header, then GoPs, each a run of units.

Big-endian. The header is `MAGIC`, the header's length and fields (`StreamHeader`) and a CRC-32. A
GoP is a record head of 10 bytes (a mark, the GoP's index modulo 65536, the length of what follows,
24 bits of a CRC-32 over these) and its units, each behind its length as a varint. A unit keeps its
own checksum, so damage costs the units that it hits; a damaged record head costs its GoP, as the
reader goes on at the next head that is whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import BinaryIO

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.bitstream import GOP_MODULO, MAX_SIDE, Unit, read_unit

#: First bytes of a file; the high bit and the line ends show a file that was sent as text.
MAGIC = b"\x89morphe\r\n"
#: Version of the file's form.
FILE_VERSION = 1
#: Longest name or hash in the header, in bytes.
MAX_TEXT_BYTES = 64
#: Longest body of a GoP, in bytes.
MAX_GOP_BYTES = (1 << 24) - 1

_MARK = b"GP"
_HEAD_BYTES = 10
_LENGTH = struct.Struct(">H")
_NUMBERS = struct.Struct(">BIIIIBBBBBII")
_CRC = struct.Struct(">I")
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What is the same for a whole file.

    Attributes:
        width: luma width of the source, 1..65536 pixels.
        height: luma height of the source, 1..65536 pixels.
        fps_numerator: pictures per `fps_denominator` seconds, from 1 on.
        fps_denominator: seconds, from 1 on.
        bit_depth: of the source's samples, 8..16; a decoder may give fewer.
        primaries: colour primaries, number of ITU-T H.273.
        transfer: transfer characteristics, number of ITU-T H.273.
        matrix: matrix coefficients, number of ITU-T H.273.
        full_range: the source's range; units always hold limited range.
        frame_count: pictures of the file; 0 = not known.
        target_kbps: what the rate control aimed at, in kbit/s; 0 = no target.
        backend: name of the tokenizer, at most 64 bytes of UTF-8.
        weights_hash: identifies the weights that a decoder needs, at most 64 bytes.
        profile: name of the settings in use, such as `morphe` or `morphe-paper`.

    Raises:
        CodecConfigError: a field is outside its range.
    """

    width: int
    height: int
    fps_numerator: int
    fps_denominator: int
    bit_depth: int
    primaries: int
    transfer: int
    matrix: int
    full_range: bool
    frame_count: int
    target_kbps: int
    backend: str
    weights_hash: bytes
    profile: str

    def __post_init__(self) -> None:
        wide, byte = (1 << 32) - 1, 255
        ranges = {
            "width": (1, MAX_SIDE), "height": (1, MAX_SIDE), "fps_numerator": (1, wide),
            "fps_denominator": (1, wide), "bit_depth": (8, 16), "primaries": (0, byte),
            "transfer": (0, byte), "matrix": (0, byte), "frame_count": (0, wide),
            "target_kbps": (0, wide),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise CodecConfigError(f"stream {name} {value}: must be within {low} and {high}")
        for name, text in zip(("backend", "weights_hash", "profile"), self._texts(), strict=True):
            if len(text) > MAX_TEXT_BYTES:
                raise CodecConfigError(
                    f"stream {name} of {len(text)} bytes: at most {MAX_TEXT_BYTES}"
                )

    def _texts(self) -> tuple[bytes, bytes, bytes]:
        return self.backend.encode(), self.weights_hash, self.profile.encode()

    def to_bytes(self) -> bytes:
        """The header as the file begins; its length depends on the names alone."""
        numbers = [int(getattr(self, item.name)) for item in fields(self)[:11]]
        body = _NUMBERS.pack(FILE_VERSION, *numbers)
        body += b"".join(bytes([len(text)]) + text for text in self._texts())
        return MAGIC + _LENGTH.pack(len(body)) + body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def read(cls, file: BinaryIO) -> StreamHeader:
        """Read the header at the file's position.

        Raises:
            BitstreamError: not a `.morphe` file, another version, or a damaged header.
        """
        if file.read(len(MAGIC)) != MAGIC:
            raise BitstreamError("not a .morphe file: it begins with other bytes")
        length = int.from_bytes(file.read(_LENGTH.size), "big")
        body, crc = file.read(length), file.read(_CRC.size)
        if len(body) < _NUMBERS.size or crc != _CRC.pack(zlib.crc32(body)):
            raise BitstreamError("the .morphe file's header is cut off or damaged")
        version, *numbers = _NUMBERS.unpack_from(body)
        if version != FILE_VERSION:
            raise BitstreamError(f".morphe file of version {version}: known is {FILE_VERSION}")
        texts, at = [], _NUMBERS.size
        for _ in range(3):
            end = at + 1 + int.from_bytes(body[at : at + 1], "big")
            texts.append(body[at + 1 : end])
            at = end
        if at != len(body):
            raise BitstreamError("the .morphe file's header has names of a wrong length")
        known = dict(zip((item.name for item in fields(cls)), numbers, strict=False))
        known["full_range"] = bool(known["full_range"])
        try:
            return cls(
                **known, backend=texts[0].decode(), weights_hash=texts[1], profile=texts[2].decode()
            )
        except (CodecConfigError, UnicodeDecodeError) as error:
            raise BitstreamError(f"the .morphe file's header: {error}") from error


class StreamWriter:
    """Writes a `.morphe` file.

    Args:
        file: where to; `finish` needs it seekable to set the number of pictures.
        header: written at once.
    """

    def __init__(self, file: BinaryIO, header: StreamHeader) -> None:
        self._file = file
        self._start = file.tell() if file.seekable() else None
        self._header = header
        file.write(header.to_bytes())

    def write_gop(self, index: int, units: Sequence[bytes]) -> int:
        """Write one GoP.

        Args:
            index: of the GoP, from 0; kept modulo 65536.
            units: as `write_unit` made them, in sending order.

        Returns:
            Bytes written.

        Raises:
            CodecConfigError: the GoP is longer than `MAX_GOP_BYTES`.
        """
        body = b"".join(_varint(len(unit)) + unit for unit in units)
        if len(body) > MAX_GOP_BYTES:
            raise CodecConfigError(f"GoP of {len(body)} bytes: at most {MAX_GOP_BYTES}")
        record = _record_head(index % GOP_MODULO, len(body)) + body
        self._file.write(record)
        return len(record)

    def finish(self, frame_count: int) -> None:
        """Set the header's number of pictures; without effect where the file cannot seek."""
        if self._start is None:
            return
        known = {item.name: getattr(self._header, item.name) for item in fields(self._header)}
        end = self._file.tell()
        self._file.seek(self._start)
        self._file.write(StreamHeader(**(known | {"frame_count": frame_count})).to_bytes())
        self._file.seek(end)


@dataclass(frozen=True, slots=True)
class GopRecord:
    """What a file holds of one GoP.

    Attributes:
        index: of the GoP, modulo 65536.
        units: those that are whole, in the file's order.
        lost: units that are damaged or cut off; a cut through several counts once.
        size: bytes of the record in the file.
    """

    index: int
    units: tuple[Unit, ...]
    lost: int
    size: int


class StreamReader:
    """Reads a `.morphe` file, whatever is left of it.

    Args:
        file: from its beginning.

    Attributes:
        header: what is the same for the whole file.
        lost_units: damaged units so far.
        skipped_bytes: bytes so far that belonged to no record.
        truncated: the file ended inside a record.

    Raises:
        BitstreamError: the header cannot be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.header = StreamHeader.read(file)
        self.lost_units = 0
        self.skipped_bytes = 0
        self.truncated = False
        self._buffer = b""

    def __iter__(self) -> Iterator[GopRecord]:
        """The GoPs that are there, in the file's order; damage is counted, never raised."""
        while self._find_head():
            index = int.from_bytes(self._buffer[2:4], "big")
            length = int.from_bytes(self._buffer[4:7], "big")
            self._fill(_HEAD_BYTES + length)
            body = self._buffer[_HEAD_BYTES : _HEAD_BYTES + length]
            units, lost, resume = _read_units(body)
            if len(body) < length:
                # The file's end, or a damaged head that passed for one: look on behind the units.
                self.truncated = True
            else:
                resume = length
            self._buffer = self._buffer[_HEAD_BYTES + resume :]
            self.lost_units += lost
            yield GopRecord(index, units, lost, _HEAD_BYTES + resume)

    def _find_head(self) -> bool:
        """Drop bytes up to a whole record head; False at the file's end."""
        while True:
            self._fill(_HEAD_BYTES)
            buffer = self._buffer
            if len(buffer) < _HEAD_BYTES:
                self.skipped_bytes += len(buffer)
                self.truncated |= bool(buffer)
                self._buffer = b""
                return False
            at = buffer.find(_MARK)
            while at >= 0 and at + _HEAD_BYTES <= len(buffer) and not _is_head(buffer, at):
                at = buffer.find(_MARK, at + 1)
            # Without a mark the last byte may still be the first of one.
            skip = len(buffer) - 1 if at < 0 else at
            self.skipped_bytes += skip
            self._buffer = buffer[skip:]
            if at >= 0 and at + _HEAD_BYTES <= len(buffer):
                return True

    def _fill(self, size: int) -> None:
        """Read on until `size` bytes are at hand or the file ends."""
        parts, have = [self._buffer], len(self._buffer)
        while have < size:
            more = self._file.read(max(_BLOCK_BYTES, size - have))
            if not more:
                break
            parts.append(more)
            have += len(more)
        self._buffer = b"".join(parts)


def _record_head(index: int, length: int) -> bytes:
    head = _MARK + index.to_bytes(2, "big") + length.to_bytes(3, "big")
    return head + (zlib.crc32(head) & 0xFFFFFF).to_bytes(3, "big")


def _is_head(buffer: bytes, at: int) -> bool:
    head = buffer[at : at + _HEAD_BYTES]
    return (zlib.crc32(head[:7]) & 0xFFFFFF).to_bytes(3, "big") == head[7:]


def _read_units(body: bytes) -> tuple[tuple[Unit, ...], int, int]:
    """The whole units of a GoP, the number of those lost, and where the last whole one ends."""
    units, lost, at, good = [], 0, 0, 0
    while at < len(body):
        length, start = _read_varint(body, at)
        at = start + length
        if length == 0 or at > len(body):
            lost += 1
            break
        try:
            units.append(read_unit(body[start:at]))
            good = at
        except BitstreamError:
            lost += 1
    return tuple(units), lost, good


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A length and where it ends; a length of 0, which no unit has, stands for damage."""
    value = 0
    for shift in range(0, 28, 7):
        if at >= len(data):
            return 0, at
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    return 0, at
