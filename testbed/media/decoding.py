"""Real decoders on what arrived.

The decoders are FFmpeg's own h264, hevc, vvc and vp8, one thread each, through PyAV. Pictures are
matched to source frames by the order in which access units go in: our streams have no reordering,
so each picture that comes out carries the number of the access unit that it was made from
(smuggled through as its timestamp, which the decoders only hand on).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from testbed.media.clips import Picture
from testbed.media.sources import Shaper
from testbed.media.types import ReceivedFrame
from testbed.registry import Registry


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture out of the decoder.

    Attributes:
        index: source frame.
        picture: packed yuv420p planes, uint8 (8 bits also for H.266).
        damaged: something that it needs did not arrive; the decoder made it up.
    """

    index: int
    picture: Picture
    damaged: bool = False


#: Takes what `decode` takes but the codec; `options` as keywords.
DecoderFactory = Callable[..., Iterator[DecodedFrame]]

#: Codecs that can be decoded. `morphe` is registered by `testbed.codec.pixels`.
DECODERS: Registry[DecoderFactory] = Registry("decoder", group="testbed.decoders")

#: FFmpeg's names of its decoders. VP8 is aiortc's: one frame (RFC 6386) an access unit.
FFMPEG_NAMES = {"h264": "h264", "h265": "hevc", "h266": "vvc", "vp8": "vp8"}


def decodable(received: Sequence[ReceivedFrame]) -> list[bool]:
    """For each frame, whether all it refers to is there.

    Each frame refers to the one before it and so, in a chain, to the last key frame: it is
    decodable when it and everything back to a key frame is complete, disposable frames aside.
    """
    result = []
    chain = False
    for frame in received:
        if frame.disposable and not frame.complete:
            result.append(False)
            continue
        chain = frame.complete and bool(frame.data) and (chain or frame.key)
        result.append(chain)
    return result


def decode(
    codec: str,
    received: Iterable[ReceivedFrame],
    *,
    width: int,
    height: int,
    conceal: bool,
    options: Mapping[str, Any] | None = None,
) -> Iterator[DecodedFrame]:
    """Decode what arrived, in order.

    Args:
        codec: a name of `DECODERS`.
        received: one entry a source frame, in order of index.
        width: luma width of the pictures.
        height: luma height of the pictures.
        conceal: False: frames whose references are missing yield nothing. True: everything that
            arrived goes into the decoder, and its own concealment fills the rest; before the first
            key frame nothing comes out. How good the concealment is depends on the decoder: H.264
            has motion-compensated error concealment, H.265 and H.266 repeat or invent references.
            A frame that did not arrive yields nothing. Codecs that always conceal ignore it.
        options: keywords of the decoder; FFmpeg's have none.

    Raises:
        UnknownNameError: no such codec.
    """
    factory = DECODERS.get(codec)
    return factory(received, width=width, height=height, conceal=conceal, **(options or {}))


def _decode_ffmpeg(
    codec: str, received: Iterable[ReceivedFrame], *, width: int, height: int, conceal: bool
) -> Iterator[DecodedFrame]:
    chain = started = False
    decoder = _Decoder(codec, width, height, conceal=conceal)
    for frame in received:
        if frame.disposable and not frame.complete:
            continue
        chain = frame.complete and bool(frame.data) and (chain or frame.key)
        if not frame.data or not (chain or conceal):
            continue
        if frame.key and chain and not conceal:
            decoder.restart()
        started = started or frame.key
        if not started:
            continue
        for index, picture in decoder.feed(frame.index, frame.data):
            yield DecodedFrame(index, picture, damaged=not chain)


for _codec in FFMPEG_NAMES:
    DECODERS.register(_codec)(partial(_decode_ffmpeg, _codec))


class _Decoder:
    """One decoder; any bytes may be fed."""

    def __init__(self, codec: str, width: int, height: int, *, conceal: bool) -> None:
        self._conceal = conceal
        self._name = FFMPEG_NAMES[codec]
        self._size = (width, height)
        self._context: Any = None
        self._shaper = Shaper(width, height)
        self.restart()

    def restart(self) -> None:
        """Forget all references."""
        import av

        self._context = av.codec.CodecContext.create(self._name, "r")
        self._context.thread_count = 1
        self._context.flags |= av.codec.context.Flags.low_delay
        if self._conceal:
            self._context.flags |= av.codec.context.Flags.output_corrupt

    def feed(self, index: int, data: bytes) -> list[tuple[int, Picture]]:
        """Pictures that come out after `data` went in; garbage gives nothing."""
        import av

        packet = av.Packet(data)
        packet.pts = packet.dts = index
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            return []
        return [(frame.pts, self._packed(frame)) for frame in frames if frame.pts is not None]

    def _packed(self, frame: Any) -> Picture:
        if frame.format.name == "yuv420p10le" and (frame.width, frame.height) == self._size:
            return _to_8_bits(np.ascontiguousarray(frame.to_ndarray()).reshape(-1))
        return self._shaper(frame)


def _to_8_bits(samples: np.ndarray[Any, np.dtype[np.uint16]]) -> Picture:
    """10 bits to 8, rounded; the same on every machine."""
    rounded: Picture = np.minimum((samples + 2) >> 2, 255).astype(np.uint8)
    return rounded
