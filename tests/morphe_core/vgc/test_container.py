"""The `.morphe` file: round trip, truncation, damage."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.vgc.bitstream import Kind, Part, UnitHeader, write_unit
from morphe_core.vgc.container import MAGIC, StreamHeader, StreamReader, StreamWriter

STREAM = StreamHeader(
    width=1280, height=720, fps_numerator=30000, fps_denominator=1001, bit_depth=10, primaries=1,
    transfer=1, matrix=1, full_range=True, frame_count=0, target_kbps=400, backend="small",
    weights_hash=bytes(range(32)), profile="morphe-paper",
)  # fmt: skip
UNITS = 3


def unit(gop: int, number: int, payload: bytes) -> bytes:
    header = UnitHeader(
        kind=Kind.TOKENS, part=Part.JOINT, gop=gop % 65536, unit=number, unit_count=UNITS, scale=3,
        frames=9, width=1280, height=720, i_quality=40, p_quality=32, intra=False, backend=0,
    )  # fmt: skip
    return write_unit(header, payload)


def file_of(gops: int, *, seed: int = 0, payload_bytes: int = 200) -> tuple[bytes, list[int]]:
    """A file and where each of its GoPs ends."""
    generator = np.random.default_rng(seed)
    file = io.BytesIO()
    writer = StreamWriter(file, STREAM)
    ends = [file.tell()]
    for gop in range(gops):
        sizes = generator.integers(0, payload_bytes, UNITS)
        units = [unit(gop, n, generator.bytes(int(size))) for n, size in enumerate(sizes)]
        ends.append(ends[-1] + writer.write_gop(gop, units))
    return file.getvalue(), ends


def test_a_file_comes_back() -> None:
    data, ends = file_of(4)
    assert ends[-1] == len(data)
    reader = StreamReader(io.BytesIO(data))
    assert reader.header == STREAM
    records = list(reader)
    assert [record.index for record in records] == [0, 1, 2, 3]
    assert [record.size for record in records] == list(np.diff(ends))
    assert [[u.header.unit for u in record.units] for record in records] == [[0, 1, 2]] * 4
    assert (reader.lost_units, reader.skipped_bytes, reader.truncated) == (0, 0, False)


def test_a_gop_costs_ten_bytes_and_a_unit_two() -> None:
    data, _ = file_of(1)
    units = StreamReader(io.BytesIO(data))
    record = next(iter(units))
    payload = sum(16 + len(u.payload) for u in record.units)
    assert record.size <= payload + 10 + 2 * UNITS


def test_the_number_of_pictures_is_set_at_the_end() -> None:
    file = io.BytesIO()
    writer = StreamWriter(file, STREAM)
    writer.write_gop(65536 + 7, [unit(7, 0, b"x")])
    writer.finish(1234)
    writer.write_gop(8, [unit(8, 0, b"y")])
    file.seek(0)
    reader = StreamReader(file)
    assert reader.header == replace(STREAM, frame_count=1234)
    assert [record.index for record in reader] == [7, 8]


def test_a_pipe_is_written_without_seeking() -> None:
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise AssertionError

    pipe = Pipe()
    writer = StreamWriter(pipe, STREAM)
    writer.write_gop(0, [unit(0, 0, b"x")])
    writer.finish(9)
    assert StreamReader(io.BytesIO(pipe.getvalue())).header == STREAM


def test_an_empty_stream() -> None:
    data, _ = file_of(0)
    reader = StreamReader(io.BytesIO(data))
    assert list(reader) == []
    assert not reader.truncated


def test_a_file_may_be_cut_anywhere() -> None:
    data, ends = file_of(3, payload_bytes=30)
    for size in range(ends[0], len(data)):
        reader = StreamReader(io.BytesIO(data[:size]))
        records = list(reader)
        whole = sum(end <= size for end in ends[1:])
        complete = [record for record in records if len(record.units) == UNITS]
        assert len(complete) == whole
        assert reader.truncated == (size not in ends)
        assert sum(record.size for record in records) + reader.skipped_bytes == size - ends[0]


def test_a_cut_header_is_an_error() -> None:
    data, ends = file_of(0)
    for size in range(ends[0]):
        with pytest.raises(BitstreamError):
            StreamReader(io.BytesIO(data[:size]))


@given(st.data())
def test_a_flipped_bit_costs_its_unit_or_its_gop(data) -> None:
    content, ends = file_of(4)
    bit = data.draw(st.integers(8 * ends[0], 8 * len(content) - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    reader = StreamReader(io.BytesIO(bytes(damaged)))
    records = list(reader)
    hit = sum(end <= bit // 8 for end in ends) - 1
    clean = [record for record in records if len(record.units) == UNITS and not record.lost]
    assert [record.index for record in clean] == [n for n in range(4) if n != hit]
    assert reader.lost_units or reader.skipped_bytes
    good = file_of(4)[0]
    for record in records:
        for one in record.units:
            assert write_unit(one.header, one.payload) in good


def test_every_bit_of_the_header_is_guarded() -> None:
    content, ends = file_of(1)
    for bit in range(8 * ends[0]):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            StreamReader(io.BytesIO(bytes(damaged)))


@given(st.binary(max_size=400), st.integers(0, 3))
def test_garbage_between_gops_is_skipped(garbage, at) -> None:
    content, ends = file_of(3)
    place = ends[at]
    reader = StreamReader(io.BytesIO(content[:place] + garbage + content[place:]))
    records = [record for record in reader if len(record.units) == UNITS]
    assert [record.index for record in records] == [0, 1, 2]
    assert reader.skipped_bytes + reader.lost_units >= min(1, len(garbage))


@given(st.binary(max_size=300))
def test_garbage_is_no_file(garbage) -> None:
    with pytest.raises(BitstreamError):
        StreamReader(io.BytesIO(garbage))
    with pytest.raises(BitstreamError):
        StreamReader(io.BytesIO(MAGIC + garbage))


def test_a_record_that_claims_sixteen_megabytes_allocates_what_is_there() -> None:
    content, _ = file_of(1)
    from morphe_core.vgc.container import _record_head

    reader = StreamReader(io.BytesIO(content + _record_head(1, (1 << 24) - 1) + b"tail"))
    records = list(reader)
    assert [len(record.units) for record in records] == [UNITS, 0]
    assert reader.truncated


def test_limits_are_named() -> None:
    with pytest.raises(CodecConfigError, match="bit_depth 7"):
        replace(STREAM, bit_depth=7)
    with pytest.raises(CodecConfigError, match="profile of 65 bytes"):
        replace(STREAM, profile="x" * 65)
    writer = StreamWriter(io.BytesIO(), STREAM)
    with pytest.raises(CodecConfigError, match="GoP of 16777220 bytes"):
        writer.write_gop(0, [bytes(1 << 24)])
