"""`.morphe` files: encoding a video into one, and the pictures of what is in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from morphe_core.vgc.bitstream import GOP_MODULO, write_unit
from morphe_core.vgc.container import StreamHeader, StreamReader, StreamWriter
from testbed.codec.colour import Colour
from testbed.codec.core import GOP_FRAMES, Core, Settings
from testbed.codec.losses import UnitLoss
from testbed.codec.rates import GopBudget, kbps, wire_bytes
from testbed.codec.reading import Video, in_gops
from testbed.codec.writing import Form, whole_or_nothing
from testbed.errors import InputError
from testbed.media.clips import MAX_FPS, check_size
from testbed.media.sources import Picture

if TYPE_CHECKING:
    from morphe_core.vgc.codec import Decoder, EncodedGop, Encoder

Progress = Callable[[int], None]
"""Is told how many pictures are done."""

#: A lost stretch longer than this is a damaged index, not a pause: nothing is made up for it.
LONGEST_GAP_GOPS = 1000


def encode_gops(
    pictures: Iterable[Picture], encoder: Encoder, budget: GopBudget
) -> Iterator[EncodedGop]:
    """Encode pictures GoP by GoP at a constant rate.

    Args:
        pictures: packed yuv420p, in order.
        encoder: a fresh one.
        budget: a fresh one.
    """
    for gop in in_gops(pictures, GOP_FRAMES):
        encoded = encoder.encode(gop, budget_bytes=budget.next(len(gop)))
        budget.record(len(gop), encoded.budgeted)
        yield encoded


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encode came to.

    Attributes:
        frames: pictures.
        gops: GoPs.
        units: packets.
        wire_bytes: bytes on the wire, packet headers included.
        kbps: the same as a rate.
        scales: GoPs by scale.
    """

    frames: int
    gops: int
    units: int
    wire_bytes: int
    kbps: float
    scales: dict[int, int]


def encode_file(
    video: Video,
    output: Path,
    *,
    core: Core,
    settings: Settings,
    target_kbps: float,
    progress: Progress,
) -> Encoded:
    """Encode a video into a `.morphe` file.

    Args:
        video: the source.
        output: the file; it is there whole or not at all.
        core: the model.
        settings: profile and scale.
        target_kbps: rate with packet headers, > 0.
        progress: told after each GoP.

    Raises:
        ClipError: the video has no pictures or breaks off.
        OutputError: the file cannot be written.
        MorpheError: the size cannot be coded.
    """
    encoder = core.encoder(width=video.width, height=video.height, fps=video.fps, settings=settings)
    budget = GopBudget(target_kbps, video.fps, least_packets=settings.config().least_units)
    header = _header(video, core, settings, target_kbps)
    frames = gops = units = sent = 0
    scales: dict[int, int] = {}
    with whole_or_nothing(output) as temporary, temporary.open("wb") as file:
        writer = StreamWriter(file, header)
        for gop in encode_gops(video.pictures(), encoder, budget):
            writer.write_gop(gop.index, gop.units)
            frames, gops, units = frames + gop.frames, gops + 1, units + len(gop.units)
            sent += wire_bytes(map(len, gop.units))
            scales[gop.scale] = scales.get(gop.scale, 0) + 1
            progress(frames)
        if not frames:
            raise InputError(f"{output}: not written, as the source has no pictures")
        writer.finish(frames)
    return Encoded(frames, gops, units, sent, kbps(sent, frames, video.fps), scales)


def _header(video: Video, core: Core, settings: Settings, target_kbps: float) -> StreamHeader:
    return StreamHeader(
        width=video.width,
        height=video.height,
        fps_numerator=video.fps.numerator,
        fps_denominator=video.fps.denominator,
        bit_depth=video.bit_depth,
        primaries=video.colour.primaries,
        transfer=video.colour.transfer,
        matrix=video.colour.matrix,
        full_range=video.colour.full_range,
        frame_count=0,
        target_kbps=min(round(target_kbps), (1 << 32) - 1),
        backend=core.name,
        weights_hash=bytes.fromhex(core.sha256),
        profile=settings.profile,
    )


@dataclass(frozen=True, slots=True)
class ReceivedGop:
    """A GoP of a file.

    Attributes:
        index: number of the GoP, from 0 on without gaps: one that is missing has no units.
        frames: its pictures.
        units: those that are whole, in sending order.
    """

    index: int
    frames: int
    units: tuple[bytes, ...]


class MorpheFile:
    """A `.morphe` file, read as a stream.

    Args:
        file: from its beginning, binary.
        name: for messages.

    Attributes:
        header: what is the same for the whole file.
        form: size, rate and colour of the pictures.
        reader: the core's reader, which counts damage.

    Raises:
        BitstreamError: not such a file, or its header is damaged.
        InputError: pictures that no source of ours has.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.reader = StreamReader(file)
        header = self.header = self.reader.header
        fps = Fraction(header.fps_numerator, header.fps_denominator)
        check_size(name, header.width, header.height)
        if header.width % 2 or header.height % 2 or fps > MAX_FPS:
            raise InputError(
                f"{name}: {header.width}x{header.height} at {float(fps):g} fps; must be even sides "
                f"and at most {MAX_FPS} fps"
            )
        colour = Colour(header.primaries, header.transfer, header.matrix, header.full_range)
        self.form = Form(header.width, header.height, fps, colour)

    def gops(self) -> Iterator[ReceivedGop]:
        """All GoPs in order; what is missing in between or at the end comes without units."""
        done = expected = 0
        for record in self.reader:
            gap = (record.index - expected) % GOP_MODULO
            if gap > LONGEST_GAP_GOPS:
                continue  # an earlier GoP once more, or a damaged index
            for lost in self._lost(expected, gap, done):
                yield lost
                done += lost.frames
            expected += gap
            units = tuple(write_unit(unit.header, unit.payload) for unit in record.units)
            frames = record.units[0].header.frames if units else self._frames(done)
            yield ReceivedGop(expected, frames, units)
            done, expected = done + frames, expected + 1
        missing = -(-max(0, self.header.frame_count - done) // GOP_FRAMES)
        if missing <= LONGEST_GAP_GOPS:
            yield from self._lost(expected, missing, done)

    def _lost(self, first: int, count: int, done: int) -> Iterator[ReceivedGop]:
        """`count` GoPs from `first` on of which nothing is left, `done` pictures into the file."""
        for index in range(first, first + count):
            frames = self._frames(done)
            yield ReceivedGop(index, frames, ())
            done += frames

    def _frames(self, done: int) -> int:
        """Pictures of a GoP of which nothing is left: as many as others, or what the file lacks."""
        total = self.header.frame_count
        return min(GOP_FRAMES, max(1, total - done)) if total else GOP_FRAMES


def open_morphe(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        InputError: missing, a folder, or not readable.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a .morphe file")
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def decode_gops(gops: Iterable[ReceivedGop], decoder: Decoder, loss: UnitLoss) -> Iterator[Picture]:
    """Pictures of the GoPs, after the loss of some of their units."""
    for gop in gops:
        yield from decoder.decode(loss.keep(gop.units), frames=gop.frames)
