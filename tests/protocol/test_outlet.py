"""The outlet with a controller that does as it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from testbed.protocol.congestion import ControllerDefaults, FixedRate
from testbed.protocol.endpoint import Datagram
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES, Outlet
from testbed.protocol.rtp import pack_padding, pack_rtp

MS = 1_000_000


@dataclass
class Told(ControllerDefaults):
    """Rates, window and probe are plain fields; what it is told goes into `heard`."""

    target: float = 1000.0
    pacing: float | None = 1000.0
    window: int | None = None
    probe: int = 0
    timer: int | None = None
    heard: list[Any] = field(default_factory=list)
    tracks_packets: bool = True
    state: str = "told"

    def target_kbps(self, *, now_ns: int) -> float:
        return self.target

    def pacing_kbps(self, *, now_ns: int) -> float | None:
        return self.pacing

    def window_bytes(self, *, now_ns: int) -> int | None:
        return self.window

    def probe_bytes(self, *, now_ns: int) -> int:
        return self.probe

    def on_packet_sent(self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int) -> None:
        self.heard.append((ssrc, sequence, size_bytes, now_ns))
        if self.window is not None:
            self.window -= size_bytes
        if ssrc == 6:  # padding
            self.probe = max(0, self.probe - size_bytes)

    def on_application_limited(self, *, now_ns: int) -> None:
        self.heard.append(("limited", now_ns))

    def on_feedback(self, report: Any, *, now_ns: int) -> None:
        self.heard.append(("feedback", report, now_ns))

    def next_timer(self) -> int | None:
        return self.timer

    def on_timer(self, *, now_ns: int) -> None:
        self.heard.append(("timer", now_ns))
        self.timer = None


def packet(sequence: int, size_bytes: int = 1250) -> Datagram:
    payload = bytes(size_bytes - 12 - IP_UDP_HEADER_BYTES)
    data = pack_rtp(payload, payload_type=96, marker=False, sequence=sequence, timestamp=0, ssrc=5)
    return Datagram(data, "media")


def padding(size_bytes: int) -> Datagram:
    data = pack_padding(min(255, size_bytes), payload_type=97, sequence=0, timestamp=0, ssrc=6)
    return Datagram(data, "padding")


def outlet(controller: Any, **options: Any) -> Outlet:
    return Outlet(controller, **{"factor": 2.5, "burst_bytes": 0, **options})


def test_a_controller_that_does_not_pace_leaves_the_transport_s_factor() -> None:
    way = outlet(FixedRate(kbps=400))
    way.push(packet(0), now_ns=0)
    way.push(packet(1), now_ns=0)
    assert len(way.pop(now_ns=0)) == 1
    assert way.next_timer() == 10 * MS  # 10 kbit at 2.5 x 400 kbit/s
    assert way.source_kbps(now_ns=0) == 400


def test_a_controller_s_pacing_is_followed_and_packets_are_announced() -> None:
    told = Told()
    way = outlet(told)
    for i in range(3):
        way.push(packet(i), now_ns=0)
    assert len(way.pop(now_ns=0)) == 1
    assert way.next_timer() == 10 * MS
    told.pacing = 2000.0
    assert len(way.pop(now_ns=10 * MS)) == 1
    assert way.next_timer() == 15 * MS
    assert told.heard == [(5, 0, 1250, 0), (5, 1, 1250, 10 * MS)]


def test_a_closed_window_waits_for_feedback_and_sets_no_timer() -> None:
    told = Told(window=1)
    way = outlet(told)
    way.push(packet(0), now_ns=0)
    way.push(packet(1), now_ns=0)
    assert len(way.pop(now_ns=0)) == 1
    assert way.pop(now_ns=50 * MS) == []
    assert way.next_timer() is None
    told.timer = 77 * MS
    assert way.next_timer() == 77 * MS
    told.window = 2000
    assert len(way.pop(now_ns=60 * MS)) == 1


def test_probes_are_filled_at_the_pacing_rate_when_nothing_waits() -> None:
    told = Told(probe=600)
    way = outlet(told, make_fill=padding)
    way.push(packet(0), now_ns=0)
    assert [d.kind for d in way.pop(now_ns=0)] == ["media"]
    assert way.next_timer() == 10 * MS  # when the media is paid for
    kinds = []
    for _ in range(3):
        at_ns = way.next_timer()
        if at_ns is None:
            break
        kinds += [(at_ns, d.kind) for d in way.pop(now_ns=at_ns)]
    assert [kind for _, kind in kinds] == ["padding", "padding", "padding"]
    assert kinds[1][0] - kinds[0][0] == 295 * 8000  # 295 bytes at 1 Mbit/s
    assert way.next_timer() is None


@pytest.mark.parametrize("fill", [None, lambda _size: None])
def test_without_a_filler_probes_stay_unfilled(fill: Any) -> None:
    way = outlet(Told(probe=600), make_fill=fill)
    assert way.pop(now_ns=0) == []
    assert way.next_timer() is None


def test_media_goes_before_filling() -> None:
    told = Told(probe=10_000)
    way = outlet(told, make_fill=padding)
    way.push(packet(0), now_ns=0)
    way.push(packet(1), now_ns=0)
    assert [d.kind for at in (0, 10) for d in way.pop(now_ns=at * MS)] == ["media", "media"]


def test_running_dry_is_announced_once_sending_would_have_been_allowed() -> None:
    told = Told()
    way = outlet(told)
    way.before_push(now_ns=0)
    way.push(packet(0), now_ns=0)
    way.pop(now_ns=0)
    way.before_push(now_ns=5 * MS)  # still paying: not dry
    way.on_feedback("report", now_ns=20 * MS)
    assert [h[0] for h in told.heard] == ["limited", 5, "limited", "feedback"]


def test_what_waits_is_worked_off() -> None:
    told = Told(target=800.0)
    way = outlet(told)
    assert way.source_kbps(now_ns=0) == 800
    for i in range(3):
        way.push(packet(i), now_ns=0)
    # 30 kbit wait; 40 may; nothing is taken off yet.
    assert way.source_kbps(now_ns=0) == 800
    for i in range(9):
        way.push(packet(i), now_ns=0)
    assert way.source_kbps(now_ns=0) == pytest.approx(800 - (120 - 40) / 0.5)
    for i in range(100):
        way.push(packet(i), now_ns=0)
    assert way.source_kbps(now_ns=0) == 200


def test_the_controller_s_timer_is_called_when_it_is_due() -> None:
    told = Told(timer=30 * MS)
    way = outlet(told)
    way.on_timer(now_ns=29 * MS)
    assert told.heard == []
    way.on_timer(now_ns=30 * MS)
    assert told.heard == [("timer", 30 * MS)]
