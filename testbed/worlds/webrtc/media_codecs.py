"""aiortc's own encoders and decoders, with a note of everything that goes through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
from aiortc.codecs import h264, vpx
from aiortc.codecs.base import Decoder, Encoder

from testbed.media.annexb import KEY_TYPES, nal_type, nal_units
from testbed.worlds.realtime.clock import monotonic_ns

#: By our name of the codec: MIME type, and what takes the payload descriptor off.
MIME_TYPES: Final = {"h264": "video/H264", "vp8": "video/VP8"}
DEPAYLOAD: Final[dict[str, Callable[[bytes], bytes]]] = {
    "h264": h264.h264_depayload,
    "vp8": vpx.vp8_depayload,
}
_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "h264": h264.H264Encoder,
    "vp8": vpx.Vp8Encoder,
}
_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "h264": h264.H264Decoder,
    "vp8": vpx.Vp8Decoder,
}
#: aiortc's encoders count in frames of 1/30 s, so that faster ones would fall on one another.
MOST_FPS: Final = min(h264.MAX_FRAME_RATE, vpx.MAX_FRAME_RATE)


def is_key(codec: str, data: bytes) -> bool:
    """Whether decoding can start at this frame (RFC 6386 section 9.1: the first bit of VP8)."""
    if codec == "vp8":
        return bool(data) and not data[0] & 1
    return any(nal_type(codec, unit) in KEY_TYPES[codec] for unit in nal_units(data))


@dataclass(slots=True)
class Encoding:
    """What an encoder did with one picture; times are CLOCK_MONOTONIC.

    Attributes:
        index: source frame.
        start_ns, end_ns: when it began and ended.
        key: decoding can start here.
        payload_bytes: of each RTP payload, without its descriptor.
        target_kbps: what the encoder was set to.
    """

    index: int
    start_ns: int
    end_ns: int
    key: bool
    payload_bytes: list[int]
    target_kbps: float


class MeteredEncoder(Encoder):
    """An encoder of aiortc's, from the start rate on.

    Args:
        codec: "h264" or "vp8".
        start_kbps: rate to begin with, or None for aiortc's default.
        index_of: source frame by the picture's timestamp.

    Attributes:
        latest: what it did last.
        estimate_kbps: what the receiver reported last (REMB), before aiortc's limits; the start
            rate before that.
        done: everything it did.
    """

    def __init__(
        self, codec: str, *, start_kbps: float | None, index_of: Callable[[int], int]
    ) -> None:
        self._codec = codec
        self._inner: Any = _ENCODERS[codec]()
        self._index_of = index_of
        if start_kbps is not None:
            self._inner.target_bitrate = round(start_kbps * 1000)
        self._begun_kbps: float = self._inner.target_bitrate / 1000
        self.estimate_kbps = self._begun_kbps
        self.done: list[Encoding] = []
        self.latest: Encoding | None = None

    @property
    def target_bitrate(self) -> int:
        """Bits per second within aiortc's limits."""
        return int(self._inner.target_bitrate)

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self.estimate_kbps = bitrate / 1000
        self._inner.target_bitrate = bitrate

    def rates(self, asked_kbps: float | None) -> dict[str, Any]:
        """What the manifest says of the rate (JSON values)."""
        limits = h264 if self._codec == "h264" else vpx
        return {
            "start_kbps_asked": asked_kbps,
            "start_kbps": self._begun_kbps,
            "limits_kbps": [limits.MIN_BITRATE / 1000, limits.MAX_BITRATE / 1000],
            "last_estimate_kbps": self.estimate_kbps,
        }

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """See aiortc; runs in a thread of its own."""
        index = self._index_of(frame.pts)
        start_ns = monotonic_ns()
        payloads, timestamp = self._inner.encode(frame, force_keyframe)
        end_ns = monotonic_ns()
        parts = [DEPAYLOAD[self._codec](payload) for payload in payloads]
        # aiortc follows its target only in steps of a tenth; this is what the encoder got.
        set_kbps = self._inner.codec.bit_rate / 1000
        self.latest = Encoding(
            index, start_ns, end_ns, is_key(self._codec, b"".join(parts)),
            [len(part) for part in parts], set_kbps,
        )  # fmt: skip
        self.done.append(self.latest)
        return payloads, timestamp

    def pack(self, packet: Any) -> tuple[list[bytes], int]:
        """Not used: our track gives pictures."""
        packed: tuple[list[bytes], int] = self._inner.pack(packet)
        return packed


@dataclass(slots=True)
class Decoding:
    """What a decoder did with one frame; times are CLOCK_MONOTONIC.

    Attributes:
        pts: timestamp since the receiver's first frame, 90 kHz.
        start_ns, end_ns: when it began and ended.
        key: decoding can start here.
        pictures: timestamps of the pictures that came out.
        data: the frame, where pixels are wanted; else empty.
    """

    pts: int
    start_ns: int
    end_ns: int
    key: bool
    pictures: list[int]
    data: bytes


class MeteredDecoder(Decoder):
    """A decoder of aiortc's; everything it does goes to `done`, also what it fails at."""

    def __init__(self, codec: str, *, keep: bool) -> None:
        self.done: list[Decoding] = []
        self._codec = codec
        self._inner: Any = _DECODERS[codec]()
        self._keep = keep

    def decode(self, encoded_frame: Any) -> list[Any]:
        """See aiortc; runs in a thread of its own."""
        data = encoded_frame.data
        note = Decoding(
            encoded_frame.timestamp, monotonic_ns(), -1, is_key(self._codec, data), [],
            data if self._keep else b"",
        )  # fmt: skip
        self.done.append(note)
        frames: list[Any] = self._inner.decode(encoded_frame)
        note.end_ns = monotonic_ns()
        note.pictures = [frame.pts for frame in frames if frame.pts is not None]
        return frames


def use_encoder(encoder: MeteredEncoder) -> None:
    """Let aiortc's sender in this process encode with `encoder`; its codec must be agreed on."""
    aiortc.rtcrtpsender.get_encoder = lambda _codec: encoder


def use_decoder(decoder: MeteredDecoder) -> None:
    """Let aiortc's receiver in this process decode with `decoder`."""
    aiortc.rtcrtpreceiver.get_decoder = lambda _codec: decoder
