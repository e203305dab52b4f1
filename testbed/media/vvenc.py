"""H.266 by VVenC, through the ffmpeg of imageio-ffmpeg.

VVenC has no live interface there: it cannot be told a new rate or quantiser while it runs, and its
own rate control wants look-ahead. So a segment has one quantiser, and the rate is steered by
starting a new segment (`SegmentPolicy`). With temporal filtering off, low-delay coding order and a
constant quantiser the encoder looks at no later frame: an access unit does not depend on what
follows it (a test holds this). It does hold frames back, twenty of them, before it gives out the
first; that is a pipeline, not look-ahead, and is hidden here by feeding frames early.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from testbed.errors import ToolFailedError
from testbed.media import annexb
from testbed.media.clips import Clip
from testbed.media.ratecontrol import MOTION_FLOOR, LeakyBucket, SizeModel
from testbed.media.tools import FfmpegStream

if TYPE_CHECKING:
    from testbed.media.encoders import Backend, EncoderConfig

#: No reordering, no periodic key frames, no filtering across frames (mctf looks ahead, bim needs
#: mctf).
LOW_DELAY = "picreordering=0:gopsize=8:decodingrefreshtype=none:intraperiod=-1:mctf=0:bim=0"
#: Without perceptual adaptation the offset between key and other frames is as it is set.
PLAIN_QP = "qpa=0:intraqpoffset="
#: Frames fed beyond the one that is asked for. VVenC 1.14 holds back 20, and an access unit is
#: known to be whole when the next begins; feeding too few would only cost another round.
AHEAD = 21
#: Access units are asked for in groups, for the sake of measuring their time.
GROUP = 8
#: Silence after which the encoder is taken for dead; a 1080p group takes 5 s on a slow core.
TIMEOUT_S = 120.0

#: Fitted to six clips at four quantisers each, see docs/guides/encoders.md.
H266_INTRA = SizeModel(6.04, 0.731, 0.168)
H266_INTER = SizeModel(6.77, 0.506, 0.164)


class VvencSegment:
    """Frames from one key frame on, at one quantiser for it and one for all others.

    Args:
        clip: the source.
        start: the key frame.
        end: first frame that cannot belong to the segment any more.
        qp: quantiser of all but the key frame, 0..63.
        key_qp: quantiser of the key frame.
        config: preset and so on.
    """

    sequential = True

    def __init__(
        self, clip: Clip, start: int, end: int, qp: int, key_qp: int, config: EncoderConfig
    ) -> None:
        self._clip, self._end = clip, end
        self._fed = self._given = start
        self._pending = b""
        fps = clip.fps
        source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{clip.width}x{clip.height}"]
        source += ["-r", f"{fps.numerator}/{fps.denominator}", "-i", "-"]
        coder = ["-pix_fmt", "yuv420p10le", "-c:v", "libvvenc", "-threads", "1"]
        coder += ["-preset", config.preset or "faster", "-qp", str(qp)]
        coder += ["-vvenc-params", f"{LOW_DELAY}:{PLAIN_QP}{key_qp - qp}"]
        self._stream = FfmpegStream(
            [*source, *coder, "-fps_mode", "passthrough", "-f", "vvc", "-flush_packets", "1"]
        )

    def close(self) -> None:
        """Stop the encoder."""
        self._stream.close()

    def encode(self, index: int, target_kbps: float) -> list[tuple[bytes, int]]:  # noqa: ARG002
        """Access units from frame `index` on, each with the ns that it took.

        The time of a group is shared equally among its frames; the first group's includes the
        start of the process.
        """
        assert index == self._given
        left = self._end - index
        wanted = min(GROUP, left)
        begin = time.perf_counter_ns()
        self._feed(index + wanted + AHEAD)
        units: list[bytes] = []
        while len(units) < wanted:
            data = self._stream.read(TIMEOUT_S)
            units += self._split(data)
            if not data and len(units) < wanted:
                raise ToolFailedError(f"libvvenc ended after frame {index + len(units) - 1}")
        del units[left:]  # of frames fed only to push these out
        took = (time.perf_counter_ns() - begin) // len(units)
        self._given += len(units)
        return [(unit, took) for unit in units]

    def _feed(self, until: int) -> None:
        """Feed frames up to `until`; after the clip's end its last one again.

        The stream is never flushed: ffmpeg's wrapper of VVenC loses everything when it is flushed
        after 14 or 15 frames. What is fed too much changes nothing, as no access unit depends on
        what follows it.
        """
        last = self._clip.frame_count - 1
        while self._fed < until:
            self._stream.feed(self._clip.frame(min(self._fed, last)).tobytes())
            self._fed += 1

    def _split(self, data: bytes) -> list[bytes]:
        """Whole access units; what may still grow stays behind, unless `data` is the empty end."""
        self._pending += data
        cut = self._pending.rfind(annexb.H266_DELIMITER) if data else len(self._pending)
        if cut <= 0:
            return []
        whole, self._pending = self._pending[:cut], self._pending[cut:]
        return annexb.access_units("h266", whole)


#: A segment is planned to meet the target within this time, its key frame included.
HORIZON_S = 2.0
#: No new segment for the rate's sake sooner than this: the promise is to follow within a second.
SHORTEST_S = 1.0
#: A new segment begins when the target moved by more than this share,
MOVED_SHARE = 0.15
#: or the debt at the end of the next second is foreseen beyond this share of a second's target,
DEBT_SHARE = 0.5
#: or, after this time, the last second stayed below this share of the target with nothing owed
IDLE_AFTER_S = 2.0
IDLE_SHARE = 0.7
#: The key frame's quantiser differs from the others' at most by so much: what is saved on it has to
#: be made up for by the frames that follow.
KEY_COARSER, KEY_FINER = 6, 0
#: A key frame may take this share of the rate buffer.
KEY_SHARE = 0.6
#: Frames after a key frame that make up for it and say nothing of what is to come (one GOP).
SETTLING_FRAMES = 8
#: and the quantiser could come down by so much.
WORTH_IT = 3
#: Motion taken for granted before any was seen (grey levels; talking heads 1, sports 5).
USUAL_MOTION = 2.0
QP_RANGE = range(12, 57)
#: Weight of the newest prediction error.
LEARN = 0.5


class SegmentPolicy:
    """Steers the rate of H.266 by starting segments at another quantiser."""

    def __init__(self, clip: Clip, config: EncoderConfig) -> None:
        self._clip, self._config = clip, config
        self._second = max(1, round(clip.fps))
        self._bucket = LeakyBucket(fps=float(clip.fps), vbv_ms=config.vbv_ms)
        self._recent: deque[int] = deque(maxlen=self._second)  # bits of settled frames
        self._start = 0
        self._target_kbps = 0.0
        self._qp = self._key_qp = 0
        self._key_error = 0.0  # log2(seen / predicted)
        self._inter_error = 0.0

    def restart(self, index: int, target_kbps: float) -> bool:
        """Whether the rate has to change, at most once a second."""
        if index - self._start < math.ceil(SHORTEST_S * self._clip.fps):
            return False
        if abs(target_kbps - self._target_kbps) > MOVED_SHARE * self._target_kbps:
            return True
        second_bits = target_kbps * 1000
        last_bits = sum(self._recent) * self._second / max(1, len(self._recent))
        foreseen = self._bucket.debt_bits + last_bits - second_bits
        if foreseen > DEBT_SHARE * second_bits:
            return True
        if index - self._start < IDLE_AFTER_S * self._clip.fps:
            return False
        idle = last_bits < IDLE_SHARE * second_bits and foreseen < 0
        return idle and self._plan(index, target_kbps)[0] <= self._qp - WORTH_IT

    def begin(self, index: int, end: int, target_kbps: float) -> tuple[str, Callable[[], Backend]]:
        """A segment is determined by its quantisers alone."""
        qp, key_qp = self._plan(index, target_kbps)
        self._start, self._target_kbps = index, target_kbps
        self._qp, self._key_qp = qp, key_qp
        self._recent.clear()
        return (
            f"qp={qp} key_qp={key_qp}",
            lambda: VvencSegment(self._clip, index, end, qp, key_qp, self._config),
        )

    def token(self, target_kbps: float) -> bytes:  # noqa: ARG002
        """Nothing: within a segment the target is not heard."""
        return b""

    def record(self, index: int, bits: int, target_kbps: float, *, key: bool) -> None:
        """Learn how far the size models are off."""
        self._bucket.add(bits, target_kbps)
        if key:
            seen = math.log2(bits) - self._key_bits_log2(index, self._key_qp) + self._key_error
            self._key_error += LEARN * (seen - self._key_error)
            return
        if index - self._start <= SETTLING_FRAMES:
            return
        self._recent.append(bits)
        if len(self._recent) % self._second == 0:
            mean = math.log2(sum(self._recent) / self._second)
            self._inter_error += LEARN * (mean - self._inter_bits_log2(index + 1, self._qp))

    def _plan(self, index: int, target_kbps: float) -> tuple[int, int]:
        """The smallest quantisers with which the target is met: (others', key frame's)."""
        capacity, debt = self._bucket.capacity_bits(target_kbps), self._bucket.debt_bits
        budget = min(KEY_SHARE * capacity, capacity - debt)
        budget = max(budget, self._bucket.frame_bits(target_kbps))
        key_qp = _smallest(QP_RANGE, lambda qp: 2 ** self._key_bits_log2(index, qp) <= budget)
        room = HORIZON_S * target_kbps * 1000 - debt
        frames = HORIZON_S * float(self._clip.fps) - 1

        def fits(qp: int) -> bool:
            # A coarse key frame and what makes up for it take together what a fine one takes.
            key, inter = self._key_bits_log2(index, qp), self._inter_bits_log2(index, qp)
            return 2**key + frames * 2**inter <= room

        near = range(max(key_qp - KEY_COARSER, QP_RANGE[0]), key_qp + KEY_FINER + 1)
        return _smallest(near, fits), key_qp

    def _key_bits_log2(self, index: int, qp: int) -> float:
        pixels = self._clip.width * self._clip.height
        return H266_INTRA.log2_bits(self._clip.detail(index), pixels, qp) + self._key_error

    def _inter_bits_log2(self, index: int, qp: int) -> float:
        """Size of inter frames, from the motion of the last second; nothing ahead is looked at."""
        seen = range(max(1, index - self._second), index)
        motion = sum(map(self._clip.motion, seen)) / len(seen) if seen else USUAL_MOTION
        pixels = self._clip.width * self._clip.height
        return H266_INTER.log2_bits(motion + MOTION_FLOOR, pixels, qp) + self._inter_error


def _smallest(candidates: range, fits: Callable[[int], bool]) -> int:
    """The first candidate that fits, or the last of all."""
    return next(filter(fits, candidates), candidates[-1])
