"""Promptus: a prompt every few frames, and between two prompts interpolation.

Facts: Wu et al., "Promptus: Can Prompts Streaming Replace Video Streaming with Stable Diffusion",
arXiv 2405.20032, and the repository pku-netvideo/Promptus. A prompt is the product of two 8-bit
matrices, U of 77 by rank and V of rank by 1024, with four 32-bit floats of scale and offset; there
is one every `interval` frames. The prompts of the frames between are interpolated, so such a frame
can only be generated once the next prompt is there, and the next prompt only exists once its frame
is captured: that wait is part of every latency here. Pictures are generated at 512x512.

Rate goes by rank and interval, which are chosen before the inversion; the repository's platform
switches between ready levels of stored video, and no control of a live rate is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from testbed.media.clips import Clip
from testbed.transports.checks import check_ranges
from testbed.transports.sized.options import SizedOptions
from testbed.transports.sized.plan import (
    PACKET_HEADER_BYTES,
    Reference,
    Slot,
    Structure,
    Unit,
)
from testbed.transports.sized.sizes import SizeTable, read_sizes
from testbed.transports.sized.wire import DESCRIPTOR_BYTES

#: Rows of a CLIP text embedding and its width in SD-Turbo; a full-rank prompt has rank 77.
PROMPT_ROWS: Final = 77
PROMPT_COLUMNS: Final = 1024
#: Two scales and two offsets, float32.
SCALE_BYTES: Final = 16


def prompt_bytes(rank: int) -> int:
    """Size of a prompt of this rank: 8824 bytes at rank 8."""
    return (PROMPT_ROWS + PROMPT_COLUMNS) * rank + SCALE_BYTES


@dataclass(frozen=True, slots=True)
class PromptusOptions(SizedOptions):
    """What a scenario may say about `promptus`.

    Attributes:
        rank: of the prompts, 1-77 (README: 8); 0: the highest that the target at the start of the
            session has room for, then fixed.
        interval: frames from one prompt to the next, 1-255 (README: 10).
    """

    rank: int = 0
    interval: int = 10

    def __post_init__(self) -> None:
        SizedOptions.__post_init__(self)
        check_ranges(self, ("rank", 0, PROMPT_ROWS), ("interval", 1, 255))
        if self.rank and self.sizes_from:
            raise ValueError("rank: sizes_from already says the sizes")


def structure(options: PromptusOptions) -> Structure:
    """The first frame alone, then `interval` frames up to and including the next prompt's."""
    return Structure(options.interval, Reference.NEIGHBOUR, lead_frames=1)


class PromptusPlanner:
    """One unit an interval, of its last frame; the clip's last frame has a prompt of its own.

    Args:
        clip: what is streamed.
        options: of the transport.

    Raises:
        InputError: the file of sizes cannot be used.
    """

    def __init__(self, clip: Clip, options: PromptusOptions) -> None:
        self._options = options
        self._fps = float(clip.fps)
        self._last = clip.frame_count - 1
        self._table: SizeTable | None = None
        if options.sizes_from:
            self._table = read_sizes(options.sizes_from)
            keys = [*range(0, self._last, options.interval), self._last]
            self._table.require([(index, "") for index in keys])
        self.structure = structure(options)
        self._rank = options.rank
        self._over_target = False

    @property
    def follows_target(self) -> bool:
        """Rank and interval are set before the session."""
        return False

    def captured(
        self,
        index: int,
        *,
        wire_kbps: float,
        force_key: bool,  # noqa: ARG002 - any prompt can be started from
    ) -> Slot | None:
        """A prompt, for the frame itself and those since the last one."""
        interval = self._options.interval
        if index % interval and index != self._last:
            return None
        if self._table is not None:
            size = self._table.bytes_of(index, "")
        else:
            self._rank = self._rank or self._rank_for(wire_kbps)
            size = prompt_bytes(self._rank)
        group = -(-index // interval)
        first = self.structure.first(group)
        frames = index - first + 1
        kbps = size * 8 * self._fps / interval / 1000
        return Slot(first, frames, group, 1, frames, True, kbps, (Unit(0, size),))

    def _rank_for(self, wire_kbps: float) -> int:
        """The highest rank whose prompts and their headers stay within the target; at least 1."""
        room = self._options.payload_bytes - DESCRIPTOR_BYTES
        budget = wire_kbps * 125 * self._options.interval / self._fps
        for rank in range(PROMPT_ROWS, 0, -1):
            size = prompt_bytes(rank)
            packets = -(-size // room) if self._options.count_headers else 0
            if size + packets * PACKET_HEADER_BYTES <= budget:
                return rank
        self._over_target = True
        return 1

    def facts(self) -> Mapping[str, Any]:
        """Rank, interval and sizes."""
        given = bool(self._options.rank)
        facts: dict[str, Any] = {
            "kind": "sizes",
            "sizes": "published-arithmetic" if given else "scaled-to-target",
            "interval": self._options.interval,
            "rate_control": "none: rank and interval are set before the session",
            "pictures": "512x512, whatever the clip's size",
        }
        if self._table is not None:
            return facts | {"sizes": "from-file"}
        facts |= {"rank": self._rank, "over_target": self._over_target}
        return facts | ({"prompt_bytes": prompt_bytes(self._rank)} if self._rank else {})
