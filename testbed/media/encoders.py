"""Live H.264, H.265 and H.266 encoders over a clip, with a changing target.

An encoder works in segments: each begins with an IDR picture out of a fresh encoder, so that what
follows depends only on what has happened since. That is what makes the cache exact (see
`testbed.media.cache`). A segment begins at frame 0, at each intra period, at a forced key frame,
and, for H.266, where the rate has to change much.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from testbed.errors import InputError, LocalProtocolError, ToolFailedError
from testbed.media import lavc, temporal, vvenc
from testbed.media.cache import Coded, EncodeCache
from testbed.media.clips import Clip
from testbed.media.ratecontrol import FrameControl, LeakyBucket
from testbed.media.tools import ffmpeg_identity
from testbed.media.types import EncodedFrame, FrameEncoder
from testbed.registry import Registry

#: Changes when the same input gives other bytes because of our own code.
ENCODER_VERSION = {"h264": 10, "h265": 10, "h266": 9}
#: Frames asked of the cache at once while it has them.
READ_AHEAD = 128


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """How to encode. All encoders run on one thread, without B pictures and without look-ahead.

    Attributes:
        preset: the encoder's own preset; "" is veryfast (x264, x265) or faster (VVenC).
        intra_period_frames: distance of key frames; 0 = only the first (and forced ones).
        vbv_ms: size of the rate buffer in ms of the target rate.
        slices: slices a picture; 1 = none. Only H.264 takes more: x265 does not start with slices
            and without wavefronts, and with them holds frames back or crashes; VVenC has none.
    """

    preset: str = ""
    intra_period_frames: int = 0
    vbv_ms: int = 500
    slices: int = 1

    def __post_init__(self) -> None:
        bounds = {
            "intra_period_frames": (0, 100_000),
            "vbv_ms": (50, 10_000),
            "slices": (1, 32),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"encoder {name} {value} is not within {low} and {high}")

    @property
    def lookahead_frames(self) -> int:
        """Frames that the encoder sees before it codes one; none of ours sees any."""
        return 0


class Backend(Protocol):
    """A fresh encoder, from one key frame on; must be asked for its frames in order.

    Attributes:
        follows: it takes another target for each frame. One that does not keeps the targets that it
            was opened with, and is opened anew for another.
    """

    follows: bool

    def encode(self, index: int, target_kbps: float) -> list[Coded]:
        """Frame `index` and possibly some that follow at the same target; in order, no gaps."""

    def close(self) -> None:
        """Stop the encoder."""


#: Opens a fresh encoder, given the targets that the segment has heard, the next frame's included.
OpenBackend = Callable[[Sequence[float]], Backend]


class Policy(Protocol):
    """What differs between encoders: how a segment begins and what determines it."""

    def restart(self, index: int, target_kbps: float) -> bool:
        """Whether a new segment should begin at `index` for the rate's sake."""

    def begin(self, index: int, end: int, target_kbps: float) -> tuple[str, OpenBackend]:
        """Start a segment: what determines it besides clip and configuration, and its encoder."""

    def hear(self, index: int, target_kbps: float) -> float:
        """What the segment is told of a target; asked once a frame, after `begin` if it begins."""

    def record(self, index: int, bits: int, target_kbps: float, *, key: bool) -> None:
        """A frame of `bits` came out."""


#: Presets of each encoder, fastest first.
X26X_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
PRESETS = {
    "h264": X26X_PRESETS,
    "h264-temporal": X26X_PRESETS,
    "h265": X26X_PRESETS,
    "h266": ("faster", "fast", "medium", "slow", "slower"),
}

PolicyFactory = Callable[[Clip, EncoderConfig], Policy]
ENCODERS: Registry[PolicyFactory] = Registry("encoder", group="testbed.encoders")


