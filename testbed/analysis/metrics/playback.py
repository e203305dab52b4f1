"""What the viewer sees happen: rendered frames, freezes, outcomes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from testbed.analysis.metrics.columns import Floats, Frames, Session
from testbed.tables import OUTCOMES

#: W3C webrtc-stats, freezeCount: mean over the last 30 rendered frames, 3 times it, 150 ms on top.
W3C_WINDOW_FRAMES: Final = 30
W3C_FACTOR: Final = 3.0
W3C_EXTRA_MS: Final = 150.0
#: libwebrtc judges no gap before it has seen five; until then the source's interval stands in.
W3C_MIN_FRAMES: Final = 5
#: GRACE's stall: longer than 200 ms between rendered frames.
GAP_MS: Final = 200.0


def gaps_ms(frames: Frames, session: Session) -> Floats:
    """Gaps between pictures on the screen over the whole run, in order, each > 0 or = 0.

    Between rendered frames it is the difference of their render times. The stretch of source
    before the first rendered frame and from the last rendered one to the end of the clip counts
    as a gap too, in capture time; otherwise a scheme that renders next to nothing would never
    freeze. With nothing rendered the whole clip is one gap.
    """
    interval_ms = 1e3 / session.fps
    if not np.any(frames.shown):
        return np.array([session.duration_s * 1e3])
    capture_ms = frames.capture_ns / 1e6
    shown = np.flatnonzero(frames.shown)
    between = np.diff(frames.render_ns[shown]) / 1e6
    lead = capture_ms[shown[0]] - capture_ms[0]
    tail = capture_ms[-1] + interval_ms - capture_ms[shown[-1]]
    return np.concatenate([[lead] if lead > 0 else [], between, [tail]])


def w3c_freezes(gaps: Floats, interval_ms: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which gaps are freezes by the W3C rule: gap >= max(3·mean, mean + 150 ms).

    The mean is over the up to 30 gaps before, or `interval_ms` while there are fewer than five.
    Source: W3C webrtc-stats, `freezeCount`; libwebrtc includes the current gap in the mean.
    """
    # In whole nanoseconds, so that summing and dividing cannot move a gap across the threshold.
    whole = np.round(gaps * 1e6)
    sums = np.concatenate([[0.0], np.cumsum(whole)])
    at = np.arange(gaps.size)
    first = np.maximum(0, at - W3C_WINDOW_FRAMES)
    count = at - first
    mean = np.where(
        count >= W3C_MIN_FRAMES,
        (sums[at] - sums[first]) / np.maximum(count, 1),
        interval_ms * 1e6,
    )
    frozen: np.ndarray[Any, np.dtype[np.bool_]] = whole >= np.maximum(
        W3C_FACTOR * mean, mean + W3C_EXTRA_MS * 1e6
    )
    return frozen


def gap200_freezes(gaps: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which gaps are freezes by GRACE's rule: gap > 200 ms."""
    frozen: np.ndarray[Any, np.dtype[np.bool_]] = gaps > GAP_MS
    return frozen


def harmonic_fps(gaps: Floats) -> float:
    """T / Σ gap² · 1 s with T = Σ gap: the frame rate that punishes uneven pacing.

    Source: libwebrtc's harmonic frame rate. Equal gaps give the plain frame rate.
    """
    seconds = gaps / 1e3
    return float(np.sum(seconds) / np.sum(seconds**2))


def playback_metrics(frames: Frames, session: Session) -> dict[str, Any]:
    """Frame rates, freezes under both rules, and the share of each outcome."""
    gaps = gaps_ms(frames, session)
    total = float(np.sum(gaps))
    shown = int(np.count_nonzero(frames.shown))
    found: dict[str, Any] = {
        "frames": frames.count,
        "rendered_fps": shown / session.duration_s,
        "harmonic_fps": harmonic_fps(gaps) if shown else 0.0,
    }
    for rule, frozen in (
        ("w3c", w3c_freezes(gaps, 1e3 / session.fps)),
        ("gap200", gap200_freezes(gaps)),
    ):
        found[f"freeze_{rule}_count"] = int(np.count_nonzero(frozen))
        found[f"freeze_{rule}_share"] = float(np.sum(gaps[frozen])) / total
    for outcome in OUTCOMES:
        found[f"{outcome}_share"] = int(np.count_nonzero(frames.outcome == outcome)) / frames.count
    found["non_rendered_share"] = 1 - shown / frames.count
    return found
