"""Intra pictures and intra patches: stills of H.265, as GRACE takes BPG's (which are that too).

x265 and FFmpeg's decoder, through PyAV. The parameter sets of a size are the same whatever the
quantiser, so patches travel without theirs; the intra picture that a stream begins with brings them
along.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from grace_style.errors import BitstreamError, CodecConfigError

Packed = npt.NDArray[np.uint8]

LEAST_QP: Final = 12
MOST_QP: Final = 51
_START: Final = b"\0\0\0\1"
#: NAL unit types of VPS, SPS and PPS (H.265 section 7.4.2.2).
_PARAMETER_SETS: Final = (32, 33, 34)
_SIZE: Final = Struct(">H")


def encode_still(picture: Packed, width: int, height: int, qp: int) -> bytes:
    """One picture as the NAL units of its slices, without parameter sets.

    Args:
        picture: packed yuv420p, width * height * 3 // 2 values.
        width: even.
        height: even.
        qp: constant quantiser, LEAST_QP..MOST_QP.
    """
    import av

    context = _open(width, height, qp)
    frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(picture).reshape(height * 3 // 2, width), format="yuv420p"
    )
    frame.pts = 0
    packets = list(context.encode(frame)) + list(context.encode(None))
    data = b"".join(bytes(packet) for packet in packets)
    return b"".join(_START + nal for nal in _nals(data) if _kind(nal) not in _PARAMETER_SETS)


@lru_cache(maxsize=8)
def parameter_sets(width: int, height: int) -> bytes:
    """VPS, SPS and PPS of stills of this size, with start codes."""
    data = bytes(_open(width, height, MOST_QP).extradata)
    return b"".join(_START + nal for nal in _nals(data) if _kind(nal) in _PARAMETER_SETS)


def decode_still(data: bytes, sets: bytes, width: int, height: int) -> Packed:
    """The picture again, packed yuv420p, flat.

    Args:
        data: as `encode_still` gave it.
        sets: as `parameter_sets` gave them.
        width: that the picture must have.
        height: that the picture must have.

    Raises:
        BitstreamError: the bytes are not a still of this size.
    """
    import av

    context: Any = av.codec.CodecContext.create("hevc", "r")
    context.thread_count = 1
    try:
        frames = list(context.decode(av.Packet(sets + data))) + list(context.decode(None))
    except av.FFmpegError as error:
        raise BitstreamError(f"an intra picture cannot be decoded ({error.strerror})") from None
    if not frames or (frames[0].width, frames[0].height) != (width, height):
        raise BitstreamError("an intra picture is of another size")
    packed: Packed = np.ascontiguousarray(frames[0].to_ndarray(format="yuv420p")).reshape(-1)
    return packed


def join_start(still: bytes, sets: bytes, patch_sets: bytes) -> bytes:
    """What a stream begins with: parameter sets of pictures and of patches, and the first still."""
    return b"".join(_SIZE.pack(len(part)) + part for part in (sets, patch_sets)) + still


def split_start(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Still, its parameter sets, and those of patches.

    Raises:
        BitstreamError: the bytes break off.
    """
    parts = []
    at = 0
    for _ in range(2):
        if at + _SIZE.size > len(data):
            raise BitstreamError("an intra picture breaks off")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        parts.append(data[at : at + size])
        at += size
    if at > len(data):
        raise BitstreamError("an intra picture breaks off")
    return data[at:], parts[0], parts[1]


def _open(width: int, height: int, qp: int) -> Any:
    import av

    try:
        context: Any = av.codec.CodecContext.create("libx265", "w")
    except av.codec.codec.UnknownCodecError:
        raise CodecConfigError("this PyAV has no libx265, which codes intra pictures") from None
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.framerate, context.time_base = 30, Fraction(1, 30)
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.global_header
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "x265-params": (
            f"qp={qp}:keyint=1:frame-threads=1:pools=none:wpp=0:rc-lookahead=0:bframes=0"
            ":annexb=1:repeat-headers=0:info=0:aud=0:log-level=none"
        ),
    }
    context.open()
    return context


def _nals(data: bytes) -> list[bytes]:
    """NAL units of an Annex-B byte stream, without start codes."""
    found = []
    for part in data.split(b"\0\0\1"):
        nal = part.rstrip(b"\0")
        if nal:
            found.append(nal)
    return found


def _kind(nal: bytes) -> int:
    return (nal[0] >> 1) & 0x3F
