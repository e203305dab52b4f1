"""What the media floor hands to the transports and takes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


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
class EncodedGop:
    """One group of pictures out of a codec that codes them together.

    Attributes:
        index: of the group, from 0.
        frames: pictures in it, >= 1.
        scale: source pixels per coded pixel.
        units: each decodes by itself; in the encoder's order.
        budgeted: sizes in bytes that rate control goes on from; those of `units`, or what they
            would have been without dropping on purpose.
        encode_ns: time the encoder took on the machine that encoded it.
        mode: how it was coded, for the log.
    """

    index: int
    frames: int
    scale: int
    units: tuple[bytes, ...]
    budgeted: tuple[int, ...]
    encode_ns: int
    mode: str = ""


class GopEncoder(Protocol):
    """A live encoder over one clip, group by group; call with 0, 1, 2, ... without gaps."""

    @property
    def frame_count(self) -> int:
        """Frames of the clip."""

    @property
    def gop_frames(self) -> int:
        """Frames of every group but the last, which may have fewer."""

    @property
    def wants_reports(self) -> bool:
        """Whether `report` changes anything."""

    def encode(self, index: int, *, budget_bytes: int) -> EncodedGop:
        """Encode group `index` into units of about `budget_bytes` (>= 1) with their headers."""

    def report(self, gop: int, missing: Sequence[bool] | None) -> None:
        """Learn which token rows of `gop` did not arrive; None: nothing of it did."""

    def facts(self) -> Mapping[str, Any]:
        """What the manifest says of it (JSON values)."""


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """What the receiver hands to the decoder for one source frame.

    A codec of groups has all of a group's bytes at its first frame, in the form of
    `testbed.codec.units`, and nothing at the others.

    Attributes:
        index: source frame.
        key: as in `EncodedFrame` (known from the payload).
        data: Annex-B bytes that arrived; whole NAL units only. Empty: nothing arrived.
        complete: every byte of the access unit is there.
        disposable: no other frame refers to it.
    """

    index: int
    key: bool
    data: bytes
    complete: bool
    disposable: bool = False
