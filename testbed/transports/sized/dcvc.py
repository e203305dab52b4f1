"""DCVC-RT: one bitstream a frame, each frame hanging on the one before it.

Facts: Jia et al., "Towards Practical Real-Time Neural Video Compression", CVPR 2025, and the
README of microsoft/DCVC: one model covers a wide range of rates by its quantisation parameter
(about 50 to 3000 kbit/s on 1080p material), which is also its rate control; a single intra frame by
default (intra period -1). No payload format and no loss handling are published: a frame without its
reference is taken for undecodable, and a lost reference asks for a new intra frame, as for H.26x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from testbed.media.clips import Clip
from testbed.transports.checks import check_flags, check_ranges
from testbed.transports.sized.options import SizedOptions
from testbed.transports.sized.plan import Meter, Reference, Slot, Structure, Unit
from testbed.transports.sized.sizes import SizeTable, read_sizes

STRUCTURE: Final = Structure(1, Reference.CHAIN)
#: README of microsoft/DCVC, "Wide bitrate range in single model", 1080p material.
PUBLISHED_RANGE_KBPS: Final = (50, 3000)
#: Clips are measured against this to scale a rate given in bits per pixel.
BITS: Final = 8


@dataclass(frozen=True, slots=True)
class DcvcOptions(SizedOptions):
    """What a scenario may say about `dcvc-rt`.

    Attributes:
        bpp: bits per pixel of every frame, 0-10, in place of the rate target; 0: follow the target.
        intra_period_frames: distance of periodic intra frames; 0: only the first and on request.
        intra_ratio: size of an intra frame over that of the others, 1-50; what it takes beyond its
            share is saved later. No ratio is published; 1 flatters the codec.
        key_requests: the receiver asks for an intra frame (PLI) when it cannot go on.
        key_interval_ms: at least this between requested intra frames, 0-10000.
    """

    bpp: float = 0.0
    intra_period_frames: int = 0
    intra_ratio: float = 1.0
    key_requests: bool = True
    key_interval_ms: int = 300

    def __post_init__(self) -> None:
        SizedOptions.__post_init__(self)
        check_ranges(
            self,
            ("bpp", 0, 10),
            ("intra_period_frames", 0, 100_000),
            ("intra_ratio", 1, 50),
            ("key_interval_ms", 0, 10_000),
        )
        check_flags(self, "key_requests")
        if self.bpp and self.sizes_from:
            raise ValueError("bpp: sizes_from already says the sizes")


class DcvcPlanner:
    """One unit a frame, at once.

    Args:
        clip: what is streamed.
        options: of the transport.

    Raises:
        InputError: the file of sizes cannot be used.
    """

    structure = STRUCTURE

    def __init__(self, clip: Clip, options: DcvcOptions) -> None:
        self._options = options
        self._frame_bytes = options.bpp * clip.width * clip.height / BITS
        self._table: SizeTable | None = None
        if options.sizes_from:
            self._table = read_sizes(options.sizes_from)
            self._table.require([(index, "") for index in range(clip.frame_count)])
        self._meter = Meter(
            fps=float(clip.fps),
            payload_bytes=options.payload_bytes,
            count_headers=options.count_headers,
        )
        self._since_key = 0
        self._keys = 0

    @property
    def follows_target(self) -> bool:
        """Unless the sizes are given."""
        return self._table is None and not self._frame_bytes

    def captured(self, index: int, *, wire_kbps: float, force_key: bool) -> Slot | None:
        """The frame itself."""
        period = self._options.intra_period_frames
        key = not index or force_key or bool(period and self._since_key >= period)
        self._since_key = 1 if key else self._since_key + 1
        self._keys += key
        size = self._size(index, key, wire_kbps)
        target_kbps = self._meter.media_kbps(wire_kbps, frames=1)
        return Slot(index, 1, index, 1, 1, key, target_kbps, (Unit(0, size),))

    def _size(self, index: int, key: bool, wire_kbps: float) -> int:
        weight = self._options.intra_ratio if key else 1.0
        if self._table is not None:
            # The file's own intra frame stands for those that were asked for.
            least = self._table.bytes_of(0, "") if key else 0
            return max(least, self._table.bytes_of(index, ""))
        if self._frame_bytes:
            return max(1, round(self._frame_bytes * weight))
        return self._meter.take(1, wire_kbps=wire_kbps, weight=weight)

    def facts(self) -> Mapping[str, Any]:
        """Where the sizes come from."""
        return {
            "kind": "sizes",
            "sizes": sizes_fact(self._options.sizes_from, self._options.bpp),
            "published_range_kbps_1080p": list(PUBLISHED_RANGE_KBPS),
            "intra_ratio": self._options.intra_ratio,
            "intra_frames": self._keys,
        }


def sizes_fact(sizes_from: str, bpp: float, published: tuple[float, ...] = ()) -> str:
    """Where sizes come from, in a word for the manifest."""
    if sizes_from:
        return "from-file"
    if not bpp:
        return "scaled-to-target"
    return "published-rate-point" if bpp in published else "given-bpp"
