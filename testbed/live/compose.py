"""The view as a file: one picture a slot, written as video, or one slot as a still.

Charts and words are drawn anew with every sample, ten times a second; between them only the screens
change. Screens are copied into the planes as they are: the file's left half is the source, before
the encoder of the file itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.errors import InputError, OutputError
from testbed.live.canvas import Canvas
from testbed.live.look import Box
from testbed.live.pictures import to_image
from testbed.live.recording import Recording, pictures_at
from testbed.media.clips import Picture
from testbed.media.sources import Shaper

if TYPE_CHECKING:
    from av.container import OutputContainer
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How a kind of file is encoded; one thread, so that it is the same on every machine.

    Attributes:
        codec: FFmpeg's name of the encoder.
        options: its settings.
    """

    codec: str
    options: dict[str, str] = field(default_factory=dict)


#: CRF 18 is near what the eye can tell from the original. Without `mbtree`, which in x264's core
#: 165 reads memory that nobody wrote: equal pictures gave unequal files.
_X264: Final = VideoFormat(
    "libx264",
    {"preset": "veryfast", "crf": "18", "threads": "1", "x264-params": "mbtree=0"},
)
#: By suffix.
FORMATS: Final = {
    ".mp4": _X264,
    ".mkv": _X264,
    ".webm": VideoFormat(
        "libvpx-vp9",
        {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "8", "threads": "1"},
    ),
}
STILLS: Final = (".png", ".jpg")


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """One slot of the view.

    Attributes:
        slot: its number.
        source_frame, received_frame: what the screens show; -1: nothing yet.
        source, received: their pictures.
        samples: how many of the recording's samples there have been.
    """

    slot: int
    source_frame: int
    received_frame: int
    source: Picture
    received: Picture
    samples: int


def slots(recording: Recording, *, aligned: bool = False) -> Iterator[Composed]:
    """The view slot by slot, at the clip's rate.

    Args:
        recording: what to show.
        aligned: show beside each source frame what was seen of that very frame, as quality is
            measured, instead of what was on the screen at that moment.
    """
    clip, frames = recording.clip, recording.frames
    wanted = frames.aligned() if aligned else frames.on_screen()
    times = [sample.time_ns for sample in recording.samples]
    seen = np.searchsorted(times, frames.capture_ns, side="right").tolist()
    shown = pictures_at(recording.decoded(), wanted, width=clip.width, height=clip.height)
    for slot, (at, picture) in enumerate(shown):
        yield Composed(slot, slot, at, clip.frame(slot), picture, seen[slot])


class Composer:
    """Puts the slots of one recording together.

    Args:
        recording: what to show.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.canvas = Canvas(recording.heading)
        self._shaper = Shaper(self.canvas.layout.width, self.canvas.layout.height)
        self._drawn = -1
        self._planes: Picture = np.empty(0, np.uint8)

    def image(self, composed: Composed) -> Image:
        """The slot as an RGB image."""
        place, clip = self.canvas.layout, self._recording.clip
        image = self._draw(composed)
        for box, picture in ((place.source, composed.source), (place.received, composed.received)):
            screen = to_image(picture, clip.width, clip.height).convert("RGB")
            image.paste(screen.resize((box.width, box.height), resample=0), (box.left, box.top))
        return image

    def planes(self, composed: Composed) -> Picture:
        """The slot as packed yuv420p planes of the layout's size."""
        place = self.canvas.layout
        if composed.samples != self._drawn:
            self._planes = self._to_planes(self._draw(composed))
            self._drawn = composed.samples
        self._paste(composed.source, place.source)
        self._paste(composed.received, place.received)
        # A copy: encoders look at a frame's samples after they took it.
        return self._planes.copy()

    def _draw(self, composed: Composed) -> Image:
        samples = self._recording.samples[: composed.samples]
        return self.canvas.draw(samples, composed.source_frame, composed.received_frame)

    def _to_planes(self, image: Image) -> Picture:
        import av

        planes = self._shaper(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24"))
        return planes if planes.flags.writeable else planes.copy()

    def _paste(self, picture: Picture, box: Box) -> None:
        """Copy a picture's planes into their places, enlarged by a whole number."""
        clip, place = self._recording.clip, self.canvas.layout
        at = to = 0
        for half in (1, 2, 2):
            width, height = clip.width // half, clip.height // half
            plane = picture[at : at + width * height].reshape(height, width)
            if place.enlarged > 1:
                plane = plane.repeat(place.enlarged, 0).repeat(place.enlarged, 1)
            across, down = place.width // half, place.height // half
            target = self._planes[to : to + across * down].reshape(down, across)
            top, left = box.top // half, box.left // half
            target[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
            at += width * height
            to += across * down


def write_still(recording: Recording, path: Path, slot: int, *, aligned: bool = False) -> None:
    """Write one slot as an image.

    Args:
        recording: what to show.
        path: .png or .jpg.
        slot: number of the slot.
        aligned: as for `slots`.

    Raises:
        InputError: no such slot, or another suffix.
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() not in STILLS:
        raise InputError(f"{path}: a still is one of {', '.join(STILLS)}")
    count = recording.clip.frame_count
    if not 0 <= slot < count:
        raise InputError(f"--frame {slot}: the run has frames 0 to {count - 1}")
    composer = Composer(recording)
    for composed in slots(recording, aligned=aligned):
        if composed.slot == slot:
            with _whole(path) as temporary:
                composer.image(composed).save(temporary, quality=92)
            return


def write_video(
    recording: Recording,
    path: Path,
    *,
    aligned: bool = False,
    progress: Callable[[int], None] = lambda _slot: None,
) -> int:
    """Write the whole run as video; returns how many pictures that are.

    Args:
        recording: what to show.
        path: its suffix is one of `FORMATS`.
        aligned: as for `slots`.
        progress: called with the number of every slot that is done.

    Raises:
        InputError: another suffix.
        OutputError: the file cannot be written.
    """
    import av

    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: a video is one of {', '.join(FORMATS)}; stills need --frame")
    composer = Composer(recording)
    place = composer.canvas.layout
    count = 0
    with _whole(path) as temporary, _container(temporary) as container:
        stream: Any = container.add_stream(kind.codec, rate=recording.clip.fps)
        stream.width, stream.height, stream.pix_fmt = place.width, place.height, "yuv420p"
        stream.options = kind.options
        stream.time_base = Fraction(1) / recording.clip.fps
        for composed in slots(recording, aligned=aligned):
            planes = composer.planes(composed).reshape(place.height * 3 // 2, place.width)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = count
            container.mux(stream.encode(frame))
            count += 1
            progress(composed.slot)
        container.mux(stream.encode(None))
    return count


def _container(path: Path) -> OutputContainer:
    import av

    # Without dates and version numbers: the same run gives the same file.
    return av.open(str(path), "w", options={"fflags": "+bitexact"})


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` when all went well.

    Raises:
        OutputError: it cannot be written.
    """
    import av

    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (OSError, av.FFmpegError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: cannot be written ({why})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
