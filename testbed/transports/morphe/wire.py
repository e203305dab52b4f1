"""What both ends of the Morphe transport agree on."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from testbed.errors import RemoteProtocolError
from testbed.protocol.payload.types import MORPHE_MEDIA, MORPHE_RTX
from testbed.protocol.rtp import VIDEO_CLOCK_HZ

#: Payload types of the media and of its RFC 4588 retransmissions.
MEDIA_PAYLOAD_TYPE: Final = MORPHE_MEDIA
RTX_PAYLOAD_TYPE: Final = MORPHE_RTX
#: Pictures of a GoP (paper, section 4.3).
GOP_FRAMES: Final = 9


class GopClock:
    """GoP indices, RTP timestamps and capture times of a clip at a constant rate.

    A packet's timestamp is that of the first frame of its GoP.

    Args:
        fps: frame rate.
    """

    def __init__(self, fps: Fraction) -> None:
        self._rate, self._per = fps.numerator, fps.denominator
        self.interval_ns = round(10**9 / fps)

    def capture_ns(self, frame: int) -> int:
        """When a frame is captured."""
        return frame * 10**9 * self._per // self._rate

    def timestamp(self, gop: int) -> int:
        """RTP timestamp (extended, from 0) of a GoP."""
        return (2 * gop * GOP_FRAMES * VIDEO_CLOCK_HZ * self._per + self._rate) // (2 * self._rate)

    def gop_of(self, timestamp: int) -> int:
        """The GoP of a timestamp.

        Raises:
            RemoteProtocolError: no GoP has it.
        """
        ticks = VIDEO_CLOCK_HZ * GOP_FRAMES * self._per
        gop = (2 * timestamp * self._rate + ticks) // (2 * ticks)
        if self.timestamp(gop) != timestamp:
            raise RemoteProtocolError(f"timestamp {timestamp} is of no GoP")
        return gop