class LivePolicy:
    """x264 and x265: the quantiser follows the target from frame to frame; no restarts."""

    def __init__(self, codec: str, clip: Clip, config: EncoderConfig, *, layers: int = 1) -> None:
        self._codec, self._clip, self._config = codec, clip, config
        self._layers = layers
        self._bucket = LeakyBucket(fps=float(clip.fps), vbv_ms=config.vbv_ms)

    def restart(self, index: int, target_kbps: float) -> bool:  # noqa: ARG002 - contract
        """Never: the target is followed within the segment."""
        return False

    def hear(self, index: int, target_kbps: float) -> float:  # noqa: ARG002 - contract
        """The target itself."""
        return target_kbps

    def begin(self, index: int, end: int, target_kbps: float) -> tuple[str, OpenBackend]:  # noqa: ARG002 - contract
        """The segment is determined by the (rounded) debt that it starts with."""
        debt_ms = self._bucket.rounded_debt_ms(target_kbps)

        def encoder(targets_kbps: Sequence[float]) -> Backend:  # noqa: ARG001 - contract; `encode` is told each
            intra, inter, options = LIVE[self._codec]
            control = FrameControl(
                intra,
                inter,
                pixels=self._clip.width * self._clip.height,
                fps=float(self._clip.fps),
                vbv_ms=self._config.vbv_ms,
                debt_bits=debt_ms * target_kbps,
            )
            made = options(self._config)
            if self._layers == 1:
                return lavc.LavcSegment(self._clip, index, control, self._codec, made)
            made["x264-params"] += f":{temporal.PARAMETERS}"
            return temporal.TemporalSegment(self._clip, index, control, self._codec, made)

        return f"debt={debt_ms}", encoder

    def record(self, index: int, bits: int, target_kbps: float, *, key: bool) -> None:  # noqa: ARG002 - contract
        """Keep the debt, which the next segment inherits."""
        self._bucket.add(bits, target_kbps)


LIVE = {
    "h264": (lavc.H264_INTRA, lavc.H264_INTER, lavc.x264_options),
    "h265": (lavc.H265_INTRA, lavc.H265_INTER, lavc.x265_options),
}


@ENCODERS.register("h264")
def _h264(clip: Clip, config: EncoderConfig) -> Policy:
    return LivePolicy("h264", clip, config)


@ENCODERS.register("h264-temporal")
def _h264_temporal(clip: Clip, config: EncoderConfig) -> Policy:
    return LivePolicy("h264", clip, config, layers=2)


@ENCODERS.register("h265")
def _h265(clip: Clip, config: EncoderConfig) -> Policy:
    return LivePolicy("h265", clip, config)


@ENCODERS.register("h266")
def _h266(clip: Clip, config: EncoderConfig) -> Policy:
    return vvenc.SegmentPolicy(clip, config)


def _token(target_kbps: float) -> bytes:
    """What of the target that was told determines the next frame: all of it."""
    return float(target_kbps).hex().encode()


class _Segment:
    """The frames from one key frame on: from the cache while it has them, else encoded."""

    def __init__(
        self,
        start: int,
        seed: bytes,
        encoder: OpenBackend,
        cache: EncodeCache | None,
    ) -> None:
        self.start = start
        self._open, self._cache = encoder, cache
        self._key = hashlib.blake2b(seed, digest_size=20).digest()
        self._past: list[tuple[float, bytes]] = []
        self._backend: Backend | None = None
        self._told_kbps = 0.0  # what the backend was opened for
        self._encoded = 0  # frames that the backend has made
        self._ahead: dict[bytes, Coded] = {}
        self._reach = 1  # frames to ask of the cache at once

    def frame(self, target_kbps: float) -> Coded:
        """The next frame."""
        if (
            self._backend is not None
            and not self._backend.follows
            and target_kbps != self._told_kbps
        ):
            self._backend.close()
            self._backend = None
        token = _token(target_kbps)
        key = self._next_key(self._key, token)
        coded = self._ahead.pop(key, None)
        if coded is None:
            self._ahead = self._read(key, token)
            coded = self._ahead.pop(key, None) or self._make(key, target_kbps)
        self._key = key
        self._past.append((target_kbps, coded[0]))
        return coded

    def _read(self, key: bytes, token: bytes) -> dict[bytes, Coded]:
        """What the cache has from `key` on, supposing that the target stays."""
        if self._cache is None:
            return {}
        keys = [key]
        # While encoding, the next frames are hardly there: another process would have to be ahead.
        while self._backend is None and len(keys) < self._reach:
            keys.append(self._next_key(keys[-1], token))
        found = self._cache.get_many(keys)
        # A changing target makes reading ahead useless: reach further only while it pays.
        self._reach = min(2 * self._reach, READ_AHEAD) if len(found) == len(keys) else 1
        return found

    def _make(self, key: bytes, target_kbps: float) -> Coded:
        """Encode up to the frame after `_past`; a fresh encoder first goes over what has been."""
        here = len(self._past)
        if self._backend is None:
            self._backend = self._open([*(target for target, _ in self._past), target_kbps])
            self._encoded, self._told_kbps = 0, target_kbps
        run: list[Coded] = []
        while self._encoded <= here:
            target = self._past[self._encoded][0] if self._encoded < here else target_kbps
            run = self._backend.encode(self.start + self._encoded, target)
            for (_, data), (again, _) in zip(self._past[self._encoded :], run, strict=False):
                self._check(again, data)
            self._encoded += len(run)
        return self._file(key, target_kbps, run[len(run) - (self._encoded - here) :])

    def close(self) -> None:
        """Stop the encoder, if one runs."""
        if self._backend is not None:
            self._backend.close()

    def _file(self, key: bytes, target_kbps: float, run: list[Coded]) -> Coded:
        token = _token(target_kbps)
        keys = [key]
        while len(keys) < len(run):
            keys.append(self._next_key(keys[-1], token))
        frames = list(zip(keys, run, strict=True))
        if self._cache is not None:
            run = self._cache.put_many(frames)
            for (_, made), filed in zip(frames, run, strict=True):
                self._check(made[0], filed[0])
        self._ahead = dict(zip(keys[1:], run[1:], strict=True))
        return run[0]

    def _check(self, made: bytes, filed: bytes) -> None:
        if made != filed:
            raise ToolFailedError(
                "an encoder gave other bytes than the encode cache holds for the same input; "
                "remove them with: testbed clips cache --clear"
            )

    @staticmethod
    def _next_key(key: bytes, token: bytes) -> bytes:
        return hashlib.blake2b(key + token, digest_size=20).digest()


