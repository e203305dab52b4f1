"""Where decoded frames go: the decoder's and the screen's time."""

from __future__ import annotations

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
