"""What a receiver keeps of each frame for later decoding."""

from __future__ import annotations

from testbed.media.types import ReceivedFrame
from testbed.protocol.assembler import AssembledFrame
from testbed.protocol.payload import PayloadFormat


class KeptFrames:
    """Frames by number.

    Args:
        payload_format: takes packets apart.
        enabled: keep anything at all (it costs memory).
        layered: odd frames are disposable.
    """

    def __init__(self, payload_format: PayloadFormat, *, enabled: bool, layered: bool) -> None:
        self._format = payload_format
        self._enabled = enabled
        self._layered = layered
        self._kept: dict[int, ReceivedFrame] = {}

    def whole(self, index: int, *, key: bool, data: bytes) -> None:
        """A frame of which everything came."""
        if self._enabled:
            self._kept[index] = self._received(index, key, data, complete=True)

    def partial(self, index: int, frame: AssembledFrame) -> bytes:
        """Keep the whole NAL units of an incomplete frame; returns them."""
        rebuilt = self._format.depacketize(frame.payloads)
        if self._enabled:
            key = self._format.is_key(rebuilt.nal_types)
            self._kept[index] = self._received(index, key, rebuilt.data, complete=False)
        return rebuilt.data

    def frame(self, index: int) -> ReceivedFrame | None:
        """What is kept of a frame; None: nothing."""
        return self._kept.get(index)

    def frames(self, count: int) -> list[ReceivedFrame]:
        """Frames 0 to count - 1, empty ones where nothing is kept."""
        return [
            self._kept.get(index) or self._received(index, False, b"", complete=False)
            for index in range(count)
        ]

    def _received(self, index: int, key: bool, data: bytes, *, complete: bool) -> ReceivedFrame:
        disposable = self._layered and index % 2 == 1
        return ReceivedFrame(index, key, data, complete=complete, disposable=disposable)
