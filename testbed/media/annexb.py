"""Annex-B byte streams of H.264, H.265 and H.266: NAL units, and which of them decoding needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = re.compile(rb"\x00\x00\x01")
START_CODE = b"\x00\x00\x00\x01"

#: NAL unit types (H.264 Table 7-1, H.265 Table 7-1, H.266 Table 5).
KEY_TYPES = {"h264": {5}, "h265": {19, 20}, "h266": {7, 8}}
PICTURE_TYPES = {"h264": {1, 5}, "h265": set(range(22)), "h266": set(range(12))}
PARAMETER_TYPES = {"h264": {7, 8}, "h265": {32, 33, 34}, "h266": {14, 15, 16, 17, 18, 19}}
DELIMITER_TYPES = {"h264": 9, "h265": 35, "h266": 20}
#: Start code and header of a delimiter (layer 0, type 20, temporal layer 0), H.266 7.3.1.2.
H266_DELIMITER = b"\x00\x00\x01\x00\xa1"


def nal_units(stream: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream, without start codes and trailing zeros."""
    starts = [match.end() for match in _START.finditer(stream)]
    ends = [start - 3 for start in starts[1:]] + [len(stream)]
    for begin, after in zip(starts, ends, strict=False):
        unit = stream[begin:after].rstrip(b"\x00")
        if unit:
            yield unit


def nal_type(codec: str, unit: bytes) -> int:
    """Type of a NAL unit; -1 when it is shorter than its header."""
    if codec == "h264":
        return unit[0] & 0x1F
    if len(unit) < 2:
        return -1
    return (unit[0] >> 1) & 0x3F if codec == "h265" else unit[1] >> 3


def clean(codec: str, stream: bytes) -> bytes:
    """The stream with parameter sets and picture data only, all with four-byte start codes.

    Encoder banners, delimiters and other supplemental units cost bits on the wire and change no
    pixel.
    """
    wanted = PICTURE_TYPES[codec] | PARAMETER_TYPES[codec]
    return b"".join(
        START_CODE + unit for unit in nal_units(stream) if nal_type(codec, unit) in wanted
    )


def access_units(codec: str, stream: bytes) -> list[bytes]:
    """Split at the access unit delimiters, which the stream must have; each one cleaned."""
    units: list[list[bytes]] = []
    for unit in nal_units(stream):
        if nal_type(codec, unit) == DELIMITER_TYPES[codec]:
            units.append([])
        elif units:
            units[-1].append(START_CODE + unit)
    return [clean(codec, b"".join(parts)) for parts in units]


def is_key(codec: str, stream: bytes) -> bool:
    """Whether the access unit is an IDR picture with parameter sets before it."""
    types = {nal_type(codec, unit) for unit in nal_units(stream)}
    return bool(types & KEY_TYPES[codec]) and bool(types & PARAMETER_TYPES[codec])
