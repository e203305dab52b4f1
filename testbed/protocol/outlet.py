"""What a sender's packets leave through: a pacer under a rate controller.

A controller that says nothing of pacing (`fixed`, `oracle`, `gcc`) leaves it to the transport's own
factor on the target, and nothing is held back. One that paces (`bbr`) sets rate and window, is told
when the outlet ran dry (its samples are then application-limited), and has its probes filled:
whenever it wants to see more than there is to send, `make_fill` makes a datagram.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Datagram
from testbed.protocol.pacer import Pacer

#: IPv4 and UDP headers, which a rate in kbit/s on the wire includes.
IP_UDP_HEADER_BYTES: Final = 28
#: A controlled source works off what waits in the outlet over this time.
BACKLOG_S: Final = 0.5
#: ... beyond what leaves within this time, so that the outlet does not run dry ...
FREE_BACKLOG_S: Final = 0.05
#: ... but is never asked for less than this share of the target.
LEAST_SHARE: Final = 0.25

#: Sequence number and SSRC of an RTP packet.
_IDENTITY: Final = Struct("!xxHxxxxI")


class Outlet:
    """A paced way out; see the module's text.

    Args:
        controller: asked for rate, window and probes; told what left.
        factor: pacing over target for a controller that does not pace.
        burst_bytes: credit of the pacer for such a controller; with one that paces there is none,
            so that what it measures is the path and not our bursts.
        make_fill: makes a datagram of about that many bytes with headers to fill a probe; None (the
            function or its result) fills nothing.
    """

    def __init__(
        self,
        controller: RateController,
        *,
        factor: float,
        burst_bytes: int,
        make_fill: Callable[[int], Datagram | None] | None = None,
    ) -> None:
        self._controller = controller
        self._tracks = controller.tracks_packets
        target = controller.target_kbps(now_ns=0)
        pacing = controller.pacing_kbps(now_ns=0)
        self.paced_by_controller = pacing is not None
        self._pacer: Pacer[Datagram] = Pacer(
            rate_kbps=target,
            factor=factor,
            burst_bytes=0 if self.paced_by_controller else burst_bytes,
        )
        self._target_kbps = target
        self._pacing_kbps = pacing
        if pacing is not None:
            self._pacer.set_pacing(pacing, now_ns=0)
        self._make_fill = make_fill
        self._fill_at_ns: int | None = None
        self._closed = False  # the window lets nothing through

    @property
    def queue_bytes(self) -> int:
        """Bytes waiting."""
        return self._pacer.queue_bytes

    def source_kbps(self, *, now_ns: int, fills_probes: bool = False) -> float:
        """The controller's target, less what it takes to work off what waits here.

        Args:
            now_ns: time.
            fills_probes: the source makes more while the controller probes: as much as it paces.
        """
        kbps = self._source_kbps(now_ns)
        if fills_probes and self._controller.probe_bytes(now_ns=now_ns) > 0:
            return max(kbps, self._controller.pacing_kbps(now_ns=now_ns) or 0.0)
        return kbps

    def _source_kbps(self, now_ns: int) -> float:
        target = self._controller.target_kbps(now_ns=now_ns)
        if not self.paced_by_controller:
            if target != self._target_kbps:
                self._target_kbps = target
                self._pacer.set_rate(target, now_ns=now_ns)
            return target
        self._follow(now_ns)
        backlog_kbit = self._pacer.queue_bytes * 8 / 1000 - target * FREE_BACKLOG_S
        backlog_kbps = max(0.0, backlog_kbit) / BACKLOG_S
        return max(LEAST_SHARE * target, target - backlog_kbps)

    def push(self, datagram: Datagram, *, now_ns: int, front: bool = False) -> None:
        """Queue an RTP packet; with `front` ahead of what is not itself in the front lane."""
        size_bytes = len(datagram.data) + IP_UDP_HEADER_BYTES
        self._pacer.push(datagram, size_bytes, now_ns=now_ns, front=front)

    def before_push(self, *, now_ns: int) -> None:
        """New packets are about to be pushed: was there nothing to send until now?"""
        if self._tracks and self._pacer.idle(now_ns=now_ns):
            self._controller.on_application_limited(now_ns=now_ns)

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        """Hand a receiver's report to the controller."""
        self.before_push(now_ns=now_ns)
        self._controller.on_feedback(report, now_ns=now_ns)

    def pop(self, *, now_ns: int) -> list[Datagram]:
        """Everything that leaves now, in order."""
        if not self._tracks:
            return self._pacer.pop(now_ns=now_ns)
        controller, pacer = self._controller, self._pacer
        if self.paced_by_controller:
            self._follow(now_ns)
        window = controller.window_bytes(now_ns=now_ns)
        out = pacer.pop(now_ns=now_ns, limit_bytes=window)
        for datagram in out:
            self._announce(datagram, now_ns)
        self._fill_at_ns = None
        if self._make_fill is not None and not pacer.queue_bytes:
            self._fill(out, now_ns)
        if window is not None:
            window = controller.window_bytes(now_ns=now_ns)
        self._closed = window is not None and window <= 0
        return out

    def next_timer(self) -> int | None:
        """When `pop` may bring something next, or the controller wants to be called."""
        at_ns = None if self._closed else self._pacer.next_timer()
        for other_ns in (self._fill_at_ns, self._controller.next_timer()):
            if other_ns is not None and (at_ns is None or other_ns < at_ns):
                at_ns = other_ns
        return at_ns

    def on_timer(self, *, now_ns: int) -> None:
        """The controller's timer; `pop` does the rest."""
        at_ns = self._controller.next_timer()
        if at_ns is not None and at_ns <= now_ns:
            self._controller.on_timer(now_ns=now_ns)

    # --- inside ---------------------------------------------------------------------------

    def _follow(self, now_ns: int) -> None:
        pacing = self._controller.pacing_kbps(now_ns=now_ns)
        if pacing is not None and pacing != self._pacing_kbps:
            self._pacing_kbps = pacing
            self._pacer.set_pacing(pacing, now_ns=now_ns)

    def _announce(self, datagram: Datagram, now_ns: int) -> None:
        data = datagram.data
        sequence, ssrc = _IDENTITY.unpack_from(data)
        self._controller.on_packet_sent(
            ssrc=ssrc,
            sequence=sequence,
            size_bytes=len(data) + IP_UDP_HEADER_BYTES,
            now_ns=now_ns,
        )

    def _fill(self, out: list[Datagram], now_ns: int) -> None:
        """Fill a probe, one datagram at a time, for each pays for itself."""
        controller, pacer = self._controller, self._pacer
        wanted = controller.probe_bytes(now_ns=now_ns)
        while wanted > 0 and pacer.idle(now_ns=now_ns):
            datagram = self._make_fill(wanted) if self._make_fill is not None else None
            if datagram is None:
                return
            self.push(datagram, now_ns=now_ns)
            for sent in pacer.pop(now_ns=now_ns):
                out.append(sent)
                self._announce(sent, now_ns)
            wanted = controller.probe_bytes(now_ns=now_ns)
        if wanted > 0:
            self._fill_at_ns = max(pacer.free_ns, now_ns + 1)
