"""Compute models: how long encoding and decoding take in virtual time.

`measured` uses what this machine took (the encoder's time is kept with every encoded frame, the
decoder's is timed once a codec and picture size and kept in the cache folder, so that a repeated
run gives the same tables). A device profile carries the frame rates that the paper's Table 3
publishes for Morphe's codec at 3x and 2x scaling; it says nothing about H.26x, for which a
hardware codec that keeps up is assumed: no time at all, and the manifest says so. A codec of which
only sizes are known takes what its authors published (`testbed.worlds.published`), under a profile
as under `measured`. `zero` is zero.

A codec that works on groups of pictures is busy with all of a group at once; its times depend on
the scale of the group.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from testbed.errors import InputError
from testbed.media.clips import Clip
from testbed.media.types import EncodedFrame, EncodedGop
from testbed.paths import cache_dir
from testbed.registry import Registry
from testbed.worlds.published import published_speed

#: Frames decoded when the decoder of this machine is timed.
CALIBRATION_FRAMES: Final = 60
CALIBRATION_KBPS: Final = 400.0
#: Coded pixels at 1x over those at 2x. (At 2x they are 2.25 times those at 3x, and in Table 3 the
#: encoder takes 1.9 to 2.1 times as long.)
FULL_SIZE_FACTOR: Final = 4


#: What an encoder gives at a time.
Coded = EncodedFrame | EncodedGop


class ComputeModel(Protocol):
    """Durations for one session."""

    def encode_ns(self, coded: Coded) -> int:
        """How long the encoder was busy with `coded`."""

    def decode_ns(self, scale: int = 0) -> int:
        """How long the decoder is busy with one frame, of a codec with scales at this one."""

    def facts(self) -> dict[str, Any]:
        """What the manifest says about the model."""


@dataclass(frozen=True, slots=True)
class FixedCompute:
    """The same durations for every frame."""

    name: str
    encode_frame_ns: int
    decode_frame_ns: int
    note: str = ""

    def encode_ns(self, coded: Coded) -> int:  # noqa: ARG002  (same for every frame)
        """Constant."""
        return self.encode_frame_ns

    def decode_ns(self, scale: int = 0) -> int:  # noqa: ARG002  (same for every frame)
        """Constant."""
        return self.decode_frame_ns

    def facts(self) -> dict[str, Any]:
        """Name, durations and where they come from."""
        return {
            "model": self.name,
            "encode_ms": self.encode_frame_ns / 1e6,
            "decode_ms": self.decode_frame_ns / 1e6,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class MeasuredCompute:
    """What this machine takes."""

    decode_frame_ns: int

    def encode_ns(self, coded: Coded) -> int:
        """What the encoder took for this very frame."""
        return coded.encode_ns

    def decode_ns(self, scale: int = 0) -> int:  # noqa: ARG002  (H.26x has none)
        """Mean over the calibration run."""
        return self.decode_frame_ns

    def facts(self) -> dict[str, Any]:
        """Name and durations."""
        return {
            "model": "measured",
            "encode_ms": "per frame, on the machine that encoded it",
            "decode_ms": self.decode_frame_ns / 1e6,
            "note": f"decoder timed over {CALIBRATION_FRAMES} frames at {CALIBRATION_KBPS:g} kbps",
        }


@dataclass(frozen=True, slots=True)
class ScaledCompute:
    """Durations a frame that depend on the scale, by source pixels per coded pixel."""

    name: str
    encode_frame_ns: Mapping[int, int]
    decode_frame_ns: Mapping[int, int]
    note: str

    def encode_ns(self, coded: Coded) -> int:
        """Of all frames of the group."""
        assert isinstance(coded, EncodedGop)
        return coded.frames * self.encode_frame_ns[coded.scale]

    def decode_ns(self, scale: int = 0) -> int:
        """Of a frame at this scale."""
        return self.decode_frame_ns[scale]

    def facts(self) -> dict[str, Any]:
        """Name, durations and where they come from."""
        return {
            "model": self.name,
            "encode_ms": {f"{s}x": ns / 1e6 for s, ns in self.encode_frame_ns.items()},
            "decode_ms": {f"{s}x": ns / 1e6 for s, ns in self.decode_frame_ns.items()},
            "note": self.note,
        }


class MeasuredGops:
    """What this machine takes for a codec of groups; the decoder is timed where a scale is met."""

    def __init__(self, codec: str, clip: Clip) -> None:
        self._codec, self._clip = codec, clip
        self._decode_frame_ns: dict[int, int] = {}

    def encode_ns(self, coded: Coded) -> int:
        """What the encoder took for this very group."""
        return coded.encode_ns

    def decode_ns(self, scale: int = 0) -> int:
        """Mean over the calibration run at this scale."""
        if scale not in self._decode_frame_ns:
            self._decode_frame_ns[scale] = measured_decode_ns(f"{self._codec}-{scale}x", self._clip)
        return self._decode_frame_ns[scale]

    def facts(self) -> dict[str, Any]:
        """Name and durations, of the scales that were met."""
        times = sorted(self._decode_frame_ns.items())
        return {
            "model": "measured",
            "encode_ms": "per group, on the machine that encoded it",
            "decode_ms": {f"{scale}x": ns / 1e6 for scale, ns in times},
            "note": f"decoder timed at {CALIBRATION_KBPS:g} kbps, one thread",
        }


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """Published frame rates of one device.

    Attributes:
        encode_fps, decode_fps: codec name to frames per second.
    """

    name: str
    encode_fps: Mapping[str, float] = field(default_factory=dict)
    decode_fps: Mapping[str, float] = field(default_factory=dict)

    def model(self, codec: str) -> ComputeModel:
        """The durations for `codec`; zero where nothing is published."""
        if f"{codec}-2x" in self.encode_fps:
            return self._scaled(codec)
        if codec not in self.encode_fps:
            return _published(self.name, codec) or FixedCompute(
                self.name, 0, 0, f"{codec} is not in Table 3; a codec that keeps up is assumed"
            )
        return FixedCompute(
            self.name,
            round(1e9 / self.encode_fps[codec]),
            round(1e9 / self.decode_fps[codec]),
            "Morphe paper, Table 3",
        )

    def _scaled(self, codec: str) -> ScaledCompute:
        encode, decode = (
            {scale: round(1e9 / fps[f"{codec}-{scale}x"]) for scale in (2, 3)}
            for fps in (self.encode_fps, self.decode_fps)
        )
        for times in (encode, decode):
            times[1] = FULL_SIZE_FACTOR * times[2]
        note = f"Morphe paper, Table 3 (1080p); 1x is not in it: {FULL_SIZE_FACTOR} times 2x"
        return ScaledCompute(self.name, encode, decode, note)


#: Morphe paper, Table 3.
PROFILES: Final = {
    profile.name: profile
    for profile in (
        DeviceProfile(
            "rtx3090",
            {"morphe-3x": 98.51, "morphe-2x": 47.14},
            {"morphe-3x": 65.74, "morphe-2x": 32.03},
        ),
        DeviceProfile(
            "a100",
            {"morphe-3x": 101.23, "morphe-2x": 52.54},
            {"morphe-3x": 83.33, "morphe-2x": 40.19},
        ),
        DeviceProfile(
            "jetson-orin",
            {"morphe-3x": 61.17, "morphe-2x": 31.87},
            {"morphe-3x": 43.45, "morphe-2x": 24.93},
        ),
    )
}


def _published(name: str, codec: str) -> ComputeModel | None:
    """What the codec's authors published, where that is all there is."""
    speed = published_speed(codec)
    if speed is None:
        return None
    note = f"as published on {speed.device}: {speed.source}"
    return FixedCompute(name, speed.encode_frame_ns, speed.decode_frame_ns, note)


