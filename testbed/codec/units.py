"""The units of a GoP as one piece of bytes: for the encode cache and for what a session received.

Four bytes of size (big-endian) in front of each unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from morphe_core.vgc.bitstream import GOP_MODULO, read_unit, write_unit
from testbed.errors import BrokenLogError
from testbed.media.types import EncodedGop

_SIZE: Final = Struct(">I")
#: Scale, pictures, letters of the mode's name, number of budgeted sizes.
_HEAD: Final = Struct(">BBBH")


def join_units(units: Iterable[bytes]) -> bytes:
    """All units as one."""
    return b"".join(_SIZE.pack(len(unit)) + unit for unit in units)


def split_units(data: bytes) -> list[bytes]:
    """The units again.

    Raises:
        BrokenLogError: the bytes end within a unit.
    """
    units, at = [], 0
    while at < len(data):
        if at + _SIZE.size > len(data):
            raise BrokenLogError("the units of a GoP break off")
        size = _SIZE.unpack_from(data, at)[0]
        at += _SIZE.size
        if at + size > len(data):
            raise BrokenLogError("the units of a GoP break off")
        units.append(data[at : at + size])
        at += size
    return units


def pack_gop(gop: EncodedGop) -> bytes:
    """A GoP for the cache; index and time are kept beside it."""
    mode = gop.mode.encode("ascii")
    head = _HEAD.pack(gop.scale, gop.frames, len(mode), len(gop.budgeted))
    sizes = b"".join(map(_SIZE.pack, gop.budgeted))
    return head + mode + sizes + join_units(gop.units)


def unpack_gop(data: bytes, *, index: int, encode_ns: int) -> EncodedGop:
    """What `pack_gop` made of a GoP."""
    scale, frames, letters, count = _HEAD.unpack_from(data)
    begin = _HEAD.size + letters
    end = begin + count * _SIZE.size
    mode = data[_HEAD.size : begin].decode("ascii")
    budgeted = tuple(size for (size,) in _SIZE.iter_unpack(data[begin:end]))
    units = tuple(split_units(data[end:]))
    return EncodedGop(index, frames, scale, units, budgeted, encode_ns, mode)


def renumbered(units: Iterable[bytes], gop: int) -> tuple[bytes, ...]:
    """The units of a GoP under another index."""
    from dataclasses import replace

    made = []
    for data in units:
        unit = read_unit(data)
        made.append(write_unit(replace(unit.header, gop=gop % GOP_MODULO), unit.payload))
    return tuple(made)
