"""The .y4m reader and writer, against PyAV and against broken files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ClipError
from testbed.media import y4m


def _pictures(width: int, height: int, count: int) -> list[np.ndarray]:
    size = y4m.Y4mHeader(width, height, Fraction(25)).picture_bytes
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("width", "height"), [(32, 16), (33, 17), (1, 1)])
def test_round_trip(tmp_path: Path, width: int, height: int) -> None:
    pictures = _pictures(width, height, 3)
    path = tmp_path / "a.y4m"
    count = y4m.write_pictures(
        path, pictures, width=width, height=height, fps=Fraction(30000, 1001)
    )
    assert count == 3
    assert y4m.read_header(path) == y4m.Y4mHeader(width, height, Fraction(30000, 1001))
    assert [p.tobytes() for p in y4m.read_pictures(path)] == [p.tobytes() for p in pictures]
    assert list(tmp_path.iterdir()) == [path]


def test_pyav_reads_what_we_write(tmp_path: Path) -> None:
    pictures = _pictures(48, 32, 4)
    path = tmp_path / "a.y4m"
    y4m.write_pictures(path, pictures, width=48, height=32, fps=Fraction(25))
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(video=0)]
    assert [f.tobytes() for f in frames] == [p.tobytes() for p in pictures]


def test_we_read_what_pyav_writes(tmp_path: Path) -> None:
    pictures = _pictures(48, 32, 2)
    path = tmp_path / "a.y4m"
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=24)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture.reshape(48, 48), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert y4m.read_header(path).fps == 24
    assert [p.tobytes() for p in y4m.read_pictures(path)] == [p.tobytes() for p in pictures]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (b"", "not a YUV4MPEG2 file"),
        (b"RIFF....\n", "not a YUV4MPEG2 file"),
        (b"YUV4MPEG2 W16 H16\n", "needs W, H and F"),
        (b"YUV4MPEG2 W16 Hx F25:1\n", "needs W, H and F"),
        (b"YUV4MPEG2 W16 H16 F25:0\n", "needs W, H and F"),
        (b"YUV4MPEG2 W16 H16 F0:1\n", "impossible"),
        (b"YUV4MPEG2 W0 H16 F25:1\n", "impossible"),
        (b"YUV4MPEG2 W99999 H16 F25:1\n", "impossible"),
        (b"YUV4MPEG2 W16 H16 F25:1 C444\n", "colour space C444"),
        (b"YUV4MPEG2 W16 H16 F25:1 C420p10\n", "colour space C420p10"),
        (b"YUV4MPEG2 W16 H16 F25:1 It\n", "interlaced"),
        (b"YUV4MPEG2 W16 W16 H16 F25:1\n", "twice"),
        (b"YUV4MPEG2 W16 H16 F25:1", "no end of line"),
    ],
)
def test_a_bad_header_is_one_clear_line(tmp_path: Path, header: bytes, complaint: str) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(header)
    with pytest.raises(ClipError, match=complaint) as caught:
        y4m.read_header(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"FRAME\n" + bytes(383), "picture 0 is cut short"),
        (b"FRAME\n" + bytes(384) + b"FRAM", "no end of line"),
        (b"FRAME\n" + bytes(384) + b"FRAMES\n" + bytes(384), "does not begin with FRAME"),
        (b"\n" + bytes(384), "does not begin with FRAME"),
    ],
)
def test_a_bad_picture_is_one_clear_line(tmp_path: Path, body: bytes, complaint: str) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F25:1\n" + body)
    with pytest.raises(ClipError, match=complaint):
        list(y4m.read_pictures(path))


def test_frame_parameters_and_comments_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F25:1 Xa=b Xc\nFRAME Ixyz\n" + bytes(384))
    assert len(list(y4m.read_pictures(path))) == 1


def test_a_picture_of_the_wrong_size_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    with pytest.raises(ClipError, match="picture 1 has 5 bytes"):
        y4m.write_pictures(
            path,
            [np.zeros(384, np.uint8), np.zeros(5, np.uint8)],
            width=16,
            height=16,
            fps=Fraction(25),
        )
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=200))
def test_garbage_is_a_clip_error_or_a_header(garbage: bytes) -> None:
    try:
        header = y4m.parse_header(b"YUV4MPEG2 " + garbage, Path("x.y4m"))
    except ClipError:
        return
    assert header.width > 0
