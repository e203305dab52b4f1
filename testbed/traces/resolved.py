"""A trace with its name, its provenance and the hash of its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from testbed.network.trace import OpportunityTrace, RateTrace, Trace
from testbed.traces.convert import to_opportunities, to_rate


@dataclass(frozen=True)
class ResolvedTrace:
    """What a trace specification turned into.

    Attributes:
        name: short, unique within one `resolve` call; fit for a file name or an axis label.
        trace: the capacity, checked.
        source: provenance in words (file and format, generator, or model, seed and index).
        synthetic: drawn from a fitted model rather than measured or written down.
        notes: what the reader of a result should know (unit assumed, columns dropped, ...).
    """

    name: str
    trace: Trace
    source: str
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Hash of the canonical content: the same capacity has the same hash, whatever its name."""
        return content_hash(self.trace)

    @property
    def duration_s(self) -> float:
        """Length of one period in seconds."""
        if isinstance(self.trace, OpportunityTrace):
            return self.trace.period_ms / 1e3
        return self.trace.period_us / 1e6

    def opportunities(self) -> OpportunityTrace:
        """The trace in mahimahi's form: one opportunity per 12032 bits, remainder carried."""
        return to_opportunities(self.trace)

    def rate(self, step_us: int = 1_000_000) -> RateTrace:
        """The trace as piecewise-constant rates; an opportunity trace is binned by `step_us`."""
        return to_rate(self.trace, step_us=step_us)


def content_hash(trace: Trace) -> str:
    """SHA-256 (hex) of form and values: little-endian int64, and float64 for rates."""
    digest = hashlib.sha256()
    if isinstance(trace, OpportunityTrace):
        digest.update(b"opportunities-ms\0")
        digest.update(trace.times_ms.astype("<i8").tobytes())
    else:
        digest.update(b"rates-us-kbps\0")
        digest.update(trace.durations_us.astype("<i8").tobytes())
        digest.update(trace.rates_kbps.astype("<f8").tobytes())
    return digest.hexdigest()
