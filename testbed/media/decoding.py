"""Real decoders on what arrived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from testbed.media.clips import Picture
from testbed.media.types import ReceivedFrame


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture out of the decoder.

    Attributes:
        index: source frame.
        picture: packed yuv420p planes, uint8 (8 bits also for H.266).
        damaged: the decoder concealed something in it or in what it refers to.
    """

    index: int
    picture: Picture
    damaged: bool = False


def decodable(received: Sequence[ReceivedFrame]) -> list[bool]:
    """For each frame, whether all it refers to is there: complete back to a complete key frame."""
    raise NotImplementedError


def decode(
    codec: str, received: Iterable[ReceivedFrame], *, width: int, height: int, conceal: bool
) -> Iterator[DecodedFrame]:
    """Decode what arrived, in order.

    Args:
        codec: "h264", "h265", "h266".
        received: one entry a source frame, in order of index.
        width: luma width of the pictures.
        height: luma height of the pictures.
        conceal: False: frames whose references are missing yield nothing. True: everything that
            arrived goes into the decoder, and its own concealment fills the rest.
    """
    raise NotImplementedError
