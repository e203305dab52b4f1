"""Units as one piece of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.bitstream import read_unit
from testbed.codec.units import join_units, pack_gop, renumbered, split_units, unpack_gop
from testbed.errors import BrokenLogError
from testbed.media.types import EncodedGop
from tests.morphe_core.nasc.unitmaking import gop_units


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_units_come_back(units: list[bytes]) -> None:
    assert split_units(join_units(units)) == units


def test_units_that_break_off_are_an_error() -> None:
    data = join_units([b"abc", b"de"])
    for length in (1, 5, 8, len(data) - 1):
        with pytest.raises(BrokenLogError, match="break off"):
            split_units(data[:length])


def test_a_gop_comes_back() -> None:
    gop = EncodedGop(7, 4, 2, (b"abc", b"", b"d"), (3, 9), 5, "2x whole")
    assert unpack_gop(pack_gop(gop), index=7, encode_ns=5) == gop


def test_units_get_another_number_and_stay_whole() -> None:
    units = renumbered(gop_units(3), 65_536 + 12)
    assert [read_unit(unit).header.gop for unit in units] == [12] * 6
    payloads = [read_unit(unit).payload for unit in units]
    assert payloads == [read_unit(unit).payload for unit in gop_units(3)]
