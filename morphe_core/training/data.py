"""Training windows: any folder of clips and stills becomes one packed, memory-mapped file.

A *window* is ten consecutive pictures of one square crop: the last picture of a GoP and the nine of
the next one, with the motion of all of them against the first of the GoP, from a classical
estimator on the source (OpenCV's DIS; Kroeger et al., ECCV 2016). Windows are cut once,
at random scales, speeds and directions, so that a training step costs no decoding; stills give
windows of a synthetic camera (pan, zoom, rotation), which are nearly free of coding artefacts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from morphe_core.errors import TrainingError
from morphe_core.vgc.tokens import CAMERA_AT

#: Pictures of a window: one before the GoP and the nine of a GoP (paper, section 4.3).
WINDOW_FRAMES = 10
#: Side of a window in pixels: 288 is 12 or 18 tokens at a third and at half of the size.
SIDE = 288
#: Flow is kept for cells of this many pixels.
FLOW_CELL = 8
VIDEO_SUFFIXES = (".mp4", ".webm", ".264", ".mkv", ".avi", ".mov", ".y4m", ".gz")
STILL_SUFFIXES = (".jpg", ".jpeg", ".png")

Bytes = npt.NDArray[np.uint8]
Report = Callable[[str], None]


@dataclass(frozen=True)
class _Window:
    """Where one window is cut: picture numbers are source pictures, sizes pixels."""

    start: int
    step: int
    backwards: bool
    width: int
    height: int
    x: int
    y: int

    @property
    def end(self) -> int:
        return self.start + (WINDOW_FRAMES - 1) * self.step


@dataclass(frozen=True)
class Source:
    """A clip or a still, and the hash of its content."""

    path: Path
    sha256: str

    @classmethod
    def at(cls, path: Path) -> Source:
        """The file at `path`."""
        return cls(path, hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass(frozen=True)
class SourceFacts:
    """What the packed file says about one source."""

    name: str
    sha256: str
    windows: int


def find_sources(folders: Sequence[Path], exclude: Sequence[Path]) -> list[Source]:
    """All clips and stills below `folders`, in a stable order, without the test clips.

    A file is left out when its *content* equals that of a file below `exclude`, so that a copy
    under another name cannot slip in.

    Raises:
        TrainingError: a folder is missing, or nothing is left.
    """
    for folder in (*folders, *exclude):
        if not folder.is_dir():
            raise TrainingError(f"{folder}: no such folder of clips")
    held_out = {Source.at(path).sha256 for folder in exclude for path in _files(folder)}
    found = [
        Source.at(path)
        for folder in folders
        for path in _files(folder)
        if not any(path.resolve().is_relative_to(other.resolve()) for other in exclude)
    ]
    found = [source for source in found if source.sha256 not in held_out]
    if not found:
        known = ", ".join(VIDEO_SUFFIXES + STILL_SUFFIXES)
        raise TrainingError(f"{', '.join(map(str, folders))}: no training clips ({known})")
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES + STILL_SUFFIXES and path.is_file()
    )


def pack(
    sources: Sequence[Source], out: Path, *, windows: int, seed: int, report: Report = print
) -> list[SourceFacts]:
    """Cut about `windows` windows from `sources` into the folder `out`.

    Writes `pictures.npy` (N, 10, 432, 288) uint8, packed yuv420p; `flow.npy` (N, 9, 2, 36, 36)
    float16, backward flow (x, y) in pixels at each of `vgc.tokens.CAMERA_AT`; `sources.json`.

    Raises:
        TrainingError: no window could be cut.
    """
    out.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    plans = _shares(sources, windows)
    pictures: list[Bytes] = []
    flows: list[npt.NDArray[np.float16]] = []
    facts = []
    for number, (source, count) in enumerate(plans):
        before = len(pictures)
        for window in _cut(source.path, count, generator):
            pictures.append(window)
            flows.append(window_flow(window))
        facts.append(SourceFacts(source.path.name, source.sha256, len(pictures) - before))
        report(f"{number + 1}/{len(plans)} {source.path.name}: {facts[-1].windows} windows")
    if not pictures:
        raise TrainingError("no source is long and large enough for a window of ten pictures")
    order = generator.permutation(len(pictures))
    np.save(out / "pictures.npy", np.stack([pictures[n] for n in order]))
    np.save(out / "flow.npy", np.stack([flows[n] for n in order]))
    (out / "sources.json").write_text(json.dumps([asdict(fact) for fact in facts], indent=1))
    return facts


def _shares(sources: Sequence[Source], windows: int) -> list[tuple[Source, int]]:
    """How many windows each source gives: by bitrate, as clean material is scarce."""
    weights = []
    for source in sources:
        if source.path.suffix.lower() in STILL_SUFFIXES:
            weights.append(1.0)
        else:
            weights.append(0.6 + min(source.path.stat().st_size / 3e6, 2.0))
    total = sum(weights)
    return [
        (source, max(1, round(windows * weight / total)))
        for source, weight in zip(sources, weights, strict=True)
    ]


def _cut(path: Path, count: int, generator: np.random.Generator) -> Iterator[Bytes]:
    if path.suffix.lower() in STILL_SUFFIXES:
        yield from (_camera(path, generator) for _ in range(count))
    else:
        yield from _from_clip(path, count, generator)


def _from_clip(path: Path, count: int, generator: np.random.Generator) -> Iterator[Bytes]:
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            length = sum(1 for _ in container.decode(stream))
        plans = _plan(length, stream.width, stream.height, count, generator)
        held: dict[_Window, list[Bytes]] = {plan: [] for plan in plans}
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                for plan in plans:
                    if plan.start <= index <= plan.end and (index - plan.start) % plan.step == 0:
                        held[plan].append(_crop(frame, plan))
    except (av.FFmpegError, IndexError) as error:
        raise TrainingError(f"{path}: cannot be decoded ({error})") from None
    for plan, window in held.items():
        if len(window) == WINDOW_FRAMES:
            yield np.stack(window[::-1] if plan.backwards else window)


def _plan(
    length: int, width: int, height: int, count: int, generator: np.random.Generator
) -> list[_Window]:
    """`count` different places to cut; scales such that much of a picture is often seen."""
    plans = set()
    short = min(width, height)
    for _ in range(4 * count):
        step = int(generator.choice([1, 1, 1, 2, 2, 3]))
        span = (WINDOW_FRAMES - 1) * step
        if span >= length:
            step, span = 1, WINDOW_FRAMES - 1
            if span >= length:
                return []
        low = max(SIDE / short, 0.2 if short > 900 else 0.5)
        high = max(low, min(1.0, 900 / short))
        scale = float(np.exp(generator.uniform(np.log(low), np.log(high))))
        wide, tall = (max(SIDE, round(side * scale) & ~1) for side in (width, height))
        plans.add(
            _Window(
                int(generator.integers(length - span)), step, bool(generator.random() < 0.3),
                wide, tall,
                int(generator.integers((wide - SIDE) // 2 + 1)) * 2,
                int(generator.integers((tall - SIDE) // 2 + 1)) * 2,
            )
        )  # fmt: skip
        if len(plans) == count:
            break
    return sorted(plans, key=lambda plan: (plan.start, plan.x, plan.y))


def _crop(frame: Any, plan: _Window) -> Bytes:
    scaled = frame.reformat(
        plan.width, plan.height, "yuv420p", dst_color_range="MPEG", interpolation="BICUBIC"
    )
    planes = []
    for plane, shift in zip(scaled.planes, (0, 1, 1), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        y, x, side = plan.y >> shift, plan.x >> shift, SIDE >> shift
        planes.append(rows[y : y + side, x : x + side].reshape(-1))
    return np.concatenate(planes).reshape(SIDE * 3 // 2, SIDE)


def _camera(path: Path, generator: np.random.Generator) -> Bytes:
    """A window of a synthetic camera over a still."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise TrainingError(f"{path}: cannot be decoded")
    short = min(image.shape[:2])
    size = generator.uniform(360, max(360, min(1000, short)))
    image = cv2.resize(image, None, fx=size / short, fy=size / short, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    still = generator.random() < 0.2
    speed = generator.normal(0, 0 if still else 2.5, 2) * generator.choice([0.3, 1.0, 2.0])
    zoom = 0.0 if still else generator.normal(0, 0.006)
    turn = 0.0 if still else generator.normal(0, 0.3)
    margin = SIDE * 0.6
    furthest = [max(margin, side - margin) for side in (width, height)]
    centre = generator.uniform([margin, margin], furthest)
    pictures = []
    for number in range(WINDOW_FRAMES):
        at = centre + speed * (number - WINDOW_FRAMES / 2)
        pivot = (float(at[0]), float(at[1]))
        matrix = cv2.getRotationMatrix2D(pivot, turn * number, 1 + zoom * number)
        matrix[:, 2] += SIDE / 2 - at
        view = cv2.warpAffine(
            image, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        pictures.append(cv2.cvtColor(view, cv2.COLOR_BGR2YUV_I420))
    return np.stack(pictures)


def window_flow(window: Bytes) -> npt.NDArray[np.float16]:
    """Backward flow of the GoP's pictures to its first, averaged over cells.

    The first one's own is to the picture before it: backward as well.

    Args:
        window: (10, 432, 288) uint8, packed yuv420p.

    Returns:
        (9, 2, 36, 36) float16: at each of `vgc.tokens.CAMERA_AT`, x and y in pixels.
    """
    import cv2

    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    luma = window[:, :SIDE]
    cells = SIDE // FLOW_CELL
    found = []
    flow = None
    for at in CAMERA_AT:
        if at < 0:
            flow = estimator.calc(luma[1], luma[0], None)
        else:
            flow = estimator.calc(luma[1 + at], luma[1], None if at == 1 else flow)
        mean = flow.reshape(cells, FLOW_CELL, cells, FLOW_CELL, 2).mean(axis=(1, 3))
        found.append(mean.transpose(2, 0, 1))
    return np.stack(found).astype(np.float16)


class Windows:
    """The packed windows of a folder, memory-mapped.

    Raises:
        TrainingError: the folder does not hold a packed set.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.pictures: Bytes = np.load(folder / "pictures.npy", mmap_mode="r")
            self.flow: npt.NDArray[np.float16] = np.load(folder / "flow.npy", mmap_mode="r")
            self.sources = [
                SourceFacts(**fact) for fact in json.loads((folder / "sources.json").read_text())
            ]
        except (OSError, EOFError, ValueError, TypeError) as error:
            raise TrainingError(f"{folder}: not a packed training set ({error})") from None
        if len(self.pictures) != len(self.flow):
            raise TrainingError(f"{folder}: {len(self.pictures)} windows, {len(self.flow)} flows")
        cells = SIDE // FLOW_CELL
        for name, values, shape in (
            ("pictures.npy", self.pictures, (WINDOW_FRAMES, SIDE * 3 // 2, SIDE)),
            ("flow.npy", self.flow, (len(CAMERA_AT), 2, cells, cells)),
        ):
            if values.shape[1:] != shape or not len(values):
                sides = ", ".join(map(str, shape))
                raise TrainingError(f"{folder / name}: {values.shape}, must be (N, {sides})")

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(
        self, size: int, generator: np.random.Generator
    ) -> tuple[Bytes, npt.NDArray[np.float32]]:
        """`size` random windows, mirrored at random.

        Returns:
            pictures (size, 10, 432, 288) uint8 and flow (size, 9, 2, 36, 36) float32.
        """
        chosen = np.sort(generator.integers(len(self), size=size))
        pictures = np.array(self.pictures[chosen])
        flow = np.array(self.flow[chosen], np.float32)
        for number in np.flatnonzero(generator.random(size) < 0.5):
            pictures[number], flow[number] = _mirrored(pictures[number], flow[number])
        return pictures, flow


def _mirrored(
    pictures: Bytes, flow: npt.NDArray[np.float32]
) -> tuple[Bytes, npt.NDArray[np.float32]]:
    """Left and right exchanged."""
    import cv2

    packed = np.empty_like(pictures)
    half = SIDE // 2
    for there, here in zip(packed, pictures, strict=True):
        cv2.flip(here[:SIDE], 1, dst=there[:SIDE])
        cv2.flip(here[SIDE:].reshape(-1, half), 1, dst=there[SIDE:].reshape(-1, half))
    sign = np.array([-1, 1], np.float32)[:, None, None]
    return packed, flow[..., ::-1] * sign
