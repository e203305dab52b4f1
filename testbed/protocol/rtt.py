"""Round-trip time as both ends keep it."""

from __future__ import annotations


class RttEstimator:
    """Smoothed and windowed-minimum round-trip time, in integer nanoseconds.

    Smoothing is an EWMA with weight 1/5, the 0.2 of ringmaster's retransmission (`field.md`
    A3); the minimum is over the last 10 s, as in draft-ietf-ccwg-bbr (MinRTTFilterLen).

    Args:
        initial_ns: value of all three before the first sample.
    """

    def __init__(self, *, initial_ns: int = 100_000_000) -> None:
        self.latest_ns = initial_ns
        self.smoothed_ns = initial_ns
        self.min_ns = initial_ns
        self.samples = 0

    def on_sample(self, rtt_ns: int, *, now_ns: int) -> None:
        """A round trip was measured; negative samples are ignored."""
        raise NotImplementedError
