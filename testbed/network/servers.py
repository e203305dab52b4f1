"""How fast a bottleneck serves: mahimahi's opportunities, a continuous rate, or no limit.

A server answers two questions about the packet at the head of a first-in-first-out queue: when
would its first byte be taken (`start`), and when does its last byte leave (`serve`). Capacity that
nobody uses is lost, and service is never interrupted, so both answers are final: later arrivals
cannot change them.

Everything is integer arithmetic. Opportunities are whole milliseconds, as mahimahi's clock is.
The rate form works in units of 1e-9 bit (one bit per second for one nanosecond): rates are rounded
to whole bit/s once, a packet's leaving time is rounded *up* to whole nanoseconds for the stamp
only, and the next packet continues from the exact position, so nothing drifts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, Protocol

import numpy as np

from testbed.errors import InputError, TraceError
from testbed.network.trace import OPPORTUNITY_BYTES, OpportunityTrace, RateTrace, Trace

#: "Never": later than any session (146 years), still a plain int.
NEVER_NS: Final = 1 << 62
NS_PER_MS: Final = 1_000_000
#: A byte in the work unit of `RateServer`.
_BYTE_UNITS: Final = 8 * 1_000_000_000


class Server(Protocol):
    """Serves a queue in order of arrival."""

    def start(self, since_ns: int) -> int:
        """When the next packet would enter service, had it waited since `since_ns`.

        Changes nothing. `NEVER_NS` when capacity has ended for good.
        """

    def serve(self, since_ns: int, size_bytes: int) -> tuple[int, int]:
        """Serve a packet that has waited at the head since `since_ns`.

        Returns:
            (start_ns, out_ns): first byte taken and last byte out; each may be `NEVER_NS`.
        """

    def capacity_bytes(self, start_ns: int, end_ns: int) -> int:
        """Bytes offered in (start_ns, end_ns], used or not."""


class OpportunityServer:
    """mahimahi's link: each trace line is one opportunity of 1504 bytes (F6, F8 to F12).

    Args:
        trace: the opportunities.
        base_ms: when trace time 0 is, on the session's clock (mm-link's base timestamp, F5).
        phase_ms: trace time at which the session starts, >= 0; shifts everything earlier.
        once: stop after the last opportunity instead of repeating (F12).

    mm-link floors its clock to whole milliseconds, and an arrival in millisecond a can use only
    opportunities later than a (F10). Opportunities lie on whole milliseconds themselves, so that
    is the same as "later than the arrival" to the nanosecond, and needs no rounding here.
    """

    __slots__ = (
        "_at_ns",
        "_cycle_ns",
        "_index",
        "_offset_ns",
        "_once",
        "_period_ns",
        "_room",
        "_times_ns",
    )

    def __init__(
        self, trace: OpportunityTrace, *, base_ms: int = 0, phase_ms: int = 0, once: bool = False
    ) -> None:
        self._times_ns: list[int] = (trace.times_ms * NS_PER_MS).tolist()
        self._period_ns = trace.period_ms * NS_PER_MS
        self._offset_ns = (base_ms - phase_ms) * NS_PER_MS  # session time = trace time + offset
        self._once = once
        # The opportunity in use: its index, the session time at which its cycle starts, its own
        # time, and the bytes left in it (> 0).
        self._index = 0
        self._cycle_ns = self._offset_ns
        self._at_ns = self._offset_ns + self._times_ns[0]
        self._room = OPPORTUNITY_BYTES

    def _first_after(self, ns: int) -> tuple[int, int, int]:
        """Index, cycle start and time of the first opportunity later than session time `ns`."""
        trace_ns = ns - self._offset_ns
        if trace_ns < 0:
            cycle, index = 0, 0
        else:
            cycle, within = divmod(trace_ns, self._period_ns)
            index = bisect_right(self._times_ns, within)
        if self._once and cycle > 0:
            return 0, self._offset_ns, NEVER_NS
        cycle_ns = self._offset_ns + cycle * self._period_ns
        return index, cycle_ns, cycle_ns + self._times_ns[index]

    def start(self, since_ns: int) -> int:
        """See `Server`."""
        at_ns = self._at_ns
        return at_ns if at_ns > since_ns else self._first_after(since_ns)[2]

    def serve(self, since_ns: int, size_bytes: int) -> tuple[int, int]:
        """See `Server`. `out_ns` is the nominal time of the opportunity with the last byte (F8)."""
        at_ns = self._at_ns
        # F10: what was offered up to and including the arrival is gone. What is left of a shared
        # opportunity is there for as long as its time is yet to come (F9).
        if at_ns <= since_ns:
            within_ns = since_ns - self._cycle_ns
            if within_ns < self._period_ns:
                index = bisect_right(self._times_ns, within_ns, self._index)
                self._index = index
                at_ns = self._cycle_ns + self._times_ns[index]
            else:
                self._index, self._cycle_ns, at_ns = self._first_after(since_ns)
            self._at_ns = at_ns
            self._room = OPPORTUNITY_BYTES
        start_ns = at_ns
        room = self._room - size_bytes
        while room < 0 and at_ns != NEVER_NS:
            at_ns = self._take_next()
            room += OPPORTUNITY_BYTES
        if at_ns == NEVER_NS:  # for good: the state is left where it is
            return start_ns, NEVER_NS
        if room:
            self._room = room
        elif (index := self._index + 1) < len(self._times_ns):  # `_take_next` without the call
            self._index = index
            self._at_ns = self._cycle_ns + self._times_ns[index]
            self._room = OPPORTUNITY_BYTES
        else:
            self._take_next()
        return start_ns, at_ns

    def _take_next(self) -> int:
        """Move to the next opportunity and return its time."""
        self._room = OPPORTUNITY_BYTES
        index = self._index + 1
        if index == len(self._times_ns):
            if self._once:
                self._at_ns = NEVER_NS
                return NEVER_NS
            index = 0
            self._cycle_ns += self._period_ns  # F11
        self._index = index
        self._at_ns = at_ns = self._cycle_ns + self._times_ns[index]
        return at_ns

    def _offered(self, ns: int) -> int:
        """Opportunities at trace times >= 0 up to and including session time `ns`."""
        trace_ns = ns - self._offset_ns
        if trace_ns < 0:
            return 0
        cycle, within_ns = divmod(trace_ns, self._period_ns)
        count = len(self._times_ns)
        if self._once and cycle > 0:
            return count
        return cycle * count + bisect_right(self._times_ns, within_ns)

    def capacity_bytes(self, start_ns: int, end_ns: int) -> int:
        """See `Server`: 1504 bytes for every opportunity with start < time <= end."""
        return (self._offered(end_ns) - self._offered(start_ns)) * OPPORTUNITY_BYTES


class RateServer:
    """A continuous, piecewise-constant rate.

    Args:
        trace: rates with microsecond edges; each rate is rounded to whole bit/s.
        phase_ms: trace time at which the session starts, >= 0.
        once: no capacity after the last sample instead of repeating.

    Raises:
        TraceError: every rate is below half a bit per second.

    The position of the server is the capacity used up since trace time 0; a time becomes capacity
    and capacity a time through the cumulative curve of one period.
    """

    __slots__ = (
        "_before_units",
        "_edges_ns",
        "_ends_units",
        "_free_ns",
        "_once",
        "_period_ns",
        "_phase_ns",
        "_rates_bps",
        "_total_units",
        "_used_units",
    )

    def __init__(self, trace: RateTrace, *, phase_ms: int = 0, once: bool = False) -> None:
        self._rates_bps: list[int] = np.rint(trace.rates_kbps * 1000.0).astype(np.int64).tolist()
        self._edges_ns = [0]  # segment i lies between edges i and i + 1
        self._before_units = [0]  # capacity up to each edge
        self._ends_units: list[int] = []  # the same without the leading 0, to search in
        for us, rate_bps in zip(trace.durations_us.tolist(), self._rates_bps, strict=True):
            self._edges_ns.append(self._edges_ns[-1] + us * 1000)
            self._before_units.append(self._before_units[-1] + rate_bps * us * 1000)
            self._ends_units.append(self._before_units[-1])
        self._period_ns = self._edges_ns[-1]
        self._total_units = self._before_units[-1]
        if self._total_units == 0:
            raise TraceError(
                "trace has no capacity at all; at least one rate must be >= 0.001 kbps"
            )
        self._phase_ns = phase_ms * NS_PER_MS
        self._once = once
        self._used_units = self._cumulative(0)
        self._free_ns = 0

    def _cumulative(self, ns: int) -> int:
        """Capacity in work units from trace time 0 to session time `ns`."""
        cycle, within = divmod(ns + self._phase_ns, self._period_ns)
        if self._once and cycle > 0:
            return self._total_units
        index = bisect_right(self._edges_ns, within) - 1
        return (
            cycle * self._total_units
            + self._before_units[index]
            + self._rates_bps[index] * (within - self._edges_ns[index])
        )

    def _reached(self, units: int) -> int:
        """First whole ns of the session at which the cumulative capacity is >= `units` > 0."""
        if self._once and units > self._total_units:
            return NEVER_NS
        # A multiple of the total is reached at the end of a cycle, not at the start of the next.
        cycle, within = divmod(units - 1, self._total_units)
        within += 1
        index = bisect_left(self._ends_units, within)
        wait_ns = -(-(within - self._before_units[index]) // self._rates_bps[index])
        return cycle * self._period_ns + self._edges_ns[index] + wait_ns - self._phase_ns

    def start(self, since_ns: int) -> int:
        """See `Server`."""
        return since_ns if since_ns > self._free_ns else self._free_ns

    def serve(self, since_ns: int, size_bytes: int) -> tuple[int, int]:
        """See `Server`. `out_ns` is rounded up to a whole nanosecond; the carry is exact."""
        start_ns = self._free_ns
        used = self._used_units
        if since_ns >= start_ns:
            start_ns = since_ns
            offered = self._cumulative(since_ns)
            if offered > used:
                used = offered
        self._used_units = used = used + size_bytes * _BYTE_UNITS
        self._free_ns = out_ns = self._reached(used)
        return start_ns, out_ns

    def capacity_bytes(self, start_ns: int, end_ns: int) -> int:
        """See `Server`; the parts of adjoining intervals add up exactly."""
        return self._cumulative(end_ns) // _BYTE_UNITS - self._cumulative(start_ns) // _BYTE_UNITS


class UnlimitedServer:
    """No bottleneck: a packet leaves the moment it enters. Its offered capacity counts as 0."""

    __slots__ = ()

    def start(self, since_ns: int) -> int:
        """See `Server`."""
        return since_ns

    def serve(self, since_ns: int, size_bytes: int) -> tuple[int, int]:  # noqa: ARG002
        """See `Server`."""
        return since_ns, since_ns

    def capacity_bytes(self, start_ns: int, end_ns: int) -> int:  # noqa: ARG002
        """See `Server`."""
        return 0


def make_server(
    trace: Trace | None,
    *,
    mode: str = "auto",
    phase_ms: int = 0,
    once: bool = False,
    base_ms: int = 0,
) -> Server:
    """The server for a trace.

    Args:
        trace: None for no limit.
        mode: "auto" takes the trace's own form; "opportunities" and "rate" insist on it. The
            converters of `testbed.traces.convert` turn one form into the other.
        phase_ms: trace time at which the session starts, >= 0.
        once: the trace does not repeat.
        base_ms: see `OpportunityServer`.

    Raises:
        InputError: the trace has another form, or the phase is negative.
    """
    if phase_ms < 0:
        raise InputError(f"phase_ms is {phase_ms}; must be >= 0")
    if trace is None:
        return UnlimitedServer()
    form = "opportunities" if isinstance(trace, OpportunityTrace) else "rate"
    if mode not in ("auto", form):
        if mode not in ("opportunities", "rate"):
            raise InputError(f"mode is {mode!r}; must be auto, opportunities or rate")
        raise InputError(f"mode is {mode!r}, but the trace is given as {form}; convert it first")
    if isinstance(trace, OpportunityTrace):
        return OpportunityServer(trace, base_ms=base_ms, phase_ms=phase_ms, once=once)
    return RateServer(trace, phase_ms=phase_ms, once=once)
