"""Live H.264, H.265 and H.266 encoders over a clip, with a changing target."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.types import FrameEncoder


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """How to encode.

    Attributes:
        preset: the encoder's own preset; "" takes the codec's default here.
        intra_period_frames: distance of key frames; 0 = only the first (and forced ones).
        vbv_ms: size of the rate buffer in ms of the target rate.
        slices: slices a picture; 1 = none.
    """

    preset: str = ""
    intra_period_frames: int = 0
    vbv_ms: int = 500
    slices: int = 1


def open_encoder(
    codec: str, clip: Clip, config: EncoderConfig, cache: EncodeCache | None
) -> FrameEncoder:
    """A live encoder of `codec` ("h264", "h265", "h266") over `clip`.

    Args:
        codec: registered name.
        clip: what to encode.
        config: how to encode.
        cache: where encoded frames are kept; None encodes every time.

    Raises:
        UnknownNameError: no such codec.
        ToolMissingError: the encoder is not there.
    """
    raise NotImplementedError
