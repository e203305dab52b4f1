"""Progress of work over pictures: nothing for the quick, a line that renews itself otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final

#: Nothing is said before.
PATIENCE_S: Final = 2.0
#: On a terminal the line is renewed this often; elsewhere a new line comes.
RENEW_S: Final = 0.5
LINE_S: Final = 10.0


class PictureProgress:
    """Says on stderr how far the work is and how fast; a context manager.

    Args:
        verb: what is done ("encoded").
        total: pictures in all, 0 = not known.
        gop_frames: pictures of a GoP.
        quiet: say nothing.
    """

    def __init__(self, verb: str, total: int, gop_frames: int, *, quiet: bool) -> None:
        self._verb, self._total, self._gop, self._quiet = verb, total, gop_frames, quiet
        self._terminal = sys.stderr.isatty()
        self._begin = time.perf_counter()
        self._next = self._begin + PATIENCE_S
        self._shown = 0

    def __enter__(self) -> PictureProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal and self._shown:
            print("\r" + " " * self._shown + "\r", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int) -> None:
        """`done` pictures are ready."""
        now = time.perf_counter()
        if self._quiet or now < self._next:
            return
        self._next = now + (RENEW_S if self._terminal else LINE_S)
        text = self._text(done, now - self._begin)
        if self._terminal:
            print("\r" + text.ljust(self._shown), end="", file=sys.stderr, flush=True)
            self._shown = max(self._shown, len(text))
        else:
            print(text, file=sys.stderr, flush=True)

    def _text(self, done: int, taken_s: float) -> str:
        gops = -(-done // self._gop)
        total = f"/{-(-self._total // self._gop)}" if self._total >= done else ""
        fps = done / taken_s
        left = ""
        if self._total > done and fps > 0:
            left = f", {(self._total - done) / fps:.0f} s left"
        return f"{self._verb} GoP {gops}{total}, {fps:.1f} fps{left}"


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def say_nothing(text: str) -> None:
    """No line of progress."""
