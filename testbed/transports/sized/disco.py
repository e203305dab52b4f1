"""DiSCo: a caption, a degraded video and, if wanted, sketches or poses, a chunk at a time.

Facts: Wang et al., "Low-Bitrate Video Compression through Semantic-Conditioned Diffusion" (DiSCo).
The generator makes a whole sequence of pictures at once, 57 in training and most tests (sections
4.1 and 4.3; 233 without further training), so no picture of a chunk can be shown before all of it
was captured, coded and sent. Section 3.1: a caption by a vision-language model, compressed by zlib;
one frame of every D_t, smaller by D_s, coded by DCVC-RT; optionally sketches, coded likewise, or
poses, compressed by LZMA. Section 4.2: D_s 1, 2 or 4 and D_t 2, 4 or 8. All modalities are streams
of their own. Table 5 replaces the caption by "NA" at a cost in quality, so a chunk whose caption is
lost is taken for decodable; nothing is published on losses of the rest.

Rates: 0.005 bit a pixel (Figs. 2 and 5) and 0.00045 (Fig. 11: 3.58 kbit/s). How much of that the
caption takes is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from testbed.errors import InputError
from testbed.media.clips import Clip
from testbed.transports.checks import check_choice, check_ranges
from testbed.transports.sized.dcvc import sizes_fact
from testbed.transports.sized.options import SizedOptions
from testbed.transports.sized.plan import (
    PACKET_HEADER_BYTES,
    Meter,
    Reference,
    Slot,
    Structure,
    Unit,
)
from testbed.transports.sized.sizes import SizeTable, read_sizes

#: DiSCo, Figs. 2 and 5, and Fig. 11.
PUBLISHED_BPP: Final = (0.005, 0.00045)
#: The caption is unit 0, sketches or poses are unit 1 where there are any, then come the frames.
TEXT: Final = 0
#: LTX-Video, the generator's base, codes eight pictures into one token after a first single one.
TOKEN_FRAMES: Final = 8


@dataclass(frozen=True, slots=True)
class DiscoOptions(SizedOptions):
    """What a scenario may say about `disco`.

    Attributes:
        chunk_frames: pictures that are generated together, 9-249 and one more than a multiple of 8
            (57 in the paper's tests, 233 in one of them).
        spatial: D_s, 1, 2 or 4; it is only written down, for the sizes are given otherwise.
        temporal: D_t, 2, 4 or 8.
        bpp: bits per pixel of the source, all streams together, 0-10; 0: follow the target.
        text_bytes: of the caption, 1-10000; not published, 200 is our guess (at the lowest
            published rate a chunk has 840 bytes in all).
        auxiliary: "", "sketch" or "pose".
        auxiliary_bytes: of its stream, a chunk, 1-1000000; not published, so it has to be given.
    """

    chunk_frames: int = 57
    spatial: int = 2
    temporal: int = 4
    bpp: float = 0.0
    text_bytes: int = 200
    auxiliary: str = ""
    auxiliary_bytes: int = 0

    def __post_init__(self) -> None:
        SizedOptions.__post_init__(self)
        check_ranges(
            self,
            ("chunk_frames", TOKEN_FRAMES + 1, 249),
            ("bpp", 0, 10),
            ("text_bytes", 1, 10_000),
            ("auxiliary_bytes", 0, 1_000_000),
        )
        check_choice(self, "spatial", (1, 2, 4))
        check_choice(self, "temporal", (2, 4, 8))
        check_choice(self, "auxiliary", ("", "sketch", "pose"))
        if self.chunk_frames % TOKEN_FRAMES != 1:
            raise ValueError(
                f"chunk_frames: must be one more than a multiple of 8 (got {self.chunk_frames})"
            )
        if self.bpp and self.sizes_from:
            raise ValueError("bpp: sizes_from already says the sizes")
        if bool(self.auxiliary) != bool(self.auxiliary_bytes) and not self.sizes_from:
            raise ValueError(
                "auxiliary_bytes: give a number with auxiliary sketch or pose, and none without"
            )


def structure(options: DiscoOptions) -> Structure:
    """Chunks that stand alone; their captions may be missing."""
    return Structure(options.chunk_frames, Reference.NONE, optional=frozenset({TEXT}))


def kinds(options: DiscoOptions) -> tuple[str, ...]:
    """Values of column unit in a file of sizes: the kept frames first, then the other streams."""
    return ("video", "text", *([options.auxiliary] if options.auxiliary else []))


class DiscoPlanner:
    """A unit for each kept frame once its D_t frames are captured, the rest at the chunk's end.

    Args:
        clip: what is streamed.
        options: of the transport.

    Raises:
        InputError: the file of sizes cannot be used.
    """

    def __init__(self, clip: Clip, options: DiscoOptions) -> None:
        self._options = options
        self._frame_count = clip.frame_count
        self._picture_bytes = options.bpp * clip.width * clip.height / 8
        self.structure = structure(options)
        self._sides = kinds(options)[1:]
        self._check_room(clip)
        self._table: SizeTable | None = None
        if options.sizes_from:
            self._table = read_sizes(options.sizes_from, kinds=kinds(options))
            self._table.require(self._wanted())
        self._meter = Meter(
            fps=float(clip.fps),
            payload_bytes=options.payload_bytes,
            count_headers=options.count_headers,
        )

    def _check_room(self, clip: Clip) -> None:
        """Refuse a rate of which a chunk's other streams alone take more."""
        options = self._options
        sides = options.text_bytes + options.auxiliary_bytes
        chunk = self._picture_bytes * options.chunk_frames
        if self._picture_bytes and chunk <= sides:
            raise InputError(
                f"bpp: {options.bpp:g} is {chunk:.0f} bytes for a chunk of {options.chunk_frames} "
                f"pictures of {clip.width}x{clip.height}, which text_bytes and auxiliary_bytes "
                f"({sides}) take alone"
            )

    def _wanted(self) -> list[tuple[int, str]]:
        """Every unit of the clip by its frame and kind."""
        chunk, step = self._options.chunk_frames, self._options.temporal
        wanted = []
        for first in range(0, self._frame_count, chunk):
            end = min(first + chunk, self._frame_count)
            wanted += [(first, side) for side in self._sides]
            wanted += [(index, "video") for index in range(first, end, step)]
        return wanted

    @property
    def follows_target(self) -> bool:
        """Unless the sizes are given."""
        return self._table is None and not self._picture_bytes

    def captured(
        self,
        index: int,
        *,
        wire_kbps: float,
        force_key: bool,  # noqa: ARG002 - any chunk can be started from
    ) -> Slot | None:
        """A kept frame's unit, when its D_t frames are there; with the chunk's last, the rest."""
        chunk, step = self._options.chunk_frames, self._options.temporal
        group, within = divmod(index, chunk)
        start = group * chunk
        frames = min(chunk, self._frame_count - start)
        last = within == frames - 1
        number, phase = divmod(within, step)
        if phase != step - 1 and not last:
            return None
        first = start + number * step
        span = index - first + 1
        units = [Unit(len(self._sides) + number, self._video(first, span, frames, wire_kbps))]
        if last:
            units += [Unit(n, self._side(start, n)) for n in range(len(self._sides))]
        count = len(self._sides) + -(-frames // step)
        kbps = self._meter.media_kbps(wire_kbps, frames=frames)
        return Slot(first, span, group, count, frames, True, kbps, tuple(units))

    def _side(self, start: int, number: int) -> int:
        """Size of a chunk's caption, or of its sketches or poses."""
        if self._table is not None:
            return self._table.bytes_of(start, self._sides[number])
        return self._options.auxiliary_bytes if number else self._options.text_bytes

    def _video(self, first: int, span: int, frames: int, wire_kbps: float) -> int:
        """Size of a kept frame: its share of the chunk, less its share of the other streams."""
        if self._table is not None:
            return self._table.bytes_of(first, "video")
        sides = self._options.text_bytes + self._options.auxiliary_bytes
        if self._picture_bytes:
            each = self._picture_bytes - sides / frames
            return max(1, round(each * (first + span)) - round(each * first))
        if self._options.count_headers:
            sides += len(self._sides) * PACKET_HEADER_BYTES
        share = self._meter.take(span, wire_kbps=wire_kbps)
        return max(1, round(share - sides / frames * span))

    def facts(self) -> Mapping[str, Any]:
        """The structure and where the sizes come from."""
        options = self._options
        return {
            "kind": "sizes",
            "sizes": sizes_fact(options.sizes_from, options.bpp, PUBLISHED_BPP),
            "chunk_frames": options.chunk_frames,
            "spatial": options.spatial,
            "temporal": options.temporal,
            "streams": ["video", *self._sides],
            "assumed": [] if options.sizes_from else ["text_bytes"],
        }
