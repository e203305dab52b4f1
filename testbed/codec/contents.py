"""What is in a `.morphe` file: GoPs, units, bytes by kind, rate over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from morphe_core.vgc.bitstream import HEADER_BYTES, Kind, Part, Unit
from testbed.codec.core import GOP_FRAMES
from testbed.codec.files import MorpheFile
from testbed.codec.rates import PACKET_HEADER_BYTES, kbps


@dataclass(frozen=True, slots=True)
class GopFacts:
    """One GoP that is in the file.

    Attributes:
        index: its number, modulo 65536.
        frames: pictures.
        scale: source pixels per coded pixel.
        i_quality, p_quality: step indices of the tokens.
        units: how many are whole.
        lost: how many are damaged.
        wire_bytes: bytes of the whole ones on the wire, packet headers included.
    """

    index: int
    frames: int
    scale: int
    i_quality: int
    p_quality: int
    units: int
    lost: int
    wire_bytes: int


def kind_of(unit: Unit) -> str:
    """What a unit carries: tokens of both matrices, of one, or a residual."""
    if unit.header.kind is Kind.RESIDUAL:
        return "residual"
    return {Part.JOINT: "tokens", Part.I_ONLY: "tokens_i", Part.P_ONLY: "tokens_p"}[
        unit.header.part
    ]


def survey(file: MorpheFile) -> dict[str, Any]:
    """All that there is to say about a file (JSON values); reads it to its end.

    `bytes` splits what goes on the wire: payloads by kind, headers of units, headers of packets.
    `kbps_by_second` is the rate of the GoPs that begin in each second.
    """
    header = file.header
    gops: list[GopFacts] = []
    sizes: Counter[str] = Counter()
    for record in file.reader:
        for unit in record.units:
            sizes[kind_of(unit)] += len(unit.payload)
        gops.append(_facts(record.index, record.units, record.lost))
    units = sum(gop.units for gop in gops)
    frames = header.frame_count or sum(gop.frames for gop in gops)
    total = sum(gop.wire_bytes for gop in gops)
    return {
        "width": header.width,
        "height": header.height,
        "fps": str(file.form.fps),
        "frames": frames,
        "duration_s": float(frames / file.form.fps),
        "bit_depth": header.bit_depth,
        "full_range": header.full_range,
        "colour": [header.primaries, header.transfer, header.matrix],
        "profile": header.profile,
        "backend": header.backend,
        "weights_sha256": header.weights_hash.hex(),
        "target_kbps": header.target_kbps,
        "kbps": kbps(total, frames, file.form.fps) if frames else 0.0,
        "gops": len(gops),
        "gops_by_scale": dict(sorted(Counter(gop.scale for gop in gops if gop.units).items())),
        "units": units,
        "damaged_units": file.reader.lost_units,
        "truncated": file.reader.truncated,
        "bytes": {
            **dict(sorted(sizes.items())),
            "unit_headers": units * HEADER_BYTES,
            "packet_headers": units * PACKET_HEADER_BYTES,
        },
        "kbps_by_second": _by_second(gops, float(file.form.fps)),
        "gop_list": [_as_json(gop) for gop in gops],
    }


def _facts(index: int, units: Sequence[Unit], lost: int) -> GopFacts:
    size = sum(HEADER_BYTES + len(unit.payload) + PACKET_HEADER_BYTES for unit in units)
    if not units:
        return GopFacts(index, GOP_FRAMES, 0, 0, 0, 0, lost, 0)
    first = min(units, key=lambda unit: unit.header.kind).header  # a residual has no such steps
    return GopFacts(
        index, first.frames, first.scale, first.i_quality, first.p_quality, len(units), lost, size
    )


def _by_second(gops: Sequence[GopFacts], fps: float) -> list[float]:
    """Rate in kbps of each second, a GoP counting in the second in which it begins."""
    spent: Counter[int] = Counter()
    frames: Counter[int] = Counter()
    begin = 0
    for gop in gops:
        second = int(begin / fps)
        spent[second] += gop.wire_bytes
        frames[second] += gop.frames
        begin += gop.frames
    return [round(spent[second] * 8 / 1000 * fps / frames[second], 2) for second in sorted(spent)]


def _as_json(gop: GopFacts) -> dict[str, int]:
    return {name: getattr(gop, name) for name in GopFacts.__slots__}
