"""Units and packets for the tests of nasc, without a codec."""

from __future__ import annotations

from morphe_core.nasc.packetizer import GopPacket, packetize, sending_order
from morphe_core.vgc.bitstream import Kind, Part, UnitHeader, write_unit

WIDTH, HEIGHT = 640, 360


def unit(
    gop: int,
    number: int,
    count: int,
    *,
    kind: Kind = Kind.TOKENS,
    part: Part = Part.JOINT,
    size: int = 50,
    frames: int = 9,
) -> bytes:
    """A unit with a payload of `size` bytes that tell which one it is."""
    quality = 3 if kind is Kind.RESIDUAL else 40
    header = UnitHeader(
        kind=kind, part=part, gop=gop % 65536, unit=number, unit_count=count, scale=3,
        frames=frames, width=WIDTH, height=HEIGHT, i_quality=quality, p_quality=0, intra=False,
        backend=0,
    )  # fmt: skip
    return write_unit(header, bytes((number + n) % 256 for n in range(size)))


def gop_units(gop: int, *, tokens: int = 6, residuals: int = 0, size: int = 50) -> list[bytes]:
    """The units of a GoP."""
    made = [unit(gop, n, tokens, size=size) for n in range(tokens)]
    made += [unit(gop, n, residuals, kind=Kind.RESIDUAL, size=size) for n in range(residuals)]
    return made


def gop_packets(
    gop: int, *, tokens: int = 6, residuals: int = 0, size: int = 50, most_bytes: int = 1440
) -> list[GopPacket]:
    """Its packets."""
    units = gop_units(gop, tokens=tokens, residuals=residuals, size=size)
    return packetize(sending_order(units), most_bytes=most_bytes)
