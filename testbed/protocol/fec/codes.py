"""Erasure codes over frames: which packets a repair packet covers, and when it goes out.

All of them make repair packets of one form (`wire`), which one decoder (`decoder`) understands.
They differ in what a repair packet covers:

- `rs-frame`: one frame. Repairs follow the frame at once; a burst longer than they are is lost.
- `rs-window`: `window_frames` frames. Fewer repairs do for the same loss, since losses average out
  over a longer block, but they come after the last frame of the window.
- `streaming`: with every frame, repairs over that frame and the `window_frames` before it. What one
  frame's repairs cannot recover, those of the next ones can, so a burst over a whole frame is
  recovered within `window_frames` frames.

The last is in the manner of Tambur (Rudow et al., NSDI 2023): parity packets with every frame, and
recovery within tau frames. It differs in two ways. Tambur splits each frame's data in two parts,
one recovered from the parities of the frames that follow and one from those of the frame tau
later, which is the least parity for bursts of a known length with gaps between them; here every
parity covers the whole window, and any set of losses counts alike. And Tambur's share of parity
comes from a learned predictor of bursts; here it comes from the reported loss (`redundancy`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from testbed.protocol.fec.gf256 import combine
from testbed.protocol.fec.redundancy import Redundancy
from testbed.protocol.fec.weights import SLIDING_ROWS, weights
from testbed.protocol.fec.wire import (
    CODE_BLOCK,
    CODE_SLIDING,
    MAX_ROWS,
    MAX_SOURCES,
    Repair,
)
from testbed.registry import Registry

#: Frames of a window: Tambur's tau (NSDI 2023), and the most that is allowed here.
WINDOW_FRAMES: Final = 3
MAX_WINDOW_FRAMES: Final = 8


class FrameEncoder(Protocol):
    """Makes a stream's repair packets."""

    def add_frame(self, first_sequence: int, symbols: Sequence[bytes]) -> list[Repair]:
        """The source symbols of a frame, with consecutive numbers; what is to follow them."""


class FrameCode(Protocol):
    """One way to protect frames."""

    @property
    def name(self) -> str:
        """Registered name."""

    def later_frames(self, window_frames: int) -> int:
        """How many frames after a frame its last repair may come."""

    def encoder(self, redundancy: Redundancy, *, window_frames: int) -> FrameEncoder:
        """A new encoder, which asks `redundancy` how many repair packets to make."""


#: Codes by name.
FEC_CODES: Registry[FrameCode] = Registry("FEC code", group="testbed.fec")


def repairs(code: int, base: int, symbols: Sequence[bytes], rows: Sequence[int]) -> list[Repair]:
    """Repair packets `rows` over the source packets from `base` on.

    Args:
        code: see `wire`.
        base: extended number of the first packet.
        symbols: source symbols, 1 to 128.
        rows: each 0 to 126.
    """
    size_bytes = max(len(symbol) for symbol in symbols)
    count = len(symbols)
    return [
        Repair(
            code,
            base,
            count,
            row,
            len(rows),
            combine(weights(code, base=base, count=count, row=row), symbols, size_bytes),
        )
        for row in rows
    ]


def block_repairs(
    first_sequence: int, symbols: Sequence[bytes], rows_of: Callable[[int], int]
) -> list[Repair]:
    """Reed-Solomon repairs over a run of packets, in as few equal blocks as the code allows."""
    made: list[Repair] = []
    blocks = -(-len(symbols) // MAX_SOURCES)
    for number in range(blocks):
        start = number * len(symbols) // blocks
        part = symbols[start : (number + 1) * len(symbols) // blocks]
        rows = min(rows_of(len(part)), MAX_ROWS)
        made += repairs(CODE_BLOCK, first_sequence + start, part, range(rows))
    return made


class WindowEncoder:
    """Blocks of `window_frames` frames; fewer when they are long."""

    def __init__(self, redundancy: Redundancy, window_frames: int) -> None:
        self._redundancy = redundancy
        self._window_frames = window_frames
        self._first = 0
        self._frames = 0
        self._symbols: list[bytes] = []

    def add_frame(self, first_sequence: int, symbols: Sequence[bytes]) -> list[Repair]:
        """Gather; the repairs come with the last frame of the window."""
        if not self._frames:
            self._first = first_sequence
        self._symbols += symbols
        self._frames += 1
        if self._frames < self._window_frames and len(self._symbols) < MAX_SOURCES:
            return []
        block, self._symbols, self._frames = self._symbols, [], 0
        return block_repairs(self._first, block, self._redundancy.rows)


class StreamingEncoder:
    """Repairs with every frame, over it and those before."""

    def __init__(self, redundancy: Redundancy, window_frames: int) -> None:
        self._redundancy = redundancy
        self._frames: deque[Sequence[bytes]] = deque(maxlen=window_frames + 1)
        self._row = 0

    def add_frame(self, first_sequence: int, symbols: Sequence[bytes]) -> list[Repair]:
        """The repairs of this frame."""
        frames = self._frames
        frames.append(symbols)
        if len(symbols) > MAX_SOURCES:  # its packets alone are more than a window may have
            frames.clear()
            return block_repairs(first_sequence, symbols, self._redundancy.rows)
        while sum(map(len, frames)) > MAX_SOURCES:
            frames.popleft()
        window = [symbol for frame in frames for symbol in frame]
        rows = min(self._redundancy.rows(len(symbols), block=len(window)), MAX_ROWS)
        numbers = [(self._row + i) % SLIDING_ROWS for i in range(rows)]
        self._row = (self._row + rows) % SLIDING_ROWS
        base = first_sequence + len(symbols) - len(window)
        return repairs(CODE_SLIDING, base, window, numbers)


class _RsFrame:
    """`rs-frame`."""

    name = "rs-frame"

    def later_frames(self, window_frames: int) -> int:  # noqa: ARG002 - contract
        """None: with the frame."""
        return 0

    def encoder(
        self,
        redundancy: Redundancy,
        *,
        window_frames: int,  # noqa: ARG002 - contract
    ) -> FrameEncoder:
        """A window of one frame."""
        return WindowEncoder(redundancy, 1)


class _RsWindow:
    """`rs-window`."""

    name = "rs-window"

    def later_frames(self, window_frames: int) -> int:
        """Those of the window after its first."""
        return window_frames - 1

    def encoder(self, redundancy: Redundancy, *, window_frames: int) -> FrameEncoder:
        """See `WindowEncoder`."""
        return WindowEncoder(redundancy, window_frames)


class _Streaming:
    """`streaming`."""

    name = "streaming"

    def later_frames(self, window_frames: int) -> int:
        """The window."""
        return window_frames

    def encoder(self, redundancy: Redundancy, *, window_frames: int) -> FrameEncoder:
        """See `StreamingEncoder`."""
        return StreamingEncoder(redundancy, window_frames)


for _code in (_RsFrame(), _RsWindow(), _Streaming()):
    FEC_CODES.register(_code.name)(_code)
