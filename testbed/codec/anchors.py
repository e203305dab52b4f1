"""What we compare with: x264 and x265, in the form that people use and in a like-for-like form.

* `x264-lowlatency`, `x265-lowlatency`: tuned for zero latency, one key frame at the start. x265
  takes its preset `medium`, which still runs at 38 fps for 720p on one core.
* `x264-keyint9`, `x265-keyint9`: every nine pictures a closed GoP of its own without B pictures,
  as a codec of independent nine-picture GoPs has them; preset `medium` and a look-ahead over the
  GoP, as such a codec sees it whole before it codes.

All run on one thread at a constant rate with a buffer of one second. Bytes are those of the real
stream (banners and delimiters removed, parameter sets counted once) in packets of up to 1200 bytes
with their headers. Pictures are those of FFmpeg's decoders.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from testbed.codec.rates import PACKET_HEADER_BYTES, PAYLOAD_BYTES, cut_to_packets, kbps, wire_bytes
from testbed.errors import InputError, OutputError, ToolFailedError
from testbed.media import annexb
from testbed.media.clips import Clip, Picture
from testbed.media.decoding import decode
from testbed.media.prepared import FORM as PICTURES_FORM
from testbed.media.quality import METRICS, compare
from testbed.media.tools import ffmpeg_identity, run_ffmpeg
from testbed.media.types import ReceivedFrame
from testbed.paths import cache_dir
from testbed.registry import Registry

#: Changes when the same clip and settings would give other numbers because of our own code.
FORM: Final = 1
#: A 1080p frame takes x265 0.1 s on a slow core.
TIMEOUT_START_S: Final = 60.0
TIMEOUT_PER_FRAME_S: Final = 4.0
#: An encoder is never asked for less.
LEAST_KBPS: Final = 10.0
_GOP: Final = "keyint=9:min-keyint=1:scenecut=0:open-gop=0:bframes=0:rc-lookahead=9"


@dataclass(frozen=True, slots=True)
class Anchor:
    """An encoder in one form.

    Attributes:
        family: what `--anchors` calls it.
        codec: name of its decoder, "h264" or "h265".
        arguments: ffmpeg's options besides the rate.
    """

    family: str
    codec: str
    arguments: tuple[str, ...]


ANCHORS: Registry[Anchor] = Registry("anchor", group="testbed.anchors")

_X264: Final = "threads=1:aud=1"
_X265: Final = "pools=none:frame-threads=1:wpp=0:aud=1:info=0:repeat-headers=1:log-level=none"


def _x264(preset: str, parameters: str, *more: str) -> Anchor:
    coder = ("-c:v", "libx264", "-preset", preset, *more, "-f", "h264")
    return Anchor("x264", "h264", ("-x264-params", f"{parameters}:{_X264}", *coder))


def _x265(preset: str, parameters: str, *more: str) -> Anchor:
    coder = ("-c:v", "libx265", "-preset", preset, *more, "-f", "hevc")
    return Anchor("x265", "h265", ("-x265-params", f"{parameters}:{_X265}", *coder))


ANCHORS.register("x264-lowlatency")(
    _x264("veryfast", "keyint=infinite:scenecut=0", "-tune", "zerolatency")
)
ANCHORS.register("x264-keyint9")(_x264("medium", _GOP))
ANCHORS.register("x265-lowlatency")(_x265("medium", "keyint=-1:scenecut=0", "-tune", "zerolatency"))
ANCHORS.register("x265-keyint9")(_x265("medium", _GOP))


@dataclass(frozen=True, slots=True)
class AnchorPoint:
    """One encode, measured.

    Attributes:
        anchor: registered name.
        target_kbps: what was asked for, packet headers included.
        kbps: what came out, packet headers included.
        scores: mean of each of `testbed.media.quality.METRICS` over the pictures.
    """

    anchor: str
    target_kbps: float
    kbps: float
    scores: dict[str, float]


def families(text: str) -> tuple[str, ...]:
    """Names of the anchors that `none` or a list such as `x264,x265` asks for.

    Raises:
        InputError: a family that is not there; lists the known ones.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return ()
    by_family: dict[str, list[str]] = {}
    for name in ANCHORS.names():
        by_family.setdefault(ANCHORS.get(name).family, []).append(name)
    known = ", ".join(["none", *by_family])
    for word in words:
        if word not in by_family:
            raise InputError(f"--anchors: {word!r} is not known; allowed: {known}")
    if not words:
        raise InputError(f"--anchors: is empty; allowed: {known}")
    return tuple(name for word in dict.fromkeys(words) for name in by_family[word])