class SegmentedEncoder:
    """A `FrameEncoder` made of segments."""

    def __init__(
        self, codec: str, clip: Clip, config: EncoderConfig, cache: EncodeCache | None
    ) -> None:
        self._clip, self._config, self._cache = clip, config, cache
        presets = PRESETS.get(codec, ())
        if config.preset and presets and config.preset not in presets:
            raise InputError(
                f"encoder preset {config.preset!r} of {codec}; allowed: {', '.join(presets)}"
            )
        if config.slices != 1 and codec in ("h264-temporal", "h265", "h266"):
            raise InputError(f"encoder slices {config.slices}: {codec} takes 1 only")
        self._policy = ENCODERS.get(codec)(clip, config)
        self._identity = json.dumps(
            [
                ENCODER_VERSION.get(codec, 1),
                codec,
                clip.pictures_sha256,
                asdict(config),
                tool_versions(codec),
            ]
        )
        self._segment: _Segment | None = None
        self._next = 0

    def encode(self, index: int, *, target_kbps: float, force_key: bool) -> EncodedFrame:
        """Encode source frame `index` towards `target_kbps` (> 0).

        Raises:
            LocalProtocolError: `index` is not the next one, or the target is not positive.
        """
        if index != self._next or index >= self._clip.frame_count:
            raise LocalProtocolError(
                f"frame {index} encoded out of order or beyond the clip; next is {self._next} of "
                f"{self._clip.frame_count}"
            )
        if not 0 < target_kbps < float("inf"):
            raise LocalProtocolError(f"target_kbps {target_kbps} must be positive and finite")
        self._next += 1
        key = self._begins(index, target_kbps, force_key=force_key)
        if key:
            if self._segment is not None:
                self._segment.close()
            self._segment = self._begin(index, target_kbps)
        assert self._segment is not None
        data, encode_ns = self._segment.frame(self._policy.hear(index, target_kbps))
        self._policy.record(index, 8 * len(data), target_kbps, key=key)
        return EncodedFrame(index, key, data, encode_ns)

    def _begins(self, index: int, target_kbps: float, *, force_key: bool) -> bool:
        if self._segment is None or force_key:
            return True
        period = self._config.intra_period_frames
        if period and index - self._segment.start >= period:
            return True
        return self._policy.restart(index, target_kbps)

    def _begin(self, index: int, target_kbps: float) -> _Segment:
        period = self._config.intra_period_frames
        end = min(self._clip.frame_count, index + period) if period else self._clip.frame_count
        seed, encoder = self._policy.begin(index, end, target_kbps)
        text = f"{self._identity} start={index} {seed}"
        return _Segment(index, text.encode(), encoder, self._cache)


def tool_versions(codec: str) -> dict[str, Any]:
    """What encodes: the libraries and their versions (JSON values)."""
    import av

    versions: dict[str, Any] = {"pyav": av.__version__}
    if codec == "h266":
        versions["ffmpeg"] = ffmpeg_identity()
    return versions


def open_encoder(
    codec: str, clip: Clip, config: EncoderConfig, cache: EncodeCache | None
) -> FrameEncoder:
    """A live encoder of `codec` ("h264", "h265", "h266") over `clip`.

    Args:
        codec: registered name; "h264-temporal" is H.264 in two temporal layers.
        clip: what to encode.
        config: how to encode.
        cache: where encoded frames are kept; None encodes every time.

    Raises:
        UnknownNameError: no such codec.
        ToolMissingError: the encoder is not there.
    """
    return SegmentedEncoder(codec, clip, config, cache)
