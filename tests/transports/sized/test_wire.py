from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RemoteProtocolError
from testbed.transports.sized.wire import (
    DESCRIPTOR_BYTES,
    MAX_GROUPS,
    Descriptor,
    filler,
    parse_descriptor,
)


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    units = draw(st.integers(1, 255))
    return Descriptor(
        draw(st.integers(0, MAX_GROUPS - 1)),
        draw(st.integers(0, units - 1)),
        units,
        draw(st.integers(1, 255)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@given(descriptors(), st.binary(max_size=20))
def test_a_descriptor_comes_back_as_it_was(told: Descriptor, rest: bytes) -> None:
    data = told.pack()
    assert len(data) == DESCRIPTOR_BYTES
    assert parse_descriptor(data + rest) == told


@given(st.binary(max_size=16))
def test_any_bytes_give_a_descriptor_or_the_one_error(data: bytes) -> None:
    try:
        told = parse_descriptor(data)
    except RemoteProtocolError:
        return
    assert told.unit < told.units
    assert told.pack() == data[:DESCRIPTOR_BYTES]


def test_numbers_of_units_ascend_from_group_to_group() -> None:
    assert Descriptor(3, 254, 255, 9).number < Descriptor(4, 0, 1, 9).number < 2**32


def test_filler_is_the_same_every_time_differs_by_unit_and_does_not_compress() -> None:
    data = filler("promptus", 5, 0, 9000)
    assert data == filler("promptus", 5, 0, 9000)
    assert data[:500] == filler("promptus", 5, 0, 500)
    others = {filler("promptus", 6, 0, 32), filler("promptus", 5, 1, 32), filler("disco", 5, 0, 32)}
    assert len(others | {data[:32]}) == 4
    assert len(zlib.compress(data, 9)) >= len(data)


@pytest.mark.parametrize(
    "data", [b"", bytes(6), bytes([0, 0, 0, 1, 1, 1, 0]), bytes([0, 0, 0, 0, 1, 0, 0])]
)
def test_what_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_descriptor(data)
