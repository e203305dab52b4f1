"""Which clip, in which form, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """A clip as a session plays it.

    Attributes:
        source: catalogue name, path, or "test:NAME" for a generated pattern.
        width, height: luma size after scaling, even numbers; 0 keeps the source's (rounded down
            to even).
        fps: frame rate after conversion; 0 keeps the source's.
        duration_s: stated duration; shorter sources loop.
    """

    source: str
    width: int = 0
    height: int = 0
    fps: float = 0.0
    duration_s: float = 10.0
