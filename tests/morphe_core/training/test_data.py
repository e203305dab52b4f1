from __future__ import annotations

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from morphe_core.errors import TrainingError
from morphe_core.training.data import SIDE, Source, Windows, find_sources, pack, window_flow
from morphe_core.vgc.tokens import CAMERA_AT

FRAMES = 14


def quiet(_: str) -> None:
    """Where reports go."""


def texture(height: int, width: int, seed: int = 8) -> np.ndarray:
    """Detail of all sizes, as in natural pictures."""
    values = np.random.default_rng(seed).normal(size=(height, width))
    layers = [gaussian_filter(values, sigma, mode="wrap") * sigma**2 for sigma in (2, 5, 12, 24)]
    summed = np.sum(layers, axis=0)
    return 128 + 40 * summed / summed.std()


def moving(height: int, width: int, x: float, y: float, frames: int = FRAMES) -> list[np.ndarray]:
    """Packed pictures of a texture that moves by (x, y) pixels a picture; chroma is the number."""
    down, across = np.mgrid[:height, :width].astype(float)
    pictures = []
    for n in range(frames):
        luma = map_coordinates(
            texture(height, width), [down - y * n, across - x * n], order=1, mode="grid-wrap"
        )
        chroma = np.full((height // 2, width), 100 + n)
        pictures.append(np.clip(np.rint(np.concatenate([luma, chroma])), 16, 235).astype(np.uint8))
    return pictures


def sources(*paths: Path) -> list[Source]:
    return [Source.at(path) for path in paths]


def write(path: Path, pictures: list[np.ndarray]) -> Path:
    """A lossless clip."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return write(folder / "moving.mkv", moving(300, 320, 2.0, -1.0))


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stills") / "still.png"
    shades = np.stack([texture(420, 600)] * 3, axis=-1) * [1.0, 0.8, 0.6]
    assert cv2.imwrite(str(path), np.clip(shades, 0, 255).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def packed(clip: Path, still: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    pack(sources(clip, still), folder, windows=6, seed=3, report=quiet)
    return folder


# -- sources ------------------------------------------------------------------------------------


def touch(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_sources_are_found_below_in_a_stable_order(tmp_path: Path) -> None:
    names = ("a.mp4", "b/c.WEBM", "b/d.png", "e.y4m")
    wanted = [Source.at(touch(tmp_path / name, name.encode())) for name in names]
    touch(tmp_path / "notes.txt", b"no clip")
    assert find_sources([tmp_path], []) == wanted


def test_a_source_is_known_by_the_hash_of_its_content(tmp_path: Path) -> None:
    # The second example of FIPS 180-2.
    message = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    assert Source.at(touch(tmp_path / "a.mp4", message)).sha256 == (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    )


def test_a_test_clip_cannot_slip_in_under_another_name(tmp_path: Path) -> None:
    held_out = touch(tmp_path / "test" / "city.mp4", b"city")
    touch(tmp_path / "train" / "copy.mkv", held_out.read_bytes())
    mine = touch(tmp_path / "train" / "city.mp4", b"another city")
    assert find_sources([tmp_path / "train"], [tmp_path / "test"]) == sources(mine)
    # Nor because the folder of test clips lies inside the others.
    assert find_sources([tmp_path], [tmp_path / "test"]) == sources(mine)


def test_without_clips_the_reason_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere: no such folder of clips$"):
        find_sources([tmp_path / "nowhere"], [])
    with pytest.raises(TrainingError, match=r"nowhere: no such folder of clips$"):
        find_sources([tmp_path], [tmp_path / "nowhere"])
    with pytest.raises(TrainingError, match=r"no training clips \(\.mp4, .*\.png\)$"):
        find_sources([tmp_path], [])
    touch(tmp_path / "only.mp4", b"held out")
    with pytest.raises(TrainingError, match="no training clips"):
        find_sources([tmp_path], [tmp_path])


# -- packing ------------------------------------------------------------------------------------


def test_a_clip_of_a_windows_size_is_cut_as_it_is(tmp_path: Path) -> None:
    pictures = moving(SIDE, SIDE, 1.0, 0.0)
    path = write(tmp_path / "exact.mkv", pictures)
    pack(sources(path), tmp_path / "set", windows=8, seed=1, report=quiet)
    seen = set()
    for window in Windows(tmp_path / "set").pictures:
        numbers = [int(picture[-1, 0]) - 100 for picture in window]
        for number, picture in zip(numbers, window, strict=True):
            np.testing.assert_array_equal(picture, pictures[number])
        # Fourteen pictures are too few for any other speed.
        assert set(np.diff(numbers)) in ({1}, {-1})
        seen.add(tuple(numbers))
    # Some run backwards.
    assert {window[1] - window[0] for window in seen} == {1, -1}


def test_the_flow_of_a_window_is_that_of_its_clip(packed: Path, clip: Path) -> None:
    windows = Windows(packed)
    assert windows.pictures.shape[1:] == (10, 432, 288)
    assert windows.flow.shape[1:] == (9, 2, 36, 36)
    assert windows.flow.dtype == np.float16
    forward = 0
    for pictures, flow in zip(windows.pictures, windows.flow, strict=True):
        chroma = pictures[:, -1, 0].astype(int)
        if set(np.diff(chroma)) - {1, -1} or len(set(pictures[0, SIDE:].ravel())) > 1:
            continue  # of the still
        # A clip of 300 lines is shown at 0.96 to 1 of its size.
        for at, (x, y) in zip(CAMERA_AT, flow, strict=True):
            # Of the first picture to the one before it: backward, as that of the others to it.
            sign, away = chroma[1] - chroma[0], abs(at)
            assert -2.0 * away - 0.3 < sign * np.median(x) < -1.92 * away + 0.3
            assert 0.96 * away - 0.3 < sign * np.median(y) < 1.0 * away + 0.3
        forward += 1
    facts = {fact.name: fact.windows for fact in windows.sources}
    assert forward == facts["moving.mkv"] > 0
    assert len(windows) == sum(facts.values())


def test_the_camera_over_a_still_moves_as_its_flow_says(still: Path, tmp_path: Path) -> None:
    pack(sources(still), tmp_path, windows=4, seed=2, report=quiet)
    windows = Windows(tmp_path)
    assert len(windows) == 4
    down, across = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    moves = 0
    for pictures, flow in zip(windows.pictures, windows.flow, strict=True):
        luma = pictures[:, :SIDE].astype(np.float32)
        inside = (slice(60, -60), slice(60, -60))
        for at, its in zip(CAMERA_AT, flow, strict=True):
            target, source = (luma[1 + at], luma[1]) if at > 0 else (luma[1], luma[0])
            x, y = (cv2.resize(axis.astype(np.float32), (SIDE, SIDE)) for axis in its)
            warped = cv2.remap(source, across + x, down + y, cv2.INTER_CUBIC)
            error = np.abs(warped - target)[inside].mean()
            still_error = np.abs(source - target)[inside].mean()
            assert error < max(2.0, 0.3 * still_error), at
        moves += still_error > 5
    assert moves >= 2


def test_a_small_still_is_enlarged(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    assert cv2.imwrite(str(path), np.clip(texture(100, 140), 0, 255).astype(np.uint8))
    (facts,) = pack(sources(path), tmp_path / "set", windows=2, seed=1, report=quiet)
    assert facts.windows == 2


def test_the_same_seed_gives_the_same_bytes(
    packed: Path, clip: Path, still: Path, tmp_path: Path
) -> None:
    pack(sources(clip, still), tmp_path / "again", windows=6, seed=3, report=quiet)
    pack(sources(clip, still), tmp_path / "other", windows=6, seed=4, report=quiet)
    for name in ("pictures.npy", "flow.npy", "sources.json"):
        assert (tmp_path / "again" / name).read_bytes() == (packed / name).read_bytes()
    other = (tmp_path / "other" / "pictures.npy").read_bytes()
    assert other != (packed / "pictures.npy").read_bytes()


def test_every_source_is_reported(clip: Path, still: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    facts = pack(sources(clip, still), tmp_path, windows=2, seed=1, report=lines.append)
    assert lines == [
        f"1/2 moving.mkv: {facts[0].windows} windows", f"2/2 still.png: {facts[1].windows} windows"
    ]  # fmt: skip
    assert Windows(tmp_path).sources == facts
    # Files are long, so no content is hashed a second time.
    (again,) = pack([Source(still, "known")], tmp_path, windows=1, seed=1, report=quiet)
    assert again.sha256 == "known"


@pytest.mark.parametrize("name", ["broken.mp4", "broken.png"])
def test_a_broken_source_is_named(name: str, tmp_path: Path) -> None:
    path = touch(tmp_path / name, b"neither a clip nor a still")
    with pytest.raises(TrainingError, match=f"{name}: cannot be decoded") as error:
        pack(sources(path), tmp_path / "set", windows=1, seed=1, report=quiet)
    assert "\n" not in str(error.value)


def test_a_clip_of_nine_pictures_is_too_short(tmp_path: Path) -> None:
    nine = write(tmp_path / "nine.mkv", moving(SIDE, SIDE, 0, 0, frames=9))
    with pytest.raises(TrainingError, match="long and large enough for a window of ten pictures"):
        pack(sources(nine), tmp_path / "set", windows=3, seed=1, report=quiet)
    ten = write(tmp_path / "ten.mkv", moving(SIDE, SIDE, 0, 0, frames=10))
    (facts,) = pack(sources(ten), tmp_path / "set", windows=1, seed=1, report=quiet)
    assert facts.windows == 1


# -- windows ------------------------------------------------------------------------------------


def planes(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma (10, 288, 288) and chroma (10, 2, 144, 144)."""
    return pictures[:, :SIDE], pictures[:, SIDE:].reshape(10, 2, SIDE // 2, SIDE // 2)


def test_half_of_the_windows_are_mirrored(packed: Path) -> None:
    windows = Windows(packed)
    pictures, flow = windows.batch(24, np.random.default_rng(1))
    assert pictures.shape == (24, 10, 432, 288)
    assert flow.dtype == np.float32
    mirrored = 0
    for got, its_flow in zip(pictures, flow, strict=True):
        for number in range(len(windows)):
            wanted, wanted_flow = windows.pictures[number], windows.flow[number]
            if np.array_equal(got, wanted):
                np.testing.assert_array_equal(its_flow, wanted_flow)
                break
            pairs = zip(planes(got), planes(wanted), strict=True)
            if all(np.array_equal(a, b[..., ::-1]) for a, b in pairs):
                np.testing.assert_array_equal(its_flow[:, 0], -wanted_flow[:, 0, :, ::-1])
                np.testing.assert_array_equal(its_flow[:, 1], wanted_flow[:, 1, :, ::-1])
                mirrored += 1
                break
        else:
            pytest.fail("neither a window nor its mirror image")
    assert 5 <= mirrored <= 19


def test_a_mirrored_window_moves_as_its_flow_says(packed: Path) -> None:
    windows = Windows(packed)
    pictures, flow = windows.batch(6, np.random.default_rng(2))
    for got, its_flow in zip(pictures, flow, strict=True):
        again = np.median(window_flow(got).astype(np.float32), axis=(2, 3))
        # The estimator itself is not the same from both sides.
        np.testing.assert_allclose(np.median(its_flow, axis=(2, 3)), again, atol=0.4, rtol=0.01)


def test_batches_follow_the_generator(packed: Path) -> None:
    windows = Windows(packed)
    one, other, third = (windows.batch(4, np.random.default_rng(seed))[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, third)
    one[:] = 0  # what is given is a copy
    assert windows.pictures[0].any()


@pytest.mark.parametrize("name", ["pictures.npy", "flow.npy", "sources.json"])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"\x93NUMPY\x01\x00"])
def test_a_broken_set_is_refused_in_one_line(
    packed: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    for part in ("pictures.npy", "flow.npy", "sources.json"):
        (tmp_path / part).symlink_to(packed / part)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError) as error:
        Windows(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: not a packed training set")
    assert "\n" not in str(error.value)


def test_parts_of_different_sets_are_refused(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "set")
    flow = np.load(packed / "flow.npy")
    np.save(tmp_path / "set" / "flow.npy", flow[:-1])
    with pytest.raises(TrainingError, match=f"{len(flow)} windows, {len(flow) - 1} flows$"):
        Windows(tmp_path / "set")
    np.save(tmp_path / "set" / "flow.npy", flow[..., :-1])
    with pytest.raises(TrainingError, match=r"flow\.npy: .*, must be \(N, 9, 2, 36, 36\)$"):
        Windows(tmp_path / "set")
    np.save(tmp_path / "set" / "flow.npy", flow[:0])
    np.save(tmp_path / "set" / "pictures.npy", np.load(packed / "pictures.npy")[:0])
    with pytest.raises(TrainingError, match=r"pictures\.npy: \(0, 10, 432, 288\), must be"):
        Windows(tmp_path / "set")
