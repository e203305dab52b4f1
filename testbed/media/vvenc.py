"""H.266 by VVenC, through the ffmpeg of imageio-ffmpeg.

VVenC has no live interface there: it cannot be told a new rate or quantiser while it runs. It gets
a plan for a whole segment, which its rate control keeps (`testbed.media.vvenc_plan`). A target that
moves is followed by going over the segment from its key frame once more, with a plan that differs
from there on: the frames before come out the same, byte for byte. Only where that would take too
long a new segment begins (`SegmentPolicy`).

With temporal filtering off, low-delay coding order and such a plan the encoder looks at no later
frame: an access unit does not depend on what follows it (a test holds this). It does hold frames
back, twenty of them, before it gives out the first; that is a pipeline, not look-ahead, and is
hidden here by feeding frames early.
"""

from __future__ import annotations

import math
import shutil
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from testbed.errors import ToolFailedError
from testbed.media import annexb
from testbed.media.clips import Clip
from testbed.media.ratecontrol import MOTION_FLOOR, LeakyBucket, SizeModel
from testbed.media.tools import FfmpegStream
from testbed.media.vvenc_plan import HEADROOM, Plan, write_statistics

if TYPE_CHECKING:
    from testbed.media.encoders import Backend, EncoderConfig, OpenBackend

#: No reordering, no periodic key frames, no filtering across frames (mctf looks ahead, bim needs
#: mctf).
LOW_DELAY = "picreordering=0:gopsize=8:decodingrefreshtype=none:intraperiod=-1:mctf=0:bim=0"
#: Perceptual adaptation moves quantisers for reasons of its own.
PLAIN_QP = "qpa=0"
#: Name of the statistics; ffmpeg's wrapper appends the number of the stream and ".log".
STATISTICS = "plan"
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
    """Frames from one key frame on, with the sizes that a plan gives them.

    Args:
        clip: the source.
        start: the key frame.
        end: first frame that cannot belong to the segment any more.
        plan: what the frames may take.
        targets_kbps: of the first frames; the last one holds on.
        config: preset and so on.
    """

    follows = False

    def __init__(
        self,
        clip: Clip,
        start: int,
        end: int,
        plan: Plan,
        targets_kbps: Sequence[float],
        config: EncoderConfig,
    ) -> None:
        self._clip, self._end = clip, end
        self._fed = self._given = start
        self._pending = b""
        fps = clip.fps
        folder = Path(mkdtemp(prefix="testbed-vvenc-"))
        self._forget = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        write_statistics(
            folder / f"{STATISTICS}-0.log",
            plan,
            [target_kbps * 1000 / float(fps) for target_kbps in targets_kbps],
            count=end - start + AHEAD + GROUP,
            size=(clip.width, clip.height),
        )
        source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{clip.width}x{clip.height}"]
        source += ["-r", f"{fps.numerator}/{fps.denominator}", "-i", "-"]
        coder = ["-pix_fmt", "yuv420p10le", "-c:v", "libvvenc", "-threads", "1"]
        coder += ["-preset", config.preset or "faster", "-b:v", str(plan.rate_bps(fps))]
        coder += ["-pass", "2", "-passlogfile", str(folder / STATISTICS)]
        coder += ["-vvenc-params", f"{LOW_DELAY}:{PLAIN_QP}"]
        self._stream = FfmpegStream(
            [*source, *coder, "-fps_mode", "passthrough", "-f", "vvc", "-flush_packets", "1"]
        )

    def close(self) -> None:
        """Stop the encoder."""
        self._stream.close()
        self._forget()

    def encode(self, index: int, target_kbps: float) -> list[tuple[bytes, int]]:  # noqa: ARG002 - knew it when opened
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
        self._forget()  # the statistics were read before the first frame
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


#: A move of the target by more than this share is followed within a second; by a new segment where
#: the one that there is is older than `REPLAY_S`.
MOVED_SHARE = 0.15
SHORTEST_S = 1.0
REPLAY_S = 5.0
#: Any beyond this share is followed when the segment is this much older than at the last change,
#: which bounds the frames that are coded again to four times those of the segment; in its first
#: second, where that is no bound, not sooner than `SOONEST_S` after it.
SLIGHT_SHARE = 0.04
OLDER = 4 / 3
SOONEST_S = 0.25
#: A new segment begins, too, when the debt is beyond this share of a second's target.
DEBT_SHARE = 1.0
#: A key frame, with what earlier segments left, is made up for within this time
HORIZON_S = 1.0
#: or later, as all other frames keep this share of the target.
LEAST_SHARE = 0.4
#: A key frame may take this share of the rate buffer, and this even where little is left of it.
KEY_SHARE, LEAST_KEY_SHARE = 0.4, 0.2
#: The first quantiser after the key frame is at most so much coarser than its, and not finer: VVenC
#: corrects it by 12 either way, and all of that is to be left where the size model is far off.
COARSER = 6
#: Motion taken for granted before any was seen (grey levels; talking heads 1, sports 5).
USUAL_MOTION = 2.0
QP_RANGE = range(12, 57)
#: Weight of the newest prediction error.
LEARN = 0.5


