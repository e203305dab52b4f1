"""From packets to frames: collects payloads by timestamp and knows when a frame is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class AssembledFrame:
    """The packets of one frame.

    Attributes:
        timestamp: RTP timestamp, extended.
        payloads: in order; None for each packet known to be missing, and one None at an end
            that is not known to be the frame's first or last packet.
        complete: nothing is missing.
        first_sequence, last_sequence: extended numbers of the first and last packet we have.
        first_arrival_ns, last_arrival_ns: earliest and latest arrival.
    """

    timestamp: int
    payloads: list[bytes | None]
    complete: bool
    first_sequence: int
    last_sequence: int
    first_arrival_ns: int
    last_arrival_ns: int


class FrameAssembler:
    """Groups packets into frames; any order, duplicates and gaps allowed.

    A frame is whole when its first packet is known (the packet before it carried the marker of
    the frame before, or it is the session's signalled first packet, or `starts_frame` says so),
    its last packet carries the marker, and everything between is there.

    Memory is bounded whatever arrives: the oldest frames are forgotten beyond `max_frames`, and
    packets more than `max_span` sequence numbers below the highest are refused.

    Args:
        starts_frame: tells from a payload that it surely begins an access unit (see
            `PayloadFormat.starts_frame`).
        first_sequence: extended number of the session's first packet, if it was signalled.
        max_frames: unfinished frames kept.
        max_span: sequence numbers kept.
    """

    def __init__(
        self,
        *,
        starts_frame: Callable[[bytes], bool] | None = None,
        first_sequence: int | None = None,
        max_frames: int = 128,
        max_span: int = 8192,
    ) -> None:
        raise NotImplementedError

    def push(
        self, sequence: int, timestamp: int, marker: bool, payload: bytes, *, now_ns: int
    ) -> bool:
        """A media packet or a recovered one; False if it was old, a duplicate or nonsense.

        Args:
            sequence: extended.
            timestamp: the 32 bits of the header (unwrapped in here).
            marker: last packet of its frame.
            payload: RTP payload.
            now_ns: arrival.
        """
        raise NotImplementedError

    def complete_frames(self) -> list[AssembledFrame]:
        """Frames that became whole since the last call, by timestamp; they leave the memory."""
        raise NotImplementedError

    def pending(self) -> list[int]:
        """Extended timestamps of the unfinished frames, ascending."""
        raise NotImplementedError

    def take(self, timestamp: int) -> AssembledFrame | None:
        """Remove an unfinished frame and hand over what there is; None if there is none."""
        raise NotImplementedError

    def forget_before(self, timestamp: int) -> None:
        """Drop all frames older than extended `timestamp`; later packets of theirs are refused."""
        raise NotImplementedError

    def missing(self) -> list[int]:
        """Extended numbers not received, from the first unfinished frame to the highest seen."""
        raise NotImplementedError
