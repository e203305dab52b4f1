""".morphe files: rate, order, gaps and damage."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from morphe_core.errors import BitstreamError
from morphe_core.vgc.container import StreamHeader, StreamWriter
from testbed.codec.colour import Colour
from testbed.codec.core import Core, Settings
from testbed.codec.files import MorpheFile, decode_gops, encode_file, open_morphe
from testbed.codec.losses import LossCondition, UnitLoss
from testbed.codec.rates import kbps, wire_bytes
from testbed.codec.reading import open_video
from testbed.errors import ClipError, InputError, OutputError
from tests.codec.fakecodec import SHA256, FakeConfig, FakeCore, FakeEncoder


@pytest.fixture(autouse=True)
def _settings_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "config", lambda self: FakeConfig)


def _core(miss: float = 1.0) -> Core:
    """The fake has the face of a core, not its class."""
    return cast("Core", FakeCore(miss))


def _encode(path: Path, target_kbps: float, miss: float = 1.0, seconds: float = 0.0) -> Core:
    core = _core(miss)
    encode_file(
        open_video("carphone", duration_s=seconds), path, core=core, settings=Settings(),
        target_kbps=target_kbps, progress=lambda _: None,
    )  # fmt: skip
    return core


@pytest.mark.parametrize("target", [60, 200, 800])
@pytest.mark.parametrize("miss", [0.93, 1.0, 1.07])
def test_the_rate_is_met_headers_and_all(tmp_path: Path, target: float, miss: float) -> None:
    path = tmp_path / "x.morphe"
    _encode(path, target, miss)
    with path.open("rb") as opened:
        file = MorpheFile(opened, "x")
        gops = list(file.gops())
    sent = sum(wire_bytes(map(len, gop.units)) for gop in gops)
    frames = sum(gop.frames for gop in gops)
    assert frames == file.header.frame_count == open_video("carphone").expected
    assert kbps(sent, frames, file.form.fps) == pytest.approx(target, rel=0.03)
    # The file itself carries no packet headers, and hardly any of its own.
    units = sum(len(gop.units) for gop in gops)
    assert path.stat().st_size < sent - 40 * units + 12 * len(gops) + 4 * units + 200


def test_the_header_says_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "x.morphe"
    _encode(path, 100, seconds=1)
    with path.open("rb") as opened:
        header = MorpheFile(opened, "x").header
    assert (header.width, header.height, header.frame_count) == (176, 144, 30)
    assert (header.backend, header.weights_hash.hex(), header.profile) == (
        "small", SHA256, "morphe",
    )  # fmt: skip
    assert (header.target_kbps, header.bit_depth, header.full_range) == (100, 8, False)
    assert Fraction(header.fps_numerator, header.fps_denominator) == Fraction(30_000, 1001)


def test_pictures_come_back_as_many_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.morphe"
    core = _encode(path, 200, seconds=1)
    video = open_video("carphone", duration_s=1)
    with path.open("rb") as opened:
        file = MorpheFile(opened, "x")
        decoder = core.decoder(width=176, height=144)
        pictures = list(decode_gops(file.gops(), decoder, UnitLoss(LossCondition())))
    sources = list(video.pictures())
    assert len(pictures) == len(sources) == 30
    for picture, source in zip(pictures, sources, strict=True):
        assert picture.size == source.size
        assert np.abs(picture[: 176 * 144].astype(int) - source[: 176 * 144]).mean() < 20


HEADER = StreamHeader(
    width=64, height=64, fps_numerator=30, fps_denominator=1, bit_depth=8,
    primaries=2, transfer=2, matrix=2, full_range=False, frame_count=0,
    target_kbps=100, backend="small", weights_hash=b"", profile="morphe",
)  # fmt: skip


def _file(gops: list[tuple[int, int]], frame_count: int, header: StreamHeader = HEADER) -> bytes:
    """A file with these (index, frames)."""
    encoder = FakeEncoder(64, 64, 1.0, 1)
    buffer = io.BytesIO()
    writer = StreamWriter(buffer, header)
    for index, frames in gops:
        encoder.index = index
        gop = encoder.encode([np.zeros(64 * 96, np.uint8)] * frames, budget_bytes=200)
        writer.write_gop(gop.index, gop.units)
    writer.finish(frame_count)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("there", "frame_count", "expected"),
    [
        ([(0, 9), (1, 9), (2, 4)], 22, [(0, 9, 6), (1, 9, 6), (2, 4, 6)]),
        ([(0, 9), (3, 4)], 31, [(0, 9, 6), (1, 9, 0), (2, 9, 0), (3, 4, 6)]),
        ([(1, 9)], 27, [(0, 9, 0), (1, 9, 6), (2, 9, 0)]),
        ([(0, 9)], 13, [(0, 9, 6), (1, 4, 0)]),
        ([], 5, [(0, 5, 0)]),
        ([], 0, []),
        ([(0, 9), (1, 9)], 0, [(0, 9, 6), (1, 9, 6)]),
        ([(0, 9), (0, 9), (1, 9)], 18, [(0, 9, 6), (1, 9, 6)]),
    ],
)
def test_missing_gops_keep_their_place(
    there: list[tuple[int, int]], frame_count: int, expected: list[tuple[int, int, int]]
) -> None:
    file = MorpheFile(io.BytesIO(_file(there, frame_count)), "x")
    assert [(gop.index, gop.frames, len(gop.units)) for gop in file.gops()] == expected


def test_indices_go_on_beyond_what_they_count_to() -> None:
    there = [(index, 9) for index in (*range(3), 1002)]
    file = MorpheFile(io.BytesIO(_file(there, 9 * 1003)), "x")
    gops = list(file.gops())
    assert [gop.index for gop in gops] == list(range(1003))
    assert sum(len(gop.units) > 0 for gop in gops) == 4


def test_a_header_that_promises_too_much_makes_up_nothing() -> None:
    file = MorpheFile(io.BytesIO(_file([(0, 9)], 4_000_000_000)), "x")
    assert len(list(file.gops())) == 1


@pytest.mark.parametrize("at", [0.5, 0.9])
def test_a_file_that_is_cut_off_gives_what_is_left(tmp_path: Path, at: float) -> None:
    data = _file([(index, 9) for index in range(10)], 90)
    file = MorpheFile(io.BytesIO(data[: int(len(data) * at)]), "x")
    gops = list(file.gops())
    assert sum(gop.frames for gop in gops) == 90
    assert 0 < sum(len(gop.units) for gop in gops) < 60


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, width=65536, height=65536),
        replace(HEADER, width=33),
        replace(HEADER, height=8),
        replace(HEADER, fps_numerator=4_000_000_000),
    ],
)
def test_pictures_that_no_source_has_are_refused(header: StreamHeader) -> None:
    data = _file([], 0, header)
    with pytest.raises(InputError):
        MorpheFile(io.BytesIO(data), "x.morphe")


def test_colours_travel(tmp_path: Path) -> None:
    header = replace(HEADER, primaries=9, transfer=16, matrix=9, full_range=True)
    data = _file([], 0, header)
    assert MorpheFile(io.BytesIO(data), "x").form.colour == Colour(9, 16, 9, True)


@pytest.mark.parametrize("data", [b"", b"not a file of ours", b"\x89morphe\r\n\x00"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        MorpheFile(io.BytesIO(data), "x")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        open_morphe(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        open_morphe(tmp_path / "missing.morphe")


def test_an_encode_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.morphe"
    path.write_bytes(b"before")
    video = open_video("carphone")

    def interrupt(done: int) -> None:
        if done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_file(
            video, path, core=_core(), settings=Settings(), target_kbps=100, progress=interrupt
        )
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        _encode(tmp_path, 100)


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "whole.y4m"
    from testbed.media import y4m

    pictures = [np.full(64 * 96, 100, np.uint8)] * 12
    y4m.write_pictures(whole, pictures, width=64, height=64, fps=Fraction(10))
    cut = tmp_path / "cut.y4m"
    cut.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(ClipError, match="cut short"):
        encode_file(
            open_video(str(cut)), tmp_path / "x.morphe", core=_core(), settings=Settings(),
            target_kbps=100, progress=lambda _: None,
        )  # fmt: skip
    assert not list(tmp_path.glob("*morphe*"))