COMPUTE_MODELS: Registry[Callable[[str, Clip], ComputeModel]] = Registry(
    "compute model", group="testbed.compute"
)


@COMPUTE_MODELS.register("zero")
def _zero(_codec: str, _clip: Clip) -> ComputeModel:
    return FixedCompute("zero", 0, 0)


@COMPUTE_MODELS.register("measured")
def _measured(codec: str, clip: Clip) -> ComputeModel:
    if codec == "morphe":
        return MeasuredGops(codec, clip)
    published = _published("measured", codec)
    if published is not None:
        return published
    return MeasuredCompute(measured_decode_ns(codec, clip))


def _profile_factory(profile: DeviceProfile) -> Callable[[str, Clip], ComputeModel]:
    return lambda codec, _clip: profile.model(codec)


for _profile in PROFILES.values():
    COMPUTE_MODELS.register(_profile.name)(_profile_factory(_profile))


def compute_model(name: str, *, codec: str, clip: Clip) -> ComputeModel:
    """The compute model called `name` for a session of `codec` over `clip`.

    Raises:
        UnknownNameError: no such model.
    """
    return COMPUTE_MODELS.get(name)(codec, clip)


def measured_decode_ns(codec: str, clip: Clip) -> int:
    """Mean decoding time of a frame of this size on this machine, in ns.

    Timed once and kept in the cache folder; remove `decode-times.json` there to time again.
    """
    store = cache_dir() / "decode-times.json"
    key = f"{codec} {clip.width}x{clip.height}"
    known = _read_times(store)
    if key not in known:
        known = {**known, key: _time_decoder(codec, clip)}
        _write_times(store, known)
    return known[key]


def _read_times(store: Path) -> dict[str, int]:
    try:
        times = json.loads(store.read_text(encoding="utf-8"))
        return {str(key): int(value) for key, value in times.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_times(store: Path, times: dict[str, int]) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=store.parent, prefix=".decode-times")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(times, file, indent=1, sort_keys=True)
    Path(name).replace(store)


def _time_decoder(codec: str, clip: Clip) -> int:
    if codec.startswith("morphe-"):
        from testbed.codec.pixels import time_decoder

        scale = int(codec.removeprefix("morphe-").removesuffix("x"))
        return time_decoder(clip, scale=scale, kbps=CALIBRATION_KBPS)
    if codec == "grace-style":
        from testbed.codec.grace import time_decoder as time_pictures

        return time_pictures(clip, kbps=CALIBRATION_KBPS)
    from time import perf_counter_ns

    from testbed.media.cache import EncodeCache
    from testbed.media.decoding import decode
    from testbed.media.encoders import ENCODERS, EncoderConfig, open_encoder
    from testbed.media.types import ReceivedFrame

    if codec not in ENCODERS.names():
        raise InputError(f"compute measured: no encoder of {codec} here to time its decoder with")
    encoder = open_encoder(codec, clip, EncoderConfig(), EncodeCache.default())
    count = min(CALIBRATION_FRAMES, clip.frame_count)
    frames = [
        encoder.encode(index, target_kbps=CALIBRATION_KBPS, force_key=False)
        for index in range(count)
    ]
    received = [ReceivedFrame(f.index, f.key, f.data, complete=True) for f in frames]
    started = perf_counter_ns()
    decoded = decode(codec, received, width=clip.width, height=clip.height, conceal=False)
    for _ in islice(decoded, count):
        pass
    return (perf_counter_ns() - started) // count