def encode_anchor(name: str, clip: Clip, frames: int, target_kbps: float) -> list[bytes]:
    """Encode the first `frames` pictures of `clip`.

    Args:
        name: registered name of the anchor.
        clip: the source.
        frames: how many, >= 1.
        target_kbps: rate to aim at with packet headers, > 0.

    Returns:
        One access unit a picture, Annex B.

    Raises:
        ToolFailedError: the encoder failed, or gave another number of pictures.
    """
    anchor = ANCHORS.get(name)
    rate = f"{_without_headers(target_kbps, clip.fps):.3f}k"
    stream = run_ffmpeg(
        [
            *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{clip.width}x{clip.height}"),
            *("-r", f"{clip.fps.numerator}/{clip.fps.denominator}", "-i", "-", "-threads", "1"),
            *("-b:v", rate, "-maxrate", rate, "-bufsize", rate),
            *(*anchor.arguments, "-"),
        ],
        pieces=(clip.frame(index).tobytes() for index in range(frames)),
        timeout_s=TIMEOUT_START_S + TIMEOUT_PER_FRAME_S * frames,
    )
    units = _parameters_once(anchor.codec, annexb.access_units(anchor.codec, stream))
    if len(units) != frames:
        raise ToolFailedError(f"{name} gave {len(units)} pictures of {frames}")
    return units


def _without_headers(target_kbps: float, fps: Fraction) -> float:
    """The encoder's share of a rate, if each picture takes the same number of packets."""
    picture = target_kbps * 1000 / 8 / float(fps)
    packets = max(1, math.ceil(picture / (PAYLOAD_BYTES + PACKET_HEADER_BYTES)))
    return max(LEAST_KBPS, target_kbps - packets * PACKET_HEADER_BYTES * 8 * float(fps) / 1000)


def _parameters_once(codec: str, units: Sequence[bytes]) -> list[bytes]:
    """Leave out parameter sets that repeat what was sent: a session sends them once."""
    seen: set[bytes] = set()
    kept = []
    for unit in units:
        parts = []
        for nal in annexb.nal_units(unit):
            if annexb.nal_type(codec, nal) in annexb.PARAMETER_TYPES[codec]:
                if nal in seen:
                    continue
                seen.add(nal)
            parts.append(annexb.START_CODE + nal)
        kept.append(b"".join(parts))
    return kept


def decode_anchor(name: str, clip: Clip, units: Sequence[bytes]) -> Iterator[Picture]:
    """The pictures of all access units, in order.

    Raises:
        ToolFailedError: a picture is missing.
    """
    codec = ANCHORS.get(name).codec
    received = (
        ReceivedFrame(index, annexb.is_key(codec, unit), unit, complete=True)
        for index, unit in enumerate(units)
    )
    expected = 0
    # Concealment is on because the key frames after the first carry no parameter sets; nothing is
    # lost, so that there is nothing to conceal.
    for frame in decode(codec, received, width=clip.width, height=clip.height, conceal=True):
        if frame.index != expected:
            break
        yield frame.picture
        expected += 1
    if expected != len(units):
        raise ToolFailedError(f"{name}: picture {expected} of {len(units)} cannot be decoded")


def measure_anchor(name: str, clip: Clip, frames: int, target_kbps: float) -> AnchorPoint:
    """Rate and quality of an anchor over the first `frames` pictures of `clip`, from the cache.

    Raises:
        ToolFailedError: the encoder or the measurement failed.
        OutputError: the cache cannot be written.
    """
    path = cache_dir() / "anchors" / f"{_key(name, clip, frames, target_kbps)}.json"
    with suppress(OSError, ValueError, TypeError):
        return AnchorPoint(**json.loads(path.read_text(encoding="utf-8")))
    units = encode_anchor(name, clip, frames, target_kbps)
    scores = compare(
        decode_anchor(name, clip, units),
        clip.frames(),
        width=clip.width,
        height=clip.height,
        metrics=METRICS,
        count=frames,
    )
    sent = sum(wire_bytes(cut_to_packets(len(unit))) for unit in units)
    point = AnchorPoint(
        name,
        float(target_kbps),
        kbps(sent, frames, clip.fps),
        {metric: float(np.mean(values)) for metric, values in scores.items()},
    )
    _keep(path, point)
    return point


def _key(name: str, clip: Clip, frames: int, target_kbps: float) -> str:
    import av

    arguments = list(ANCHORS.get(name).arguments)
    what = [clip.pictures_sha256, frames, name, arguments, float(target_kbps), list(METRICS)]
    text = json.dumps([FORM, PICTURES_FORM, *what, ffmpeg_identity(), av.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _keep(path: Path, point: AnchorPoint) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(point)), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot keep measurements ({error.strerror})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
