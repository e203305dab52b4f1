"""How long frames take: transmission delay and whole latency."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from testbed.analysis.metrics.columns import Floats, Frames, Session

#: Percentiles that every delay is given at (the field's choice differs from paper to paper).
PERCENTILES: Final = (50, 95, 98, 99)
#: Transmission delay that the Morphe paper's Figure 11 and its section 8.3 hold frames to.
FAST_MS: Final = 150.0
_MS: Final = 1e6  # nanoseconds in a millisecond


def frame_delay_ms(frames: Frames) -> Floats:
    """Transmission delay of each source frame, NaN where it never came onto the screen.

    encode end → decodable at the receiver: the paper's "frame delay" (section 8.3, Figure 11) and
    GRACE's. It leaves out waiting for a group of pictures, encoding, decoding and display. A
    concealed frame that was shown before its own encoding ended has no such delay: NaN.
    """
    delay = (frames.decodable_ns - frames.encode_end_ns) / _MS
    delay[~frames.shown | (delay < 0)] = np.nan
    return delay


def latency_ms(frames: Frames) -> Floats:
    """Capture → render of each source frame, NaN where it never came onto the screen."""
    latency = (frames.render_ns - frames.capture_ns) / _MS
    latency[~frames.shown] = np.nan
    return latency


def censored(delays: Floats, deadline_ms: float) -> Floats:
    """The delays of all source frames, where one without a delay counts as the deadline.

    A scheme that renders only its easy frames looks fast over rendered frames; here it does not.
    """
    return np.where(np.isnan(delays), deadline_ms, delays)


def percentiles(values: Floats) -> dict[int, float | None]:
    """`PERCENTILES` by numpy's "linear" method; None over nothing."""
    if values.size == 0:
        return dict.fromkeys(PERCENTILES)
    found = np.percentile(values, PERCENTILES, method="linear")
    return {p: float(value) for p, value in zip(PERCENTILES, found, strict=True)}


def delay_metrics(frames: Frames, session: Session) -> dict[str, Any]:
    """Both delays at all percentiles, over rendered and over all frames; how many were fast."""
    found: dict[str, Any] = {}
    for name, delays in (
        ("frame_delay_ms", frame_delay_ms(frames)),
        ("latency_ms", latency_ms(frames)),
    ):
        for p, value in percentiles(delays[~np.isnan(delays)]).items():
            found[f"{name}_p{p}"] = value
        for p, value in percentiles(censored(delays, session.deadline_ms)).items():
            found[f"{name}_censored_p{p}"] = value
    # A frame without a delay compares as slow.
    found["frame_delay_under_150ms_share"] = float((frame_delay_ms(frames) < FAST_MS).mean())
    return found
