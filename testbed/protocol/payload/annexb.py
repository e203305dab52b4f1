"""Byte streams with start codes (H.264, H.265 and H.266 annex B)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

START_CODE: Final = b"\x00\x00\x00\x01"
_SHORT_START_CODE: Final = START_CODE[1:]


def split_nal_units(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream, without start codes and surrounding zero bytes.

    Emulation prevention bytes stay. Bytes before the first start code are ignored, as are empty
    units.
    """
    units = []
    found = data.find(_SHORT_START_CODE)
    while found >= 0:
        start = found + len(_SHORT_START_CODE)
        found = data.find(_SHORT_START_CODE, start)
        # A NAL unit never ends in a zero byte (H.264 7.4.1): zeros before a start code are the
        # fourth byte of it, or stuffing.
        unit = (data[start:found] if found >= 0 else data[start:]).rstrip(b"\x00")
        if unit:
            units.append(unit)
    return units


def join_nal_units(units: Iterable[bytes]) -> bytes:
    """A byte stream with a 4-byte start code before each NAL unit."""
    return b"".join([part for unit in units for part in (START_CODE, unit)])