class SegmentPolicy:
    """Follows a target by plans that change, and by segments that are planned anew."""

    def __init__(self, clip: Clip, config: EncoderConfig) -> None:
        self._clip, self._config = clip, config
        self._bucket = LeakyBucket(fps=float(clip.fps), vbv_ms=config.vbv_ms)
        self._start = 0
        self._first_kbps = 0.0
        self._told_kbps = 0.0
        self._told = 0  # the frame at which it was told
        self._key_qp = 0
        self._key_error = 0.0  # log2(seen / predicted)

    def restart(self, index: int, target_kbps: float) -> bool:
        """Whether the rate has to change in a way that the segment cannot follow."""
        if self._age_s(index, self._told) < SHORTEST_S:
            return False
        if self._moved(target_kbps) > MOVED_SHARE and not self._replays(index, target_kbps):
            return True
        return self._bucket.debt_bits > DEBT_SHARE * target_kbps * 1000

    def hear(self, index: int, target_kbps: float) -> float:
        """The target that the segment is told."""
        since, moved = self._age_s(index, self._told), self._moved(target_kbps)
        older = self._age_s(index, self._start) >= OLDER * self._age_s(self._told, self._start)
        slight = moved > SLIGHT_SHARE and older and since >= SOONEST_S
        much = moved > MOVED_SHARE and since >= SHORTEST_S
        if (slight or much) and self._has_room(target_kbps):
            self._told, self._told_kbps = index, target_kbps
        return self._told_kbps

    def begin(self, index: int, end: int, target_kbps: float) -> tuple[str, OpenBackend]:
        """A segment is determined by its plan, and by the targets that it is told."""
        plan = self._plan(index, target_kbps)
        self._start = self._told = index
        self._first_kbps = self._told_kbps = target_kbps
        self._key_qp = plan.key_qp

        def encoder(targets_kbps: Sequence[float]) -> Backend:
            return VvencSegment(self._clip, index, end, plan, targets_kbps, self._config)

        return str(plan), encoder

    def record(self, index: int, bits: int, target_kbps: float, *, key: bool) -> None:
        """Keep the debt, and learn how far the size model of key frames is off."""
        self._bucket.add(bits, target_kbps)
        if key:
            seen = math.log2(bits) - self._key_bits_log2(index, self._key_qp) + self._key_error
            self._key_error += LEARN * (seen - self._key_error)

    def _age_s(self, index: int, since: int) -> float:
        return (index - since) / float(self._clip.fps)

    def _moved(self, target_kbps: float) -> float:
        return abs(target_kbps / self._told_kbps - 1)

    def _has_room(self, target_kbps: float) -> bool:
        """The segment's plan takes such a target."""
        return target_kbps <= HEADROOM / 2 * self._first_kbps

    def _replays(self, index: int, target_kbps: float) -> bool:
        """The segment is young enough to go over it once more, and its plan has room."""
        return self._age_s(index, self._start) < REPLAY_S and self._has_room(target_kbps)

    def _plan(self, index: int, target_kbps: float) -> Plan:
        """The finest key frame that may be afforded; the others make up for it."""
        capacity, debt = self._bucket.capacity_bits(target_kbps), self._bucket.debt_bits
        share = self._bucket.frame_bits(target_kbps)
        budget = min(KEY_SHARE * capacity, max(capacity - debt, LEAST_KEY_SHARE * capacity))
        budget = max(budget, share)
        key_qp = _smallest(QP_RANGE, lambda qp: 2 ** self._key_bits_log2(index, qp) <= budget)
        key_bits = round(2 ** self._key_bits_log2(index, key_qp))
        owed = key_bits + debt - share
        frames = HORIZON_S * float(self._clip.fps) - 1
        settling = max(1, math.ceil(max(frames, owed / ((1 - LEAST_SHARE) * share))))
        near = range(key_qp, key_qp + COARSER + 1)
        qp = _smallest(near, lambda qp: 2 ** self._inter_bits_log2(index, qp) <= share)
        return Plan(key_qp, key_bits, settling, round(owed / settling), qp, max(1, round(share)))

    def _key_bits_log2(self, index: int, qp: int) -> float:
        pixels = self._clip.width * self._clip.height
        return H266_INTRA.log2_bits(self._clip.detail(index), pixels, qp) + self._key_error

    def _inter_bits_log2(self, index: int, qp: int) -> float:
        """Size of inter frames, from the motion of the last second; nothing ahead is looked at."""
        seen = range(max(1, index - max(1, round(self._clip.fps))), index)
        motion = sum(map(self._clip.motion, seen)) / len(seen) if seen else USUAL_MOTION
        pixels = self._clip.width * self._clip.height
        return H266_INTER.log2_bits(motion + MOTION_FLOOR, pixels, qp)


def _smallest(candidates: range, fits: Callable[[int], bool]) -> int:
    """The first candidate that fits, or the last of all."""
    return next(filter(fits, candidates), candidates[-1])
