"""Where decoded frames go: the decoder's and the screen's time."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.protocol.playout import PlayoutClock
from testbed.transports.base import FrameDecoded, ReceiverContext


class Screen:
    """Decodes and renders at once, but no faster than `catch_up` times the frame rate.

    Args:
        context: decoding time, frame rate and playout deadline.
        catch_up: how many times faster than captured frames may follow each other.
    """

    def __init__(self, context: ReceiverContext, *, catch_up: float) -> None:
        self._context = context
        self._fps = float(context.fps)
        self._least_gap_ns = round(1e9 / self._fps / catch_up)
        self._decoder_free_ns = 0
        self._last_render_ns = -(10**18)

    def show(self, index: int, *, concealed: bool, now_ns: int) -> FrameDecoded:
        """Frame `index` goes to the decoder now; what becomes of it."""
        end_ns = max(now_ns, self._decoder_free_ns) + self._context.decode_ns()
        self._decoder_free_ns = end_ns
        render_ns = max(end_ns, self._last_render_ns + self._least_gap_ns)
        deadline_ns = round(index * 1e9 / self._fps) + self._context.playout_deadline_ns
        if render_ns > deadline_ns:
            return FrameDecoded(index, now_ns, end_ns, -1, "late")
        self._last_render_ns = render_ns
        outcome = "concealed" if concealed else "rendered"
        return FrameDecoded(index, now_ns, end_ns, render_ns, outcome)


class GroupScreen:
    """Decodes groups of frames, which are ready at once, and shows them at the clip's pace.

    A group cannot be sent before its last frame is captured, so its frames are late when they are
    decoded later than the deadline after that.

    Args:
        context: playout deadline.
        interval_ns: between captured frames.
        catch_up: as for `Screen`; 1: the delay stays.
    """

    def __init__(self, context: ReceiverContext, *, interval_ns: int, catch_up: float) -> None:
        self._deadline_ns = context.playout_deadline_ns
        self._playout = PlayoutClock(interval_ns=interval_ns, catch_up=catch_up)
        self._decoder_free_ns = 0

    def show(
        self,
        frames: Sequence[int],
        captured_ns: Sequence[int],
        *,
        decode_frame_ns: int,
        outcome: str,
        now_ns: int,
    ) -> list[FrameDecoded]:
        """A group goes to the decoder now; what becomes of its frames.

        Args:
            frames: of the group that are shown, one or more.
            captured_ns: when each was captured.
            decode_frame_ns: decoding time of a frame.
            outcome: of those that are in time.
            now_ns: time.
        """
        end_ns = max(now_ns, self._decoder_free_ns) + len(frames) * decode_frame_ns
        self._decoder_free_ns = end_ns
        if end_ns > captured_ns[-1] + self._deadline_ns:
            return [FrameDecoded(index, now_ns, end_ns, -1, "late") for index in frames]
        times = self._playout.show(captured_ns, ready_ns=end_ns)
        return [
            FrameDecoded(index, now_ns, end_ns, render_ns, outcome)
            for index, render_ns in zip(frames, times, strict=True)
        ]
