"""How closely an encoder follows its target: targets over time, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.errors import InputError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.types import EncodedFrame


@dataclass(frozen=True, slots=True)
class Tracking:
    """What an encoder made of its target, over whole windows of one second.

    Attributes:
        kbps: encoded rate of each window.
        error: mean over the windows of abs(encoded - target) / target.
        overshoot: bits above the target, window by window, as a share of all bits asked for.
        ratio: encoded bits / bits asked for.
        largest_frame_ms: largest frame, as time at its target.
        keys: number of key frames.
        encode_ms: mean time of a frame on the machine that encoded it.
    """

    kbps: list[float]
    error: float
    overshoot: float
    ratio: float
    largest_frame_ms: float
    keys: int
    encode_ms: float


def _constant(level: float) -> Callable[[float], float]:
    return lambda time: level  # noqa: ARG005


def _sine(low: float, high: float, period_s: float) -> Callable[[float], float]:
    middle, swing = (low + high) / 2, (high - low) / 2
    return lambda time: middle + swing * math.sin(2 * math.pi * time / period_s)


def _step(*levels: float) -> Callable[[float], float]:
    *levels_only, each_s = levels
    return lambda time: levels_only[int(time / each_s) % len(levels_only)]


#: Forms of a target: name, how it is written, number of values (at least, at most), maker.
TARGETS: dict[str, tuple[str, int, int, Callable[..., Callable[[float], float]]]] = {
    "constant": ("constant:KBPS", 1, 1, _constant),
    "sine": ("sine:LOW,HIGH,PERIOD_S", 3, 3, _sine),
    "step": ("step:KBPS,KBPS,...,SECONDS_EACH", 3, 100, _step),
}


def parse_target(text: str) -> Callable[[float], float]:
    """The target in kbps as a function of time in seconds.

    Raises:
        InputError: not one of `TARGETS`, or a value is not positive.
    """
    name, _, rest = text.partition(":")
    try:
        _, least, most, make = TARGETS[name]
        values = [float(value) for value in rest.split(",")]
        if least <= len(values) <= most and all(0 < value < math.inf for value in values):
            return make(*values)
    except (KeyError, ValueError):
        pass
    forms = ", ".join(form for form, *_ in TARGETS.values())
    raise InputError(f"target {text!r}: must be one of {forms}, with positive values")


def measure(frames: Sequence[EncodedFrame], targets: Sequence[float], *, fps: float) -> Tracking:
    """Compare encoded frames with their targets in kbps.

    Raises:
        InputError: less than one second.
    """
    size = round(fps)
    starts = range(0, len(frames) - size + 1, size)
    if not starts:
        raise InputError(f"{len(frames)} frames are less than one second at {fps:g} fps")
    kbits = [8 * len(frame.data) / 1000 for frame in frames]
    seen = [sum(kbits[at : at + size]) * fps / size for at in starts]
    asked = [sum(targets[at : at + size]) / size for at in starts]
    return Tracking(
        kbps=seen,
        error=sum(abs(s - a) / a for s, a in zip(seen, asked, strict=True)) / len(seen),
        overshoot=sum(max(0.0, s - a) for s, a in zip(seen, asked, strict=True)) / sum(asked),
        ratio=sum(seen) / sum(asked),
        largest_frame_ms=max(1000 * k / t for k, t in zip(kbits, targets, strict=True)),
        keys=sum(frame.key for frame in frames),
        encode_ms=sum(frame.encode_ns for frame in frames) / len(frames) / 1e6,
    )


def follow(
    codec: str,
    clip: Clip,
    config: EncoderConfig,
    target: Callable[[float], float],
    cache: EncodeCache | None,
) -> tuple[list[EncodedFrame], Tracking]:
    """Encode the whole clip towards `target` (kbps over seconds) and measure."""
    fps = float(clip.fps)
    targets = [target(index / fps) for index in range(clip.frame_count)]
    encoder = open_encoder(codec, clip, config, cache)
    frames = [
        encoder.encode(index, target_kbps=kbps, force_key=False)
        for index, kbps in enumerate(targets)
    ]
    return frames, measure(frames, targets, fps=fps)
