"""Packets: each decodes alone; any bytes give a share or an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace_style.errors import BitstreamError
from grace_style.geometry import Geometry
from grace_style.header import Header, joined_pieces, pieces_of
from grace_style.mapping import shares
from grace_style.packets import Layout, PictureElements
from grace_style.tables import EntropyModel
from tests.grace_style.conftest import CHANNELS, random_elements

SIZE = Geometry(248, 180)


@pytest.fixture(scope="module")
def layout(entropy: EntropyModel) -> Layout:
    return Layout(SIZE, CHANNELS, entropy)


def some(layout: Layout, seed: int, busy: float = 0.1) -> PictureElements:
    generator = np.random.default_rng(seed)
    return PictureElements(
        random_elements(generator, layout.motion_shape, busy / 2),
        random_elements(generator, layout.residual_shape, busy),
        7, 19,
    )  # fmt: skip


@pytest.mark.parametrize("packets", [1, 2, 5, 40])
@pytest.mark.parametrize("busy", [0.0, 0.1, 0.9])
def test_every_packet_gives_its_share_of_the_elements(
    layout: Layout, packets: int, busy: float
) -> None:
    picture = some(layout, packets, busy)
    made = layout.pack(picture, frame=70_001, packets=packets, patch=b"patch", patch_in=packets - 1)
    assert len(made) == packets
    for number, data in enumerate(made):
        share = layout.unpack(data)
        header = share.header
        assert (header.frame, header.number, header.packets) == (70_001 % 65536, number, packets)
        assert (header.motion_quality, header.residual_quality) == (7, 19)
        assert share.patch == (b"patch" if number == packets - 1 else b"")
        at = shares(layout.residual_shape, packets)[number]
        np.testing.assert_array_equal(share.residual, picture.residual.reshape(-1)[at])
        at = shares(layout.motion_shape, packets)[number]
        np.testing.assert_array_equal(share.motion, picture.motion.reshape(-1)[at])


def test_any_subset_of_packets_gives_its_elements_and_zeros(layout: Layout) -> None:
    picture = some(layout, 1)
    made = layout.pack(picture, frame=0, packets=6)
    for arrived in ([0], [5, 2], [1, 3, 4], list(range(6))):
        found = layout.place([layout.unpack(made[number]) for number in arrived])
        flags = [number in arrived for number in range(6)]
        motion_here, residual_here = layout.here(6, flags)
        np.testing.assert_array_equal(found[2], motion_here)
        np.testing.assert_array_equal(found[3], residual_here)
        np.testing.assert_array_equal(found[0], picture.motion * motion_here)
        np.testing.assert_array_equal(found[1], picture.residual * residual_here)


def test_the_largest_elements_pass(layout: Layout) -> None:
    picture = some(layout, 2)
    picture.residual[3, 7, 8] = 255
    picture.motion[5, 3, 3] = -255
    shares_here = [layout.unpack(data) for data in layout.pack(picture, frame=1, packets=3)]
    motion, residual, _, _ = layout.place(shares_here)
    assert residual[3, 7, 8] == 255
    assert motion[5, 3, 3] == -255


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_random_bytes_give_a_share_or_an_error(layout: Layout, data: bytes) -> None:
    try:
        share = layout.unpack(data)
    except BitstreamError:
        return
    assert abs(share.residual).max(initial=0) <= 255


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_mutated_packets_give_a_share_or_an_error(layout: Layout, seed: int, flips: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(layout.pack(some(layout, 3), frame=5, packets=3)[seed % 3])
    for _ in range(flips):
        data[generator.integers(len(data))] = generator.integers(256)
    try:
        share = layout.unpack(bytes(data))
    except BitstreamError:
        return
    layout.place([share])


@given(st.binary(max_size=4000), st.integers(60, 1400))
def test_an_intra_picture_comes_together_again(data: bytes, most_bytes: int) -> None:
    pieces = pieces_of(data, frame=3, most_bytes=most_bytes)
    assert all(len(piece) <= most_bytes for piece in pieces)
    assert joined_pieces(pieces[::-1]) == data
    if len(pieces) > 1:
        assert joined_pieces(pieces[1:]) is None


def test_pieces_of_different_pictures_are_refused() -> None:
    one, other = (
        pieces_of(b"a" * 100, frame=1, most_bytes=70),
        pieces_of(b"b" * 100, frame=2, most_bytes=70),
    )
    with pytest.raises(BitstreamError, match="different"):
        joined_pieces([one[0], other[1]])


@given(st.binary(max_size=12))
def test_any_header_bytes_give_a_header_or_an_error(data: bytes) -> None:
    try:
        header = Header.parse(data)
    except BitstreamError:
        return
    assert header.pack() == data[:8]
    assert header.number < header.count
