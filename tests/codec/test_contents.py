"""What is said of a file's GoPs; the command itself is tested with the others."""

from __future__ import annotations

from dataclasses import replace

from morphe_core.vgc.bitstream import Kind, Part, Unit, UnitHeader
from testbed.codec.contents import _facts, kind_of

TOKENS = UnitHeader(
    kind=Kind.TOKENS, part=Part.JOINT, gop=3, unit=0, unit_count=4, scale=2, frames=7, width=640,
    height=360, i_quality=50, p_quality=40, intra=True, backend=0,
)  # fmt: skip
RESIDUAL = replace(TOKENS, kind=Kind.RESIDUAL, i_quality=9, p_quality=0)


def test_a_residual_does_not_speak_for_its_gop() -> None:
    units = [Unit(RESIDUAL, b"12345"), Unit(TOKENS, b"123")]
    assert [kind_of(unit) for unit in units] == ["residual", "tokens"]
    facts = _facts(3, units, 0)
    assert (facts.i_quality, facts.p_quality) == (50, 40)
    assert (facts.frames, facts.scale, facts.units) == (7, 2, 2)
