"""Order, cutting and descriptors of packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.nasc.packetizer import (
    DESCRIPTOR_BYTES,
    MAX_PACKETS,
    Descriptor,
    pack_descriptor,
    packetize,
    parse_descriptor,
    payload_sizes,
    piece_sizes,
    sending_order,
)
from morphe_core.vgc.bitstream import Kind, Part
from tests.morphe_core.nasc.unitmaking import gop_packets, gop_units, unit


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    packets = draw(st.integers(1, MAX_PACKETS))
    return Descriptor(
        draw(st.integers(0, packets - 1)),
        packets,
        draw(st.integers(1, packets)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@given(descriptors())
def test_a_descriptor_comes_back_as_it_was(descriptor: Descriptor) -> None:
    assert parse_descriptor(pack_descriptor(descriptor) + b"x") == descriptor


@given(st.binary(max_size=8))
def test_any_bytes_are_a_descriptor_or_refused(data: bytes) -> None:
    try:
        descriptor = parse_descriptor(data)
    except BitstreamError:
        return
    assert 0 <= descriptor.position < descriptor.packets
    assert 1 <= descriptor.tokens <= descriptor.packets


def test_i_tokens_go_first_and_residuals_last() -> None:
    p_rows = [unit(0, n, 15, part=Part.P_ONLY) for n in (2, 0)]
    i_rows = [unit(0, n, 15, part=Part.I_ONLY) for n in (1, 0)]
    residual = unit(0, 0, 1, kind=Kind.RESIDUAL)
    assert sending_order([residual, *p_rows, *i_rows]) == [*i_rows, *p_rows, residual]


def test_every_packet_says_where_it_stands() -> None:
    packets = gop_packets(3, tokens=4, residuals=2)
    found = [parse_descriptor(packet.payload) for packet in packets]
    assert [d.position for d in found] == [0, 1, 2, 3, 4, 5]
    assert {(d.packets, d.tokens, d.whole) for d in found} == {(6, 4, True)}
    assert [packet.last for packet in packets] == [False] * 5 + [True]
    assert [p.payload[DESCRIPTOR_BYTES:] for p in packets] == gop_units(3, tokens=4, residuals=2)


def test_a_large_unit_is_cut_into_equal_pieces() -> None:
    units = [unit(0, 0, 2, size=3000), unit(0, 1, 2, size=100)]
    packets = packetize(units, most_bytes=1204)
    found = [parse_descriptor(packet.payload) for packet in packets]
    ends = [(True, False), (False, False), (False, True), (True, True)]
    assert [(d.starts, d.ends) for d in found] == ends
    assert [packet.unit for packet in packets] == [0, 0, 0, 1]
    assert {len(packet.payload) for packet in packets[:3]} == {1009, 1010}
    assert max(len(packet.payload) for packet in packets) <= 1204


@given(st.integers(1, 10_000), st.integers(1, 1500))
def test_pieces_add_up_and_fit(size: int, most: int) -> None:
    pieces = piece_sizes(size, most_bytes=most)
    assert sum(pieces) == size
    assert max(pieces) <= most
    assert max(pieces) - min(pieces) <= 1


def test_sizes_are_known_without_the_units() -> None:
    units = [unit(0, n, 4, size=size) for n, size in enumerate((20, 700, 1500, 2400))]
    packets = packetize(units, most_bytes=500)
    sizes = payload_sizes(map(len, units), most_bytes=500)
    assert sizes == [len(packet.payload) for packet in packets]


def test_a_gop_needs_tokens_and_numbers_for_all_packets() -> None:
    with pytest.raises(CodecConfigError, match="0 packets"):
        packetize([], most_bytes=100)
    with pytest.raises(CodecConfigError, match="0 with tokens"):
        packetize([unit(0, 0, 1, kind=Kind.RESIDUAL)], most_bytes=100)
    with pytest.raises(CodecConfigError, match="needs 1 to 1024"):
        packetize([unit(0, 0, 1, size=60_000)], most_bytes=50)
