"""H.266 by VVenC, through the ffmpeg of imageio-ffmpeg, in runs of whole segments.

VVenC has no live interface there: it cannot be told a new rate or quantiser while it runs, and its
own rate control wants look-ahead. So a segment has one quantiser, and the rate is steered by
starting a new segment (`SegmentPolicy`). With temporal filtering off, low-delay coding order and a
constant quantiser the encoder looks at no later frame: the first n access units do not depend on
how many frames follow (a test holds this), so a segment can be encoded as far as needed and
lengthened later.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from testbed.errors import InputError, ToolFailedError
from testbed.media import annexb
from testbed.media.clips import Clip
from testbed.media.ratecontrol import MOTION_FLOOR, LeakyBucket, SizeModel
from testbed.media.tools import run_ffmpeg

if TYPE_CHECKING:
    from testbed.media.encoders import Backend, EncoderConfig

#: No reordering, no periodic key frames, no filtering across frames (mctf looks ahead, bim needs
#: mctf).
LOW_DELAY = "picreordering=0:gopsize=8:decodingrefreshtype=none:intraperiod=-1:mctf=0:bim=0"
#: A 720p frame takes 0.15 s on a slow core; ten times that, and the start.
TIMEOUT_PER_FRAME_S = 2.0
TIMEOUT_START_S = 60.0
#: Each longer run of the same segment encodes so many times the frames of the one before.
GROWTH = 3

#: Fitted to six clips at four quantisers each, see docs/guides/encoders.md.
H266_INTRA = SizeModel(14.68, 0.334, 0.151)
H266_INTER = SizeModel(9.38, 0.535, 0.207)


class VvencSegment:
    """Frames from one key frame on, at one quantiser.

    Args:
        clip: the source.
        start: the key frame.
        end: first frame that cannot belong to the segment any more.
        qp: quantiser, 0..63.
        config: preset and so on.
    """

    sequential = False

    def __init__(self, clip: Clip, start: int, end: int, qp: int, config: EncoderConfig) -> None:
        self._clip = clip
        self._start, self._end = start, end
        self._qp = qp
        self._preset = config.preset or "faster"
        self._length = max(1, round(clip.fps))  # a second at first

    def encode(self, index: int, target_kbps: float) -> list[tuple[bytes, int]]:  # noqa: ARG002
        """Access units from frame `index` on, at least one, each with the ns that it took.

        The time of a run is shared equally among its frames.
        """
        while self._start + self._length <= index:
            self._length *= GROWTH
        length = min(self._length, self._end - self._start)
        self._length *= GROWTH
        begin = time.perf_counter_ns()
        stream = self._run(length)
        took = (time.perf_counter_ns() - begin) // length
        units = annexb.access_units("h266", stream)
        if len(units) != length or not annexb.is_key("h266", units[0]):
            raise ToolFailedError(f"libvvenc: {len(units)} access units for {length} frames")
        return [(unit, took) for unit in units[index - self._start :]]

    def _run(self, length: int) -> bytes:
        clip, fps = self._clip, self._clip.fps
        source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{clip.width}x{clip.height}"]
        source += ["-r", f"{fps.numerator}/{fps.denominator}", "-i", "-"]
        coder = ["-pix_fmt", "yuv420p10le", "-c:v", "libvvenc", "-threads", "1"]
        coder += ["-preset", self._preset, "-qp", str(self._qp), "-vvenc-params", LOW_DELAY]
        return run_ffmpeg(
            [*source, *coder, "-fps_mode", "passthrough", "-f", "vvc", "-"],
            pieces=(clip.frame(self._start + n).tobytes() for n in range(length)),
            timeout_s=TIMEOUT_START_S + TIMEOUT_PER_FRAME_S * length,
        )


#: A segment is planned to meet the target within this time, its key frame included.
HORIZON_S = 2.0
#: No new segment for the rate's sake sooner than this: the promise is to follow within a second.
SHORTEST_S = 1.0
#: A new segment begins when the target moved by more than this share,
MOVED_SHARE = 0.15
#: or the debt at the end of the next second is foreseen beyond this share of a second's target,
DEBT_SHARE = 0.35
#: or the last second stayed below this share of the target with nothing owed.
IDLE_SHARE = 0.7
#: A key frame may take this share of the rate buffer.
KEY_SHARE = 0.8
#: Motion taken for granted before any was seen (grey levels; talking heads 1, sports 5).
USUAL_MOTION = 2.0
QP_RANGE = range(12, 57)
#: Weight of the newest prediction error of key frames.
LEARN = 0.5


class SegmentPolicy:
    """Steers the rate of H.266 by starting segments at another quantiser."""

    def __init__(self, clip: Clip, config: EncoderConfig) -> None:
        if config.slices != 1:
            raise InputError(f"encoder slices {config.slices}: h266 takes 1 only")
        self._clip, self._config = clip, config
        self._second = max(1, round(clip.fps))
        self._bucket = LeakyBucket(fps=float(clip.fps), vbv_ms=config.vbv_ms)
        self._recent: deque[int] = deque(maxlen=self._second)  # bits of inter frames
        self._start = 0
        self._target_kbps = 0.0
        self._qp = 0
        self._key_error = 0.0  # log2(seen / predicted)
        self._inter_error = 0.0

    def restart(self, index: int, target_kbps: float) -> bool:
        """Whether the rate has to change, at most once a second."""
        if index - self._start < math.ceil(SHORTEST_S * self._clip.fps):
            return False
        if abs(target_kbps - self._target_kbps) > MOVED_SHARE * self._target_kbps:
            return True
        second_bits = target_kbps * 1000
        last_bits = sum(self._recent) * self._second / len(self._recent)
        foreseen = self._bucket.debt_bits + last_bits - second_bits
        if foreseen > DEBT_SHARE * second_bits:
            return True
        idle = last_bits < IDLE_SHARE * second_bits and foreseen < 0
        return idle and self._plan(index, target_kbps) < self._qp - 2

    def begin(self, index: int, end: int, target_kbps: float) -> tuple[str, Callable[[], Backend]]:
        """A segment is determined by its quantiser alone."""
        qp = self._plan(index, target_kbps)
        self._start, self._target_kbps, self._qp = index, target_kbps, qp
        self._recent.clear()
        return f"qp={qp}", lambda: VvencSegment(self._clip, index, end, qp, self._config)

    def token(self, target_kbps: float) -> bytes:  # noqa: ARG002
        """Nothing: within a segment the target is not heard."""
        return b""

    def record(self, index: int, bits: int, target_kbps: float, *, key: bool) -> None:
        """Learn how far the size models are off."""
        self._bucket.add(bits, target_kbps)
        if key:
            seen = math.log2(bits) - self._key_bits_log2(index, self._qp) + self._key_error
            self._key_error += LEARN * (seen - self._key_error)
            return
        self._recent.append(bits)
        if len(self._recent) == self._second:
            mean = math.log2(sum(self._recent) / self._second)
            self._inter_error += mean - self._inter_bits_log2(index + 1, self._qp)

    def _plan(self, index: int, target_kbps: float) -> int:
        """The smallest quantiser with which the target is met over the horizon."""
        room = HORIZON_S * target_kbps * 1000 - self._bucket.debt_bits
        largest_key = KEY_SHARE * self._bucket.capacity_bits(target_kbps)
        frames = HORIZON_S * float(self._clip.fps) - 1
        for qp in QP_RANGE:
            key = 2 ** self._key_bits_log2(index, qp)
            inter = 2 ** self._inter_bits_log2(index, qp)
            if key <= largest_key and key + frames * inter <= room:
                return qp
        return QP_RANGE[-1]

    def _key_bits_log2(self, index: int, qp: int) -> float:
        pixels = self._clip.width * self._clip.height
        return H266_INTRA.log2_bits(self._clip.detail(index), pixels, qp) + self._key_error

    def _inter_bits_log2(self, index: int, qp: int) -> float:
        """Size of inter frames, from the motion of the last second; nothing ahead is looked at."""
        seen = range(max(1, index - self._second), index)
        motion = sum(map(self._clip.motion, seen)) / len(seen) if seen else USUAL_MOTION
        pixels = self._clip.width * self._clip.height
        return H266_INTER.log2_bits(motion + MOTION_FLOOR, pixels, qp) + self._inter_error
