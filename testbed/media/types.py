"""What the media floor hands to the transports and takes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One access unit out of a real encoder.

    Attributes:
        index: source frame, from 0.
        key: an IDR picture with its parameter sets; decoding can start here.
        data: the access unit, Annex-B byte stream with start codes.
        encode_ns: time the encoder took on the machine that encoded it.
    """

    index: int
    key: bool
    data: bytes
    encode_ns: int


class FrameEncoder(Protocol):
    """A live encoder over one clip; call with 0, 1, 2, ... in order, without gaps."""

    def encode(self, index: int, *, target_kbps: float, force_key: bool) -> EncodedFrame:
        """Encode source frame `index` towards `target_kbps` (> 0)."""


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """What the receiver hands to the decoder for one source frame.

    Attributes:
        index: source frame.
        key: as in `EncodedFrame` (known from the payload).
        data: Annex-B bytes that arrived; whole NAL units only. Empty: nothing arrived.
        complete: every byte of the access unit is there.
    """

    index: int
    key: bool
    data: bytes
    complete: bool
