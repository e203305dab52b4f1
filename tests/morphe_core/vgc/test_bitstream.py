"""Units: headers, checksums, rows and the order of sending."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.bitstream import (
    HEADER_BYTES,
    VERSION,
    Kind,
    Part,
    UnitHeader,
    coded_grid,
    read_unit,
    send_order,
    unit_rows,
    write_unit,
)
from morphe_core.vgc.tokens import Grid

HEADER = UnitHeader(
    kind=Kind.TOKENS, part=Part.JOINT, gop=65535, unit=3, unit_count=9, scale=2, frames=9,
    width=1280, height=720, i_quality=127, p_quality=32, intra=True, backend=15,
)  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> UnitHeader:
    scale = draw(st.integers(1, 3))
    width, height = draw(st.integers(1, 4080 * scale)), draw(st.integers(1, 2040 * scale))
    count = draw(st.integers(1, coded_grid(width, height, scale).rows))
    kind = draw(st.sampled_from(Kind))
    return UnitHeader(
        kind=kind,
        part=draw(st.sampled_from(Part)) if kind is Kind.TOKENS else Part.JOINT,
        gop=draw(st.integers(0, 65535)),
        unit=draw(st.integers(0, count - 1)),
        unit_count=count,
        scale=scale,
        frames=draw(st.integers(1, 9)),
        width=width,
        height=height,
        i_quality=draw(st.integers(0, 127)),
        p_quality=draw(st.integers(0, 127)),
        intra=draw(st.booleans()),
        backend=draw(st.integers(0, 15)),
    )


@given(headers(), st.binary(max_size=40))
def test_a_unit_comes_back(header, payload) -> None:
    data = write_unit(header, payload)
    assert len(data) == HEADER_BYTES + len(payload) == 16 + len(payload)
    unit = read_unit(data)
    assert unit.header == header
    assert unit.payload == payload


@given(headers(), st.binary(max_size=30), st.data())
def test_any_flipped_bit_is_detected(header, payload, data) -> None:
    unit = bytearray(write_unit(header, payload))
    bit = data.draw(st.integers(0, 8 * len(unit) - 1))
    unit[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BitstreamError):
        read_unit(bytes(unit))


def test_every_single_bit_of_one_unit() -> None:
    unit = write_unit(HEADER, b"payload")
    for bit in range(8 * len(unit)):
        damaged = bytearray(unit)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            read_unit(bytes(damaged))


@given(st.binary(max_size=80), st.booleans())
def test_garbage_is_refused(data, of_our_version) -> None:
    if of_our_version and data:
        data = bytes([VERSION << 4 | data[0] & 15]) + data[1:]
    with pytest.raises(BitstreamError):
        read_unit(data)


@given(headers(), st.binary(max_size=20), st.data())
def test_a_cut_unit_is_refused(header, payload, data) -> None:
    unit = write_unit(header, payload)
    with pytest.raises(BitstreamError):
        read_unit(unit[: data.draw(st.integers(0, len(unit) - 1))])


def test_a_right_checksum_does_not_excuse_wrong_fields() -> None:
    # Unit 9 of 9, and scale 0: forged with a checksum that matches.
    import struct
    import zlib

    for offset, value in ((3, 9), (6, 0)):
        forged = bytearray(write_unit(HEADER, b"x"))
        forged[offset] = value
        crc = zlib.crc32(forged[16:], zlib.crc32(forged[:12]))
        forged[12:16] = struct.pack(">I", crc)
        with pytest.raises(BitstreamError, match="unit header"):
            read_unit(bytes(forged))


def test_the_version_is_named() -> None:
    unit = bytearray(write_unit(HEADER, b""))
    for other in (1, 3):
        unit[0] = other << 4 | unit[0] & 15
        with pytest.raises(BitstreamError, match=f"version {other}: this decoder reads 2"):
            read_unit(bytes(unit))


@pytest.mark.parametrize(
    ("field", "value"),
    [("gop", 65536), ("unit", 9), ("unit_count", 0), ("unit_count", 46), ("frames", 0),
     ("frames", 10), ("i_quality", 128), ("p_quality", -1), ("backend", 16), ("width", 0),
     ("height", 65537), ("scale", 4)],
)  # fmt: skip
def test_fields_out_of_range_are_named(field, value) -> None:
    from dataclasses import replace

    with pytest.raises(CodecConfigError, match=f"{field} {value}"):
        replace(HEADER, **{field: value})


def test_a_residual_unit_has_no_part_and_may_have_more_units() -> None:
    from dataclasses import replace

    residual = replace(HEADER, kind=Kind.RESIDUAL, unit_count=200)
    assert read_unit(write_unit(residual, b"r")).header == residual
    with pytest.raises(CodecConfigError, match="part"):
        replace(HEADER, kind=Kind.RESIDUAL, part=Part.I_ONLY)


@pytest.mark.parametrize(
    ("size", "scale", "grid"),
    [((1280, 720), 3, Grid(30, 54)), ((1280, 720), 2, Grid(45, 80)),
     ((1920, 1080), 3, Grid(45, 80)), ((1920, 1080), 2, Grid(68, 120)),
     ((1, 1), 1, Grid(1, 2)), ((17, 9), 1, Grid(2, 4))],
)  # fmt: skip
def test_the_grid_follows_from_the_source(size, scale, grid) -> None:
    assert coded_grid(*size, scale) == grid


@given(st.integers(1, 255), st.data())
def test_units_share_the_rows_out(rows, data) -> None:
    count = data.draw(st.integers(1, rows))
    held = [list(unit_rows(rows, count, unit)) for unit in range(count)]
    assert sorted(row for own in held for row in own) == list(range(rows))
    assert max(map(len, held)) - min(map(len, held)) <= 1
    if count > 1:
        assert all(b - a > 1 for own in held for a, b in pairwise(own))


def test_rows_of_a_unit_that_is_not_there() -> None:
    for rows, count, unit in ((5, 6, 0), (5, 5, 5), (5, 0, 0), (5, 2, -1)):
        with pytest.raises(CodecConfigError, match=f"{unit} of {count}"):
            unit_rows(rows, count, unit)


def _nearest(order: list[int]) -> int:
    """The least distance in sending order of two units that hold adjacent rows."""
    count = len(order)
    at = np.argsort(order)
    return int(min(abs(at[unit] - at[(unit + 1) % count]) for unit in range(count)))


@given(st.integers(1, 256))
def test_sending_order_has_every_unit_once(count) -> None:
    assert sorted(send_order(count)) == list(range(count))


@given(st.integers(3, 255), st.integers(0, 255))
def test_no_burst_takes_adjacent_rows(rows, seed) -> None:
    count = 3 + seed % (rows - 2)
    order = send_order(count)
    burst = (count - 1) // 2
    for start in range(count):
        lost = [
            row for unit in order[start : start + burst] for row in unit_rows(rows, count, unit)
        ]
        assert not {row + 1 for row in lost} & set(lost)


def test_bursts_of_four_and_eight() -> None:
    assert all(_nearest(send_order(count)) >= 4 for count in range(9, 257))
    assert all(_nearest(send_order(count)) >= 8 for count in range(17, 257))


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_no_order_does_better(count) -> None:
    best = max(_nearest([0, *rest]) for rest in permutations(range(1, count)))
    assert _nearest(send_order(count)) == max(best, (count - 1) // 2) == best


def test_a_one_row_stream() -> None:
    header = UnitHeader(
        kind=Kind.TOKENS, part=Part.P_ONLY, gop=0, unit=0, unit_count=1, scale=1, frames=1,
        width=2, height=2, i_quality=0, p_quality=0, intra=False, backend=0,
    )  # fmt: skip
    assert read_unit(write_unit(header, b"")).header.rows == range(1)
