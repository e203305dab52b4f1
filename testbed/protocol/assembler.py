"""From packets to frames: collects payloads by timestamp and knows when a frame is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from testbed.protocol.sequence import Unwrapper

#: Whole frames and frame ends remembered, so that late duplicates are known as such, per
#: unfinished frame that may be held.
_MEMORY_FACTOR: Final = 4


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


class _Frame:
    """An unfinished frame; `start` and `end` are its first and last number once known."""

    __slots__ = ("end", "first_ns", "high", "last_ns", "low", "packets", "start", "timestamp")

    def __init__(self, timestamp: int, sequence: int, now_ns: int) -> None:
        self.timestamp = timestamp
        self.packets: dict[int, bytes] = {}
        self.low = self.high = sequence
        self.start: int | None = None
        self.end: int | None = None
        self.first_ns = self.last_ns = now_ns


class FrameAssembler:
    """Groups packets into frames; any order, duplicates and gaps allowed.

    A frame is whole when its first packet is known (the packet before it carried the marker of
    the frame before, or it is the session's signalled first packet, or `starts_frame` says so),
    its last packet carries the marker, and everything between is there.

    Memory is bounded whatever arrives: beyond `max_frames` frames or `max_packets` packets the
    oldest frame is forgotten.

    Args:
        starts_frame: tells from a payload that it surely begins an access unit (see
            `PayloadFormat.starts_frame`).
        first_sequence: extended number of the session's first packet, if it was signalled.
        max_frames: unfinished frames kept, >= 1.
        max_packets: packets of unfinished frames kept, >= 1; also the width of the window below
            the highest sequence number in which packets are accepted.
    """

    def __init__(
        self,
        *,
        starts_frame: Callable[[bytes], bool] | None = None,
        first_sequence: int | None = None,
        max_frames: int = 128,
        max_packets: int = 8192,
    ) -> None:
        self._starts_frame = starts_frame
        self._max_frames = max_frames
        self._max_packets = max_packets
        self._frames: dict[int, _Frame] = {}
        self._packets = 0
        self._whole: list[AssembledFrame] = []
        # Extended timestamp -> (first, last) number of frames handed out whole.
        self._finished: dict[int, tuple[int, int]] = {}
        self._ends: dict[int, None] = {}  # numbers with the marker, in order of arrival
        if first_sequence is not None:
            self._ends[first_sequence - 1] = None
        self._unwrapper = Unwrapper(32)
        self._raw = -1  # timestamp of the last packet, and the same extended
        self._extended = 0
        self._floor_timestamp: int | None = None
        self._highest: int | None = None

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
        if timestamp != self._raw:
            self._raw = timestamp
            self._extended = self._unwrapper.unwrap(timestamp)
        extended = self._extended
        highest = self._highest
        if highest is None or sequence > highest:
            self._highest = sequence
        elif sequence <= highest - self._max_packets:
            return False
        frame = self._frames.get(extended)
        if frame is None:
            frame = self._new_frame(extended, sequence, now_ns)
            if frame is None:
                return False
        packets = frame.packets
        if sequence in packets:
            return False
        if not frame.high - self._max_packets < sequence < frame.low + self._max_packets:
            return False  # no frame is that long
        packets[sequence] = payload
        self._packets += 1
        frame.last_ns = now_ns
        if sequence > frame.high:
            frame.high = sequence
        elif sequence < frame.low:
            frame.low = sequence
        if frame.start is None and sequence - 1 in self._ends:
            frame.start = sequence
        if marker:
            frame.end = sequence
            self._on_end(sequence)
        # Only a frame whose last packet is here can be whole.
        if frame.end is not None:
            self._finish_if_whole(frame)
        if self._packets > self._max_packets:
            self._drop(min(self._frames))
        return True

    def _new_frame(self, timestamp: int, sequence: int, now_ns: int) -> _Frame | None:
        """Room for a frame that is not held; None if it is done with."""
        floor = self._floor_timestamp
        if timestamp in self._finished or (floor is not None and timestamp < floor):
            return None
        if len(self._frames) >= self._max_frames:
            self._drop(min(self._frames))
        frame = self._frames[timestamp] = _Frame(timestamp, sequence, now_ns)
        return frame

    def _drop(self, timestamp: int) -> _Frame:
        frame = self._frames.pop(timestamp)
        self._packets -= len(frame.packets)
        return frame

    def _on_end(self, sequence: int) -> None:
        """A marker: the next number begins a frame, which may have been waiting for that."""
        ends = self._ends
        ends[sequence] = None
        if len(ends) > _MEMORY_FACTOR * self._max_frames:
            del ends[next(iter(ends))]
        for frame in self._frames.values():
            if frame.low == sequence + 1:
                frame.start = frame.low
                self._finish_if_whole(frame)
                break

    def _finish_if_whole(self, frame: _Frame) -> None:
        if frame.end != frame.high or len(frame.packets) != frame.high - frame.low + 1:
            return
        if frame.start != frame.low and not self._surely_starts(frame):
            return
        self._drop(frame.timestamp)
        self._remember(frame)
        self._whole.append(self._assemble(frame))

    def _remember(self, frame: _Frame) -> None:
        """Note that the frame is done with."""
        self._finished[frame.timestamp] = (frame.low, frame.high)
        if len(self._finished) > _MEMORY_FACTOR * self._max_frames:
            del self._finished[next(iter(self._finished))]

    def _surely_starts(self, frame: _Frame) -> bool:
        return self._starts_frame is not None and self._starts_frame(frame.packets[frame.low])

    def _assemble(self, frame: _Frame) -> AssembledFrame:
        get = frame.packets.get
        if len(frame.packets) == frame.high - frame.low + 1:
            payloads: list[bytes | None] = [get(i) for i in range(frame.low, frame.high + 1)]
        else:
            payloads = []
            previous = frame.low - 1
            for sequence in sorted(frame.packets):
                payloads += [None] * (sequence - previous - 1)
                payloads.append(get(sequence))
                previous = sequence
        if frame.start != frame.low and not self._surely_starts(frame):
            payloads.insert(0, None)
        if frame.end != frame.high:
            payloads.append(None)
        return AssembledFrame(
            timestamp=frame.timestamp,
            payloads=payloads,
            complete=None not in payloads,
            first_sequence=frame.low,
            last_sequence=frame.high,
            first_arrival_ns=frame.first_ns,
            last_arrival_ns=frame.last_ns,
        )

    def complete_frames(self) -> list[AssembledFrame]:
        """Frames that became whole since the last call, by timestamp; they leave the memory."""
        whole = self._whole
        if not whole:
            return whole
        self._whole = []
        if len(whole) > 1:
            whole.sort(key=lambda frame: frame.timestamp)
        return whole

    def pending(self) -> list[int]:
        """Extended timestamps of the unfinished frames, ascending."""
        return sorted(self._frames)

    def take(self, timestamp: int) -> AssembledFrame | None:
        """Remove an unfinished frame and hand over what there is; None if there is none.

        Packets of it that come later are refused.
        """
        frame = self._frames.get(timestamp)
        if frame is None:
            return None
        self._drop(timestamp)
        self._remember(frame)
        return self._assemble(frame)

    def forget_before(self, timestamp: int) -> None:
        """Drop all frames older than extended `timestamp`; later packets of theirs are refused."""
        if self._floor_timestamp is None or timestamp > self._floor_timestamp:
            self._floor_timestamp = timestamp
        for old in [known for known in self._frames if known < timestamp]:
            self._drop(old)
        for old in [known for known in self._finished if known < timestamp]:
            del self._finished[old]

    def missing(self) -> list[int]:
        """Extended numbers not received, from before the first unfinished frame to the highest.

        "Before" reaches back to the last finished frame, as far as it is remembered.
        """
        if not self._frames or self._highest is None:
            return []
        low = min(frame.low for frame in self._frames.values())
        before = [last for _, last in self._finished.values() if last < low]
        before += [end for end in self._ends if end < low]
        here = {number for frame in self._frames.values() for number in frame.packets}
        for first, last in self._finished.values():
            here.update(range(max(first, low), last + 1))
        start = max(before, default=low - 1) + 1
        start = max(start, self._highest - self._max_packets)
        return [number for number in range(start, self._highest + 1) if number not in here]
